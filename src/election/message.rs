//! What do nodes say to each other? The connection tells who the sender is, so no message names it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{NodeId, Term};

/// What one node asks another node. Every request may arrive late, twice or never.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Would you vote for me? Changes nothing in the node that is asked.
    PreVote {
        /// The term in which the sender would campaign.
        term: Term,
        /// The number of this round of pre-votes. The reply repeats it.
        candidacy: u64,
    },
    /// Vote for me.
    Vote {
        /// The term of the sender's candidacy.
        term: Term,
        /// The number of this candidacy, which a restart does not repeat. The reply repeats it.
        candidacy: u64,
    },
    /// I lead. Promise me to elect nobody else for a while.
    Heartbeat {
        /// The term in which the sender was elected.
        term: Term,
        /// The number of the heartbeat in that term. The reply repeats it.
        seq: u64,
        /// How long the promise should last.
        promise: Duration,
        /// Who should lead next if the sender falls silent, best first.
        succession: Vec<NodeId>,
    },
    /// I no longer lead, and none of my work runs as leader any more. Your promise is void.
    Release {
        /// The term that the sender led.
        term: Term,
        /// The number of its last heartbeat.
        seq: u64,
        /// Who should campaign at once.
        successor: Option<NodeId>,
    },
}

impl Request {
    /// The term in the request.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Request::PreVote { term, .. }
            | Request::Vote { term, .. }
            | Request::Heartbeat { term, .. }
            | Request::Release { term, .. } => *term,
        }
    }
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// Answers [`Request::PreVote`].
    PreVote {
        /// The voter's term.
        term: Term,
        /// The round of pre-votes that this answers.
        candidacy: u64,
        /// Whether the voter would vote for the sender, or why not.
        verdict: Result<(), Refusal>,
        /// After a grant: how long until the voter is free to vote. After a refusal: how long until another answer is
        /// possible.
        wait: Duration,
        /// The leader that the voter itself hears.
        leader: Option<Hint>,
    },
    /// Answers [`Request::Vote`].
    Vote {
        /// The voter's term.
        term: Term,
        /// The candidacy that this answers.
        candidacy: u64,
        /// The vote, or why not.
        verdict: Result<(), Refusal>,
        /// After a grant: how long the vote counts, from the moment it was asked for. After a refusal: how long until
        /// another answer is possible; zero if none is.
        wait: Duration,
    },
    /// Answers [`Request::Heartbeat`].
    Heartbeat {
        /// The voter's term: higher than the leader's if the heartbeat was rejected.
        term: Term,
        /// The heartbeat that this answers.
        seq: u64,
        /// How long the promise lasts. It begins no earlier than the moment the heartbeat was sent. Zero is no promise.
        granted: Duration,
        /// Whether the voter is eligible to lead.
        eligible: bool,
    },
    /// Answers [`Request::Release`].
    Release {
        /// The term that was released.
        term: Term,
    },
}

impl Reply {
    /// The term in the reply.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Reply::PreVote { term, .. }
            | Reply::Vote { term, .. }
            | Reply::Heartbeat { term, .. }
            | Reply::Release { term } => *term,
        }
    }
}

/// A leader that another node hears, and how long ago it heard that leader last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hint {
    /// Who leads.
    pub leader: NodeId,
    /// In which term.
    pub term: Term,
    /// How old the last heartbeat was when the reply was written.
    pub age: Duration,
}

/// Why a vote or a pre-vote is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The term asked for is not ahead of the voter's.
    TermBehind,
    /// The term is more than [`Term::LARGEST_JUMP`] ahead of all that the voter knows. The voter has moved toward it.
    TermTooFar,
    /// The voter has voted for this node in the same term.
    AlreadyVoted(NodeId),
    /// The voter has heard this leader lately.
    LeaderHeard(NodeId),
    /// The voter has promised this leader not to elect another.
    Promised(NodeId),
    /// The voter has restarted, and may owe a promise that it has forgotten.
    Quarantine,
    /// Work that the voter began as leader may still run.
    OwnWork,
    /// A write of the voter has failed. It votes no more until it is restarted.
    CannotStore,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::PreVote { term, .. } => write!(f, "PreVote term={term}"),
            Request::Vote { term, .. } => write!(f, "Vote term={term}"),
            Request::Heartbeat { term, seq, .. } => write!(f, "Heartbeat term={term} seq={seq}"),
            Request::Release { term, seq, successor } => {
                write!(f, "Release term={term} seq={seq}")?;
                successor.map_or(Ok(()), |id| write!(f, " successor={id}"))
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::PreVote { term, verdict, wait, leader, .. } => {
                write!(f, "PreVoteReply term={term} ")?;
                match (verdict, leader) {
                    (Ok(()), _) if wait.is_zero() => f.write_str("granted"),
                    (Ok(()), _) => write!(f, "granted, free in {wait:.1?}"),
                    (Err(refusal), Some(hint)) => {
                        write!(f, "refused: {refusal} {:.1?} ago", hint.age)
                    }
                    (Err(refusal), None) => write!(f, "refused: {refusal}"),
                }
            }
            Reply::Vote { term, verdict, wait, .. } => match verdict {
                Ok(()) => write!(f, "VoteReply term={term} granted"),
                Err(refusal) if wait.is_zero() => {
                    write!(f, "VoteReply term={term} refused: {refusal}")
                }
                Err(refusal) => {
                    write!(f, "VoteReply term={term} refused: {refusal} for {wait:.1?}")
                }
            },
            Reply::Heartbeat { term, seq, granted, .. } if granted.is_zero() => {
                write!(f, "HeartbeatReply term={term} seq={seq} no promise")
            }
            Reply::Heartbeat { term, seq, granted, .. } => {
                write!(f, "HeartbeatReply term={term} seq={seq} promised {granted:.1?}")
            }
            Reply::Release { term } => write!(f, "ReleaseReply term={term}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TermBehind => f.write_str("term behind"),
            Refusal::TermTooFar => f.write_str("term too far ahead"),
            Refusal::AlreadyVoted(id) => write!(f, "already voted for {id}"),
            Refusal::LeaderHeard(id) => write!(f, "heard leader {id}"),
            Refusal::Promised(id) => write!(f, "promised {id}"),
            Refusal::Quarantine => f.write_str("quarantine after restart"),
            Refusal::OwnWork => f.write_str("own work may still run"),
            Refusal::CannotStore => f.write_str("cannot store a vote"),
        }
    }
}
