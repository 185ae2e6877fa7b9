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

const MILLION: i128 = 1_000_000;

impl Clock {
    /// What the clock shows.
    pub(crate) fn at(&self, now: Real) -> Instant {
        let elapsed = i128::from(now.0) - i128::from(self.set_at.0);
        let shown = elapsed * (MILLION + i128::from(self.ppm)) / MILLION;
        let local = i128::from(self.showed.as_nanos()) + shown;
        Instant::from_nanos(u64::try_from(local.max(0)).unwrap_or(u64::MAX))
    }

    /// The first moment at which the clock shows `local` or later.
    pub(crate) fn reaches(&self, local: Instant) -> Real {
        if local == Instant::NEVER {
            return Real::NEVER;
        }
        let wanted = i128::from(local.as_nanos()) - i128::from(self.showed.as_nanos());
        if wanted <= 0 {
            return self.set_at;
        }
        let rate = MILLION + i128::from(self.ppm);
        let elapsed = (wanted * MILLION + rate - 1) / rate;
        Real(u64::try_from(i128::from(self.set_at.0) + elapsed).unwrap_or(u64::MAX))
    }
}

#[test]
fn a_clock_reaches_a_moment_exactly_when_it_first_shows_it() {
    for ppm in [-100_000, -1000, -1, 0, 1, 1000, 100_000] {
        let clock = Clock {
            set_at: Real(77),
            showed: Instant::from_nanos(1_000_003),
            ppm,
        };
        for local in (1_000_004..1_002_000).map(Instant::from_nanos) {
            let real = clock.reaches(local);
            assert!(clock.at(real) >= local);
            assert!(clock.at(Real(real.0 - 1)) < local);
        }
    }
}
