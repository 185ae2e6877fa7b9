//! How a node stops: it gives leadership up, waits for its work to end and for the others to confirm, and not for ever.

use std::time::Duration;

use super::{Engine, Output};
use crate::election::{EndReason, Instant};

impl<C: Clone> Engine<C> {
    pub(super) fn stop(&mut self, now: Instant, out: &mut Output<C>) {
        if self.stop_by.is_some() {
            return;
        }
        if self.leads() {
            // The work has the time of a promise to end, and then the last words have theirs.
            self.stop_by = Some(now + self.timing().election_timeout() + self.last_words);
            self.step_down(now, EndReason::Stopped, None, Duration::MAX, out);
            return;
        }
        // It led until a moment ago: its work has until then to end, and the last words are on their way.
        let words_until = if self.releases.is_empty() { now } else { now + self.last_words };
        self.stop_by = Some(self.guarded_until().unwrap_or(now).max(words_until));
    }

    /// Whether nothing is left to do before the node ends.
    pub(super) fn has_stopped(&self, now: Instant) -> bool {
        let works = self.guarded_until().is_some_and(|until| now < until);
        let done = !self.leads() && !works && self.releases.is_empty();
        self.stop_by.is_some_and(|stop_by| done || now >= stop_by)
    }

    /// The hard deadline of what a lease may still guard.
    fn guarded_until(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.until).max()
    }
}
