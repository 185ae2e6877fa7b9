//! One cluster: it settles, is attacked, is mended, and leads again.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::boot_nanos;
use super::cluster::{Cluster, Kind};
use super::dice::Dice;
use super::faults::{FAULTS, Fault, Repair, Scene, Whom};
use super::history::{History, Kept};
use super::holdings::{Holdings, holdings};
use super::judge::violations;
use super::process::try_for;
use super::processes;
use super::timeline::{Summary, replay};
use super::work::ARGUMENTS;

/// Longer than any cluster needs, on any machine: what has not come by then does not come.
const AMPLE: Duration = Duration::from_secs(30);
/// A process that keeps this much more has a leak. Chance moves less.
const MORE_BYTES: u64 = 8 * 1024 * 1024;
const MORE_DESCRIPTORS: usize = 6;
const MORE_THREADS: u64 = 4;

/// What a seed says.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) size: usize,
    pub(crate) kind: Kind,
    pub(crate) faults: Vec<Fault>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) history: History,
    pub(crate) violations: Vec<String>,
    pub(crate) logs: Vec<(String, String)>,
    pub(crate) replayed: Summary,
    /// The recordings, each with its name, of a round that went wrong.
    pub(crate) recordings: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// The first fault is the next of the table for each next seed, so that a row of rounds has all.
    pub(crate) fn of(seed: u64, only: &str) -> (Plan, Dice) {
        let mut dice = Dice::new(seed, 1);
        let table: Vec<Fault> = FAULTS.iter().filter(|fault| fault.name.contains(only)).copied().collect();
        assert!(!table.is_empty(), "no fault is called {only:?}");
        let mut faults = vec![table[(seed % table.len() as u64) as usize]];
        if dice.below(3) == 0 {
            faults.extend((0..1 + dice.below(2)).map(|_| FAULTS[dice.below(FAULTS.len() as u64) as usize]));
        }
        // The first one stays, and of the others those that can be judged together with all before them.
        let mut kept: Vec<Fault> = Vec::new();
        for fault in faults {
            if !kept.iter().any(|other| other.whom.excludes(fault.whom)) {
                kept.push(fault);
            }
        }
        let faults = kept;
        let mut traits = ["", "deaf", "child", "deaf child stray"][dice.below(4) as usize];
        // Among many processes it is hard to find those that left their group.
        if faults.iter().any(|fault| fault.name.contains("idle processes")) {
            traits = "deaf child stray";
        }
        let needs_run = |fault: &Fault| matches!(fault.whom, Whom::Guard | Whom::Command);
        let library = dice.below(3) == 0 && !faults.iter().any(needs_run);
        let kind = if library { Kind::Library } else { Kind::Run(traits) };
        let size = if dice.below(3) == 0 { 5 } else { 3 };
        (Plan { seed, size, kind, faults }, dice)
    }
}

