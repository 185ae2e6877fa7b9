//! Many rounds, several at once, and what they add up to.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand::TryRng;
use rand::rngs::SysRng;

use super::host;
use super::picture;
use super::round::{Outcome, Plan, play};
use super::skip;
use super::timeline::Summary;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[derive(Debug, Default)]
struct Total {
    rounds: BTreeMap<&'static str, usize>,
    gaps: Vec<u64>,
    acts: usize,
    /// Rounds in which the first leader had to stay.
    kept: usize,
    replayed: Summary,
    failed: Vec<u64>,
}

#[test]
fn nothing_that_is_done_to_a_cluster_makes_two_leaders() {
    if let Some(missing) = host::missing() {
        return skip::because(missing);
    }
    let first = number("CHAOS_SEED").unwrap_or_else(|| SysRng.try_next_u32().expect("the system's chance").into());
    let minutes = number("CHAOS_MINUTES");
    let rounds = if minutes.is_some() { u64::MAX } else { number("CHAOS_ROUNDS").unwrap_or(4) };
    let only = env::var("CHAOS_ONLY").unwrap_or_default();
    // A stop of 20 s fits a long campaign only.
    let longest_stop = number("CHAOS_LONGEST_STOP_MS").unwrap_or(if minutes.is_some() { 20_000 } else { 2000 });
    let clusters = number("CHAOS_CLUSTERS").unwrap_or(4).min(rounds);
    let (start, next) = (Instant::now(), AtomicU64::new(0));
    let total = Mutex::new(Total::default());
    println!("seed {first}");
    thread::scope(|scope| {
        for _ in 0..clusters {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let late = minutes.is_some_and(|minutes| start.elapsed() > Duration::from_secs(60 * minutes));
                    if index >= rounds || late {
                        return;
                    }
                    let (plan, dice) = Plan::of(first + index, &only);
                    let outcome = play(&plan, dice, longest_stop);
                    conclude(&plan, &outcome, &only, longest_stop, &total);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&total, start.elapsed());
    assert!(total.failed.is_empty(), "seeds that failed: {:?}. Each has printed its command", total.failed);
}

fn conclude(plan: &Plan, outcome: &Outcome, only: &str, longest_stop: u64, total: &Mutex<Total>) {
    let faults: Vec<&str> = plan.faults.iter().map(|fault| fault.name).collect();
    let Outcome { history, violations, replayed, .. } = outcome;
    let gaps = history.gaps();
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    for fault in &faults {
        *total.rounds.entry(fault).or_default() += 1;
    }
    total.gaps.extend(&gaps);
    total.acts += history.acts.len();
    total.kept += usize::from(history.kept.is_some());
    total.replayed += *replayed;
    let what = format!("{} nodes, {:?}: {}", plan.size, plan.kind, faults.join(" + "));
    println!("round {}: {what}: {} acts, {} changes of leader", plan.seed, history.acts.len(), gaps.len());
    if violations.is_empty() {
        return;
    }
    total.failed.push(plan.seed);
    let folder = save(plan, outcome);
    println!("seed {}: {what}", plan.seed);
    for violation in violations {
        println!("VIOLATION {violation}");
    }
    println!("history, picture and logs: {}", folder.display());
    let only = if only.is_empty() { String::new() } else { format!("CHAOS_ONLY='{only}' ") };
    println!(
        "{only}CHAOS_LONGEST_STOP_MS={longest_stop} CHAOS_SEED={} CHAOS_ROUNDS=1 cargo test --all-features \
         --test chaos -- --nocapture nothing_that",
        plan.seed
    );
}

fn save(plan: &Plan, outcome: &Outcome) -> PathBuf {
    // target/<profile>/deps/chaos-<hash>
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("chaos").join(format!("seed-{}", plan.seed));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("history.txt"), outcome.history.text(&outcome.violations)).unwrap();
    fs::write(folder.join("picture.svg"), picture::draw(&outcome.history, &outcome.violations)).unwrap();
    for (id, log) in &outcome.logs {
        fs::write(folder.join(format!("node-{id}.log")), log).unwrap();
    }
    let recordings = folder.join("recordings");
    fs::create_dir_all(&recordings).unwrap();
    for (name, bytes) in &outcome.recordings {
        fs::write(recordings.join(name), bytes).unwrap();
    }
    folder
}

/// On average, the earliest moment after a crash at which an exclusive lease can begin: the election timeout, less half
/// a heartbeat interval.
const FLOOR_MS: f64 = 450.0;

fn report(total: &Total, took: Duration) {
    println!("replayed: {:?}", total.replayed);
    println!("rounds in which the leader had to stay: {}", total.kept);
    println!("rounds by fault:");
    for (fault, rounds) in &total.rounds {
        println!("{rounds:>6} {fault}");
    }
    let mut gaps = total.gaps.clone();
    gaps.sort_unstable();
    let millis =
        |share: f64| gaps.get(((gaps.len() as f64 - 1.0) * share) as usize).map_or(0.0, |gap| *gap as f64 / 1e6);
    println!(
        "{} acts, {} changes of leader in {:.0} s. Nobody acted for: median {:.1} ms, p99 {:.1} ms, max {:.1} ms; \
         after a crash no lease can begin before {FLOOR_MS} ms on average",
        total.acts,
        gaps.len(),
        took.as_secs_f64(),
        millis(0.5),
        millis(0.99),
        millis(1.0)
    );
}
