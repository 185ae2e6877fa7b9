//! What is asked, told and noticed while a command runs.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::alone::{start, start_under};
use super::process::wait_for;

#[test]
fn a_process_that_left_the_process_group_is_asked_to_stop_at_once() {
    let stray = "trap 'echo stray told; exit 0' TERM; echo stray ready; while :; do sleep 0.05; done";
    let script = "setsid sh -c \"$STRAY\" & while :; do sleep 0.05; done";
    // So long that the test fails if the stray is killed instead.
    let env = format!("STRAY={stray}");
    let mut alone = start_under(&["env", &env], &["--stop-time", "3600s"], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["stray ready"]);
    alone.process.signal(Signal::TERM);
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    alone.process.see(|record| assert_eq!(record.said, ["stray ready", "stray told"]));
}

#[test]
fn what_a_command_leaves_behind_in_another_group_is_asked_to_stop() {
    let stray = "trap 'echo stray told; exit 0' TERM; echo stray ready; while :; do sleep 0.05; done";
    let env = format!("STRAY={stray}");
    let script = "setsid sh -c \"$STRAY\" & read line";
    let options = ["--restart", "never", "--stop-time", "3600s"];
    let mut alone = start_under(&["env", &env], &options, &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["stray ready"]);
    alone.process.command("end");
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    alone.process.see(|record| assert_eq!(record.said, ["stray ready", "stray told"]));
}

/// Of a new terminal: the end that a terminal emulator holds, and the name of the other.
fn terminal() -> (OwnedFd, String) {
    let emulator = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&emulator).unwrap();
    unlockpt(&emulator).unwrap();
    let name = ptsname(&emulator, Vec::new()).unwrap();
    (emulator, name.into_string().unwrap())
}

#[test]
fn when_its_terminal_is_closed_everything_ends_in_order() {
    let (emulator, name) = terminal();
    // The leader of a session that opens a terminal gets it as its controlling terminal.
    let own = format!("exec 9<>{name} && exec \"$0\" \"$@\"");
    let script = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let start = ["env", "--default-signal=HUP", "setsid", "sh", "-c", &own];
    let mut alone = start_under(&start, &[], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["ready"]);
    drop(emulator);
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    alone.process.see(|record| assert_eq!(record.said, ["ready", "told"]));
}

const IDLE: &str = "echo $$; while :; do sleep 0.05; done";

#[test]
fn a_command_that_a_signal_has_stopped_is_told_in_the_log_and_so_is_that_it_goes_on() {
    let mut alone = start(&[], &["sh", "-c", IDLE]);
    let command = wait_for("its id", || alone.process.see(|record| record.said.first()?.parse().ok()));
    let command = rustix::process::Pid::from_raw(command).unwrap();
    rustix::process::kill_process(command, Signal::STOP).unwrap();
    alone.process.wait_until_it_mentions(&["WARN", "signal 19 has stopped the command"]);
    rustix::process::kill_process(command, Signal::CONT).unwrap();
    alone.process.wait_until_it_mentions(&["the command goes on after a signal had stopped it"]);
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
}

#[test]
fn with_a_limit_a_command_that_a_signal_has_stopped_counts_as_silent_and_a_running_one_does_not() {
    let script = "echo \"begins $LEADELECT_TOKEN\"; sleep 1.5; kill -STOP $$; while :; do sleep 0.05; done";
    let mut alone = start(&["--max-silence", "1s", "--hold-off", "10ms"], &["sh", "-c", script]);
    alone.process.wait_until_it_mentions(&["signal 19 has stopped the command"]);
    // A node alone leads again at once.
    wait_for("another command", || {
        alone.process.see(|record| record.said.iter().filter(|line| line.starts_with("begins")).nth(1).map(drop))
    });
    let log = alone.process.see(|record| record.log.join("\n"));
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in {log}"));
    assert!(at("signal 19 has stopped") < at("stops the command"), "{log}");
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
}

#[test]
fn a_command_that_ends_at_once_starts_again_after_longer_and_longer_pauses() {
    for end in ["exit 1", "exit 0"] {
        let mut alone = start(&["--longest-pause", "700ms"], &["sh", "-c", end]);
        alone.process.wait_until_it_mentions(&["ended at once again", "starts it in 500ms"]);
        alone.process.wait_until_it_mentions(&["ended at once again", "starts it in 700ms"]);
        let starts = |log: &[String]| log.iter().filter(|line| line.contains("starts the command")).count();
        let log = alone.process.see(|record| record.log.clone());
        assert_eq!(starts(&log), 3, "{log:#?}");
        alone.process.signal(Signal::TERM);
        assert_eq!(alone.end().0, Some(0));
    }
}

#[test]
fn a_command_that_runs_long_enough_starts_again_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let script = format!("echo >> {0}; sleep 0.3; [ $(wc -l < {0}) -ge 4 ]", count.display());
    let mut alone = start(&["--restart", "on-failure", "--hold-off", "100ms"], &["sh", "-c", &script]);
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(fs::read_to_string(count).unwrap().len(), 4);
    assert!(!log.contains("ended at once"), "{log}");
}
