//! `leadelect check --timing`: how fast a cluster may fail over on this host.
//!
//! Three things take time while a node holds or wins a lease: its thread wakes late, its disk writes, and its messages
//! travel. The manual says how large a part of the election timeout each may take. So each gives a shortest election
//! timeout, and the longest of these is what this host can hold.

use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use leadelect::config::NodeConfig;
use leadelect::election::{NodeId, Timing};
use leadelect::remote::Client;
use leadelect::{Node, lease_clock_nanos};

use super::super::Failure;
use super::Findings;

/// How often each is measured. The worst counts: a lease has no use for an average.
const SLEEPS: u32 = 1000;
const WRITES: u32 = 40;
const ROUND_TRIPS: u32 = 10;

/// How long each sleep is meant to last.
const SLEEP: Duration = Duration::from_millis(2);

/// What each may take at most: this part of the election timeout.
const LATENESS_PART: u32 = 10;
const WRITE_PART: u32 = 20;
const ROUND_TRIP_PART: u32 = 20;

/// One thing that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Measure {
    what: String,
    worst: Duration,
    /// Which part of the election timeout it may take at most.
    part: u32,
}

impl Measure {
    /// The worst of these.
    fn of(what: String, part: u32, spans: impl IntoIterator<Item = Duration>) -> Option<Measure> {
        let worst = spans.into_iter().max()?;
        Some(Measure { what, worst, part })
    }

    fn needs(&self) -> Duration {
        self.worst * self.part
    }
}

/// Measures, and reports which timing this host can hold. Without `node`, no disk is measured.
pub(super) fn check(
    timing: Timing,
    node: Option<&NodeConfig>,
    client: Option<&Client>,
    others: &[NodeId],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut measures = Vec::new();
    measures.extend(Measure::of("a thread wakes late".into(), LATENESS_PART, lateness()));
    match node.map(|node| Node::rehearse_writes(node, WRITES)) {
        None => findings.ok("timing: no disk is measured without --id")?,
        Some(Ok(writes)) if writes.is_empty() => findings.ok("timing: without `state_dir` no disk is written")?,
        Some(Ok(writes)) => measures.extend(Measure::of("a write to the state folder".into(), WRITE_PART, writes)),
        Some(Err(error)) => findings.error(&format!("timing: {error}"))?,
    }
    for id in others.iter().filter(|_| client.is_some()) {
        // Until the first one that fails: a node that is down would cost some seconds each time.
        let ask = |_| client.and_then(|client| client.status(*id).ok()).map(|status| status.round_trip);
        let round_trips: Vec<Duration> = (0..ROUND_TRIPS).map_while(ask).collect();
        let what = format!("an answer of node {id}");
        match Measure::of(what, ROUND_TRIP_PART, round_trips) {
            Some(measure) => measures.push(measure),
            None => findings.warning(&format!("timing: node {id} does not answer, so its round trip is not known"))?,
        }
    }
    for Measure { what, worst, part } in &measures {
        findings.ok(&format!(
            "timing: {what}: at worst {worst:.1?}, and at most 1/{part} of the election timeout is good"
        ))?;
    }
    match verdict(timing, &measures) {
        Ok(text) => findings.ok(&text),
        Err(text) => findings.warning(&text),
    }
}

/// How much later than it should a thread wakes that waits as the election thread does.
fn lateness() -> impl Iterator<Item = Duration> {
    let nobody: Receiver<()> = never();
    (0..SLEEPS).map(move |_| {
        let due = lease_clock_nanos() + u64::try_from(SLEEP.as_nanos()).unwrap_or(u64::MAX);
        let _ = nobody.recv_timeout(SLEEP);
        Duration::from_nanos(lease_clock_nanos().saturating_sub(due))
    })
}

/// Whether this host can hold the timing of the config, and the shortest one that it can hold.
fn verdict(timing: Timing, measures: &[Measure]) -> Result<String, String> {
    let configured = timing.election_timeout();
    let needed = measures.iter().map(Measure::needs).max().unwrap_or_default();
    // As people write it: whole milliseconds.
    let shortest = Duration::from_millis(u64::try_from(needed.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
    let slowest = measures.iter().max_by_key(|measure| measure.needs()).map_or("nothing", |measure| &measure.what);
    if configured >= needed {
        Ok(format!("timing: this host can hold {configured:?}; the shortest election timeout is about {shortest:?}"))
    } else {
        Err(format!(
            "timing: this host may not hold {configured:?}, because of this: {slowest}. Use an election timeout of at \
             least {shortest:?} and a heartbeat interval of at most {:?}, or mend that",
            shortest / 5
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(what: &str, micros: u64, part: u32) -> Measure {
        Measure { what: what.into(), worst: Duration::from_micros(micros), part }
    }

    #[test]
    fn the_slowest_thing_decides() {
        let timing = Timing::default();
        let quick = [measure("wakes", 1_200, 10), measure("write", 4_000, 20), measure("answer", 900, 20)];
        let text = verdict(timing, &quick).expect("80 ms are enough");
        assert_eq!(text, "timing: this host can hold 500ms; the shortest election timeout is about 80ms");
        let slow = [measure("wakes", 1_200, 10), measure("write", 40_000, 20)];
        let text = verdict(timing, &slow).expect_err("800 ms");
        assert!(text.contains("may not hold 500ms, because of this: write."), "{text}");
        assert!(text.contains("at least 800ms and a heartbeat interval of at most 160ms"), "{text}");
        assert!(verdict(timing, &[]).is_ok());
    }

    #[test]
    fn the_worst_of_what_was_measured_counts_and_nothing_is_no_measure() {
        let spans = [3, 9, 4].map(Duration::from_millis);
        assert_eq!(Measure::of("w".into(), 20, spans), Some(measure("w", 9_000, 20)));
        assert_eq!(Measure::of("w".into(), 20, []), None);
    }
}
