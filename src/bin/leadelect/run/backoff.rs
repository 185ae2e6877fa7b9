//! How long a node waits before it starts a command again that ends at once.

use std::time::Duration;

/// The pause doubles with every short run in a row, from `first` to `longest`. The first short run costs nothing: a
/// command that crashed by chance starts again without a delay.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    /// A run that lasts as long is not short.
    steady: Duration,
    short_runs: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, steady: Duration) -> Backoff {
        Backoff { first, longest, steady, short_runs: 0 }
    }

    /// The command ended by itself after this time.
    pub(super) fn ran(&mut self, span: Duration) {
        self.short_runs = if span < self.steady { self.short_runs.saturating_add(1) } else { 0 };
    }

    /// How long to wait before the next start.
    pub(super) fn pause(&self) -> Duration {
        let Some(doublings) = self.short_runs.checked_sub(2) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_a_steady_run_ends_it() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(500), millis(3000), millis(5000));
        let mut pauses = Vec::new();
        for _ in 0..50 {
            pauses.push(backoff.pause().as_millis());
            backoff.ran(millis(4999));
        }
        assert_eq!(pauses[..7], [0, 0, 500, 1000, 2000, 3000, 3000]);
        assert_eq!(pauses[49], 3000);
        backoff.ran(millis(5000));
        assert_eq!(backoff.pause(), Duration::ZERO);
    }
}
