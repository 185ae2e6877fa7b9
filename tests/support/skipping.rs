//! Whether a skipped test is seen.

use std::env;
use std::process::{Command, Output};

use super::skip::{self, NO_SKIP};

/// Not a test but a program, which the tests start.
#[test]
#[ignore = "a program that other tests start"]
fn run() {
    skip::because("needs a moon");
}

/// Runs the test above in the usual way: with its output captured.
fn skipping(change: impl FnOnce(&mut Command) -> &mut Command) -> Output {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args(["skipping::run", "--exact", "--ignored"]).env_remove(NO_SKIP);
    change(&mut command).output().expect("it starts")
}

#[test]
fn a_skipped_test_is_seen_even_if_its_output_is_captured() {
    let output = skipping(|command| command);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().any(|line| line == "SKIPPED skipping::run: needs a moon"), "{said}");
}

#[test]
fn a_skipped_test_fails_where_every_test_has_to_run() {
    let output = skipping(|command| command.env(NO_SKIP, "1"));
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("skipped: needs a moon"), "{said}");
}

#[test]
fn a_skipped_test_that_runs_alone_is_named_by_its_place() {
    let output = skipping(|command| command.arg("--test-threads=1"));
    let said = String::from_utf8_lossy(&output.stderr);
    let named = |line: &str| line.starts_with("SKIPPED ") && line.contains("skipping") && line.ends_with("a moon");
    assert!(said.lines().any(named), "{said}");
}
