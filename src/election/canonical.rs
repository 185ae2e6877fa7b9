//! When are two situations the same? For model checkers, which must know one when they meet it again.
//!
//! A node whose clock started an hour later, or whose candidacy drew another number, does the same things. So a
//! situation is brought into a canonical form. All moments are counted from now. Numbers that only tell messages apart
//! are replaced by names that the checker gives. Waits that are over are forgotten. From then on the node does the same
//! as before; only the durations in its events may differ. Nothing else in the crate uses this.

use std::time::Duration;

use super::candidate::{Candidate, FreshHint, PreCandidate};
use super::leader::{Backer, Leader, Preferred, SteppingDown};
use super::takeover::{Takeover, Takeovers};
use super::{Deadline, Dice, Election, Follower, HardState, Heard, Instant, Promise, State, Term};

/// New names for numbers that only tell messages apart.
#[doc(hidden)]
pub trait Names {
    /// The new name of a round of pre-votes, or of a request for votes. Of several requests the oldest comes first.
    /// They are only compared for equality.
    fn candidacy(&mut self, candidacy: u64) -> u64;
    /// The new number of a heartbeat in a term. Must keep the order.
    fn heartbeat(&self, term: Term, seq: u64) -> u64;
    /// Whether an answer to this heartbeat may still come.
    fn is_answerable(&self, term: Term, seq: u64) -> bool;
    /// The new seed of the random numbers, or `None` to go on as before.
    fn seed(&self) -> Option<u64>;
}

/// Moves `now` to `origin`. A moment too far back becomes the start of the clock; the node never looks back that far.
struct Origin {
    now: Instant,
    origin: Instant,
    timeout: Duration,
    /// A wait that ended by this moment is over. The node never asks again when it ended.
    over: Instant,
}

impl Origin {
    fn moment(&self, at: &mut Instant) {
        *at = match *at {
            Instant::NEVER => Instant::NEVER,
            at if at < self.now => self.origin.before(self.now.since(at)),
            at => self.origin + at.since(self.now),
        }
    }

    fn end(&self, at: &mut Instant) {
        if *at <= self.over {
            *at = Instant::ZERO;
        } else {
            self.moment(at);
        }
    }

    fn hint(&self, hint: &mut Option<FreshHint>) {
        if let Some(FreshHint { leader: _, until }) = hint {
            self.moment(until);
        }
    }
}

impl Election {
    /// Moves `now` to `origin` and gives other names, in the same situation. For model checkers: situations in which
    /// nodes do the same become equal.
    ///
    /// # Panics
    ///
    /// If `origin` is less than three election timeouts after the start of the clock: a node looks back that far.
    #[doc(hidden)]
    pub fn canonicalize(&mut self, now: Instant, origin: Instant, names: &mut impl Names) {
        let timing = self.setup.timing;
        assert!(
            origin >= Instant::ZERO + timing.election_timeout() * 3,
            "the origin {origin:?} leaves no room to look back"
        );
        let over = match &self.state {
            // A single node asks no peers: only its own waits say when to campaign.
            _ if self.majority() == 1 => Instant::ZERO,
            // The node counts its patience from when the last wait ended. If that is too long ago, it has stalled.
            State::PreCandidate(asking) => now.before(asking.patience + timing.heartbeat_interval() * 2),
            State::Follower(_) | State::Candidate(_) | State::Leader(_) => now,
        };
        let origin_of = Origin { now, origin, timeout: timing.election_timeout(), over };
        // Every field is named here and below, so that a field that is added later is not forgotten.
        let Election {
            setup,
            started,
            hard: HardState { term, voted_for: _, cap: _, in_doubt: _ },
            saved: _,
            is_new,
            storage_failed: _,
            eligible: _,
            state,
            promise,
            heard,
            voting_from,
            may_have_voted_up_to: _,
            highest_heard: _,
            work,
            hold_off_until,
            takeovers: Takeovers { young, short: _, named: _ },
            succession: _,
            failures: _,
            dice,
        } = self;
        // Only a new node counts from its start, until it cannot have forgotten anything any more.
        match *is_new && *started + timing.election_timeout() * 2 > over {
            true => origin_of.moment(started),
            false => *started = Instant::ZERO,
        }
        state.canonicalize(*term, &origin_of, names);
        if let Some(promise) = promise {
            let Promise { holder: _, term, seq, until } = promise;
            *seq = names.heartbeat(*term, *seq);
            origin_of.end(until);
        }
        if let Some(heard) = heard {
            let Heard { leader, term, seq, at, released } = heard;
            if *leader != setup.me {
                *seq = names.heartbeat(*term, *seq);
            }
            // A last resort counts from a release until it starts.
            let matters = if *released { timing.election_timeout() } else { timing.suspicion() };
            match *at + matters <= now {
                true => *at = Instant::ZERO,
                false => origin_of.moment(at),
            }
        }
        origin_of.end(voting_from);
        if let Some(Deadline { token: _, until }) = work {
            origin_of.end(until);
        }
        origin_of.end(hold_off_until);
        if let Some(Takeover { leader: _, settled_at }) = young {
            origin_of.moment(settled_at);
        }
        if let Some(seed) = names.seed() {
            *dice = Dice::new(seed);
        }
    }

