//! When are two situations the same? For model checkers, which must know one when they meet it again.
//!
//! A node whose clock started an hour later, or whose candidacy drew another number, does the same things. So a
//! situation is rewritten: all moments counted from now, numbers by which messages are told apart replaced by names
//! that the checker gives, chance drawn from a seed that the checker gives. What it does from then on is the same,
//! but for how long ago something was that an event tells.

use std::collections::BTreeMap;

use super::{Dice, Election, Follower, Heard, Instant, NodeId, Promise, State, Term};

/// New names for numbers that only tell messages apart.
pub trait Names {
    /// For the number of the current candidacy, which is only ever compared for equality.
    fn candidacy(&mut self, candidacy: u64) -> u64;
    /// For the number of a heartbeat in a term. Must keep the order.
    fn seq(&mut self, term: Term, seq: u64) -> u64;
    /// Whether an answer to this heartbeat may still come.
    fn answerable(&self, term: Term, seq: u64) -> bool;
    /// Where chance goes on from.
    fn seed(&mut self) -> u64;
}

/// Moves `now` to `origin`. What lies so far back that the start of the clock cuts it off is never asked for.
pub(super) struct Lens {
    now: Instant,
    origin: Instant,
    /// How long ago an end was may still matter.
    ends_matter: bool,
}

impl Lens {
    pub(super) fn moment(&self, at: Instant) -> Instant {
        match at {
            Instant::NEVER => Instant::NEVER,
            _ if at < self.now => self.origin.before(self.now.since(at)),
            _ => self.origin + at.since(self.now),
        }
    }

    pub(super) fn moments(&self, all: &BTreeMap<NodeId, Instant>) -> BTreeMap<NodeId, Instant> {
        all.iter().map(|(id, at)| (*id, self.moment(*at))).collect()
    }

    /// Of the end of a wait only that it has come is asked, once it has.
    pub(super) fn end(&self, at: Instant) -> Instant {
        if at <= self.now && !self.ends_matter {
            return Instant::ZERO;
        }
        self.moment(at)
    }
}

impl Election {
    /// The same situation with `now` moved to `origin`, and with other names. For model checkers: situations in which
    /// nodes do the same become equal.
    ///
    /// # Panics
    ///
    /// If `origin` is less than three election timeouts after the start of the clock: a node looks back so far.
    #[must_use]
    pub fn seen_from(&self, now: Instant, origin: Instant, names: &mut impl Names) -> Election {
        let timeout = self.setup.timing.election_timeout();
        assert!(
            origin >= Instant::ZERO + timeout * 3,
            "the origin {origin:?} leaves no room to look back"
        );
        let lens = Lens {
            now,
            origin,
            // The patience of one that asks is counted from when the last wait ended; so is that of one that is alone.
            ends_matter: matches!(self.state, State::PreCandidate(_)) || self.majority() == 1,
        };
        let state = match &self.state {
            State::Follower(follower) => State::Follower(Follower {
                leader: follower.leader,
                suspect_at: lens.moment(follower.suspect_at),
                hint: follower.hint.map(|hint| hint.seen(&lens)),
            }),
            State::PreCandidate(asking) => State::PreCandidate(asking.seen(&lens, names)),
            State::Candidate(candidate) => State::Candidate(candidate.seen(&lens, names)),
            State::Leader(leader) => State::Leader(leader.seen(self.hard.term, &lens, names)),
        };
        let promise = self.promise.as_ref().map(|promise| Promise {
            holder: promise.holder,
            term: promise.term,
            seq: names.seq(promise.term, promise.seq),
            until: lens.end(promise.until),
        });
        let quiet = |at: Instant| at + self.setup.timing.suspicion() <= now;
        let heard = self.heard.as_ref().map(|heard| Heard {
            at: match quiet(heard.at) {
                true => Instant::ZERO,
                false => lens.moment(heard.at),
            },
            ..heard.clone()
        });
        Election {
            setup: self.setup.clone(),
            // Only a node without a past counts from its start.
            started: match self.fresh {
                true => lens.moment(self.started),
                false => Instant::ZERO,
            },
            state,
            promise,
            heard,
            voting_from: lens.end(self.voting_from),
            work: self.work.map(|work| super::Deadline {
                token: work.token,
                until: lens.end(work.until),
            }),
            hold_off_until: lens.end(self.hold_off_until),
            succession: self.succession.clone(),
            dice: Dice::new(names.seed()),
            // Listed, so that a new field is not forgotten here.
            hard: self.hard,
            saved: self.saved,
            fresh: self.fresh,
            mute: self.mute,
            eligible: self.eligible,
            forgotten: self.forgotten,
            told: self.told,
            failed: self.failed,
        }
    }

    /// The heartbeats that the node knows by number: the last that it sent, and the last that it has promised on.
    pub fn heartbeats(&self) -> impl Iterator<Item = (Term, u64)> {
        let sent = match &self.state {
            State::Leader(leader) => Some((self.hard.term, leader.seq())),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let promised = self
            .promise
            .as_ref()
            .map(|promise| (promise.term, promise.seq));
        sent.into_iter().chain(promised)
    }
}
