//! Nothing grows while nodes run for long, with a hundred heartbeats a second: neither memory, nor threads, nor
//! descriptors.
//!
//! `LEADELECT_SOAK=3600 cargo test --release --test node soak -- --nocapture` makes it last an hour.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use super::child;
use super::cluster::{Cluster, SWIFT};
use super::holdings::holdings;

const THREE: [&str; 3] = ["1", "2", "3"];

/// Less than a byte for each heartbeat of an hour.
const MOST_GROWTH: u64 = 256 * 1024;

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
    let sizes = |cluster: &Cluster| {
        let held = cluster.processes.values().map(|process| holdings(process.id()).expect("it runs"));
        held.collect::<Vec<_>>()
    };
    let began = Instant::now();
    let first = sizes(&cluster);
    eprintln!("at {:.0?}: {first:?}", began.elapsed());
    thread::sleep(Duration::from_secs(seconds) / 2);
    eprintln!("at {:.0?}: {:?}", began.elapsed(), sizes(&cluster));
    thread::sleep(Duration::from_secs(seconds) / 2);
    let last = sizes(&cluster);
    eprintln!("at {:.0?}: {last:?}", began.elapsed());
    for (first, last) in first.iter().zip(&last) {
        let grown = last.anonymous.saturating_sub(first.anonymous);
        assert!(grown <= MOST_GROWTH, "{grown} bytes more: {}", cluster.dump());
        // A connection may be renewed just now.
        assert!(last.threads <= first.threads + 2, "{first:?}, then {last:?}");
        assert!(last.descriptors <= first.descriptors + 4, "{first:?}, then {last:?}");
    }
    cluster.nobody_panicked();
}
