//! One supervisor whose node is the whole cluster: exit codes, output, signals.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::process::{Process, wait_for};
use super::rig;

pub(crate) struct Alone {
    _folder: TempDir,
    pub(crate) process: Process,
}

/// `leadelect run OPTIONS -- COMMAND`
pub(crate) fn start(options: &[&str], command: &[&str]) -> Alone {
    start_under(&[], options, command)
}

/// As [`start`], with the words of another program before it, which becomes `leadelect`.
pub(crate) fn start_under(program: &[&str], options: &[&str], command: &[&str]) -> Alone {
    let folder = tempfile::tempdir().unwrap();
    // Another user may read the config.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let run = rig::run(&rig::alone(folder.path()), "1");
    let words = program.iter().map(AsRef::as_ref).chain([run.get_program()]).chain(run.get_args());
    let words: Vec<&OsStr> = words.collect();
    let mut wrapped = Command::new(words[0]);
    wrapped.args(&words[1..]).envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.args(options).arg("--").args(command);
    Alone { process: Process::start("supervisor", wrapped), _folder: folder }
}

impl Alone {
    /// Its exit code, and all that it said on its error output.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let status = self.process.wait_for_end();
        let log = self.process.see(|record| record.log.join("\n"));
        assert!(!log.contains("panicked"), "{log}");
        (status.code(), log)
    }
}

#[track_caller]
fn ends_with(code: i32, options: &[&str], command: &[&str]) -> String {
    let (found, log) = start(options, command).end();
    assert_eq!(found, Some(code), "{log}");
    log
}

const NEVER: [&str; 2] = ["--restart", "never"];

#[test]
fn with_never_the_exit_code_is_the_commands() {
    ends_with(0, &NEVER, &["true"]);
    let log = ends_with(7, &NEVER, &["sh", "-c", "exit 7"]);
    assert!(log.contains("the command ended: exit code 7"), "{log}");
}

#[test]
fn with_never_a_command_killed_by_a_signal_gives_128_and_the_signal() {
    let log = ends_with(137, &NEVER, &["sh", "-c", "kill -9 $$"]);
    assert!(log.contains("the command ended: signal 9"), "{log}");
}

#[test]
fn a_command_that_is_not_found_is_named_and_gives_127() {
    let log = ends_with(127, &NEVER, &["/nowhere/at-all"]);
    assert!(log.contains("cannot run \"/nowhere/at-all\": No such file"), "{log}");
}

#[test]
fn a_command_that_cannot_be_executed_is_named_and_gives_126() {
    let log = ends_with(126, &NEVER, &["/etc/passwd"]);
    assert!(log.contains("cannot run \"/etc/passwd\": Permission denied"), "{log}");
}

#[test]
fn with_on_failure_a_failed_command_runs_again_until_it_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let script = format!("echo >> {0}; [ $(wc -l < {0}) -ge 3 ]", count.display());
    let options = ["--restart", "on-failure", "--hold-off", "10ms"];
    ends_with(0, &options, &["sh", "-c", &script]);
    assert_eq!(fs::read_to_string(count).unwrap().len(), 3);
}

#[test]
fn a_wrong_id_a_wrong_time_and_a_missing_command_are_refused_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = rig::alone(folder.path());
    let refused = |id, options: &[&str], says: &str| {
        let mut run = rig::run(&config, id);
        let output = run.args(options).stdin(Stdio::null()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains(says), "{log}");
    };
    refused("7", &["--", "true"], "found no node \"7\"");
    refused("1", &["--drain-time", "soon", "--", "true"], "expected a time such as");
    refused("1", &["--drain-time", "50ms", "--", "true"], "use more than 50ms");
    refused("1", &["--drain-time", "249ms", "--", "true"], "at most 248.");
    refused("1", &["--stop-signal", "STOP", "--", "true"], "expected TERM, INT");
    refused("1", &[], "<COMMAND>");
}

#[test]
fn input_output_and_error_output_are_passed_through() {
    let script = "read line; echo \"out $line\"; echo \"err $line\" >&2";
    let mut alone = start(&NEVER, &["sh", "-c", script]);
    alone.process.command("hello");
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("err hello"), "{log}");
    alone.process.see(|record| assert_eq!(record.said, ["out hello"]));
}

#[test]
fn arguments_reach_the_command_as_they_are() {
    let command = ["printf", "%s|", "--id", "a b", "", "-x", "--", "$HOME"];
    let mut alone = start(&NEVER, &command);
    assert_eq!(alone.end().0, Some(0));
    alone.process.see(|record| assert_eq!(record.said, ["--id|a b||-x|--|$HOME|"]));
}

