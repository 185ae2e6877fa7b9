//! Which election timeout can a host hold?

use std::time::Duration;

use super::Timing;

/// What takes time while a node holds a lease or wins one, as measured on a host. What was not measured is zero.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// How late a thread wakes.
    pub lateness: Duration,
    /// How long a write of the vote file takes.
    pub write: Duration,
    /// How long the slowest peer takes to answer.
    pub round_trip: Duration,
}

impl Pace {
    /// The part of the election timeout for the turn of one candidate, a write and a round trip: as much as δ, after
    /// which the next in the line of succession starts.
    pub const TURN_PART: u32 = 20;
    /// The part of the election timeout that a thread may wake late.
    pub const LATENESS_PART: u32 = 10;

    /// A write and a round trip.
    #[must_use]
    pub fn turn(self) -> Duration {
        self.write + self.round_trip
    }

    /// The shortest election timeout that such a host can hold, in whole milliseconds. Never one that a config may not
    /// have.
    #[must_use]
    pub fn shortest_timeout(self) -> Duration {
        let needed = (self.turn() * Self::TURN_PART).max(self.lateness * Self::LATENESS_PART);
        let rounded = Duration::from_millis(u64::try_from(needed.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        rounded.max(Timing::SHORTEST_HEARTBEAT * 7 / 2)
    }

    /// The heartbeat interval that is usual with [`Pace::shortest_timeout`].
    #[must_use]
    pub fn usual_interval(self) -> Duration {
        (self.shortest_timeout() / 5).max(Timing::SHORTEST_HEARTBEAT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::TimingSpec;
    use super::*;

    #[test]
    fn a_write_and_a_round_trip_together_fit_into_the_stagger() {
        let timing = Timing::default();
        let just = Pace { write: timing.stagger() / 2, round_trip: timing.stagger() / 2, ..Pace::default() };
        assert_eq!(just.shortest_timeout(), timing.election_timeout());
        let more = Pace { write: just.write + Duration::from_micros(1), ..just };
        assert_eq!(more.shortest_timeout(), timing.election_timeout() + Duration::from_millis(1));
    }

    #[test]
    fn a_thread_may_wake_a_tenth_late() {
        let late = Pace { lateness: Duration::from_millis(7), round_trip: Duration::from_millis(2), ..Pace::default() };
        assert_eq!(late.shortest_timeout(), Duration::from_millis(70));
        assert_eq!(late.usual_interval(), Duration::from_millis(14));
    }

    #[test]
    fn what_is_named_is_a_timing_that_a_config_may_have() {
        for micros in [0, 1, 500, 600, 40_000] {
            let pace = Pace { write: Duration::from_micros(micros), ..Pace::default() };
            let (heartbeat_interval, election_timeout) = (pace.usual_interval(), pace.shortest_timeout());
            let spec = TimingSpec { heartbeat_interval, election_timeout, ..TimingSpec::default() };
            assert!(Timing::new(spec).is_ok(), "{spec:?}");
        }
    }
}
