//! Real time, which only the world knows, and the clocks of the nodes, which is all that they know.

use std::fmt;
use std::time::Duration;

use leadelect::election::Instant;

/// A moment of simulated real time, in nanoseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Real(pub(crate) u64);

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

impl Real {
    pub(crate) const ZERO: Real = Real(0);
    pub(crate) const NEVER: Real = Real(u64::MAX);

    pub(crate) fn after(self, span: Duration) -> Real {
        Real(self.0.saturating_add(nanos(span)))
    }
}

pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// One host's clock: started somewhere, and a little too fast or too slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) set_at: Real,
    pub(crate) showed: Instant,
    /// How far its rate is off, in parts per million.
    pub(crate) ppm: i64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// What the clock shows.
    pub(crate) fn at(&self, now: Real) -> Instant {
        let elapsed = now.0 - self.set_at.0;
        // Whole millionths and the rest apart, so that nothing overflows: this is computed all the time.
        let whole = (elapsed / MILLION).saturating_mul(self.rate());
        let rest = elapsed % MILLION * self.rate() / MILLION;
        let shown = whole.saturating_add(rest);
        Instant::from_nanos(self.showed.as_nanos().saturating_add(shown))
    }

    /// The first moment at which the clock shows `local` or later.
    pub(crate) fn reaches(&self, local: Instant) -> Real {
        if local == Instant::NEVER {
            return Real::NEVER;
        }
        let wanted = local.as_nanos().saturating_sub(self.showed.as_nanos());
        let rate = self.rate();
        let whole = (wanted / rate).saturating_mul(MILLION);
        let rest = (wanted % rate * MILLION).div_ceil(rate);
        let elapsed = whole.saturating_add(rest);
        Real(self.set_at.0.saturating_add(elapsed))
    }

    /// What it shows of a million.
    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.ppm)
    }
}

#[test]
fn a_clock_reaches_a_moment_exactly_when_it_first_shows_it() {
    for ppm in [-100_000, -1000, -1, 0, 1, 1000, 100_000] {
        let clock = Clock { set_at: Real(77), showed: Instant::from_nanos(1_000_003), ppm };
        let spans = (1..2_000).chain((1..60).map(|log| 1 << log));
        for local in spans.map(|span| Instant::from_nanos(1_000_003 + span)) {
            let real = clock.reaches(local);
            assert!(clock.at(real) >= local);
            assert!(clock.at(Real(real.0 - 1)) < local);
        }
    }
}
