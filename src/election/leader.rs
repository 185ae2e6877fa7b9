//! How long may a leader act?
//!
//! A leader that loses the network does not know that it has been replaced. Until it notices, two nodes could act as
//! leader. The lease closes that gap: a leader acts only while a quorum has promised to elect nobody else. It counts
//! each promise from the moment it *asked*, not from the moment it heard back, because only the asking is certain to
//! come before the promise began. The lease lasts as long as a majority of the promises: sort their ends, latest first,
//! and take the m-th, where m is a majority. The leader's own promise to itself has no end and is one of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Cause, Deadline, Effects, Election, EndReason, Heard, Instant, NodeId, Request, State, Term};

/// A node that was elected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Leader {
    /// The end of the lease, once it is won.
    pub(super) until: Option<Instant>,
    /// When to give up if the lease is not won.
    pub(super) patience_ends: Instant,
    pub(super) seq: u64,
    /// When each heartbeat was sent, as long as an answer to it can still be a promise that counts.
    pub(super) sent: BTreeMap<u64, Instant>,
    pub(super) backers: BTreeMap<NodeId, Backer>,
    pub(super) next_heartbeat: Instant,
    pub(super) stepping_down: Option<SteppingDown>,
    /// The backer that takes over from this leader if it stays there and eligible.
    pub(super) preferred: Option<Preferred>,
}

/// An eligible backer that is preferred to this leader. The leader hands over to it at `due`, if it was there without a
/// gap until then.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Preferred {
    pub(super) id: NodeId,
    pub(super) due: Instant,
}

/// What a peer has promised, and whether it is eligible.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Backer {
    pub(super) until: Instant,
    pub(super) eligible: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct SteppingDown {
    pub(super) successor: Option<NodeId>,
    pub(super) hold_off: Duration,
}

impl Leader {
    /// Until when the node may act.
    pub(super) fn lease(&self, term: Term) -> Option<Deadline> {
        self.work(term).filter(|_| self.stepping_down.is_none())
    }

    /// Until when work guarded by the lease may still run.
    pub(super) fn work(&self, term: Term) -> Option<Deadline> {
        self.until.map(|until| Deadline { token: term, until })
    }

    pub(super) fn is_stepping_down(&self) -> bool {
        self.stepping_down.is_some()
    }

    pub(super) fn wake_at(&self) -> Instant {
        match self.stepping_down {
            Some(_) => self.ends_at(),
            None => self.ends_at().min(self.next_heartbeat),
        }
    }

    fn ends_at(&self) -> Instant {
        self.until.unwrap_or(self.patience_ends)
    }

    /// The moment up to which `majority` nodes, this one included, have promised.
    fn quorum_until(&self, majority: usize) -> Option<Instant> {
        let mut ends: Vec<Instant> = self.backers.values().map(|backer| backer.until).collect();
        ends.push(Instant::NEVER);
        ends.sort_unstable_by_key(|end| Reverse(*end));
        ends.get(majority - 1).copied()
    }
}

