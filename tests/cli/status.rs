//! `leadelect status`.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::cluster::{CALM, Cluster, SWIFT, free_port};
use super::lease_log::Claims;
use super::process::wait_for;
use super::program::{Said, ask, ask_as, in_the_end, leadelect, program, with_config};

const THREE: [&str; 3] = ["1", "2", "3"];

/// The documented names.
const NAMES: [&str; 17] = [
    "id",
    "addr",
    "reachable",
    "role",
    "term",
    "leader",
    "token",
    "lease_ms",
    "round_trip_ms",
    "certificate_days",
    "ends_first",
    "version",
    "uptime_s",
    "logger_stuck_ms",
    "lines_lost",
    "error",
    "peers",
];
const PEER_NAMES: [&str; 9] = [
    "id",
    "addr",
    "connected",
    "last_heard_ms",
    "round_trip_ms",
    "certificate_days",
    "last_error",
    "requests",
    "failures",
];

#[track_caller]
fn nodes(said: &Said) -> Vec<Value> {
    let all: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    all.as_array().unwrap().clone()
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn sorted(names: &[&'static str]) -> Vec<&'static str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

#[test]
fn a_leader_with_a_quorum_is_shown_in_a_table_and_exit_code_0() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();

    let said = ask(&mut cluster, &["status"]);

    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 5, "{said:?}");
    assert!(lines[0].starts_with("ID  ADDR "), "{said:?}");
    for ((id, addr, port, _), line) in cluster.plan.nodes.iter().zip(&lines[1..]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (term, token) = (leader.term.to_string(), leader.token.to_string());
        let leads = *id == leader.id;
        let at = format!("{addr}:{port}");
        let expected = [
            id.as_str(),
            &at,
            if leads { "leader" } else { "follower" },
            &term,
            &leader.id,
            if leads { token.as_str() } else { "-" },
        ];
        assert_eq!(words[..6], expected, "{said:?}");
        assert_eq!(words[6] == "-", !leads, "{said:?}");
        assert!(words[7].ends_with('s'), "{said:?}");
        assert_eq!(words[9], "days", "{said:?}");
    }
    let (id, term) = (leader.id, leader.term);
    let verdict = format!("node {id} leads in term {term}: 3 of 3 nodes agree, 2 are needed");
    assert_eq!(lines[4], verdict);
}

#[test]
fn a_node_whose_logger_is_stuck_answers_and_says_so() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    cluster.process(&leader.id).command("jam");
    cluster.processes[&leader.id].wait_until_it_mentions(&["done jam"]);

    // Each look is worth a line of its log.
    let told = format!("node {}: its log has been stuck for ", leader.id);
    let said =
        wait_for("a stuck logger", || Some(ask(&mut cluster, &["status"])).filter(|said| said.out.contains(&told)));

    assert_eq!(said.code, 0, "it leads: {said:?}");
    for node in nodes(&ask(&mut cluster, &["status", "--json"])) {
        let stuck = node["logger_stuck_ms"].as_f64();
        assert_eq!(stuck.is_some_and(|millis| millis >= 3000.0), node["id"] == leader.id.as_str(), "{node}");
        assert_eq!(node["lines_lost"], 0, "{node}");
    }
}

#[test]
fn json_has_one_object_per_configured_node_with_the_documented_names() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    cluster.kill(&cluster.others(&leader.id)[0]);
    let down = THREE.iter().find(|id| !cluster.processes.contains_key(**id)).unwrap();

    let said = ask(&mut cluster, &["status", "--json"]);

    assert_eq!(said.code, 0, "{said:?}");
    let nodes = nodes(&said);
    let ids: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, THREE);
    for node in &nodes {
        assert_eq!(names(node), sorted(&NAMES), "{node}");
        let reachable = node["id"] != **down;
        assert_eq!(node["reachable"], reachable, "{node}");
        for name in ["role", "term", "round_trip_ms", "certificate_days", "version", "uptime_s", "peers"] {
            assert_eq!(node[name].is_null(), !reachable, "{name}: {node}");
        }
        assert_eq!(node["error"].is_null(), reachable, "{node}");
        let leads = node["id"] == leader.id.as_str();
        for name in ["token", "lease_ms"] {
            assert_eq!(node[name].is_null(), !leads, "{name}: {node}");
        }
        if reachable {
            assert_eq!(node["leader"], leader.id.as_str(), "{node}");
            assert_eq!(node["term"], leader.term, "{node}");
            assert_eq!(node["version"], env!("CARGO_PKG_VERSION"), "{node}");
            assert!(node["certificate_days"].as_i64().unwrap() > 300, "{node}");
            assert!(node["round_trip_ms"].as_f64().unwrap() > 0.0, "{node}");
            let peers = node["peers"].as_array().unwrap();
            assert_eq!(peers.len(), 2, "{node}");
            assert_eq!(names(&peers[0]), sorted(&PEER_NAMES), "{node}");
        }
        if leads {
            assert_eq!(node["token"], leader.token, "{node}");
            let lease = node["lease_ms"].as_f64().unwrap();
            assert!(lease > 0.0 && lease < CALM as f64, "{node}");
        }
    }
}

