//! What has happened? An event for each change of role, term, leader or token, with its cause.

use std::fmt;
use std::time::Duration;

use super::{EndReason, NodeId, Term};

/// The role of a node, as its users see it. A node that only asks whether it would win is shown as a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Was elected. It may act only while it holds a lease.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// What a node has become, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows of, itself included.
    pub leader: Option<NodeId>,
    /// The fencing token, while the node holds a lease.
    pub token: Option<Term>,
    /// Why.
    pub cause: Cause,
}

/// Why a node has become what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It has just started.
    Started,
    /// Nothing has changed: this is the state when the stream of events began.
    Present,
    /// It accepted the heartbeat of a leader.
    LeaderHeard,
    /// A peer hears a leader that this node does not.
    LeaderHinted {
        /// That peer.
        by: NodeId,
    },
    /// It knows no leader, and asks whether it would win.
    NoLeader,
    /// A quorum would vote for it.
    PreVotesWon,
    /// The leader named it as its successor.
    NamedSuccessor {
        /// That leader.
        by: NodeId,
    },
    /// It gave its vote.
    VoteGranted {
        /// To this candidate.
        to: NodeId,
    },
    /// It heard of a higher term.
    HigherTerm {
        /// From this peer.
        from: NodeId,
    },
    /// Its candidacy failed.
    CandidacyLost {
        /// The nodes that voted for it.
        votes: Vec<NodeId>,
    },
    /// It was elected. It may act once a quorum has answered its first heartbeat.
    Elected {
        /// The nodes that voted for it.
        votes: Vec<NodeId>,
        /// The time since it last heard a leader, or since it started.
        after: Duration,
    },
    /// A quorum has promised to elect nobody else: it may act.
    LeaseWon,
    /// No quorum answered in time: its lease ran out.
    LeaseLost,
    /// It gives up leadership: its lease is void, and it waits for its work to end.
    SteppingDown {
        /// Why.
        reason: EndReason,
        /// Who should lead next, if that is known already.
        successor: Option<NodeId>,
    },
    /// It has told all peers that it no longer leads.
    Released {
        /// Who was asked to lead next.
        successor: Option<NodeId>,
    },
    /// The leader said that it no longer leads.
    LeaderReleased {
        /// That leader.
        by: NodeId,
    },
    /// The process of the leader has died, and nothing of it can act any more.
    LeaderDied {
        /// That leader.
        leader: NodeId,
    },
    /// Its work was still running when its lease ended. Another node may lead.
    WorkOverran {
        /// The term of that lease.
        term: Term,
    },
    /// A write failed. It votes no more until it is restarted.
    StorageFailed,
    /// A second leader of the same term: two processes run with one id, or state was copied or lost.
    ProtocolViolation {
        /// The second leader.
        by: NodeId,
    },
    /// Another node leads a higher term while the lease of this node lasts. No quorum of honest nodes with the assumed
    /// clocks allows it.
    SecondLease {
        /// That node.
        by: NodeId,
    },
}

impl Cause {
    /// Returns why a leadership ended, if it ended with an event of this cause.
    #[must_use]
    pub fn end_reason(&self) -> EndReason {
        match self {
            Cause::SteppingDown { reason, .. } => *reason,
            Cause::LeaseLost => EndReason::QuorumLost,
            Cause::StorageFailed => EndReason::StorageFailed,
            // Any other cause that ends a leadership comes with a higher term.
            Cause::Started
            | Cause::Present
            | Cause::LeaderHeard
            | Cause::LeaderHinted { .. }
            | Cause::NoLeader
            | Cause::PreVotesWon
            | Cause::NamedSuccessor { .. }
            | Cause::VoteGranted { .. }
            | Cause::HigherTerm { .. }
            | Cause::CandidacyLost { .. }
            | Cause::Elected { .. }
            | Cause::LeaseWon
            | Cause::Released { .. }
            | Cause::LeaderReleased { .. }
            | Cause::LeaderDied { .. }
            | Cause::WorkOverran { .. }
            | Cause::ProtocolViolation { .. }
            | Cause::SecondLease { .. } => EndReason::HigherTerm,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} term={}", self.role, self.term)?;
        if let (Some(leader), Role::Follower | Role::Candidate) = (self.leader, self.role) {
            write!(f, " leader={leader}")?;
        }
        if let Some(token) = self.token {
            write!(f, " token={token}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Started => f.write_str("started"),
            Cause::Present => f.write_str("the state when the stream began"),
            Cause::LeaderHeard => f.write_str("heard the leader"),
            Cause::LeaderHinted { by } => write!(f, "{by} hears the leader"),
            Cause::NoLeader => f.write_str("knows no leader"),
            Cause::PreVotesWon => f.write_str("a quorum would vote for it"),
            Cause::NamedSuccessor { by } => write!(f, "{by} named it as successor"),
            Cause::VoteGranted { to } => write!(f, "voted for {to}"),
            Cause::HigherTerm { from } => write!(f, "heard a higher term from {from}"),
            Cause::CandidacyLost { votes } => write!(f, "candidacy lost with votes={votes:?}"),
            Cause::Elected { votes, after } => {
                write!(f, "elected with votes={votes:?} after {after:.1?}")
            }
            Cause::LeaseWon => f.write_str("lease won"),
            Cause::LeaseLost => f.write_str("lease lost, no quorum answered in time"),
            Cause::SteppingDown { reason, successor: None } => {
                write!(f, "steps down: {reason}; waits for its work to end")
            }
            Cause::SteppingDown { reason, successor: Some(id) } => {
                write!(f, "steps down for {id}: {reason}; waits for its work to end")
            }
            Cause::Released { successor: Some(id) } => write!(f, "released to {id}"),
            Cause::Released { successor: None } => f.write_str("released to anybody"),
            Cause::LeaderReleased { by } => write!(f, "{by} released leadership"),
            Cause::LeaderDied { leader } => write!(f, "the process of leader {leader} has died"),
            Cause::WorkOverran { term } => {
                write!(f, "THE WORK OF TERM {term} RUNS ON after its lease, another node may lead")
            }
            Cause::StorageFailed => f.write_str("cannot store its vote, votes no more until restarted"),
            Cause::ProtocolViolation { by } => write!(
                f,
                "PROTOCOL VIOLATION: {by} leads the same term; look for two processes with one id or lost state"
            ),
            Cause::SecondLease { by } => write!(
                f,
                "PROTOCOL VIOLATION: {by} leads while the lease of this node lasts; look for a lost or copied vote \
                 file, a clock outside clock_drift_ppm, or a node that does not follow the protocol"
            ),
        }
    }
}
