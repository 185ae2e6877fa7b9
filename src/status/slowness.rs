//! Is this node too slow for its timing?
//!
//! A cluster whose disks and network were fast enough may become slow later: then elections take more than one term, or
//! fail. A node knows how long its writes and the answers of its peers take. [`Pace`] says which election timeout that
//! allows. When its own is shorter, and not for a moment only, the node says so in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::election::{Instant, NodeId, Pace, Timing};

/// One slow answer among some means nothing: the peer was busy for a moment, or a packet was lost. So the median of
/// this many counts.
const ANSWERS: usize = 9;
/// There are few writes, one or two in a term.
const WRITES: usize = 3;
/// A node that is too slow for less than this many election timeouts says nothing.
const LASTS: u32 = 20;
/// What lasts is said again after this time.
const AGAIN: Duration = Duration::from_secs(3600);

/// How long something took, the last `N` times.
#[derive(Debug)]
struct Recent<const N: usize> {
    spans: [Duration; N],
    count: usize,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Recent { spans: [Duration::ZERO; N], count: 0 }
    }
}

impl<const N: usize> Recent<N> {
    fn add(&mut self, span: Duration) {
        self.spans[self.count % N] = span;
        self.count += 1;
    }

    /// The median. Nothing before it was measured that many times.
    fn usual(&self) -> Option<Duration> {
        let mut sorted = self.spans;
        sorted.sort_unstable();
        (self.count >= N).then(|| sorted[N / 2])
    }
}

/// What a node has measured lately, and when it warned.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    writes: Recent<WRITES>,
    answers: BTreeMap<NodeId, Recent<ANSWERS>>,
    /// Since when the timing has been too short.
    since: Option<Instant>,
    next_at: Instant,
}

impl Slowness {
    pub(super) fn wrote(&mut self, took: Duration) {
        self.writes.add(took);
    }

    pub(super) fn answered(&mut self, by: NodeId, took: Duration) {
        self.answers.entry(by).or_default().add(took);
    }

    /// There is no connection to the peer. What was measured on the last one may not hold for the next.
    pub(super) fn lost(&mut self, peer: NodeId) {
        self.answers.remove(&peer);
    }

    /// The line for the log, if it is time for one.
    pub(super) fn warning(&mut self, now: Instant, timing: Timing) -> Option<String> {
        let answers = self.answers.iter().filter_map(|(peer, answers)| Some((answers.usual()?, *peer)));
        let (round_trip, peer) = answers.max()?;
        let write = self.writes.usual();
        let pace = Pace { write: write.unwrap_or_default(), round_trip, ..Pace::default() };
        let configured = timing.election_timeout();
        if pace.shortest_timeout() <= configured {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) < configured * LASTS || now < self.next_at {
            return None;
        }
        self.next_at = now + AGAIN;
        let write = write.map(|took| format!("a write of its vote {took:.1?}, ")).unwrap_or_default();
        Some(format!(
            "is too slow for its timing: {write}an answer of node {peer} {round_trip:.1?}, and together at most 1/{} \
             of the election timeout is good. Use an election timeout of at least {:?} instead of {configured:?} on \
             every node, and a heartbeat interval of at most {:?}, or mend the disk or the network",
            Pace::TURN_PART,
            pace.shortest_timeout(),
            pace.usual_interval(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SLOW: Duration = Duration::from_millis(26);
    const QUICK: Duration = Duration::from_millis(1);

    fn at(seconds: u32) -> Instant {
        Instant::ZERO + SECOND * seconds
    }

    /// What is said in each of the seconds `from..to`, while peer 2 takes this long to answer.
    fn said(slowness: &mut Slowness, seconds: std::ops::Range<u32>, answer: Duration) -> Vec<(u32, String)> {
        let mut look = |second| {
            slowness.answered(2.into(), answer);
            Some((second, slowness.warning(at(second), Timing::default())?))
        };
        seconds.filter_map(&mut look).collect()
    }

    #[test]
    fn a_slow_answer_that_lasts_is_said_with_the_numbers_and_what_to_do_and_then_hourly() {
        let mut slowness = Slowness::default();
        let said = said(&mut slowness, 0..8000, SLOW);
        // Nine answers, then ten seconds.
        assert_eq!(said.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [18, 3618, 7218]);
        assert_eq!(
            said[0].1,
            "is too slow for its timing: an answer of node 2 26.0ms, and together at most 1/20 of the election timeout \
             is good. Use an election timeout of at least 520ms instead of 500ms on every node, and a heartbeat \
             interval of at most 104ms, or mend the disk or the network"
        );
    }

    #[test]
    fn what_is_slow_for_a_moment_or_now_and_then_is_not_said() {
        let mut slowness = Slowness::default();
        for second in (0..600).step_by(12) {
            assert_eq!(said(&mut slowness, second..second + 4, SLOW), []);
            assert_eq!(said(&mut slowness, second + 4..second + 12, QUICK), []);
        }
        // Nine slow answers, but no ten seconds after the fifth.
        assert_eq!(said(&mut slowness, 1000..1009, SLOW), []);
        assert_eq!(said(&mut slowness, 1009..1100, QUICK), []);
    }

    #[test]
    fn trouble_that_begins_again_within_the_hour_waits_for_its_end() {
        let mut slowness = Slowness::default();
        assert_eq!(said(&mut slowness, 0..100, SLOW).len(), 1);
        assert_eq!(said(&mut slowness, 100..200, QUICK), []);
        let again = said(&mut slowness, 200..4000, SLOW);
        assert_eq!(again.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [3618]);
    }

    #[test]
    fn write_and_answer_count_together_and_one_slow_write_does_not() {
        let mut slowness = Slowness::default();
        slowness.wrote(Duration::from_secs(2));
        for _ in 0..2 {
            slowness.wrote(Duration::from_millis(13));
        }
        let half = Duration::from_millis(12);
        assert_eq!(said(&mut slowness, 0..100, half), [], "25 ms are a twentieth of 500 ms");
        let said = said(&mut slowness, 100..200, half + QUICK);
        let expected = "a write of its vote 13.0ms, an answer of node 2 13.0ms, and together at most 1/20";
        assert!(said[0].1.contains(expected) && said[0].1.contains("at least 520ms"), "{said:?}");
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn the_slowest_peer_counts_until_its_connection_is_lost() {
        let mut slowness = Slowness::default();
        for _ in 0..ANSWERS {
            slowness.answered(3.into(), SLOW);
        }
        let said = |slowness: &mut Slowness, seconds| said(slowness, seconds, QUICK);
        let first = said(&mut slowness, 0..30);
        assert!(first[0].1.contains("an answer of node 3 26.0ms"), "{first:?}");
        slowness.lost(3.into());
        assert_eq!(said(&mut slowness, 3700..3800), []);
        slowness.lost(2.into());
        assert_eq!(slowness.warning(at(3900), Timing::default()), None, "nothing was measured");
    }
}
