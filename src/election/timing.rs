//! How long does each wait last? Three settings are checked together, and every other time follows from them.

mod pace;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use self::pace::Pace;

/// The three knobs by name, before [`Timing::new`] has checked them. The default is that of [`Timing`].
///
/// ```
/// use leadelect::election::{Timing, TimingSpec};
/// use std::time::Duration;
///
/// let slow = TimingSpec { election_timeout: Duration::from_secs(2), ..TimingSpec::default() };
/// assert_eq!(Timing::new(slow)?.election_timeout(), Duration::from_secs(2));
/// # Ok::<(), leadelect::election::TimingError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingSpec {
    /// See [`Timing::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// See [`Timing::election_timeout`].
    pub election_timeout: Duration,
    /// See [`Timing::clock_drift_ppm`].
    pub clock_drift_ppm: u32,
}

impl Default for TimingSpec {
    fn default() -> Self {
        TimingSpec {
            heartbeat_interval: Timing::DEFAULT_HEARTBEAT_INTERVAL,
            election_timeout: Timing::DEFAULT_ELECTION_TIMEOUT,
            clock_drift_ppm: Timing::DEFAULT_CLOCK_DRIFT_PPM,
        }
    }
}

/// How fast a new leader follows a failed one, and what is assumed of the clocks.
///
/// Every `Timing` that exists leaves a lease, because [`Timing::new`] refuses any other. All other times are derived
/// from it. So a lease that is longer than its promise cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Timing {
    heartbeat_interval: Duration,
    election_timeout: Duration,
    clock_drift_ppm: u32,
}

impl Timing {
    /// How often a leader renews its lease: every 100 ms. Ten small frames a second cost nothing on any network. A
    /// shorter interval changes the time of a failover by at most half an interval.
    pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
    /// How long a voter's promise lasts: 500 ms. That is the shortest time that survives two lost heartbeats and the
    /// smallest retransmission time-out of the kernel (200 ms).
    pub const DEFAULT_ELECTION_TIMEOUT: Duration = Duration::from_millis(500);
    /// How far the rate of a clock may be off: 1000 parts per million. Plain quartz is within 100; the rest is margin.
    pub const DEFAULT_CLOCK_DRIFT_PPM: u32 = 1000;

    /// The bounds of the settings. Below them, the margin for reading a clock is no longer small against the lease.
    /// Above them, a failover takes longer than any operator waits.
    const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(3);
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
    const LARGEST_DRIFT_PPM: u32 = 100_000;

    const MILLION: u128 = 1_000_000;

    /// By how much a lease is shortened, because the clock is put together from several readings, and for rounding.
    const LEASE_MARGIN: Duration = Duration::from_millis(1);

    /// Checks the three settings together.
    ///
    /// # Errors
    ///
    /// When a setting is out of its bounds, or when the settings together leave no lease that survives one lost
    /// heartbeat. The error names the numbers and the nearest value that is allowed.
    pub fn new(spec: TimingSpec) -> Result<Self, TimingError> {
        let TimingSpec { heartbeat_interval, election_timeout, clock_drift_ppm } = spec;
        if heartbeat_interval < Self::SHORTEST_HEARTBEAT {
            return Err(TimingError(format!(
                "heartbeat interval {heartbeat_interval:?} is too short: use at least {:?}",
                Self::SHORTEST_HEARTBEAT
            )));
        }
        if election_timeout > Self::LONGEST_TIMEOUT {
            return Err(TimingError(format!(
                "election timeout {election_timeout:?} is too long: use at most {:?}",
                Self::LONGEST_TIMEOUT
            )));
        }
        if clock_drift_ppm > Self::LARGEST_DRIFT_PPM {
            return Err(TimingError(format!(
                "clock drift {clock_drift_ppm} ppm is too large: use at most {} ppm",
                Self::LARGEST_DRIFT_PPM
            )));
        }
        // A node must not suspect its leader after one lost heartbeat: 0.6 D > 2 η, with a twentieth to spare.
        let smallest = heartbeat_interval.saturating_mul(7) / 2;
        if election_timeout < smallest {
            return Err(TimingError(format!(
                "election timeout {election_timeout:?} leaves no lease at heartbeat interval {heartbeat_interval:?}: \
                 use at least {smallest:?}"
            )));
        }
        Ok(Timing { heartbeat_interval, election_timeout, clock_drift_ppm })
    }

    /// η: how often a leader asks for promises again.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    /// D: how long a voter promises to elect nobody else.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.election_timeout
    }

    /// ρ: how far the rate of any node's clock may be off, in parts per million.
    #[must_use]
    pub fn clock_drift_ppm(&self) -> u32 {
        self.clock_drift_ppm
    }

    /// S: how long a leader may be silent before a node suspects it. Shorter than any promise, so that the pre-vote is
    /// over when the vote becomes possible.
    #[must_use]
    pub fn suspicion(&self) -> Duration {
        self.election_timeout * 3 / 5
    }

    /// δ: how much later the next node in the line of succession starts. Long enough for one round trip and one fsync,
    /// so that the first node is heard before the second begins. Short enough for eight ranks within the promise.
    #[must_use]
    pub fn stagger(&self) -> Duration {
        self.election_timeout / 20
    }

    /// How long the others wait for a node that a leader has named: 4 δ, which is a write and two round trips on a slow
    /// host. Nobody owes a promise then, so they need not wait until a leader would be suspected.
    #[must_use]
    pub fn head_start(&self) -> Duration {
        self.stagger() * 4
    }

    /// How long a backer of higher priority must be there and eligible before the leader hands over to it: 20 D. So at
    /// default timing, a preference ends at most one leadership in ten seconds.
    #[must_use]
    pub fn settling(&self) -> Duration {
        self.election_timeout * 20
    }

    /// How long to wait on this node's clock until `span` has certainly passed on another node's: span·(1+ρ)/(1−ρ).
    #[must_use]
    pub fn wait_for(&self, span: Duration) -> Duration {
        let drift = u128::from(self.clock_drift_ppm);
        let nanos = span.as_nanos() * (Self::MILLION + drift) / (Self::MILLION - drift);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long a leader may act on a promise of `promised`, counted from the moment it asked: D(1−ρ)/(1+ρ) − ε.
    ///
    /// One clock may be fast and the other slow, each by the drift bound. Rounded down.
    #[must_use]
    pub fn lease(&self, promised: Duration) -> Duration {
        let drift = u128::from(self.clock_drift_ppm);
        let nanos = promised.as_nanos() * (Self::MILLION - drift) / (Self::MILLION + drift);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).saturating_sub(Self::LEASE_MARGIN)
    }
}

impl Default for Timing {
    fn default() -> Self {
        let TimingSpec { heartbeat_interval, election_timeout, clock_drift_ppm } = TimingSpec::default();
        Timing { heartbeat_interval, election_timeout, clock_drift_ppm }
    }
}

/// Why three settings are no [`Timing`]. The text has every number involved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimingError(String);

impl fmt::Display for TimingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TimingError {}