impl Election {
    /// The peers whose promises to this leader last at `now`, and whether each is eligible. Empty on a node that does
    /// not lead.
    #[must_use]
    pub fn backers(&self, now: Instant) -> BTreeMap<NodeId, bool> {
        let backers = match &self.state {
            State::Leader(leader) => Some(&leader.backers),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let fresh = backers.into_iter().flatten();
        let fresh = fresh.filter(|(_, backer)| now < backer.until);
        fresh.map(|(id, backer)| (*id, backer.eligible)).collect()
    }

    pub(super) fn win(&mut self, now: Instant, votes: Vec<NodeId>, lease_won_by: Instant, out: &mut Effects) {
        let last_led = self.heard.as_ref().map_or(self.started, |heard| heard.at);
        self.note_takeover(now, self.setup.me, true);
        // Remembered after this leadership has ended: a second leader of the same term is a violation then, too.
        self.heard = Some(Heard { leader: self.setup.me, term: self.hard.term, seq: 0, at: now, released: true });
        self.failures = 0;
        // They have promised nothing yet, but they are there: the first line of succession begins with them.
        let voters = votes.iter().filter(|id| **id != self.setup.me);
        let backers = voters.map(|id| (*id, Backer { until: Instant::ZERO, eligible: false })).collect();
        self.state = State::Leader(Leader {
            until: None,
            patience_ends: lease_won_by.min(now + self.setup.timing.election_timeout()),
            seq: 0,
            sent: BTreeMap::new(),
            backers,
            next_heartbeat: now,
            stepping_down: None,
            preferred: None,
        });
        let after = now.since(last_led);
        self.tell(Cause::Elected { votes, after }, out);
        self.heartbeat(now, out);
        self.extend(now, out);
    }

    /// Rule 5: a leader whose lease has run out becomes a follower and sends no more heartbeats. Otherwise it would
    /// keep renewing the promises of the few nodes it still reaches. This is final: an answer that is still in the
    /// queue does not bring the lease back.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Effects) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        if now < leader.ends_at() {
            return;
        }
        if leader.is_stepping_down() {
            self.release(now, out);
        } else {
            self.follow(now, None, now, Cause::LeaseLost, out);
        }
    }

    pub(super) fn leader_tick(&mut self, now: Instant, out: &mut Effects) {
        let State::Leader(leader) = &self.state else {
            unreachable!("the caller knows that this node leads");
        };
        if leader.is_stepping_down() || now < leader.next_heartbeat || self.hand_to_preferred(now, out) {
            return;
        }
        self.heartbeat(now, out);
    }

    fn heartbeat(&mut self, now: Instant, out: &mut Effects) {
        let timing = self.setup.timing;
        let succession = self.succession_list(now);
        let State::Leader(leader) = &mut self.state else {
            unreachable!("the caller knows that this node leads");
        };
        leader.seq += 1;
        leader.next_heartbeat = now + timing.heartbeat_interval();
        leader.sent.retain(|_, sent| now < *sent + timing.election_timeout());
        leader.sent.insert(leader.seq, now);
        if let Some(heard) = &mut self.heard {
            heard.at = now;
        }
        let request = Request::Heartbeat {
            term: self.hard.term,
            seq: leader.seq,
            promise: timing.election_timeout(),
            succession,
        };
        self.broadcast(&request, out);
    }

    pub(super) fn heartbeat_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, seq): (Term, u64),
        granted: Duration,
        eligible: bool,
        out: &mut Effects,
    ) {
        if term > self.hard.term {
            self.adopt(now, term, Cause::HigherTerm { from }, out);
            return;
        }
        let timing = self.setup.timing;
        let State::Leader(leader) = &mut self.state else {
            unreachable!("the caller knows that this node leads");
        };
        let Some(sent) = leader.sent.get(&seq).copied().filter(|_| term == self.hard.term) else {
            return;
        };
        let until = sent + timing.lease(granted.min(timing.election_timeout()));
        let backer = leader.backers.entry(from).or_insert(Backer { until, eligible });
        backer.until = backer.until.max(until);
        backer.eligible = eligible;
        self.extend(now, out);
    }

    /// Wins the lease, or makes it longer, if a quorum has promised long enough.
    fn extend(&mut self, now: Instant, out: &mut Effects) {
        let majority = self.majority();
        let State::Leader(leader) = &mut self.state else {
            unreachable!("the caller knows that this node leads");
        };
        let Some(until) = leader.quorum_until(majority) else {
            return;
        };
        if leader.is_stepping_down() || until <= now || leader.until.is_some_and(|old| until <= old) {
            return;
        }
        let won = leader.until.replace(until).is_none();
        if won {
            self.tell(Cause::LeaseWon, out);
        }
    }

    /// Rule 6: first the work ends. Only then does the leader give the promises back.
    pub(super) fn step_down(
        &mut self,
        now: Instant,
        reason: EndReason,
        successor: Option<NodeId>,
        hold_off: Duration,
        out: &mut Effects,
    ) {
        // Chosen now: the work may end late, and by then all promises may have run out.
        let successor = successor.or_else(|| self.best_backer(now));
        // If this node will be a last resort for longer than the others wait, one of them may as well lead at once.
        let stays_away = hold_off > self.setup.timing.election_timeout();
        let successor = successor.or_else(|| self.best_last_resort(now).filter(|_| stays_away));
        self.begin_step_down(now, successor, hold_off, reason, out);
    }

    pub(super) fn begin_step_down(
        &mut self,
        now: Instant,
        successor: Option<NodeId>,
        hold_off: Duration,
        reason: EndReason,
        out: &mut Effects,
    ) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        if leader.is_stepping_down() {
            return;
        }
        // The lease of a single node has no end. The wait for its work must have one.
        let timeout = self.setup.timing.election_timeout();
        leader.until = leader.until.map(|until| until.min(now + timeout));
        leader.stepping_down = Some(SteppingDown { successor, hold_off });
        let never_acted = leader.until.is_none();
        self.tell(Cause::SteppingDown { reason, successor }, out);
        if never_acted {
            self.release(now, out);
        }
    }

    pub(super) fn work_ended(&mut self, now: Instant, term: Term, out: &mut Effects) {
        if self.work.is_some_and(|work| work.token == term) {
            self.work = None;
        }
        let ended = matches!(&self.state, State::Leader(leader) if leader.is_stepping_down());
        if ended && term == self.hard.term {
            self.release(now, out);
            self.work = None;
        }
    }

    fn release(&mut self, now: Instant, out: &mut Effects) {
        let State::Leader(leader) = &mut self.state else {
            unreachable!("the caller knows that this node leads");
        };
        let successor = leader.stepping_down.as_ref().expect("a leader steps down before it releases").successor;
        let seq = leader.seq;
        let request = Request::Release { term: self.hard.term, seq, successor };
        self.broadcast(&request, out);
        self.takeovers.named = successor;
        let suspect_at = now + self.setup.timing.election_timeout();
        self.follow(now, None, suspect_at, Cause::Released { successor }, out);
    }
}
