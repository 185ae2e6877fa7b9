//! `leadelect check --timing`: how fast a cluster may fail over on this host.
//!
//! Three things take time while a node holds or wins a lease: its thread wakes late, its disk writes, and its messages
//! travel. [`Pace`] says which election timeout that allows. A running node warns by the same rule, of what it measures
//! of its own writes and answers.

use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use leadelect::config::NodeConfig;
use leadelect::election::{NodeId, Pace, Timing};
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

/// One thing that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Measure {
    what: String,
    worst: Duration,
}

impl Measure {
    /// The worst of these.
    fn of(what: String, spans: impl IntoIterator<Item = Duration>) -> Option<Measure> {
        let worst = spans.into_iter().max()?;
        Some(Measure { what, worst })
    }
}

/// What was measured. Nothing if it could not be.
#[derive(Debug, Default)]
struct Measures {
    lateness: Option<Measure>,
    write: Option<Measure>,
    /// The slowest of the other nodes.
    answer: Option<Measure>,
}

/// Measures, and reports which timing this host can hold. Without `node`, no disk is measured.
pub(super) fn check(
    timing: Timing,
    node: Option<&NodeConfig>,
    client: Option<&Client>,
    others: &[NodeId],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut measures =
        Measures { lateness: Measure::of("a thread wakes late".into(), lateness()), ..Default::default() };
    match node.map(|node| Node::rehearse_writes(node, WRITES)) {
        None => findings.ok("timing: no disk is measured without --id")?,
        Some(Ok(writes)) if writes.is_empty() => findings.ok("timing: without `state_dir` no disk is written")?,
        Some(Ok(writes)) => measures.write = Measure::of("a write to the state folder".into(), writes),
        Some(Err(error)) => findings.error(&format!("timing: {error}"))?,
    }
    let mut answers = Vec::new();
    for id in others.iter().filter(|_| client.is_some()) {
        // Until the first one that fails: a node that is down would cost some seconds each time.
        let ask = |_| client.and_then(|client| client.status(*id).ok()).map(|status| status.round_trip);
        let round_trips: Vec<Duration> = (0..ROUND_TRIPS).map_while(ask).collect();
        match Measure::of(format!("an answer of node {id}"), round_trips) {
            Some(measure) => answers.push(measure),
            None => findings.warning(&format!("timing: node {id} does not answer, so its round trip is not known"))?,
        }
    }
    for Measure { what, worst } in measures.lateness.iter().chain(&measures.write).chain(&answers) {
        findings.ok(&format!("timing: {what}: at worst {worst:.1?}"))?;
    }
    measures.answer = answers.into_iter().max_by_key(|measure| measure.worst);
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
fn verdict(timing: Timing, measures: &Measures) -> Result<String, String> {
    let configured = timing.election_timeout();
    let worst = |measure: &Option<Measure>| measure.as_ref().map(|measure| measure.worst).unwrap_or_default();
    let Measures { lateness, write, answer } = measures;
    let pace = Pace { lateness: worst(lateness), write: worst(write), round_trip: worst(answer) };
    let shortest = pace.shortest_timeout();
    if configured >= shortest {
        return Ok(format!(
            "timing: this host can hold {configured:?}; the shortest election timeout is about {shortest:?}"
        ));
    }
    let turn: Vec<&str> = write.iter().chain(answer).map(|measure| measure.what.as_str()).collect();
    let why = if pace.turn() * Pace::TURN_PART > configured {
        format!("{}, which may take a {}th of it", turn.join(" and then "), Pace::TURN_PART)
    } else {
        format!("a thread wakes late, which may take a {}th of it", Pace::LATENESS_PART)
    };
    Err(format!(
        "timing: this host may not hold {configured:?}, because of this: {why}. Use an election timeout of at least \
         {shortest:?} and a heartbeat interval of at most {:?}, or mend that",
        pace.usual_interval()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(what: &str, micros: u64) -> Option<Measure> {
        Measure::of(what.into(), [Duration::from_micros(micros)])
    }

    #[test]
    fn the_slowest_thing_decides_and_a_write_and_an_answer_count_together() {
        let timing = Timing::default();
        let verdict = |lateness, write, answer| {
            let measures = Measures {
                lateness: measure("wakes", lateness),
                write: measure("write", write),
                answer: measure("answer", answer),
            };
            super::verdict(timing, &measures)
        };
        let text = verdict(1_200, 4_000, 900).expect("98 ms are enough");
        assert_eq!(text, "timing: this host can hold 500ms; the shortest election timeout is about 98ms");
        let text = verdict(1_200, 24_000, 16_000).expect_err("800 ms");
        assert!(text.contains("may not hold 500ms, because of this: write and then answer, which may take"), "{text}");
        assert!(text.contains("at least 800ms and a heartbeat interval of at most 160ms"), "{text}");
        let text = verdict(60_000, 4_000, 900).expect_err("600 ms");
        assert!(text.contains("because of this: a thread wakes late") && text.contains("at least 600ms"), "{text}");
        assert!(super::verdict(timing, &Measures::default()).is_ok());
    }

    #[test]
    fn the_worst_of_what_was_measured_counts_and_nothing_is_no_measure() {
        let spans = [3, 9, 4].map(Duration::from_millis);
        assert_eq!(Measure::of("w".into(), spans), measure("w", 9_000));
        assert_eq!(Measure::of("w".into(), []), None);
    }
}
