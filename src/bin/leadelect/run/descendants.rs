//! Finds the processes of a command, also those that left its process group or whose guard is gone.
//!
//! When a parent dies, its children get a new parent: the nearest ancestor that asked for this with
//! `PR_SET_CHILD_SUBREAPER`. Guard and supervisor both ask for it. So all processes that a command has started stay
//! below them, even after several forks and in another process group or session.
//!
//! The kernel lists the children of each thread in `/proc/PID/task/TID/children`. A walk from parent to children costs
//! as much as the command has processes. How many other processes the host has does not matter.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use leadelect::lease_clock_nanos;
use rustix::event::poll;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use rustix::time::Timespec;

use super::cgroup::Cgroup;
use super::nanos;
use super::worker::Worker;

/// How often to look again for processes that die.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The children of a process, zombies included. None if the process has ended.
pub(super) fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()))? {
        let file = thread?.path().join("children");
        match fs::read_to_string(&file) {
            Ok(ids) => children.extend(ids.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?))),
            // The thread has ended. Its children have another parent now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// Whether a signal has stopped the process or one of its children.
pub(super) fn is_or_has_stopped(process: Pid) -> bool {
    let mut family = children(process).unwrap_or_default();
    family.push(process);
    family.iter().any(|process| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
        // The name of the program is in brackets, and may contain any character.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    })
}

/// All descendants of this process, parents before children, without `spared` and what is below them.
pub(super) fn all_but(spared: &[Pid]) -> Vec<Pid> {
    let mut known = BTreeSet::new();
    let mut found = vec![getpid()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        // Fails if it has ended since. Whoever gets its children shows them to the next walk.
        let children = children(parent).unwrap_or_default();
        // A process that changes its parent during the walk may be seen twice.
        found.extend(children.into_iter().filter(|child| !spared.contains(child) && known.insert(child.as_raw_pid())));
    }
    found.remove(0);
    found
}

/// Sends SIGKILL to all descendants of this process but `spared`, and has the group killed. Does not wait for either:
/// call it again until none is left. Returns those that this process is not allowed to kill, and that no group kills.
pub(super) fn kill_all_but(spared: &[Pid], group: Option<(&Cgroup, &Worker)>) -> Vec<Pid> {
    let mut refused = all_but(spared);
    refused.retain(|process| kill_process(*process, Signal::KILL) == Err(Errno::PERM));
    if let Some((group, worker)) = group {
        group.kill_soon(worker);
        refused.retain(|process| !group.kills(*process));
    }
    refused
}

/// Kills the group and all descendants of this process, and those that become its descendants meanwhile, but not whom
/// `spared` names.
///
/// # Errors
///
/// Those that have not ended when `limit` is over. This process may not be allowed to kill them, or they wait for a
/// device.
pub(super) fn end_all_but(
    spared: impl Fn() -> Vec<Pid>,
    group: Option<(&Cgroup, &Worker)>,
    limit: Duration,
) -> Result<(), Vec<Pid>> {
    let until = lease_clock_nanos().saturating_add(nanos(limit));
    loop {
        // Looked at anew each time: a guard may have been started meanwhile.
        let spared = spared();
        let _ = kill_all_but(&spared, group);
        for child in children(getpid()).unwrap_or_default() {
            if !spared.contains(&child) {
                // Fails if another thread has reaped it, which is as good.
                let _ = waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
        let left = all_but(&spared);
        if left.is_empty() {
            return Ok(());
        }
        if lease_clock_nanos() >= until {
            return Err(left);
        }
        // Fails if a signal came.
        let _ = poll(&mut [], Some(&PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// One of these tests kills the children of this process.
    fn alone_with_its_children() -> MutexGuard<'static, ()> {
        static CHILDREN: Mutex<()> = Mutex::new(());
        CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_child_is_among_the_children_until_it_is_reaped() {
        let _alone = alone_with_its_children();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let id = Pid::from_child(&child);
        assert!(children(getpid()).expect("proc").contains(&id));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(!children(getpid()).expect("proc").contains(&id));
    }

    /// What others do with control groups can make the kernel wait for seconds. Here it waits for ever, at a pipe that
    /// nobody reads.
    #[test]
    fn a_control_group_that_cannot_be_killed_now_delays_no_kill() {
        let _alone = alone_with_its_children();
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("cgroup.kill");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let group = Cgroup::at(folder.path());
        let worker = Worker::start("worker".into()).expect("a thread");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let id = Pid::from_child(&child);
        let others: Vec<Pid> = all_but(&[]).into_iter().filter(|process| *process != id).collect();
        for _ in 0..3 {
            assert_eq!(kill_all_but(&others, Some((&group, &worker))), []);
        }
        assert!(!child.wait().expect("it ends").success());
        // The thread waits at the pipe, and the kernel kills the group when it can.
        assert_eq!(std::fs::read(pipe).expect("a pipe"), b"1");
    }

    #[test]
    fn a_walk_finds_grandchildren_and_spares_whom_it_should() {
        let _alone = alone_with_its_children();
        let script = "sleep 60 & echo $!; wait";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().expect("sh");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
        let grandchild = Pid::from_raw(line.trim().parse().expect("an id")).expect("an id");
        let id = Pid::from_child(&child);
        let found = all_but(&[]);
        let place = |process| found.iter().position(|found| *found == process).expect("found");
        assert!(place(id) < place(grandchild));
        assert!(!all_but(&[id]).contains(&grandchild));
        let _ = kill_process(grandchild, Signal::KILL);
        child.wait().expect("reaped");
    }
}