    /// What has to be durable.
    #[doc(hidden)]
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard
    }

    /// The heartbeats that the node knows by number: the last one it sent, the last one it promised on, and the last
    /// one it heard.
    #[doc(hidden)]
    pub fn heartbeats(&self) -> impl Iterator<Item = (Term, u64)> {
        let sent = match &self.state {
            State::Leader(leader) => Some((self.hard.term, leader.seq)),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let promised = self.promise.as_ref();
        let promised = promised.map(|promise| (promise.term, promise.seq));
        let heard = self.heard.as_ref().filter(|heard| heard.leader != self.setup.me);
        let heard = heard.map(|heard| (heard.term, heard.seq));
        sent.into_iter().chain(promised).chain(heard)
    }

    /// The heartbeats whose answers the node waits for.
    #[doc(hidden)]
    pub fn unanswered(&self) -> impl Iterator<Item = (Term, u64)> {
        let leader = match &self.state {
            State::Leader(leader) => Some(leader),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let sent = leader.into_iter().flat_map(|leader| leader.sent.keys());
        sent.map(|seq| (self.hard.term, *seq))
    }
}

impl State {
    fn canonicalize(&mut self, own_term: Term, origin_of: &Origin, names: &mut impl Names) {
        match self {
            State::Follower(Follower { leader: _, suspect_at, hint }) => {
                origin_of.moment(suspect_at);
                origin_of.hint(hint);
            }
            State::PreCandidate(PreCandidate {
                candidacy,
                asked,
                round_trip: _,
                grants,
                patience: _,
                round_ends,
                hint,
            }) => {
                origin_of.moment(asked);
                *candidacy = names.candidacy(*candidacy);
                grants.values_mut().for_each(|free_at| origin_of.moment(free_at));
                origin_of.moment(round_ends);
                origin_of.hint(hint);
            }
            State::Candidate(Candidate {
                asked,
                ends_at,
                votes: _,
                lease_won_by,
                refusals: _,
                ask_at,
                repeat: _,
                handover_retry: _,
            }) => {
                let mut sent: Vec<(Instant, u64)> = std::mem::take(asked).into_iter().map(|(n, at)| (at, n)).collect();
                sent.sort_unstable();
                // An answer to an older one does not count.
                sent.retain(|(at, _)| origin_of.now < *at + origin_of.timeout);
                for (mut at, number) in sent {
                    origin_of.moment(&mut at);
                    asked.insert(names.candidacy(number), at);
                }
                origin_of.moment(ends_at);
                origin_of.moment(lease_won_by);
                ask_at.values_mut().for_each(|at| origin_of.moment(at));
            }
            State::Leader(Leader {
                until,
                patience_ends,
                seq,
                sent,
                backers,
                next_heartbeat,
                stepping_down,
                preferred,
            }) => {
                if let Some(stepping_down) = stepping_down {
                    let SteppingDown { successor: _, hold_off: _ } = stepping_down;
                }
                until.iter_mut().for_each(|until| origin_of.moment(until));
                // Matters only until the first lease.
                match until {
                    Some(_) => *patience_ends = Instant::ZERO,
                    None => origin_of.moment(patience_ends),
                }
                *seq = names.heartbeat(own_term, *seq);
                let awaited = std::mem::take(sent).into_iter();
                *sent = awaited
                    .filter(|(seq, _)| names.is_answerable(own_term, *seq))
                    .map(|(seq, mut at)| {
                        origin_of.moment(&mut at);
                        (names.heartbeat(own_term, seq), at)
                    })
                    .collect();
                for Backer { until, eligible: _ } in backers.values_mut() {
                    origin_of.end(until);
                }
                origin_of.moment(next_heartbeat);
                if let Some(Preferred { id: _, due }) = preferred {
                    origin_of.moment(due);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
