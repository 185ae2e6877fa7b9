//! Finds processes of an earlier `leadelect run` of the same node, and ends them.
//!
//! If a supervisor and its guard are both killed, nothing ends the processes that the command has started. They may act
//! beside the next leader. The next `leadelect run` of the node finds them by a variable in their environment,
//! [`VARIABLE`], or by their control group.

use std::fmt;
use std::fs;
use std::process::id;
use std::time::Duration;

use leadelect::lease_clock_nanos;
use rustix::event::poll;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::Timespec;

use super::cgroup::Cgroup;
use super::nanos;

/// The node that a process belongs to, a blank, and the supervisor that has started it.
pub(super) const VARIABLE: &str = "LEADELECT_RUN";

const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// What does not die within this time after SIGKILL cannot be ended.
const KILL_TIME: Duration = Duration::from_secs(5);

/// One run of the program: which node, and which process.
#[derive(Debug, Clone)]
pub(super) struct RunId {
    /// No other node has the same: cluster, id, address and port.
    node: String,
    supervisor: Supervisor,
}

/// A process and when it was started, in ticks since the start of the host: a number that is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Supervisor {
    pid: u32,
    started: u64,
}

impl fmt::Display for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pid, self.started)
    }
}

impl Supervisor {
    fn parse(text: &str) -> Option<Supervisor> {
        let (pid, started) = text.split_once('.')?;
        Some(Supervisor { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    fn lives(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When a process was started, if it lives.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets, and may contain any character.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| state != "Z" && state != "X")
}

impl RunId {
    /// The run of this process.
    pub(super) fn of_this_process(cluster: &str, node: &str, addr: &str, port: u16) -> RunId {
        let started = started(id()).unwrap_or(0);
        RunId { node: format!("{cluster}/{node}@{addr}:{port}"), supervisor: Supervisor { pid: id(), started } }
    }

    /// The value of [`VARIABLE`].
    pub(super) fn value(&self) -> String {
        format!("{} {}", self.node, self.supervisor)
    }

    /// The name of the control group number `count`.
    pub(super) fn cgroup_name(&self, count: u32) -> String {
        format!("{}{}-{count}", self.cgroup_names(), self.supervisor)
    }

    /// Removes the control groups of this run that are still there.
    pub(super) fn remove_cgroups(&self) {
        Cgroup::find(&format!("{}{}-", self.cgroup_names(), self.supervisor)).iter().for_each(Cgroup::remove);
    }

    /// What the names of the control groups of this node begin with, whichever process has made them.
    fn cgroup_names(&self) -> String {
        let name = self.node.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
        format!("leadelect-{}-", name.collect::<String>())
    }

    /// Whether a process with this value of [`VARIABLE`] is left of an earlier run, whose supervisor is gone.
    fn is_older(&self, value: &str) -> bool {
        let Some((node, supervisor)) = value.rsplit_once(' ') else { return false };
        node == self.node
            && Supervisor::parse(supervisor).is_some_and(|other| other != self.supervisor && !other.lives())
    }

    /// Control groups of this node whose supervisor is gone.
    fn older_cgroups(&self) -> Vec<Cgroup> {
        let names = self.cgroup_names();
        let mut groups = Cgroup::find(&names);
        groups.retain(|group| {
            let name = group.folder().file_name().unwrap_or_default().to_string_lossy();
            let supervisor = name.strip_prefix(&names).and_then(|rest| rest.split_once('-'));
            supervisor.and_then(|(text, _)| Supervisor::parse(text)).is_some_and(|other| !other.lives())
        });
        groups
    }

    /// The processes that an earlier run of this node has left behind.
    fn leftovers(&self, groups: &[Cgroup]) -> Vec<Pid> {
        let mut found: Vec<Pid> = groups.iter().flat_map(Cgroup::members).collect();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
            // Fails if the process has ended, or is another user's. Without more privileges it cannot be ours.
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            if value_in(&environment).is_some_and(|value| self.is_older(&value)) && !found.contains(&pid) {
                found.push(pid);
            }
        }
        let this = Pid::from_raw(i32::try_from(id()).unwrap_or_default());
        found.retain(|pid| Some(*pid) != this);
        found
    }

    /// Ends what earlier runs of this node have left behind: SIGTERM, and SIGKILL after `patience`.
    ///
    /// # Errors
    ///
    /// When some process does not end, with what to do about it.
    pub(super) fn end_leftovers(&self, patience: Duration) -> Result<(), String> {
        let groups = self.older_cgroups();
        let mut left = self.leftovers(&groups);
        if !left.is_empty() {
            log::warn!("{}: processes of an earlier run are left: ends {}", self.node, listed(&left));
            for process in &left {
                // Fails if it has ended, or may not be signalled. The end of this function tells.
                let _ = kill_process(*process, Signal::TERM);
                let _ = kill_process(*process, Signal::CONT);
            }
        }
        let start = lease_clock_nanos();
        let (kill_at, give_up_at) = (start + nanos(patience), start + nanos(patience + KILL_TIME));
        while !left.is_empty() {
            let now = lease_clock_nanos();
            if now >= give_up_at {
                return Err(format!(
                    "processes of an earlier run of this node cannot be ended: {}. They may act beside the next \
                     leader. End them as root, or restart this host",
                    listed(&left)
                ));
            }
            if now >= kill_at {
                // Each of these may fail: it has ended, or this process may not kill it. The next look tells.
                for process in &left {
                    let _ = kill_process(*process, Signal::KILL);
                }
                for group in &groups {
                    let _ = group.kill();
                }
            }
            let _ = poll(&mut [], Some(&PAUSE));
            left = self.leftovers(&groups);
        }
        groups.iter().for_each(Cgroup::remove);
        Ok(())
    }
}

/// The value of [`VARIABLE`] in the text of `/proc/PID/environ`.
fn value_in(environment: &[u8]) -> Option<String> {
    let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    variables.find_map(|variable| variable.strip_prefix(VARIABLE)?.strip_prefix('=').map(ToOwned::to_owned))
}

/// The ids and names of processes, for a log line.
pub(super) fn listed(processes: &[Pid]) -> String {
    let name = |process: &Pid| {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.as_raw_nonzero())).unwrap_or_default();
        format!("{} ({})", process.as_raw_nonzero(), name.trim_end())
    };
    processes.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_supervisor_of_the_same_node_leaves_leftovers() {
        let run = RunId::of_this_process("c", "1", "host", 5000);
        let dead = Supervisor { pid: id(), started: 1 };
        assert!(run.is_older(&format!("c/1@host:5000 {dead}")));
        assert!(!run.is_older(&run.value()), "that is this process");
        assert!(!run.is_older(&format!("c/2@host:5000 {dead}")), "another node");
        assert!(!run.is_older(&format!("d/1@host:5000 {dead}")), "another cluster");
        let parent = std::os::unix::process::parent_id();
        let living = Supervisor { pid: parent, started: started(parent).expect("it lives") };
        assert!(!run.is_older(&format!("c/1@host:5000 {living}")), "it ends its command itself");
        assert!(!run.is_older("c/1@host:5000"));
    }

    #[test]
    fn the_variable_is_found_in_an_environment() {
        assert_eq!(value_in(b"A=1\0LEADELECT_RUN=a b 1.2\0B=2\0"), Some("a b 1.2".into()));
        assert_eq!(value_in(b"XLEADELECT_RUN=a\0LEADELECT_RUNS=b\0"), None);
    }
}
