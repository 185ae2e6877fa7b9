//! What does a node do when it knows no leader? It asks its peers: first whether it would win, then for their votes.
//!
//! The pre-vote costs no time, because a node asks it while the promises to the old leader still run out. The answers
//! say when a quorum will be free to vote, and the node asks for the votes exactly then. Nor does the write of the
//! node's own vote: it is done a little before that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::{Cause, Effects, Election, Follower, Hint, Instant, NodeId, Refusal, Request, State, Term, Timing};

/// After each candidacy in a row that has failed the next one lasts twice as long, up to four times: long enough for
/// voters that write for two election timeouts.
const MOST_FAILURES: u32 = 2;

/// A node that asks whether it would win.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct PreCandidate {
    pub(super) candidacy: u64,
    /// When this round began.
    pub(super) asked: Instant,
    /// The longest time that a peer took to grant it.
    pub(super) round_trip: Duration,
    /// The peers that would vote for it, and from when on a request for the vote of each finds it free.
    pub(super) grants: BTreeMap<NodeId, Instant>,
    pub(super) patience: Duration,
    /// When to ask anew, if there was no quorum.
    pub(super) round_ends: Instant,
    /// The leader that a peer hears, while that hint is fresh. The node then asks only to renew the hint.
    pub(super) hint: Option<FreshHint>,
}

/// A leader that a peer hears, and until when to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct FreshHint {
    pub(super) leader: NodeId,
    pub(super) until: Instant,
}

impl PreCandidate {
    pub(super) fn hinted_leader(&self) -> Option<NodeId> {
        self.hint.map(|hint| hint.leader)
    }

    pub(super) fn wake_at(&self, campaign_at: Instant) -> Instant {
        let hint_ends = self.hint.map_or(Instant::NEVER, |hint| hint.until);
        campaign_at.min(self.round_ends).min(hint_ends)
    }
}

/// A node that asks for votes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Candidate {
    /// When each request for votes was sent, as long as a vote that answers it can still count.
    pub(super) asked: BTreeMap<u64, Instant>,
    /// Never before the first request is sent.
    pub(super) ends_at: Instant,
    pub(super) votes: BTreeSet<NodeId>,
    /// The lease must be won by then. Later it would rest on a vote that its voter may have forgotten.
    pub(super) lease_won_by: Instant,
    /// The peers that will not vote for it in this term.
    pub(super) refusals: BTreeSet<NodeId>,
    /// When to ask which peer, for the first time or again.
    pub(super) ask_at: BTreeMap<NodeId, Instant>,
    /// How long to wait for an answer before a peer is asked again. Longer than a round trip: a connection carries one
    /// request at a time, and the first heartbeat would have to wait for the answer to a vote that is not needed.
    pub(super) repeat: Duration,
    /// After a release or an obituary: how soon to ask a peer again that has not yet heard of it.
    pub(super) handover_retry: Option<Duration>,
}

impl Candidate {
    pub(super) fn wake_at(&self) -> Instant {
        let next = self.ask_at.values().min();
        next.map_or(self.ends_at, |next| self.ends_at.min(*next))
    }
}

/// When to ask a voter that was asked at `asked`, has answered by `now`, and was not free for another `wait` when it
/// answered. So that the request arrives when the voter is free: it takes as long as the one before. Later by an eighth
/// of the round trip, because no two take the same time. A voter that is asked too early only refuses.
fn ask_when_free(timing: &Timing, asked: Instant, now: Instant, wait: Duration) -> Instant {
    let round_trip = now.since(asked);
    now.max(asked + round_trip / 8 + timing.wait_for(wait))
}