/// How long this process was not run when it should have been. A host that stalls changes leaders without a fault.
struct Stalls {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Stalls {
    fn watch() -> Stalls {
        let stalls = Stalls { worst: Arc::default(), over: Arc::default() };
        // On a host that has far too much to do, some threads wait for long, and others do not.
        for _ in 0..4 {
            let (worst, over) = (stalls.worst.clone(), stalls.over.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let before = boot_nanos();
                    thread::sleep(Duration::from_millis(5));
                    worst.fetch_max((boot_nanos() - before) / 1_000_000, Ordering::Relaxed);
                }
            });
        }
        stalls
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn play(plan: &Plan, mut dice: Dice, longest_stop: u64) -> Outcome {
    let timeout_ms = 500;
    let mut cluster = Cluster::new(plan.size, plan.kind, timeout_ms, &dice);
    for index in 0..cluster.size() {
        cluster.start(index);
    }
    await_leader(&mut cluster, "after the start", 0);
    // A node that came too late to vote for the first leader promises nothing for two election timeouts.
    thread::sleep(Duration::from_millis(2 * timeout_ms + 300));
    let before = await_leader(&mut cluster, "before the first fault", boot_nanos());
    let stalls = Stalls::watch();
    let held = census(&cluster);
    let (token, from) = (before.as_ref().map_or(0, |(_, token)| *token), boot_nanos());

    attack(plan, &mut cluster, &mut dice, longest_stop);
    let mended_at = boot_nanos();
    await_leader(&mut cluster, "after everything was mended", mended_at);
    // A host that stalled for a fifth of the election timeout may have cost a lease.
    let stalled = stalls.worst.load(Ordering::Relaxed) > timeout_ms / 5;
    if let (Some((leader, _)), false) = (&before, stalled) {
        if cluster.is_untouched(*leader) {
            cluster.history.kept = Some(Kept { token, from, to: boot_nanos() });
        }
    }
    compare(&mut cluster, &held);
    finish(cluster)
}

fn attack(plan: &Plan, cluster: &mut Cluster, dice: &mut Dice, longest_stop: u64) {
    let start = Instant::now();
    let mut due: Vec<(Duration, Repair)> = Vec::new();
    for fault in &plan.faults {
        let chosen = dice.below(2) == 0;
        let victim = cluster.leader_index().filter(|_| chosen);
        let victim = victim.unwrap_or_else(|| dice.below(plan.size as u64) as usize);
        let id = cluster.members[victim].id.clone();
        cluster.history.mark(Some(&id), format!("FAULT {}", fault.name));
        let wound = (fault.inflict)(&mut Scene { cluster, victim, dice, longest_stop });
        let lasts = wound.lasts.unwrap_or(700 + dice.below(1300));
        let end = start.elapsed() + Duration::from_millis(lasts);
        due.extend(wound.repairs.into_iter().map(|repair| (end, repair)));
        thread::sleep(dice.micros_below(400_000));
    }
    // In the order of their times, and those of one fault in its own order.
    due.sort_by_key(|(end, _)| *end);
    for (end, repair) in due {
        thread::sleep(end.saturating_sub(start.elapsed()));
        // Together with other faults there may be no quorum until they are mended, too.
        if repair != Repair::AwaitLeader || plan.faults.len() == 1 {
            repair.carry_out(cluster);
        }
    }
    (0..cluster.size()).for_each(|index| cluster.bury_if_ended(index));
}

/// Waits until somebody acts that leads after `since`. Returns its index and its token.
pub(crate) fn await_leader(cluster: &mut Cluster, when: &str, since: u64) -> Option<(usize, u64)> {
    let found = try_for(AMPLE, || {
        let leader = cluster.leader().filter(|act| act.at >= since)?;
        Some((cluster.leader_index()?, leader.token))
    });
    if found.is_none() {
        let wrong = format!("nobody leads {when} within {AMPLE:?}");
        cluster.history.mark(None, wrong.clone());
        cluster.history.wrong.push(wrong);
    }
    found
}

fn census(cluster: &Cluster) -> BTreeMap<i32, Holdings> {
    (0..cluster.size()).filter_map(|index| cluster.pid(index)).filter_map(|pid| Some((pid, holdings(pid)?))).collect()
}

/// Threads, descriptors and memory of each process that lived through it are back.
fn compare(cluster: &mut Cluster, held: &BTreeMap<i32, Holdings>) {
    for index in 0..cluster.size() {
        let Some((pid, then)) = cluster.pid(index).and_then(|pid| Some((pid, held.get(&pid)?))) else { continue };
        let back = try_for(AMPLE, || {
            let now = holdings(pid)?;
            let more = now.threads > then.threads + MORE_THREADS
                || now.descriptors > then.descriptors + MORE_DESCRIPTORS
                || now.resident > then.resident + MORE_BYTES;
            (!more).then_some(())
        });
        if back.is_none() {
            let wrong = format!("node {} held {then:?}, and holds {:?}", index + 1, holdings(pid));
            cluster.history.wrong.push(wrong);
        }
    }
}

/// What a node has started has to be gone with it.
fn kill_leftovers(history: &mut History) {
    for life in history.lives() {
        let own =
            fs::read_to_string(format!("/proc/{}/cmdline", life.pid)).is_ok_and(|line| line.contains(ARGUMENTS[0]));
        if own {
            history.wrong.push(format!("a process outlived its node: {life:?}"));
            processes::signal(life.pid, Signal::KILL);
        }
    }
}

/// Ends the cluster, and judges it.
pub(crate) fn finish(mut cluster: Cluster) -> Outcome {
    for index in 0..cluster.size() {
        cluster.end(index, Signal::TERM);
    }
    cluster.history.acts = cluster.resource.acts();
    kill_leftovers(&mut cluster.history);
    let logs: Vec<_> = cluster.members.iter().map(|member| (member.id.clone(), member.log.text())).collect();
    for (id, log) in &logs {
        if let Some(at) = log.find("panicked") {
            let part: String = log[at.saturating_sub(100)..].chars().take(400).collect();
            cluster.history.wrong.push(format!("node {id} panicked: {part}"));
        }
    }
    let recordings = cluster.recordings();
    let replayed = replay(&recordings).unwrap_or_else(|fault| {
        cluster.history.wrong.push(format!("REPLAY {fault}"));
        Summary::default()
    });
    let history = cluster.history.clone();
    let violations = violations(&history);
    let files = fs::read_dir(recordings).unwrap().filter(|_| !violations.is_empty());
    let read = |file: fs::DirEntry| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).unwrap());
    let recordings = files.map(|file| read(file.unwrap())).collect();
    Outcome { violations, history, logs, replayed, recordings }
}
