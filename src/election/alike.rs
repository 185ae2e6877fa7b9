//! When are two situations the same? For model checkers, which must know one when they meet it again.
//!
//! A node whose clock started an hour later, or whose candidacy drew another number, does the same things. So a
//! situation is told anew: all moments counted from now, numbers that only tell messages apart replaced by names that
//! the checker gives, waits that are over forgotten. What the node does from then on is the same, but for how long ago
//! something was that an event tells. Nothing else in the crate uses this.

use super::candidate::{Candidate, FreshHint, PreCandidate};
use super::leader::{Backer, Leader, Relinquishing};
use super::{Deadline, Dice, Election, Follower, HardState, Heard, Instant, Promise, State, Term};

/// New names for numbers that only tell messages apart.
#[doc(hidden)]
pub trait Names {
    /// For the number of the current candidacy, which is only ever compared for equality.
    fn candidacy(&mut self, candidacy: u64) -> u64;
    /// For the number of a heartbeat in a term. Must keep the order.
    fn heartbeat(&self, term: Term, seq: u64) -> u64;
    /// Whether an answer to this heartbeat may still come.
    fn is_answerable(&self, term: Term, seq: u64) -> bool;
    /// Where chance goes on from, if not from where it was.
    fn seed(&self) -> Option<u64>;
}

/// Moves `now` to `origin`. What lies so far back that the start of the clock cuts it off is never asked for.
struct Lens {
    now: Instant,
    origin: Instant,
    /// Ends of waits before this moment are never asked for again, but that they have come.
    over: Instant,
}

impl Lens {
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
    /// The same situation with `now` moved to `origin`, and with other names. For model checkers: situations in which
    /// nodes do the same become equal.
    ///
    /// # Panics
    ///
    /// If `origin` is less than three election timeouts after the start of the clock: a node looks back so far.
    #[doc(hidden)]
    pub fn rebase(&mut self, now: Instant, origin: Instant, names: &mut impl Names) {
        let timing = self.setup.timing;
        assert!(
            origin >= Instant::ZERO + timing.election_timeout() * 3,
            "the origin {origin:?} leaves no room to look back"
        );
        let over = match &self.state {
            // Nobody to ask, so its own waits alone say when to campaign.
            _ if self.majority() == 1 => Instant::ZERO,
            // Its patience is counted from when the last wait ended, and a wait that ended too long ago is a stall.
            State::PreCandidate(asking) => {
                now.before(asking.patience + timing.heartbeat_interval() * 2)
            }
            State::Follower(_) | State::Candidate(_) | State::Leader(_) => now,
        };
        let lens = Lens { now, origin, over };
        // Every field is named here and below, so that none that is added later is forgotten.
        let Election {
            setup: _,
            started,
            hard:
                HardState {
                    term,
                    voted_for: _,
                    cap: _,
                    in_doubt: _,
                },
            saved: _,
            fresh,
            mute: _,
            eligible: _,
            state,
            promise,
            heard,
            voting_from,
            forgotten: _,
            told: _,
            work,
            hold_off_until,
            succession: _,
            failed: _,
            dice,
        } = self;
        // Only a node without a past counts from its start, until it cannot have forgotten anything any more.
        match *fresh && *started + timing.election_timeout() * 2 > over {
            true => lens.moment(started),
            false => *started = Instant::ZERO,
        }
        state.rebase(*term, &lens, names);
        if let Some(promise) = promise {
            let Promise {
                holder: _,
                term,
                seq,
                until,
            } = promise;
            *seq = names.heartbeat(*term, *seq);
            lens.end(until);
        }
        if let Some(heard) = heard {
            let Heard {
                leader: _,
                term: _,
                at,
                released: _,
            } = heard;
            match *at + timing.suspicion() <= now {
                true => *at = Instant::ZERO,
                false => lens.moment(at),
            }
        }
        lens.end(voting_from);
        if let Some(Deadline { token: _, until }) = work {
            lens.end(until);
        }
        lens.end(hold_off_until);
        if let Some(seed) = names.seed() {
            *dice = Dice::new(seed);
        }
    }

    /// The heartbeats that the node knows by number: the last that it sent, and the last that it has promised on.
    #[doc(hidden)]
    pub fn heartbeats(&self) -> impl Iterator<Item = (Term, u64)> {
        let sent = match &self.state {
            State::Leader(leader) => Some((self.hard.term, leader.seq)),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let promised = self.promise.as_ref();
        let promised = promised.map(|promise| (promise.term, promise.seq));
        sent.into_iter().chain(promised)
    }

    /// The heartbeats that it waits for answers to.
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
    fn rebase(&mut self, own_term: Term, lens: &Lens, names: &mut impl Names) {
        match self {
            State::Follower(Follower {
                leader: _,
                suspect_at,
                hint,
            }) => {
                lens.moment(suspect_at);
                lens.hint(hint);
            }
            State::PreCandidate(PreCandidate {
                candidacy,
                grants,
                patience: _,
                round_ends,
                hint,
            }) => {
                *candidacy = names.candidacy(*candidacy);
                grants.values_mut().for_each(|free_at| lens.moment(free_at));
                lens.moment(round_ends);
                lens.hint(hint);
            }
            State::Candidate(Candidate {
                candidacy,
                started,
                ends_at,
                votes: _,
                lease_won_by,
                refusals: _,
                ask_again,
                handover_retry: _,
            }) => {
                *candidacy = names.candidacy(*candidacy);
                lens.moment(started);
                lens.moment(ends_at);
                lens.moment(lease_won_by);
                ask_again.values_mut().for_each(|at| lens.moment(at));
            }
            State::Leader(Leader {
                until,
                patience_ends,
                seq,
                sent,
                backers,
                next_heartbeat,
                relinquishing,
            }) => {
                if let Some(relinquishing) = relinquishing {
                    let Relinquishing {
                        successor: _,
                        hold_off: _,
                    } = relinquishing;
                }
                until.iter_mut().for_each(|until| lens.moment(until));
                // Counts only until the first lease.
                match until {
                    Some(_) => *patience_ends = Instant::ZERO,
                    None => lens.moment(patience_ends),
                }
                *seq = names.heartbeat(own_term, *seq);
                let awaited = std::mem::take(sent).into_iter();
                *sent = awaited
                    .filter(|(seq, _)| names.is_answerable(own_term, *seq))
                    .map(|(seq, mut at)| {
                        lens.moment(&mut at);
                        (names.heartbeat(own_term, seq), at)
                    })
                    .collect();
                for Backer { until, eligible: _ } in backers.values_mut() {
                    lens.end(until);
                }
                lens.moment(next_heartbeat);
            }
        }
    }
}
