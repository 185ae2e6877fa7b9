//! Nothing grows while nodes run for long, with a hundred heartbeats a second: neither memory, nor threads, nor
//! descriptors.
//!
//! `LEADELECT_SOAK=3600 cargo test --release --test node soak -- --nocapture` makes it last an hour.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::child;
use super::cluster::{Cluster, SWIFT};
use super::process::Process;

const THREE: [&str; 3] = ["1", "2", "3"];

/// Less than a byte for each heartbeat of an hour.
const MOST_GROWTH: u64 = 256 * 1024;

#[derive(Debug, Clone, Copy)]
struct Size {
    /// Its own bytes in memory.
    memory: u64,
    threads: u64,
    descriptors: usize,
}

fn size(process: &Process) -> Size {
    let pid = process.id();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let number = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("a folder").count();
    Size { memory: number("RssAnon:") * 1024, threads: number("Threads:"), descriptors }
}

#[test]
fn memory_threads_and_descriptors_stay_as_they_are() {
    let seconds = env::var("LEADELECT_SOAK").map_or(10, |text| text.parse().expect("seconds"));
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    cluster.plan.heartbeat_interval_ms = Some(10);
    let plan = cluster.plan.clone();
    for id in THREE {
        let mut command = cluster.command(id, &plan);
        // The checks of the test's own program must not be what grows.
        command.env(child::CHECK_INTERVAL, "1000");
        cluster.run(id, command);
    }
    cluster.settled();
    thread::sleep(Duration::from_secs(5));
    let sizes = |cluster: &Cluster| cluster.processes.values().map(size).collect::<Vec<_>>();
    let began = Instant::now();
    let first = sizes(&cluster);
    eprintln!("at {:.0?}: {first:?}", began.elapsed());
    thread::sleep(Duration::from_secs(seconds) / 2);
    eprintln!("at {:.0?}: {:?}", began.elapsed(), sizes(&cluster));
    thread::sleep(Duration::from_secs(seconds) / 2);
    let last = sizes(&cluster);
    eprintln!("at {:.0?}: {last:?}", began.elapsed());
    for (first, last) in first.iter().zip(&last) {
        let grown = last.memory.saturating_sub(first.memory);
        assert!(grown <= MOST_GROWTH, "{grown} bytes more: {}", cluster.dump());
        // A connection may be renewed just now.
        assert!(last.threads <= first.threads + 2, "{first:?}, then {last:?}");
        assert!(last.descriptors <= first.descriptors + 4, "{first:?}, then {last:?}");
    }
    cluster.nobody_panicked();
}
