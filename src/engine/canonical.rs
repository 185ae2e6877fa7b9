//! When are two situations of a node the same? See the canonical form of the election, which this one contains.

use std::collections::BTreeMap;

use super::{Engine, Guarded, Health, Program, Turn, Work};
use crate::election::{Instant, Names, Term};

impl<C: Clone> Engine<C> {
    /// Moves `now` to `origin` and gives other names, in the same situation. For model checkers that stop no node
    /// and never tell one that it is late.
    ///
    /// From then on the node does the same as before. Only its lines in the log and the words of a refusal may differ.
    ///
    /// # Panics
    ///
    /// If the node is told to stop or that it is late, or as the election does.
    #[doc(hidden)]
    pub fn canonicalize(&mut self, now: Instant, origin: Instant, names: &mut impl Names) {
        // Every field is named, here and below: one that is added later is not forgotten.
        let Engine {
            election,
            last_words: _,
            program,
            eligible: _,
            healthy: _,
            hold_off_until,
            turn,
            leases,
            overran: _,
            kept,
            waiting: _,
            releases,
            stop_by,
            // Told by a loop, and no moment.
            unreachable: _,
            heard,
            reported,
            too_far,
            promised,
            late_for,
            stepped_at,
        } = self;
        assert!(stop_by.is_none(), "no node is stopped");
        assert_eq!(*turn, Turn::default(), "no node is late");
        election.canonicalize(now, origin, names);
        // The engine only asks whether such a moment has passed, never how long ago.
        let end = |at: &mut Instant| match *at {
            Instant::NEVER => {}
            _ => *at = origin + at.since(now),
        };
        let Program {
            ineligible: _,
            absent: _,
            hold_off_until: program_holds_off_until,
            health,
            work,
            kept: program_kept,
        } = program;
        end(program_holds_off_until);
        if let Some(Health { good_until, hold_off: _ }) = health {
            end(good_until);
        }
        if let Some(Work { term: _, until, silent_at, told_to_stop: _, acts_on_overrun: _, hold_off: _ }) = work {
            end(until);
            end(silent_at);
        }
        if *hold_off_until != Instant::ZERO {
            end(hold_off_until);
        }
        // Of a lease that has ended, only the log and a stop ask for how long it was kept; and its work, for when it
        // overruns.
        *program_kept = None;
        *kept = Term::default();
        let works = program.work.map(|work| work.term);
        for (term, Guarded { until, ended }) in leases {
            *kept = if *ended { *term } else { *kept };
            match *ended && works != Some(*term) {
                true => *until = Instant::ZERO,
                false => end(until),
            }
        }
        // Only a stop asks for these, or the log, or the words of a refusal.
        releases.clear();
        (*heard, *reported, *promised) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        *too_far = BTreeMap::new();
        *late_for = Instant::NEVER;
        *stepped_at = origin;
    }
}

#[cfg(test)]
mod tests;
