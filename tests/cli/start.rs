//! `leadelect check --id`: what would make the start of a node fail is an error, and in the same words.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use leadelect::{Config, Node};

use super::cluster::{CALM, Cluster, Plan};
use super::program::{Said, with_config};

/// A cluster whose nodes do not run, and the path of its config.
fn planned(change: impl FnOnce(&mut Plan)) -> (Cluster, PathBuf) {
    let mut cluster = Cluster::planned(&["1", "2", "3"], CALM);
    change(&mut cluster.plan);
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    (cluster, config)
}

fn check(config: &Path) -> Said {
    with_config(config, &["check", "--offline", "--id", "1"])
}

#[track_caller]
fn errors(said: &Said) -> Vec<&str> {
    said.out.lines().filter_map(|line| line.strip_prefix("error    ")).collect()
}

/// What the start itself says.
fn start_error(config: &Path) -> String {
    let config = Config::from_yaml_file(config).and_then(|config| config.for_node("1")).unwrap();
    Node::start(config).expect_err("no start").to_string()
}

#[test]
fn what_makes_the_start_fail_is_an_error_of_check_in_the_same_words() {
    type Slip = fn(&Path, &mut Plan);
    let slips: [(Slip, &str); 7] = [
        (|folder, plan| plan.state_dir = Some(folder.join("file")), "cannot create the folder of"),
        (|folder, plan| plan.state_dir = Some(folder.join("file/deeper")), "cannot create the folder of"),
        (|_, plan| plan.state_dir = Some("/proc/leadelect".into()), "cannot create the folder of /proc/leadelect"),
        (|folder, plan| plan.state_dir = Some(folder.join("damaged")), "neither of its two records is whole"),
        (|folder, plan| plan.state_dir = Some(folder.join("strange")), "strange/node-1.vote: Is a directory"),
        (|_, plan| plan.node("1").3 = "listen: 192.0.2.1".into(), "expected an address of this host"),
        (|_, plan| plan.node("1").1 = "no-such-host.invalid".into(), "cannot listen on no-such-host.invalid"),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("damaged")).unwrap();
    fs::create_dir_all(folder.path().join("strange/node-1.vote")).unwrap();
    fs::write(folder.path().join("damaged/node-1.vote"), "no vote").unwrap();
    for (slip, part) in slips {
        let (_cluster, config) = planned(|plan| {
            slip(folder.path(), plan);
            plan.certs = None;
        });
        let said = check(&config);
        assert_eq!((said.code, errors(&said)), (1, vec![start_error(&config).as_str()]), "{said:?}");
        said.says(&[part]);
    }
}

#[test]
fn a_port_that_another_process_has_is_an_error_and_so_is_each_fault_beside_it() {
    let (cluster, config) = planned(|plan| plan.state_dir = Some("/proc/leadelect".into()));
    let _other = TcpListener::bind(("127.0.0.1", cluster.plan.nodes[0].2)).unwrap();
    let said = check(&config);
    assert_eq!((said.code, errors(&said).len()), (1, 2), "{said:?}");
    said.says(&["cannot create the folder of", ": another process does; stop it, or give this node another port"]);
}

#[test]
fn a_check_before_the_first_start_leaves_nothing_behind_and_spoils_no_start() {
    let (mut cluster, config) = planned(|plan| {
        let folder = plan.state_dir.as_ref().unwrap().join("deeper/still");
        plan.state_dir = Some(folder);
    });
    let state = cluster.folder().join("state");
    let said = check(&config);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&["ok       node 1 can start on this host"]);
    assert!(!state.exists());

    fs::create_dir_all(state.join("deeper/still")).unwrap();
    assert_eq!(check(&config).code, 0);
    assert_eq!(fs::read_dir(state.join("deeper/still")).unwrap().count(), 0);

    cluster.start_all();
    cluster.leader();
}

#[test]
fn a_node_that_runs_already_has_its_port_and_its_state_and_that_is_no_error() {
    for stateless in [false, true] {
        let mut cluster = Cluster::planned(&["1", "2", "3"], CALM);
        if stateless {
            cluster.plan.state_dir = None;
        }
        cluster.start_all();
        cluster.leader();
        let plan = cluster.plan.clone();
        let said = check(&cluster.write(&plan));
        assert_eq!((said.code, errors(&said).len()), (0, 0), "{said:?}");
        said.says(&["ok       node 1 runs on this host"]);
        assert_eq!(said.out.contains("runs without `state_dir`"), stateless, "{said:?}");
    }
}

#[test]
fn what_a_start_would_warn_of_is_a_warning_of_check() {
    let (cluster, config) = planned(|_| ());
    let state = cluster.plan.state_dir.clone().unwrap();
    fs::create_dir(&state).unwrap();
    let file = state.join("node-1.vote");
    fs::write(&file, "").unwrap();
    let said = check(&config);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&["warning ", "node-1.vote was there and is empty"]);
    assert_eq!(fs::read(&file).unwrap(), b"", "a check writes no vote");
}