#[test]
fn sigterm_and_sigint_end_the_command_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let mut alone = start(&[], &["sh", "-c", script]);
        alone.process.wait_until_it_mentions(&["ready"]);
        alone.process.signal(signal);
        let (code, log) = alone.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("the command ended: exit code 3"), "{log}");
        alone.process.see(|record| assert_eq!(record.said, ["ready", "told"]));
    }
}

#[test]
fn the_stop_signal_is_the_one_that_was_asked_for() {
    let script = "trap 'echo told; exit 0' QUIT; trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut alone = start(&["--stop-signal", "QUIT"], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["ready"]);
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
    alone.process.see(|record| assert_eq!(record.said, ["ready", "told"]));
}

const DEAF: [&str; 3] = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"];

#[test]
fn a_command_that_does_not_end_in_its_time_is_killed() {
    let mut alone = start(&["--stop-time", "200ms"], &DEAF);
    alone.process.wait_until_it_mentions(&["ready"]);
    alone.process.signal(Signal::TERM);
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the command ended: signal 9"), "{log}");
}

#[test]
fn a_second_sigterm_kills_the_command() {
    let mut alone = start(&["--stop-time", "3600s"], &DEAF);
    alone.process.wait_until_it_mentions(&["ready"]);
    alone.process.signal(Signal::TERM);
    // Two at once would be one.
    wait_for("the end", || {
        alone.process.signal(Signal::TERM);
        (!alone.process.is_running()).then_some(())
    });
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the command ended: signal 9"), "{log}");
}

/// The lease is renewed all the time, so its end is not what ends the command.
#[test]
fn a_guard_that_is_stopped_does_not_keep_the_supervisor_from_ending() {
    for (stop_time, signals) in [("200ms", 1), ("3600s", 2)] {
        let script = "echo $PPID; echo ready; while :; do sleep 0.05; done";
        let mut alone = start(&["--stop-time", stop_time], &["sh", "-c", script]);
        alone.process.wait_until_it_mentions(&["ready"]);
        let guard = alone.process.see(|record| record.said[0].parse().unwrap());
        kill_process(Pid::from_raw(guard).unwrap(), Signal::STOP).unwrap();
        alone.process.signal(Signal::TERM);
        wait_for("the end", || {
            if signals > 1 && alone.process.is_running() {
                // Two at once would be one.
                alone.process.signal(Signal::TERM);
            }
            (!alone.process.is_running()).then_some(())
        });
        let (code, log) = alone.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("kills the guard of the command"), "{log}");
    }
}

#[test]
fn a_guard_that_is_stopped_is_found_and_its_command_replaced() {
    let script = "echo $PPID; echo ready; while :; do sleep 0.05; done";
    let mut alone = start(&["--hold-off", "10ms"], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["ready"]);
    let guard = alone.process.see(|record| record.said[0].parse().unwrap());
    kill_process(Pid::from_raw(guard).unwrap(), Signal::STOP).unwrap();
    wait_for("another command", || {
        let said = alone.process.see(|record| record.said.len());
        (said >= 4).then_some(())
    });
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
}

#[test]
fn other_signals_are_passed_on() {
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; trap 'echo usr2' USR2; echo ready; \
                  while :; do sleep 0.05; done";
    // Without a terminal: with one, SIGHUP means that it is gone. And whoever runs the tests may ignore it.
    let mut alone = start_under(&["env", "--default-signal=HUP", "setsid"], &[], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["ready"]);
    for (signal, word) in [(Signal::HUP, "hup"), (Signal::USR1, "usr1"), (Signal::USR2, "usr2")] {
        alone.process.signal(signal);
        alone.process.wait_until_it_mentions(&[word]);
    }
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
}

#[test]
fn a_hangup_that_is_ignored_from_the_start_is_not_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = rig::run(&rig::alone(folder.path()), "1");
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let mut nohup = std::process::Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(run.get_program())
        .args(run.get_args())
        .args(["--", "sh", "-c", script])
        .env("RUST_LOG", "info");
    let mut process = Process::start("supervisor", nohup);
    process.wait_until_it_mentions(&["ready"]);
    process.signal(Signal::HUP);
    process.signal(Signal::USR1);
    process.wait_until_it_mentions(&["usr1"]);
    let heard = process.see(|record| record.said.iter().any(|line| line.contains("hup")));
    assert!(!heard, "{}", process.dump());
    process.signal(Signal::TERM);
    assert_eq!(process.wait_for_end().code(), Some(0));
}

#[test]
fn the_help_says_what_every_exit_code_means() {
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_leadelect"));
    let output = run.args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["Exit codes:", "128+N", "126, 127", "125", "LEADELECT_TOKEN", "--hold-off"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(!help.contains("guard-exec"), "{help}");
}
