//! Short leases on a busy host: a heartbeat every 10 ms and an election timeout of 40 ms, while two processes for each
//! processor compute without a pause. The nodes keep their lease, because all their threads are real-time.
//!
//! Beside them runs the same cluster without that. What it loses is printed, and asserted nowhere.
//!
//! Variables make a measurement of it, which then may lose nothing: for how many seconds nothing else happens
//! (`LEADELECT_BUSY_HOST`), and how many times the leader is killed after that (`.._KILLS`). For ten minutes, on a
//! machine that does nothing else:
//!
//! ```sh
//! LEADELECT_BUSY_HOST=600 LEADELECT_BUSY_HOST_KILLS=50 \
//!     cargo test --release --test node busy_host -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::convert::identity;
use std::env;
use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use rustix::thread::gettid;

use super::child::boot_nanos;
use super::cluster::Cluster;
use super::in_process::Local;
use super::lease_log::Claims;
use super::process::wait_for;
use super::{real_time, skip};

const THREE: [&str; 3] = ["1", "2", "3"];
const ELECTION_TIMEOUT_MS: u64 = 40;
const HEARTBEAT_INTERVAL_MS: u64 = 10;

/// What keeps the processors busy.
struct Busy(Vec<Child>);

impl Busy {
    /// Two processes for each processor. The kernel ends them after that time of computing, should this test be killed.
    fn started(seconds: u64) -> Busy {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let script = format!("ulimit -t {seconds}; while :; do :; done");
        let spawn = |_| Command::new("sh").args(["-c", &script]).spawn().unwrap();
        Busy((0..2 * processors).map(spawn).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn planned() -> Cluster {
    let mut cluster = Cluster::planned(&THREE, ELECTION_TIMEOUT_MS);
    cluster.plan.heartbeat_interval_ms = Some(HEARTBEAT_INTERVAL_MS);
    cluster
}

fn start(cluster: &mut Cluster, id: &str, wrap: fn(Command) -> Command) {
    let plan = cluster.plan.clone();
    let mut command = cluster.command(id, &plan);
    command.env("RUST_LOG", "info");
    cluster.run(id, wrap(command));
    assert!(cluster.is_ready(id), "the port of node {id} was taken");
}

/// Kills the leader, and measures the time until another node first finds its lease valid. The dead node comes back.
fn fails_over(cluster: &mut Cluster) -> Duration {
    cluster.leader();
    // By then every node votes again.
    thread::sleep(Duration::from_millis(500));
    let leader = cluster.leader();
    let killed_at = boot_nanos();
    cluster.kill(&leader.id);
    let next_at = wait_for("the next lease", || {
        cluster.processes.values().find_map(|process| {
            process.see(|record| {
                let next = record.checks.iter().find(|check| check.valid && check.token > leader.token);
                next.map(|check| check.after)
            })
        })
    });
    start(cluster, &leader.id, real_time::with_fifo);
    Duration::from_nanos(next_at.saturating_sub(killed_at))
}

/// Gives this thread SCHED_FIFO, and all that it starts from now on.
fn become_real_time() {
    let thread = gettid().as_raw_nonzero().to_string();
    let status = Command::new("chrt").args(["-f", "-p", "5", &thread]).status();
    assert!(status.unwrap().success());
}

/// Fails over that many times. The thread that does it is real-time, too, so that the first moment is that of the kill.
fn fail_over(cluster: &mut Cluster, times: u64) -> Vec<Duration> {
    let body = || {
        become_real_time();
        (0..times).map(|_| fails_over(cluster)).collect()
    };
    let mut took: Vec<Duration> = thread::scope(|scope| scope.spawn(body).join().unwrap());
    took.sort_unstable();
    took
}

/// How many leases were won between the two moments, by the log of the whole cluster.
fn won(cluster: Cluster, from: u64, to: u64) -> usize {
    cluster.nobody_panicked();
    let runs = cluster.judge(Claims::MayBeReleased);
    runs.iter().filter(|run| run.is_won_after(from) && !run.is_won_after(to)).count()
}

#[test]
fn real_time_nodes_keep_short_leases_on_a_busy_host() {
    if let Some(reason) = real_time::refused() {
        return skip::because(&reason);
    }
    let number = |variable: &str| env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    let measured_for = number("LEADELECT_BUSY_HOST");
    let seconds = measured_for.unwrap_or(5);
    let kills = number("LEADELECT_BUSY_HOST_KILLS").unwrap_or(3);
    let (mut real_time, mut control) = (planned(), planned());
    for id in THREE {
        start(&mut real_time, id, real_time::with_fifo);
        start(&mut control, id, identity);
    }
    real_time.leader();
    control.leader();
    let busy = Busy::started(seconds + 5 * kills + 100);
    thread::sleep(Duration::from_secs(1));
    let from = boot_nanos();
    thread::sleep(Duration::from_secs(seconds));
    let to = boot_nanos();
    let lost_there = won(control, from, to);
    let took = fail_over(&mut real_time, kills);
    drop(busy);
    let dump = real_time.dump();
    let lost = won(real_time, from, to);
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    eprintln!("in {seconds} s on a busy host: {lost} leases lost; without SCHED_FIFO: {lost_there}");
    eprintln!("{kills} leaders killed: the next lease came after {median:.1?} (median) of {took:.1?}");
    // The host under a virtual machine may pause it. The short run allows for that.
    let (most_lost, longest) = match measured_for {
        Some(_) => (0, Duration::from_millis(ELECTION_TIMEOUT_MS)),
        None => (lost_there.max(2), Duration::from_secs(2)),
    };
    assert!(lost <= most_lost, "{lost} leases lost, and {lost_there} without SCHED_FIFO: {dump}");
    assert!(median <= longest, "{took:?}: {dump}");
}

/// So a program may make its node real-time and nothing else.
#[test]
fn every_thread_of_a_node_has_the_policy_of_the_thread_that_started_it() {
    if let Some(reason) = real_time::refused() {
        return skip::because(&reason);
    }
    let mut local = Local::planned(&["rt1", "rt2"], Duration::from_secs(3));
    thread::scope(|scope| {
        scope.spawn(|| {
            become_real_time();
            assert!(local.start("rt1") && local.start("rt2"), "a port was taken");
        });
    });
    // By then each has accepted a connection and dialled one.
    wait_for("a leader", || local.nodes.iter().all(|node| node.status().leader.is_some()).then_some(()));
    let mut policies = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // A thread of another test may have ended.
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        if name.contains("(lert") {
            policies.insert(name.to_owned(), rest.split_whitespace().nth(38).unwrap().to_owned());
        }
    }
    assert!(policies.len() > 10 && policies.values().all(|policy| policy == "1"), "{policies:?}");
}
