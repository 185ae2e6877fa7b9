//! When the guard tells the command to stop, and when it kills it.

/// The times are nanoseconds on the clock of leases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) lease_end: u64,
    /// The command is told to stop this long before the end of the lease.
    pub(super) drain_time: u64,
    /// The command is killed this long before the end of the lease.
    pub(super) margin: u64,
    /// The command is killed this long after `stopping_since`.
    pub(super) stop_time: u64,
    /// When the command was told to stop. Or when it ended by itself: what it left behind then gets `stop_time` to end.
    pub(super) stopping_since: Option<u64>,
}

impl Schedule {
    pub(super) fn soft_deadline(&self) -> u64 {
        self.lease_end.saturating_sub(self.drain_time)
    }

    pub(super) fn kill_at(&self) -> u64 {
        let before_lease_end = self.lease_end.saturating_sub(self.margin);
        let after_stop = self.stopping_since.map_or(u64::MAX, |since| since.saturating_add(self.stop_time));
        before_lease_end.min(after_stop)
    }

    /// When the guard has something to do next.
    pub(super) fn next(&self) -> u64 {
        match self.stopping_since {
            None => self.soft_deadline().min(self.kill_at()),
            Some(_) => self.kill_at(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule { lease_end: 1000, drain_time: 300, margin: 100, stop_time: 5000, stopping_since: None }
    }

    #[test]
    fn a_command_is_told_to_stop_and_then_killed_before_the_lease_ends() {
        let mut schedule = schedule();
        assert_eq!(schedule.next(), 700);
        schedule.stopping_since = Some(700);
        assert_eq!(schedule.next(), 900);
    }

    #[test]
    fn a_longer_lease_gives_a_command_that_stops_no_more_than_the_stop_time() {
        let mut schedule = schedule();
        schedule.stopping_since = Some(500);
        schedule.lease_end = 1_000_000;
        assert_eq!(schedule.kill_at(), 5500);
    }

    #[test]
    fn if_the_margin_is_longer_than_the_drain_time_the_command_is_killed_at_the_margin() {
        let mut schedule = schedule();
        schedule.margin = 400;
        assert_eq!(schedule.next(), 600);
    }
}
