//! The examples that tell a story and end: each is run, and its story read.

use std::process::Command;

use super::cluster::built_example;
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
fn fencing_refuses_the_leader_that_was_stopped_and_nobody_else() {
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