impl Election {
    /// Starts a round of pre-votes, or waits for others if this node never leads.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Effects) {
        let patience = self.patience(now);
        self.ask_with(now, patience, out);
    }

    fn ask_with(&mut self, now: Instant, patience: Duration, out: &mut Effects) {
        let hint = match &self.state {
            State::Follower(follower) => follower.hint,
            State::PreCandidate(asking) => asking.hint,
            State::Candidate(_) | State::Leader(_) => None,
        };
        let hint = hint.filter(|hint| now < hint.until);
        if !self.may_lead() {
            let knew = self.leader().is_some();
            self.state = State::Follower(Follower::waiting(Instant::NEVER));
            if knew {
                self.tell(Cause::NoLeader, out);
            }
            return;
        }
        let news = hint.is_none() && !matches!(&self.state, State::PreCandidate(asking) if asking.hint.is_none());
        let suspicion = self.setup.timing.suspicion();
        let candidacy = self.dice.next();
        self.state = State::PreCandidate(PreCandidate {
            candidacy,
            asked: now,
            round_trip: Duration::ZERO,
            grants: BTreeMap::new(),
            patience,
            // Longer than the node's own patience. Otherwise it would ask for ever and never campaign.
            round_ends: now + patience + suspicion + self.dice.below(suspicion / 2),
            hint,
        });
        if news {
            self.tell(Cause::NoLeader, out);
        }
        let term = self.next_term();
        self.broadcast(&Request::PreVote { term, candidacy }, out);
        self.campaign_when_due(now, out);
    }

    pub(super) fn pre_candidate_tick(&mut self, now: Instant, out: &mut Effects) {
        let State::PreCandidate(asking) = &mut self.state else {
            unreachable!("the caller knows that this node asks for pre-votes");
        };
        let round_ends = asking.round_ends;
        if asking.hint.is_some_and(|hint| now >= hint.until) {
            asking.hint = None;
            self.tell(Cause::NoLeader, out);
        }
        self.campaign_when_due(now, out);
        if matches!(self.state, State::PreCandidate(_)) && now >= round_ends {
            self.ask(now, out);
        }
    }

    /// When to campaign: when a quorum is free. The first in the line of succession campaigns a stagger earlier, so
    /// that its own vote is durable by then. Another node that did so would be in its way. Not earlier than that,
    /// because a leader that is only late loses its term by it.
    pub(super) fn campaign_at(&self, asking: &PreCandidate) -> Instant {
        let votes_at = self.votes_at(asking);
        let first = asking.patience.is_zero() && self.failures == 0 && self.succession.first() == Some(&self.setup.me);
        if !first || votes_at == Instant::NEVER {
            return votes_at;
        }
        let hint_ends = asking.hint.map_or(Instant::ZERO, |hint| hint.until);
        votes_at.before(self.setup.timing.stagger()).max(self.voting_from).max(hint_ends)
    }

    /// When to ask for votes: when a quorum that would vote for this node is free to do so. The node itself is part of
    /// it.
    fn votes_at(&self, asking: &PreCandidate) -> Instant {
        // While its last work may still run, the node must not begin another.
        if self.work.is_some() {
            return Instant::NEVER;
        }
        let others = self.majority() - 1;
        let mut free: Vec<Instant> = asking.grants.values().copied().collect();
        free.sort_unstable();
        let quorum_free = match others {
            0 => Instant::ZERO,
            _ => free.get(others - 1).copied().unwrap_or(Instant::NEVER),
        };
        let (own, _) = self.free_at(self.setup.me, self.next_term());
        let hint_ends = asking.hint.map_or(Instant::ZERO, |hint| hint.until);
        quorum_free.max(own).max(hint_ends) + asking.patience
    }

    fn campaign_when_due(&mut self, now: Instant, out: &mut Effects) {
        let State::PreCandidate(asking) = &self.state else {
            unreachable!("the caller knows that this node asks for pre-votes");
        };
        let due = self.campaign_at(asking);
        if now < due {
            return;
        }
        // Rule 10: after a stall the pre-votes are old, and a heartbeat may be waiting unread.
        let stalled = now > due + self.setup.timing.heartbeat_interval();
        if stalled && self.majority() > 1 {
            self.ask(now, out);
        } else if asking.patience.is_zero() {
            let votes_at = self.votes_at(asking).max(now);
            self.campaign_and_ask(now, votes_at, Cause::PreVotesWon, out);
        } else {
            // Rule 8: a node earlier in line may be a candidate by now, and may wait for its disk before it can say so.
            self.ask_with(now, Duration::ZERO, out);
        }
    }

    pub(super) fn pre_vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, verdict): (Term, Result<(), Refusal>),
        wait: Duration,
        hint: Option<Hint>,
        out: &mut Effects,
    ) {
        // Rule 2: asking changes nothing in the node that asks, either. It enters a term only to campaign or to follow.
        self.highest_heard = self.highest_heard.max(term);
        // Rule 7: but the cluster may have a past that this node does not know.
        if self.is_new && (term > Term(1) || hint.is_some()) {
            self.note_past(now);
        }
        if verdict.is_ok() {
            let timing = self.setup.timing;
            let State::PreCandidate(asking) = &mut self.state else {
                unreachable!("the caller knows that this node asks for pre-votes");
            };
            asking.round_trip = asking.round_trip.max(now.since(asking.asked));
            asking.grants.insert(from, ask_when_free(&timing, asking.asked, now, wait));
            self.campaign_when_due(now, out);
            return;
        }
        let wait = wait.min(self.setup.timing.suspicion());
        match hint {
            Some(hint) if hint.term >= self.hard.term && self.is_peer(hint.leader) && !wait.is_zero() => {
                self.believe(now, from, hint.leader, wait, out);
            }
            // To ask this peer again would change nothing. The round goes on for the others.
            _ if wait.is_zero() && verdict != Err(Refusal::TermBehind) => {}
            _ => {
                let again = now + wait.max(self.setup.timing.stagger());
                if let State::PreCandidate(asking) = &mut self.state {
                    asking.round_ends = asking.round_ends.min(again);
                }
            }
        }
    }

    /// Rule 9: shows the leader that a peer hears, and asks that peer again before the hint is stale.
    fn believe(&mut self, now: Instant, by: NodeId, leader: NodeId, fresh_for: Duration, out: &mut Effects) {
        let news = self.leader() != Some(leader);
        let stagger = self.setup.timing.stagger();
        self.state = State::Follower(Follower {
            leader: Some(leader),
            // Always half of what is left would mean more and more questions, so the wait has a lower bound.
            suspect_at: now + (fresh_for / 2).max(stagger).min(fresh_for),
            hint: Some(FreshHint { leader, until: now + fresh_for }),
        });
        if news {
            self.tell(Cause::LeaderHinted { by }, out);
        }
    }

    /// Campaigns in the next term: the node's own vote becomes durable. The next tick, due at once, asks for the
    /// others.
    pub(super) fn campaign(&mut self, now: Instant, cause: Cause, out: &mut Effects) {
        self.campaign_and_ask(now, now, cause, out);
    }

    /// The same, but the other votes are asked for at `votes_at`. This node owes nothing by then. Until then its own
    /// vote counts for nothing: no other node is told of it.
    fn campaign_and_ask(&mut self, now: Instant, votes_at: Instant, cause: Cause, out: &mut Effects) {
        let me = self.setup.me;
        let handover = matches!(cause, Cause::NamedSuccessor { .. } | Cause::LeaderDied { .. });
        let interval = self.setup.timing.heartbeat_interval();
        let repeat = match &self.state {
            State::PreCandidate(asking) => interval.max(asking.round_trip * 2),
            // It has not measured any round trip.
            State::Follower(_) | State::Candidate(_) | State::Leader(_) => interval * 2,
        };
        self.is_new = false;
        self.note_cap(now);
        self.hard.term = self.next_term();
        self.hard.voted_for = Some(me);
        let peers = self.setup.voters.keys().filter(|id| **id != me);
        self.state = State::Candidate(Candidate {
            asked: BTreeMap::new(),
            ends_at: Instant::NEVER,
            votes: BTreeSet::from([me]),
            lease_won_by: Instant::NEVER,
            refusals: BTreeSet::new(),
            ask_at: peers.map(|id| (*id, votes_at)).collect(),
            repeat,
            handover_retry: handover.then(|| self.setup.timing.stagger() / 16),
        });
        self.tell(cause, out);
        if self.majority() == 1 {
            self.count_votes(now, out);
        }
    }

    pub(super) fn candidate_tick(&mut self, now: Instant, out: &mut Effects) {
        let timing = self.setup.timing;
        let State::Candidate(candidate) = &mut self.state else {
            unreachable!("the caller knows that this node asks for votes");
        };
        if now >= candidate.ends_at {
            self.lose(now, out);
            return;
        }
        let due: Vec<_> = candidate.ask_at.iter().filter(|(_, at)| now >= **at).map(|(id, at)| (*id, *at)).collect();
        let Some((_, first)) = due.first() else {
            return;
        };
        if candidate.ends_at == Instant::NEVER {
            // The first request waited for the write of this node's own vote. The votes may wait for as long a write.
            let write = now.since(*first).min(timing.election_timeout() * 2);
            let patience = timing.suspicion() + self.dice.below(timing.election_timeout() - timing.suspicion());
            candidate.ends_at = now + write + patience * (1 << self.failures);
        }
        // Every request has its own number, so that each answer tells how old it may be.
        let (term, candidacy) = (self.hard.term, self.dice.next());
        candidate.asked.retain(|_, asked| now < *asked + timing.election_timeout());
        candidate.asked.insert(candidacy, now);
        for (id, _) in due {
            candidate.ask_at.insert(id, now + candidate.repeat);
            out.messages.push((id, Request::Vote { term, candidacy }));
        }
    }

    pub(super) fn vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        candidacy: u64,
        (term, verdict): (Term, Result<(), Refusal>),
        wait: Duration,
        out: &mut Effects,
    ) {
        let timing = self.setup.timing;
        let State::Candidate(candidate) = &mut self.state else {
            unreachable!("the caller knows that this node asks for votes");
        };
        let asked = candidate.asked.get(&candidacy).copied();
        let Some(asked) = asked.filter(|asked| now < *asked + timing.election_timeout()) else {
            return;
        };
        if term > self.hard.term {
            self.adopt(now, term, Cause::HigherTerm { from }, out);
            return;
        }
        match verdict {
            // Rule 11: a grant counts only while its voter is certain to remember it.
            Ok(()) if now < asked + timing.lease(wait) => {
                candidate.votes.insert(from);
                let forgotten_at = asked + timing.lease(wait) * 2;
                candidate.lease_won_by = candidate.lease_won_by.min(forgotten_at);
                candidate.ask_at.remove(&from);
            }
            Ok(()) => {}
            Err(_) if wait.is_zero() => {
                candidate.refusals.insert(from);
                candidate.ask_at.remove(&from);
            }
            Err(_) => {
                let mut ask_at = ask_when_free(&timing, asked, now, wait);
                if let Some(retry) = &mut candidate.handover_retry {
                    ask_at = ask_at.min(now + *retry);
                    *retry = (*retry * 2).min(timing.stagger());
                }
                candidate.ask_at.insert(from, ask_at);
            }
        }
        self.count_votes(now, out);
    }

    fn count_votes(&mut self, now: Instant, out: &mut Effects) {
        let State::Candidate(candidate) = &self.state else {
            unreachable!("the caller knows that this node asks for votes");
        };
        if candidate.votes.len() >= self.majority() {
            let votes = candidate.votes.iter().copied().collect();
            let lease_won_by = candidate.lease_won_by;
            self.win(now, votes, lease_won_by, out);
        } else if candidate.refusals.len() > self.setup.voters.len() - self.majority() {
            self.lose(now, out);
        }
    }

    fn lose(&mut self, now: Instant, out: &mut Effects) {
        let State::Candidate(candidate) = &self.state else {
            unreachable!("the caller knows that this node asks for votes");
        };
        let votes = candidate.votes.iter().copied().collect();
        self.failures = (self.failures + 1).min(MOST_FAILURES);
        self.follow(now, None, now, Cause::CandidacyLost { votes }, out);
        self.ask(now, out);
    }
}
