//! When is the end of a certificate worth a line in the log?
//!
//! Not at every look, and not at the start only: a node runs for longer than its certificates last.

use super::fault::{DAY, date, span};

/// How near an end is. Each step is worth one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Far,
    /// Within 30 days.
    Month,
    /// Within 7 days.
    Week,
    /// Within one day.
    Day,
    Over,
}

impl Stage {
    /// Both moments are in seconds since 1970.
    pub(super) fn of(end: u64, now: u64) -> Stage {
        match end.checked_sub(now) {
            None | Some(0) => Stage::Over,
            Some(left) if left < DAY => Stage::Day,
            Some(left) if left < 7 * DAY => Stage::Week,
            Some(left) if left < 30 * DAY => Stage::Month,
            Some(_) => Stage::Far,
        }
    }
}

/// `ends in 9 days, on 2026-03-02`, or `has ended 5 days ago, on ..`.
pub(super) fn ends(end: u64, now: u64) -> String {
    let on = date(end);
    match end.checked_sub(now) {
        None | Some(0) => format!("has ended {} ago, on {on}", days_or_less(now - end)),
        Some(left) => format!("ends in {}, on {on}", days_or_less(left)),
    }
}

/// Whole days, as `status` shows them, except on the last day.
fn days_or_less(seconds: u64) -> String {
    match seconds / DAY {
        0 => span(seconds),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_worth_a_line_at_thirty_days_seven_one_and_when_it_comes() {
        let stages = [(31 * DAY, Stage::Far), (30 * DAY - 1, Stage::Month), (7 * DAY, Stage::Month)];
        let later = [(7 * DAY - 1, Stage::Week), (DAY, Stage::Week), (DAY - 1, Stage::Day), (1, Stage::Day)];
        for (left, stage) in stages.into_iter().chain(later) {
            assert_eq!(Stage::of(1000 + left, 1000), stage, "{left}");
        }
        assert_eq!((Stage::of(1000, 1000), Stage::of(999, 1000)), (Stage::Over, Stage::Over));
        assert_eq!(ends(9 * DAY + 3, 0), "ends in 9 days, on 1970-01-10");
        assert_eq!(ends(3 * 3600, 0), "ends in 3 hours, on 1970-01-01");
        assert_eq!(ends(0, 5 * DAY + 1), "has ended 5 days ago, on 1970-01-01");
    }
}
