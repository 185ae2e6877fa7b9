//! The example program: it starts, serves and refuses as a user would see it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use super::certs::{Ca, THIS_HOST};
use super::cluster::{Cluster, Plan, SWIFT, built_example, example};
use super::process::{Process, wait_for};
use super::skip;

/// A program that was started with these arguments.
fn start(arguments: &[&OsStr]) -> Process {
    let mut command = Command::new(example());
    command.args(arguments).env("RUST_LOG", "info").env("RUST_BACKTRACE", "0");
    Process::start("program", command)
}

/// Starts a program that cannot start, and checks its exit code and what it says on stderr.
#[track_caller]
fn refuses(arguments: &[&OsStr], code: i32, says: &[&str]) {
    let mut program = start(arguments);
    let status = program.wait_for_end();
    let log = program.see(|record| record.log.join("\n"));
    assert_eq!(status.code(), Some(code), "{log}");
    for part in says {
        assert!(log.contains(part), "stderr does not say {part:?}:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[track_caller]
fn refuses_node_1(config: &Path, says: &[&str]) {
    refuses(&["1".as_ref(), "--config".as_ref(), config.as_ref()], 1, says);
}

fn planned() -> Cluster {
    Cluster::planned(&["1", "2", "3"], SWIFT)
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn without_an_id_it_shows_its_usage() {
    refuses(&[], 2, &["expected a node id, found none", "usage: node ID"]);
}

#[test]
fn an_unknown_option_is_named_beside_the_usage() {
    let arguments = ["1".as_ref(), "--conifg".as_ref()];
    refuses(&arguments, 2, &["found \"--conifg\"", "usage: node ID"]);
}

#[test]
fn a_second_id_is_named_beside_the_usage() {
    refuses(&["1".as_ref(), "2".as_ref()], 2, &["found \"2\"", "usage: node ID"]);
}

#[test]
fn an_option_without_its_value_is_named_beside_the_usage() {
    let arguments = ["1".as_ref(), "--config".as_ref()];
    refuses(&arguments, 2, &["expected a file after --config", "usage: node ID"]);
}

#[test]
fn a_second_config_is_named_beside_the_usage() {
    let arguments = ["1", "--config", "a.yaml", "--config", "b.yaml"].map(OsStr::new);
    refuses(&arguments, 2, &["found --config twice", "usage: node ID"]);
}

#[test]
fn help_shows_the_usage_on_stdout_and_exits_with_0() {
    for arguments in [&["--help"][..], &["1", "-h"]] {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let mut program = start(&arguments);
        let status = program.wait_for_end();
        assert!(status.success(), "{status}: {}", program.dump());
        program.see(|record| {
            assert!(record.said[0].starts_with("usage: node ID"), "{record:?}");
            assert!(record.log.is_empty(), "{record:?}");
        });
    }
}

fn pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// The signal comes as soon as the program catches it. It may have begun to start, or may just have started.
#[test]
fn a_program_that_gets_a_signal_while_it_starts_ends() {
    let mut cluster = planned();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = start(&["1".as_ref(), "--config".as_ref(), config.as_ref()]);
        let status = format!("/proc/{}/status", program.id());
        wait_for("the program to catch signals", || {
            let status = std::fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            (caught >> (signal.as_raw() - 1) & 1 == 1).then_some(())
        });
        program.signal(signal);
        let status = program.wait_for_end();
        assert!(status.success(), "{status}: {}", program.dump());
    }
}

/// To open it would wait until somebody writes into it.
#[test]
fn a_config_that_is_a_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cfg.yaml");
    pipe(&config);
    refuses_node_1(&config, &["cfg.yaml: found a pipe", "expected a file"]);
}

#[test]
fn a_state_that_is_a_pipe_is_refused_at_once() {
    let mut cluster = planned();
    let plan = cluster.plan.clone();
    let file = plan.state_dir.clone().unwrap().join("node-1.vote");
    std::fs::create_dir_all(plan.state_dir.as_ref().unwrap()).unwrap();
    pipe(&file);
    let config = cluster.write(&plan);
    refuses_node_1(&config, &["is a pipe", path_text(&file)]);
}

#[test]
fn an_unknown_id_is_refused_with_the_known_ones() {
    let mut cluster = planned();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let arguments = ["7".as_ref(), "--config".as_ref(), config.as_ref()];
    refuses(&arguments, 1, &["found no node \"7\"", "1, 2 or 3", path_text(&config)]);
}

#[test]
fn a_missing_config_is_named() {
    let cluster = planned();
    let config = cluster.folder().join("nowhere.yaml");
    refuses_node_1(&config, &[path_text(&config), "cannot be read"]);
}

#[test]
fn a_missing_certificate_is_named() {
    let mut cluster = planned();
    let mut plan = cluster.plan.clone();
    let missing = cluster.folder().join("missing.pem");
    plan.certs.as_mut().unwrap().cert.clone_from(&missing);
    let config = cluster.write(&plan);
    refuses_node_1(&config, &[path_text(&missing), "certs.server.cert", "cannot be read"]);
}

#[test]
fn a_certificate_of_another_host_is_refused_with_both_names() {
    let mut cluster = planned();
    let mut plan = cluster.plan.clone();
    plan.certs = Some(cluster.ca.sign("elsewhere", &["elsewhere.example"]));
    let config = cluster.write(&plan);
    refuses_node_1(&config, &["elsewhere.example", "127.0.0.1"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let mut cluster = planned();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let address = format!("127.0.0.1:{}", plan.nodes[0].2);
    let _taken = TcpListener::bind(&address).unwrap();
    refuses_node_1(&config, &[&address, "another process does"]);
}

#[test]
fn a_state_that_is_locked_is_named() {
    let mut cluster = planned();
    cluster.start("1");
    assert!(cluster.is_ready("1"));
    let mut plan = cluster.plan.clone();
    let file = plan.state_dir.clone().unwrap().join("node-1.vote");
    // Another port, so that only the state prevents the start.
    plan.node("1").2 = super::cluster::free_port();
    let config = cluster.write(&plan);
    refuses_node_1(&config, &["another process uses this state", path_text(&file)]);
}

/// The classic start: the script's certificates, a config file, three terminals.
#[test]
fn three_programs_with_certificates_of_the_script_elect_a_leader_and_end_by_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("gen_cert.sh");
    std::fs::copy(script, folder.path().join("gen_cert.sh")).unwrap();
    let made = Command::new("sh").arg(folder.path().join("gen_cert.sh")).output();
    let made = made.unwrap();
    if !made.status.success() && String::from_utf8_lossy(&made.stderr).contains("needs the openssl") {
        return skip::because("needs openssl");
    }
    assert!(made.status.success(), "{made:?}");
    let mut plan = Plan::new(Some(Ca::new().sign("unused", &THIS_HOST)), &["1", "2", "3"], SWIFT);
    let certs = plan.certs.as_mut().unwrap();
    // Relative paths count from the config's folder.
    certs.ca = "certs/ca-cert.pem".into();
    certs.cert = "certs/server-cert.pem".into();
    certs.key = "certs/server-key.pem".into();
    let config = folder.path().join("cfg.yaml");
    std::fs::write(&config, plan.yaml()).unwrap();

    let mut programs: Vec<Process> =
        ["1", "2", "3"].map(|id| start(&[id.as_ref(), "--config".as_ref(), config.as_ref()])).into();

    let leader = wait_for("a leader", || {
        programs.iter().position(|program| program.see(|record| record.mentions(&["lease won"])))
    });
    let id = (leader + 1).to_string();
    for (at, program) in programs.iter().enumerate().filter(|(at, _)| *at != leader) {
        let heard = format!("leader={id}");
        program.wait_until_it_mentions(&[&format!("node {}: follower", at + 1), &heard]);
    }
    for program in &programs {
        program.signal(Signal::TERM);
    }
    for program in &mut programs {
        let status = program.wait_for_end();
        assert!(status.success(), "{status}: {}", program.dump());
        assert!(!program.see(|record| record.mentions(&["panicked"])), "{}", program.dump());
    }
}

/// The job prints its token with every step, so that the order can be seen.
#[test]
fn the_singleton_job_runs_on_one_node_and_moves_to_another_when_that_node_stops() {
    let mut cluster = planned();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let program = built_example("singleton");
    let mut programs: Vec<Process> = ["1", "2", "3"]
        .map(|id| {
            let mut command = Command::new(&program);
            command.arg(id).arg(&config).arg("20");
            Process::start(id, command)
        })
        .into();
    let runs_job = |program: &Process| program.see(|record| record.mentions(&["job step=3"]));
    let stopped_first = wait_for("the job", || programs.iter().position(runs_job));

    programs[stopped_first].signal(Signal::TERM);

    let status = programs[stopped_first].wait_for_end();
    assert!(status.success(), "{status}: {}", programs[stopped_first].dump());
    wait_for("the job on another node", || {
        let mut others = programs.iter().enumerate();
        others.find(|(at, program)| *at != stopped_first && runs_job(program)).map(drop)
    });
    let mut tokens = Vec::new();
    for mut program in programs {
        if program.is_running() {
            program.signal(Signal::TERM);
            let status = program.wait_for_end();
            assert!(status.success(), "{status}: {}", program.dump());
        }
        let told = program.see(|record| record.said.clone());
        let token = |line: &String| line.rsplit_once("token=").map(|(_, token)| token.to_owned());
        let mut own: Vec<String> = told.iter().filter_map(token).collect();
        own.dedup();
        tokens.extend(own);
    }
    let all = tokens.len();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), all, "no two nodes ran the job with one token");
}
