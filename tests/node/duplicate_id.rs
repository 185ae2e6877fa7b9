//! Two processes with one id: the second does not start, or both are told.

use super::child::boot_nanos;
use super::cluster::{CALM, Cluster, SWIFT, free_port};
use super::lease_log::Claims;
use super::process::wait_for;

const THREE: [&str; 3] = ["1", "2", "3"];

#[test]
fn a_second_process_with_the_same_state_folder_does_not_start_and_names_the_file() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let mut plan = cluster.plan.clone();
    plan.node("1").2 = free_port();

    cluster.start_as("second", "1", &plan);

    let status = cluster.process("second").wait_for_end();
    assert!(!status.success());
    cluster.processes["second"].wait_until_it_mentions(&["another process uses this state", "node-1.vote"]);
    cluster.bury("second");
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_second_process_with_the_same_port_does_not_start_and_names_the_port() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let mut plan = cluster.plan.clone();
    plan.state_dir = Some(cluster.folder().join("other state"));
    let address = format!("127.0.0.1:{}", plan.node("1").2);

    cluster.start_as("second", "1", &plan);

    let status = cluster.process("second").wait_for_end();
    assert!(!status.success());
    cluster.processes["second"].wait_until_it_mentions(&[&address, "another process does"]);
    cluster.bury("second");
    assert_eq!(cluster.leader(), leader);
}

/// The worst case: the node that is started twice leads, and only the copy could take over.
#[test]
fn a_leader_whose_process_is_started_twice_neither_shares_nor_loses_its_leadership() {
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    for id in ["2", "3"] {
        cluster.plan.node(id).3 = "witness: true".into();
    }
    cluster.start_all();
    let leader = cluster.leader();
    assert_eq!(leader.id, "1");
    let mut plan = cluster.plan.clone();
    plan.state_dir = Some(cluster.folder().join("other state"));
    plan.node("1").2 = free_port();

    cluster.start_as("second", "1", &plan);

    cluster.processes["second"].wait_until_it_mentions(&["two processes run as node 1"]);
    cluster.processes["1"].wait_until_it_mentions(&["two processes run as node 1"]);
    let start = boot_nanos();
    wait_for("many refusals", || (boot_nanos() > start + 10 * SWIFT * 1_000_000).then_some(()));
    let view = cluster.processes["1"].view();
    assert_eq!(view.and_then(|view| view.token), Some(leader.token), "{}", cluster.dump());
    cluster.nobody_panicked();
    let runs = cluster.judge(Claims::Stand);
    assert_eq!(runs.len(), 1, "{runs:?}");
}

/// As on two hosts: the second process starts. Peers let only one of them speak, and tell both.
#[test]
fn two_processes_with_one_id_apart_are_both_told_and_one_leader_remains() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    cluster.leader();
    let mut plan = cluster.plan.clone();
    plan.state_dir = Some(cluster.folder().join("other state"));
    plan.node("1").2 = free_port();

    cluster.start_as("second", "1", &plan);

    let told = ["WARN", "two processes run as node 1", "stop one"];
    cluster.processes["1"].wait_until_it_mentions(&told);
    cluster.processes["second"].wait_until_it_mentions(&told);
    // The second process is told at every attempt, and shows it.
    cluster.processes["second"].wait_until_it_mentions(&["error ", told[1], told[2]]);
    // The others go on under one leader.
    let leading = || {
        let views: Option<Vec<_>> = ["2", "3"].iter().map(|id| cluster.processes[*id].view()).collect();
        let views = views?;
        let same = views[0].leader == views[1].leader && views[0].term == views[1].term;
        (same && views[0].leader.is_some()).then_some(())
    };
    wait_for("a leader that 2 and 3 agree on", leading);
    cluster.kill("second");
    cluster.leader();
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}
