//! How long a lease lasts from now on.

use std::fmt;
use std::time::Duration;

use crate::election::Instant;

/// How long a node may still act as leader if no peer answers its heartbeats any more.
///
/// The order is that of the time left: `Over` is the least, `Endless` the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remaining {
    /// The node may not act.
    Over,
    /// It may act for this long. The time is never zero.
    Left(Duration),
    /// It may act without a limit. Only a cluster of one node has such a lease.
    Endless,
}

impl Remaining {
    /// The time from `now` to `deadline`.
    pub(crate) fn until(deadline: Instant, now: Instant) -> Remaining {
        match deadline {
            Instant::NEVER => Remaining::Endless,
            deadline => deadline.since(now).into(),
        }
    }

    /// Whether the node may not act.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Remaining::Over)
    }

    /// The time left, zero if it is over. Nothing if it is endless.
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Remaining::Over => Some(Duration::ZERO),
            Remaining::Left(left) => Some(left),
            Remaining::Endless => None,
        }
    }

    /// The time left, but at most `limit`: how long to wait before the next look.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Duration {
        self.duration().map_or(limit, |left| left.min(limit))
    }
}

/// A duration of zero is `Over`.
impl From<Duration> for Remaining {
    fn from(left: Duration) -> Remaining {
        if left.is_zero() { Remaining::Over } else { Remaining::Left(left) }
    }
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remaining::Over => f.write_str("over"),
            Remaining::Left(left) => write!(f, "{left:.0?}"),
            Remaining::Endless => f.write_str("endless"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_deadline_that_never_comes_is_endless() {
        let now = Instant::from_nanos(10);
        let ends = |nanos| Remaining::until(Instant::from_nanos(nanos), now);
        assert_eq!(ends(9), Remaining::Over);
        assert_eq!(ends(10), Remaining::Over);
        assert_eq!(ends(11), Remaining::Left(Duration::from_nanos(1)));
        assert_eq!(Remaining::until(Instant::NEVER, now), Remaining::Endless);
        assert!(ends(10) < ends(11) && ends(11) < Remaining::Endless);
    }

    #[test]
    fn a_wait_ends_with_the_lease_or_at_its_limit() {
        let limit = Duration::from_secs(1);
        assert_eq!(Remaining::Over.at_most(limit), Duration::ZERO);
        assert_eq!(Remaining::Left(limit / 2).at_most(limit), limit / 2);
        assert_eq!(Remaining::Left(limit * 2).at_most(limit), limit);
        assert_eq!(Remaining::Endless.at_most(limit), limit);
    }
}
