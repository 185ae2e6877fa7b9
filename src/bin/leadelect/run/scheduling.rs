//! How the kernel schedules `leadelect run`, its guard, and the command.
//!
//! A node with short leases may run under a real-time policy, so that no other work of the host delays it. Guard and
//! node have it from the start, because the service manager or `chrt` has set it, and a process inherits it. So would
//! the command. But a command that computes would then take a processor from everybody, the node included. So the
//! process that becomes the command makes itself ordinary first, and looks whether it is.

use std::fs;
use std::path::Path;

use rustix::process::setpriority_process;
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};

/// How one thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scheduling {
    /// The number of the kernel.
    policy: u32,
    real_time_priority: u32,
    nice: i32,
}

impl Scheduling {
    /// From the text of a file `stat` in `/proc`.
    fn parse(stat: &str) -> Option<Scheduling> {
        // The name of the program is in brackets, and may contain any character.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is number 3 in proc(5).
        let field = |number: usize| fields.get(number - 3);
        Some(Scheduling {
            policy: field(41)?.parse().ok()?,
            real_time_priority: field(40)?.parse().ok()?,
            nice: field(19)?.parse().ok()?,
        })
    }

    fn of(folder: &Path) -> Result<Scheduling, String> {
        let file = folder.join("stat");
        let stat = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Scheduling::parse(&stat).ok_or_else(|| format!("{} does not say how it is scheduled: {stat}", file.display()))
    }

    /// Before every ordinary process, whatever that does.
    fn is_real_time(self) -> bool {
        matches!(self.name(), "SCHED_FIFO" | "SCHED_RR" | "SCHED_DEADLINE")
    }

    fn name(self) -> &'static str {
        match self.policy {
            0 => "SCHED_OTHER",
            1 => "SCHED_FIFO",
            2 => "SCHED_RR",
            3 => "SCHED_BATCH",
            5 => "SCHED_IDLE",
            6 => "SCHED_DEADLINE",
            _ => "an unknown policy",
        }
    }

    /// The command may be less important than an ordinary process, if `leadelect run` was started so. Never more.
    fn is_ordinary(self) -> Result<(), String> {
        if !self.is_real_time() && self.nice >= 0 {
            return Ok(());
        }
        Err(format!(
            "the command would run with {} and a nice value of {}: expected no real-time policy, and 0 or more",
            self.name(),
            self.nice
        ))
    }
}

const THIS_PROCESS: &str = "/proc/self";

/// Takes a real-time policy and a negative nice value from this process, which has one thread. `nice` is that of
/// `leadelect run`.
///
/// # Errors
///
/// When that fails, or when the kernel shows that it had no effect.
pub(super) fn make_ordinary(nice: i32) -> Result<(), String> {
    let mut refused = String::new();
    if Scheduling::of(THIS_PROCESS.as_ref())?.is_real_time() {
        let other = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        // It also sets a nice value, which may be refused. `Max` is the lowest, so the right one can be set after it.
        let reset = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Max, other);
        refused = reset.err().map(|error| format!(" ({error})")).unwrap_or_default();
    }
    // A higher value than before needs no privilege.
    setpriority_process(None, nice.max(0)).map_err(|error| format!("cannot set the nice value: {error}"))?;
    Scheduling::of(THIS_PROCESS.as_ref())?.is_ordinary().map_err(|error| format!("{error}{refused}"))
}

/// Says in the log how this process is scheduled, if that is with a real-time policy, and whether its threads are, too.
pub(super) fn report(node: &str) {
    let main = match Scheduling::of(THIS_PROCESS.as_ref()) {
        Ok(main) if main.is_real_time() => main,
        Ok(_) => return,
        Err(error) => return log::warn!("node {node}: {error}"),
    };
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let left_out = threads.filter(|thread| Scheduling::of(&thread.path()).is_ok_and(|found| !found.is_real_time()));
    match left_out.count() {
        0 => log::info!(
            "node {node}: {} {} for this process and the guard. The command is scheduled as usual",
            main.name(),
            main.real_time_priority
        ),
        count => log::warn!(
            "node {node}: {} for this process, but not for {count} of its threads: do not reset it on fork \
             (CPUSchedulingResetOnFork=, chrt -R)",
            main.name()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduling(policy: u32, nice: i32) -> Scheduling {
        Scheduling { policy, real_time_priority: 0, nice }
    }

    #[test]
    fn the_line_of_proc_is_read_whatever_the_name_of_the_program() {
        let stat = "7 (a) b 1 2) S 1 7 7 0 -1 4194560 90 0 0 0 0 0 0 0 -11 -5 1 0 100 2 3 18 1 1 1 0 0 0 0 0 0 0 0 0 \
                    17 1 10 1 0 0 0";
        assert_eq!(Scheduling::parse(stat), Some(Scheduling { policy: 1, real_time_priority: 10, nice: -5 }));
        assert_eq!(Scheduling::parse("7 (a) S 1 7"), None);
        assert_eq!(Scheduling::parse(""), None);
        assert!(Scheduling::of(THIS_PROCESS.as_ref()).is_ok());
    }

    #[test]
    fn a_command_with_a_real_time_policy_or_a_negative_nice_value_is_an_error_with_the_numbers() {
        for (policy, name) in [(1, "SCHED_FIFO"), (2, "SCHED_RR"), (6, "SCHED_DEADLINE")] {
            let error = scheduling(policy, 0).is_ordinary().expect_err(name);
            assert!(error.contains(&format!("with {name} and a nice value of 0")), "{error}");
        }
        let error = scheduling(0, -1).is_ordinary().expect_err("nice");
        assert!(error.contains("SCHED_OTHER and a nice value of -1"), "{error}");
        for (policy, nice) in [(0, 0), (0, 19), (3, 0), (5, 0)] {
            assert_eq!(scheduling(policy, nice).is_ordinary(), Ok(()));
        }
    }
}
