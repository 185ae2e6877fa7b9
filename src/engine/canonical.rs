//! When are two situations of a node the same? See the form of the election's own state.

use std::collections::BTreeMap;

use super::{Engine, Guarded};
use crate::election::{Instant, Names, Term};

impl<C: Clone> Engine<C> {
    /// The same situation with `now` moved to `origin`, and with other names. For model checkers that stop no node, and
    /// whose programs do nothing but hand over and end their work: what only matters to others is forgotten.
    #[doc(hidden)]
    pub fn canonicalize(&mut self, now: Instant, origin: Instant, names: &mut impl Names) {
        // Every field is named, so that none that is added later is forgotten.
        let Engine {
            election,
            last_words: _,
            program: _,
            eligible: _,
            healthy: _,
            hold_off_until,
            leases,
            overran: _,
            kept,
            waiting: _,
            releases,
            stop_by,
            heard,
            reported,
            promised,
            late_for,
            stepped_at,
        } = self;
        election.canonicalize(now, origin, names);
        assert!(stop_by.is_none(), "no node is stopped");
        let moved = |at: Instant| if at > now { origin + at.since(now) } else { origin.before(now.since(at)) };
        if *hold_off_until != Instant::ZERO {
            *hold_off_until = moved(*hold_off_until);
        }
        for Guarded { until, ended: _ } in leases.values_mut() {
            *until = moved(*until);
        }
        // These choose words and lines of the log, and when a stop is over.
        if !leases.contains_key(kept) {
            *kept = Term::default();
        }
        releases.clear();
        (*heard, *reported, *promised) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        *late_for = Instant::NEVER;
        *stepped_at = origin;
    }
}
