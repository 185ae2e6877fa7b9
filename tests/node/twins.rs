//! Two processes with one id: the second does not start, or both are told.

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

    cluster.start_as("twin", "1", &plan);

    let status = cluster.process("twin").wait_for_end();
    assert!(!status.success());
    cluster.processes["twin"]
        .wait_until_it_mentions(&["another process uses this state", "node-1.vote"]);
    cluster.bury("twin");
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_second_process_with_the_same_port_does_not_start_and_names_the_port() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let mut plan = cluster.plan.clone();
    plan.state_dir = Some(cluster.folder().join("other state"));
    let address = format!("127.0.0.1:{}", plan.node("1").2);

    cluster.start_as("twin", "1", &plan);

    let status = cluster.process("twin").wait_for_end();
    assert!(!status.success());
    cluster.processes["twin"].wait_until_it_mentions(&[&address, "another process does"]);
    cluster.bury("twin");
    assert_eq!(cluster.leader(), leader);
}

/// As on two hosts. Nothing keeps the second from starting; peers let only one of them speak and tell both.
#[test]
fn two_processes_with_one_id_apart_are_both_told_and_one_leader_remains() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    cluster.leader();
    let mut plan = cluster.plan.clone();
    plan.state_dir = Some(cluster.folder().join("other state"));
    plan.node("1").2 = free_port();

    cluster.start_as("twin", "1", &plan);

    for twin in ["1", "twin"] {
        // Once as a peer's last error, once in the log.
        let told = ["two processes run as node 1", "stop one"];
        for place in ["error ", "WARN"] {
            let process = &cluster.processes[twin];
            process.wait_until_it_mentions(&[place, told[0], told[1]]);
        }
    }
    // The others go on under one leader, whoever it is.
    let leading = || {
        let views: Option<Vec<_>> = ["2", "3"]
            .iter()
            .map(|id| cluster.processes[*id].view())
            .collect();
        let views = views?;
        let same = views[0].leader == views[1].leader && views[0].term == views[1].term;
        (same && views[0].leader.is_some()).then_some(())
    };
    wait_for("a leader that 2 and 3 agree on", leading);
    cluster.kill("twin");
    cluster.leader();
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}