#[test]
fn the_names_in_json_are_documented_in_help_and_manual() {
    let help = leadelect(&["status", "--help"]).out;
    let manual = include_str!("../../src/manual/operations.md");
    for name in NAMES {
        let in_help = help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert!(in_help, "`{name}` is not in --help");
        assert!(manual.contains(&format!("| `{name}` |")), "`{name}` is not in operations.md");
    }
    for name in PEER_NAMES {
        assert!(help.contains(name) && manual.contains(&format!("`{name}`")), "`{name}`");
    }
}

#[test]
fn without_a_quorum_or_any_node_the_exit_code_is_1_and_the_reason_is_shown() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let leader = cluster.leader();
    for id in cluster.others(&leader.id) {
        cluster.kill(&id);
    }

    let alone = "nobody leads: 1 of 3 nodes can be reached, 2 are needed";
    let said = in_the_end(&mut cluster, &["status"], |said| said.out.contains(alone));
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["  unreachable: Connection refused"]);

    cluster.kill(&leader.id);
    let said = ask(&mut cluster, &["status"]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{said:?}");
    said.says(&["nobody leads: 0 of 3 nodes can be reached, 2 are needed"]);
    let json = ask(&mut cluster, &["status", "--json"]);
    assert_eq!(json.code, 1);
    assert!(nodes(&json).iter().all(|node| node["reachable"] == false), "{json:?}");
}

/// The followers may hear the leader, but the client cannot know that.
#[test]
fn a_leader_without_reachable_followers_is_not_enough() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let mut plan = cluster.plan.clone();
    for id in cluster.others(&leader.id) {
        plan.node(&id).2 = free_port();
    }
    let said = ask_as(&mut cluster, &plan, &["status"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["1 of 3 nodes agree, 2 are needed"]);
}

/// The config names one node of each of two clusters that have the same settings.
#[test]
fn two_leaders_at_once_count_as_no_leader() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let first = cluster.leader();
    let mut other = Cluster::planned(&THREE, CALM);
    other.plan.certs = cluster.plan.certs.clone();
    other.start_all();
    let mut second = other.leader();
    while second.id == first.id {
        ask(&mut other, &["resign"]);
        second = other.leader_after(&second);
    }
    let mut plan = cluster.plan.clone();
    *plan.node(&second.id) = other.plan.node(&second.id).clone();

    let said = ask_as(&mut cluster, &plan, &["status"]);

    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["each held a lease when asked"]);
    ask_as(&mut cluster, &plan, &["resign"]).fails(1, &["each held a lease when asked"]);
    assert_eq!((cluster.leader(), other.leader()), (first, second));
}

/// A node that is stopped accepts connections, and answers nothing.
#[test]
fn a_node_that_hangs_is_silent_and_does_not_hide_the_status_of_the_others() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    let hung = cluster.others(&leader.id)[0].clone();
    cluster.process(&hung).signal(Signal::STOP);

    let said = ask(&mut cluster, &["status", "--json"]);

    assert_eq!(said.code, 0, "{said:?}");
    for node in nodes(&said) {
        let hangs = node["id"] == hung.as_str();
        assert_eq!(node["reachable"], !hangs, "{node}");
        if hangs {
            let error = node["error"].as_str().unwrap();
            let hangs = error.starts_with("silent: ") && error.contains("TLS handshake");
            assert!(hangs, "{node}");
        }
    }
    cluster.process(&hung).signal(Signal::CONT);
    cluster.leader();
    cluster.judge(Claims::Stand);
}

