//! The examples that tell a story, and the program of README.md. Each test runs one and reads what it prints.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::certs::{Ca, THIS_HOST};
use super::cluster::{Plan, SWIFT, built_example};
use super::process::Process;

/// Runs an example to its end, and returns what it said.
fn told(name: &str) -> Vec<String> {
    let mut program = Process::start(name, Command::new(built_example(name)));
    let status = program.wait_for_end();
    assert!(status.success(), "{status}: {}", program.dump());
    program.see(|record| record.said.clone())
}

#[test]
fn embed_elects_a_leader_and_after_its_stop_another() {
    let said = told("embed");
    let acts: Vec<(&str, u64)> = said
        .iter()
        .filter_map(|line| {
            let (node, rest) = line.strip_prefix("node ")?.split_once(" acts with token ")?;
            Some((node, rest.strip_suffix(", and is stopped")?.parse().ok()?))
        })
        .collect();
    let [(first, old), (next, new)] = acts[..] else {
        panic!("expected two leaders: {said:?}");
    };
    assert!(first != next && old < new, "{said:?}");
}

#[test]
fn fencing_refuses_only_the_leader_that_was_stopped() {
    let said = told("fencing");
    let first = said[0].split(' ').nth(1).expect("node ID").to_owned();
    let of_first = format!("node {first} ");
    let about = |what: &str| -> Vec<bool> {
        let lines = said.iter().filter(|line| line.contains(what));
        lines.map(|line| line.starts_with(&of_first)).collect()
    };
    assert_eq!(about(" is stopped"), [true], "{said:?}");
    assert_eq!(about(" was refused: token "), [true], "{said:?}");
    let writes = about(" wrote with token ");
    assert!(!writes.is_empty() && !writes.contains(&true), "{said:?}");
}

#[test]
fn arguments_of_any_bytes_cause_no_panic() {
    let odd = OsStr::from_bytes(b"/no/such/\xff");
    for (name, arguments) in [
        ("node", &[OsStr::new("1"), "--config".as_ref(), odd][..]),
        ("node", &[odd]),
        ("singleton", &["1".as_ref(), odd]),
        ("singleton", &[odd]),
        ("singleton", &["1".as_ref(), "a".as_ref(), odd]),
        ("demo", &[odd]),
        ("demo", &["--node".as_ref(), "1".as_ref(), "--config".as_ref(), odd]),
        ("fencing", &["1".as_ref(), odd]),
        ("fencing", &[odd, odd]),
    ] {
        let ended = Command::new(built_example(name)).args(arguments).output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(matches!(ended.status.code(), Some(1 | 2)), "{name} {arguments:?}: {ended:?}");
        assert!(!err.is_empty() && !err.contains("panicked"), "{name} {arguments:?}: {err}");
    }
}

/// It reads `cfg.yaml` in its folder. Here that is a cluster of one node, which is a quorum.
#[test]
fn the_program_of_the_readme_leads_and_says_its_token() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let mut plan = Plan::new(Some(ca.sign("shared", &THIS_HOST)), &["1"], SWIFT);
    plan.state_dir = Some("state".into());
    std::fs::write(folder.path().join("cfg.yaml"), plan.yaml()).unwrap();
    let mut command = Command::new(built_example("readme"));
    command.current_dir(folder.path());
    let program = Process::start("readme", command);
    program.wait_until_it_mentions(&["on this node only, with token "]);
}
