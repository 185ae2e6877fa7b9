//! What a host allows, and what an earlier run has left on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::alone::{start, start_under};
use super::exclusion::guard_of;
use super::process::wait_for;
use super::rig::{self, Rig};
use super::skip;

const STATUS: [&str; 3] = ["sh", "-c", "grep NoNewPrivs /proc/self/status"];

#[test]
fn a_command_cannot_gain_privileges_unless_that_is_allowed() {
    for (more, flag) in [(None, "1"), (Some("--allow-privilege-gain"), "0")] {
        let mut options = vec!["--restart", "never"];
        options.extend(more);
        let mut alone = start(&options, &STATUS);
        assert_eq!(alone.end().0, Some(0));
        alone.process.see(|record| assert_eq!(record.said, [format!("NoNewPrivs:\t{flag}")]));
    }
}

/// The words that make the next program run as a user without privileges.
const AS_NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// A copy of `setpriv` that makes its user root, if that works here.
fn become_root(folder: &Path) -> Option<String> {
    let program = folder.join("become-root");
    fs::copy("/usr/bin/setpriv", &program).ok()?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let program = program.to_str().unwrap().to_owned();
    let mut id = Command::new(AS_NOBODY[0]);
    id.args(&AS_NOBODY[1..]).args([&program, "--reuid=0", "--", "id", "-u"]);
    let output = id.output().ok()?;
    (output.stdout == b"0\n").then_some(program)
}

/// Whether the program can be executed by a user without privileges.
fn nobody_may_execute(program: &str) -> bool {
    let mut version = Command::new(AS_NOBODY[0]);
    version.args(&AS_NOBODY[1..]).args([program, "--version"]);
    version.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_process_that_may_not_be_killed_is_an_error_in_the_log_and_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    if !geteuid().is_root() || !nobody_may_execute(env!("CARGO_BIN_EXE_leadelect")) {
        return skip::because("it takes root, and a program that every user may execute");
    }
    let Some(program) = become_root(folder.path()) else {
        return skip::because("set-user-ID programs do not work in the folder for temporary files");
    };
    let command = [&program, "--reuid=0", "--", "sh", "-c", "echo $$; id -u; exec sleep 900"];
    let mut alone = start_under(&AS_NOBODY, &["--allow-privilege-gain", "--stop-time", "100ms"], &command);
    wait_for("its ids", || alone.process.see(|record| (record.said.len() >= 2).then_some(())));
    let pid = alone.process.see(|record| record.said[0].parse().unwrap());
    alone.process.see(|record| assert_eq!(record.said[1], "0"));
    alone.process.signal(Signal::TERM);
    wait_for("the end", || (!alone.process.is_running()).then_some(()));
    // It holds the outputs, too.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("ERROR") && log.contains(&format!("may not kill {pid}")), "{log}");
    assert!(log.contains("may act beside the next leader"), "{log}");
}

#[test]
fn without_more_privileges_a_set_user_id_command_is_killed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    if !geteuid().is_root() || !nobody_may_execute(env!("CARGO_BIN_EXE_leadelect")) {
        return skip::because("it takes root, and a program that every user may execute");
    }
    let Some(program) = become_root(folder.path()) else {
        return skip::because("set-user-ID programs do not work in the folder for temporary files");
    };
    let command = [&program, "--", "sh", "-c", "trap '' TERM; id -u; while :; do sleep 0.05; done"];
    let mut alone = start_under(&AS_NOBODY, &["--stop-time", "100ms"], &command);
    alone.process.wait_until_it_mentions(&["65534"]);
    alone.process.signal(Signal::TERM);
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the command ended: signal 9") && !log.contains("may not kill"), "{log}");
}

#[test]
fn a_proc_of_another_pid_namespace_is_refused_at_the_start() {
    let namespace = ["--pid", "--fork", "--"];
    let works = Command::new("unshare").args(namespace).arg("true").stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return skip::because("no right to make a PID namespace");
    }
    let mut words = vec!["unshare"];
    words.extend(namespace);
    let mut alone = start_under(&words, &["--restart", "never"], &["true"]);
    let (code, log) = alone.end();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("another PID namespace") && log.contains("--mount-proc"), "{log}");
}

/// The groups below the cgroup of this test that a supervisor with this id has made.
fn groups_of(supervisor: u32) -> Option<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new(mount.split(' ').nth(4)?).join(own);
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().into_string().unwrap());
    let of_supervisor = format!("-{supervisor}.");
    Some(names.filter(|name| name.starts_with("leadelect-") && name.contains(&of_supervisor)).collect())
}

#[test]
fn the_log_says_how_processes_are_found_and_no_control_group_is_left() {
    let mut alone = start(&[], &["sh", "-c", "cat /proc/self/cgroup; echo ready; while :; do sleep 0.05; done"]);
    alone.process.wait_until_it_mentions(&["ready"]);
    alone.process.wait_until_it_mentions(&["control group of its own"]);
    let has_group = alone.process.see(|record| record.mentions(&["gets a control group"]));
    let in_group = alone.process.see(|record| record.mentions(&["0::/", "leadelect-"]));
    assert_eq!(has_group, in_group, "{}", alone.process.dump());
    let supervisor = alone.process.id();
    if has_group {
        assert!(!groups_of(supervisor).unwrap().is_empty());
    }
    alone.process.signal(Signal::TERM);
    assert_eq!(alone.end().0, Some(0));
    assert_eq!(groups_of(supervisor).unwrap_or_default(), [""; 0]);
}

#[test]
fn what_was_left_when_supervisor_and_guard_were_both_killed_is_ended_at_the_next_start() {
    let mut rig = Rig::start(1000, "deaf child stray", &[]);
    let lives = rig.next_after(0, 3);
    let node = lives[0].node.clone();
    rig.signal(&node, Signal::STOP);
    let guard = guard_of(&lives);
    kill_process(guard, Signal::STOP).unwrap();
    kill_process(guard, Signal::KILL).unwrap();
    rig.supervisors.remove(&node).unwrap().kill();
    let left = lives.iter().filter(|life| !life.is_over()).count();
    assert!(left > 0, "the test leaves nothing behind");
    rig.join(&node);
    rig.wait_until_over(&lives);
    rig.supervisors[&node].wait_until_it_mentions(&["processes of an earlier run are left"]);
    rig.supervisors[&node].wait_until_it_mentions(&["term="]);
}

#[test]
fn the_processes_of_another_supervisor_are_left_alone() {
    let script = "echo ready; while :; do sleep 0.05; done";
    let mut first = start(&[], &["sh", "-c", script]);
    first.process.wait_until_it_mentions(&["ready"]);
    let folder = tempfile::tempdir().unwrap();
    // The same node id, and another port.
    let mut run = rig::run(&rig::alone(folder.path()), "1");
    let output = run.args(["--restart", "never", "--", "true"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    first.process.signal(Signal::TERM);
    let (code, log) = first.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("starts the command").count(), 1, "{log}");
}
