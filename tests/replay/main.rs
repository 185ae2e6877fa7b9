//! Flight recordings of real processes are replayed: through the shipped engine, which has to want just what was done,
//! and through the checker of the simulation, on one time line.
//!
//! A recording that somebody sends with an error report is replayed with
//! `RECORDING=folder cargo test --test replay -- --ignored --nocapture recording_in_a_folder`.
// What is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../election/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // a part is for the other programs
mod harness;
mod planted;
#[path = "../support/mod.rs"]
#[allow(dead_code)]
mod support;
mod timeline;

use std::env;
use std::path::Path;

use support::cluster::{Cluster, SWIFT};

use timeline::{Summary, replay};

/// A cluster that has lost its leaders in different ways, and its recordings, judged.
fn recorded(ids: &[&str]) -> (Cluster, Result<Summary, String>) {
    let mut cluster = Cluster::planned(ids, SWIFT);
    let folder = cluster.folder().join("recordings");
    cluster.plan.recording_dir = Some(folder.clone());
    cluster.start_all();
    let first = cluster.settled();
    cluster.kill(&first.id);
    let second = cluster.leader_after(&first);
    cluster.start(&first.id);
    cluster.settled();
    cluster.process(&second.id).command("resign");
    cluster.leader_after(&second);
    ids.iter().for_each(|id| cluster.stop(id));
    (cluster, replay(&folder))
}

#[test]
fn recordings_of_real_processes_replay_as_they_were() {
    let (_cluster, replayed) = recorded(&["1", "2", "3"]);
    let summary = replayed.unwrap_or_else(|fault| panic!("{fault}"));
    println!("{summary:?}");
    assert_eq!((summary.processes, summary.stopped), (4, 3), "{summary:?}");
    assert_eq!((summary.gaps, summary.skipped), (0, 0), "{summary:?}");
    assert!(summary.steps > 100 && summary.leases_won >= 3, "{summary:?}");
}

#[test]
#[ignore = "a tool, which needs RECORDING=folder"]
fn recording_in_a_folder_replays() {
    let folder = env::var_os("RECORDING").expect("RECORDING=folder");
    match replay(Path::new(&folder)) {
        Ok(summary) => println!("{summary:?}"),
        Err(fault) => panic!("{fault}"),
    }
}
