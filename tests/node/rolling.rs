//! One node after the other is restarted by SIGTERM. Leadership moves once for each leader that is restarted.

use std::env;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::cluster::Cluster;
use super::lease_log::Claims;

/// A number from the environment: `ROUNDS=20 TIMEOUT_MS=500` is the whole of it, at default timing.
fn given(name: &str, default: u64) -> u64 {
    let given = env::var(name).ok().and_then(|given| given.parse().ok());
    given.unwrap_or(default)
}

fn rolling_restart(ids: &[&str], rounds: u64) {
    // Slow enough by default that a busy machine deposes nobody.
    let timeout = given("TIMEOUT_MS", 1500);
    let settle = Duration::from_millis(timeout + 50);
    let mut cluster = Cluster::started(ids, timeout);
    cluster.settled();
    let mut leaders_restarted = 0;
    for _ in 0..given("ROUNDS", rounds) {
        for id in ids {
            leaders_restarted += usize::from(cluster.leader().id == *id);
            cluster.process(id).signal(Signal::TERM);
            let status = cluster.process(id).wait_for_end();
            assert!(status.success(), "{status}: {}", cluster.dump());
            cluster.bury(id);
            cluster.start(id);
            assert!(cluster.is_ready(id), "{}", cluster.dump());
            cluster.leader();
            // As the manual says: until then it may have forgotten promises, and gives no vote. No event tells that
            // this time is over.
            thread::sleep(settle);
        }
    }
    let runs = cluster.judge(Claims::MayBeReleased);
    let mut gaps: Vec<u64> = runs.windows(2).map(|two| two[0].gap_to(&two[1])).collect();
    gaps.sort_unstable();
    let [least, median, most, total] =
        [gaps.first().copied(), gaps.get(gaps.len() / 2).copied(), gaps.last().copied(), Some(gaps.iter().sum())]
            .map(|nanos| Duration::from_nanos(nanos.unwrap_or_default()));
    eprintln!(
        "{} nodes: {leaders_restarted} leaders restarted, {} changes of leader, without a leader for {total:.1?} in \
         all: median {median:.1?}, min {least:.1?}, max {most:.1?}",
        ids.len(),
        gaps.len(),
    );
    assert!(leaders_restarted > 0, "otherwise nothing was tried");
    assert_eq!(gaps.len(), leaders_restarted, "one change for each: {runs:?}");
}

#[test]
fn a_rolling_restart_of_3_nodes_changes_the_leader_once_for_each_leader_restarted() {
    rolling_restart(&["1", "2", "3"], 2);
}

#[test]
fn a_rolling_restart_of_5_nodes_changes_the_leader_once_for_each_leader_restarted() {
    rolling_restart(&["1", "2", "3", "4", "5"], 1);
}