#[test]
fn a_node_with_another_config_does_not_count_and_says_so() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.start("1");
    cluster.start("2");
    let mut plan = cluster.plan.clone();
    plan.cluster = "elsewhere".into();
    cluster.start_as("3", "3", &plan);
    for id in THREE {
        assert!(cluster.is_ready(id));
    }
    cluster.leader_of(&["1", "2"]);

    let said = ask(&mut cluster, &["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&["2 of 3 nodes agree", "refused by the node: different cluster: here elsewhere, there test"]);

    // A fourth node that no other node knows of. A majority of these four need not be a majority of those three.
    let mut plan = cluster.plan.clone();
    let mut fourth = plan.nodes[0].clone();
    (fourth.0, fourth.1) = ("4".into(), "localhost".into());
    plan.nodes.push(fourth);
    let said = ask_as(&mut cluster, &plan, &["status"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&[
        "different nodes: here [1, 2, 3, 4], there [1, 2, 3]",
        "refused by the node: this is node 1, not node 4",
    ]);
}

#[test]
fn watching_goes_on_until_ctrl_c_and_ends_with_the_last_exit_code() {
    let mut cluster = Cluster::started(&THREE, CALM);
    cluster.leader();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let mut watch =
        program().args(["status", "--watch", "--json", "--config"]).arg(config).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        let nodes: Vec<Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(nodes.len(), 3, "{line}");
    }

    let pid = Pid::from_raw(watch.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();

    let status = wait_for("the end of the watch", || watch.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_watch_names_a_damaged_config_once_and_goes_on_with_the_last_good_one() {
    let mut cluster = Cluster::started(&["1"], CALM);
    cluster.leader();
    let mut plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let mut watch = program()
        .args(["status", "--watch", "--json", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut reachable = || {
        let line = lines.next().unwrap().unwrap();
        let nodes: Vec<Value> = serde_json::from_str(&line).unwrap();
        nodes[0]["reachable"].as_bool().unwrap()
    };
    assert!(reachable());

    let half = plan.yaml();
    std::fs::write(&config, &half[..half.len() / 2]).unwrap();
    for _ in 0..3 {
        assert!(reachable());
    }
    // And the next good config counts again.
    plan.node("1").2 = free_port();
    std::fs::write(&config, plan.yaml()).unwrap();
    wait_for("a look with the new config", || (!reachable()).then_some(()));
    // The exit code of a look is known when the next one is shown.
    assert!(!reachable());

    let pid = Pid::from_raw(watch.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = watch.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    let said: Vec<&str> = err.lines().collect();
    assert_eq!((ended.status.code(), said.len()), (Some(1), 1), "{err}");
    let path = config.to_str().unwrap();
    let named = said[0].starts_with("leadelect: goes on as before: ") && said[0].contains(path);
    assert!(named, "{err}");
}

/// As in `leadelect status | head -1`.
#[test]
fn a_reader_that_goes_away_ends_every_command_in_silence() {
    let mut cluster = Cluster::planned(&["1"], CALM);
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--watch"],
        &["check"],
        &["check", "--offline"],
        &["completions", "bash"],
    ] {
        let mut program = program();
        program.args(command).stdout(unread()).stderr(Stdio::piped());
        if command[0] != "completions" {
            program.arg("--config").arg(&config);
        }
        let ended = program.output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), err.as_ref()), (Some(141), ""), "{command:?}");
    }
    let help = program().args(["status", "--help"]).stdout(unread()).output().unwrap();
    assert_eq!((help.status.code(), help.stderr.as_slice()), (Some(0), &b""[..]));
}

/// Something to write to that nobody reads.
fn unread() -> Stdio {
    let (ours, _) = UnixStream::pair().unwrap();
    OwnedFd::from(ours).into()
}

/// The exit code says what became of leadership, not of the line.
#[test]
fn a_command_that_has_done_its_work_says_so_by_its_exit_code_if_nobody_reads() {
    let mut cluster = Cluster::started(&["1"], SWIFT);
    cluster.leader();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let mut program = program();
    let ended = program.args(["transfer", "1", "--config"]).arg(config).stdout(unread()).output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{err}");
    assert!(err.starts_with("leadelect: cannot write to stdout"), "{err}");
}

/// Such a node needs no promises.
#[test]
fn the_lease_of_a_single_node_is_endless_in_the_table_and_null_in_json() {
    let mut cluster = Cluster::started(&["1"], CALM);
    let leader = cluster.leader();
    let said = ask(&mut cluster, &["status"]);
    let line = said.out.lines().nth(1).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let token = leader.token.to_string();
    assert_eq!(words[5..7], [token.as_str(), "endless"], "{said:?}");
    let said = ask(&mut cluster, &["status", "--json"]);
    let node = &nodes(&said)[0];
    assert_eq!(node["token"], leader.token, "{node}");
    assert!(node["lease_ms"].is_null(), "{node}");
}

#[test]
fn the_status_of_a_single_node_without_tls_needs_no_certificate() {
    let mut cluster = Cluster::planned(&["1"], CALM);
    cluster.plan.certs = None;
    cluster.start_all();
    cluster.leader();
    let said = ask(&mut cluster, &["status", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(nodes(&said)[0]["certificate_days"].is_null(), "{said:?}");
    let mut plan = cluster.plan.clone();
    plan.certs = Some(cluster.ca.sign("shared", &["127.0.0.1"]));
    let config = cluster.write(&plan);
    let said = with_config(&config, &["status"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["insecure: true"]);
}
