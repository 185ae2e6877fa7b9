//! How node, guard and command are scheduled.

use std::fs;

use rustix::process::{geteuid, getpriority_process};

use super::alone::{Alone, start, start_under};
use super::process::wait_for;
use super::{real_time, skip};

/// The policy and the nice value of the command, and then of its guard. The policy 0 is SCHED_OTHER, 1 is SCHED_FIFO.
const SHOWS: [&str; 3] = ["sh", "-c", "for id in $$ $PPID; do cut -d' ' -f41,19 /proc/$id/stat; done; read line"];

/// What it shows, with the nice value before the policy.
fn shown(alone: &Alone) -> [(i32, i32); 2] {
    wait_for("two lines", || alone.process.see(|record| (record.said.len() >= 2).then_some(())));
    alone.process.see(|record| {
        [0, 1].map(|line| {
            let (nice, policy) = record.said[line].split_once(' ').unwrap();
            (nice.parse().unwrap(), policy.parse().unwrap())
        })
    })
}

fn end(mut alone: Alone) -> String {
    alone.process.command("end");
    let (code, log) = alone.end();
    assert_eq!(code, Some(0), "{log}");
    log
}

const NEVER: [&str; 2] = ["--restart", "never"];

/// On a busy host the guard comes first, if it may, and the command as before.
#[test]
fn the_guard_takes_the_highest_ordinary_priority_and_gives_it_to_no_other_process() {
    let usual = getpriority_process(None).unwrap();
    for more in [0, 3] {
        let alone = start_under(&["nice", "-n", &more.to_string()], &NEVER, &SHOWS);
        let [command, guard] = shown(&alone);
        assert_eq!(command, ((usual + more).max(0), 0));
        assert!(guard == (-20, 0) || (guard == (usual + more, 0) && !geteuid().is_root()), "{guard:?}");
        end(alone);
    }
}

#[test]
fn a_negative_nice_value_is_for_the_node_and_not_for_its_command() {
    if !geteuid().is_root() {
        return skip::because("it takes root to lower a nice value");
    }
    let alone = start_under(&["nice", "-n", "-30"], &NEVER, &SHOWS);
    assert_eq!(shown(&alone)[0], (0, 0));
    end(alone);
}

#[test]
fn node_and_guard_keep_a_real_time_policy_and_the_command_is_scheduled_as_usual() {
    if let Some(reason) = real_time::refused() {
        return skip::because(&reason);
    }
    let alone = start_under(&real_time::FIFO, &NEVER, &SHOWS);
    let [command, (_, guard)] = shown(&alone);
    assert_eq!((command, guard), ((getpriority_process(None).unwrap().max(0), 0), 1));
    let threads = fs::read_dir(format!("/proc/{}/task", alone.process.id())).unwrap();
    let policies: Vec<String> = threads
        .map(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned()
        })
        .collect();
    assert!(policies.len() > 5 && policies.iter().all(|policy| policy == "1"), "{policies:?}");
    let log = end(alone);
    assert!(log.contains("SCHED_FIFO 10 for this process and the guard."), "{log}");
}

#[test]
fn a_real_time_policy_that_the_threads_do_not_get_is_a_warning() {
    if let Some(reason) = real_time::refused() {
        return skip::because(&reason);
    }
    let alone = start_under(&["chrt", "-R", "-f", "10"], &NEVER, &SHOWS);
    let [command, guard] = shown(&alone);
    assert_eq!((command.1, guard.1), (0, 0));
    let log = end(alone);
    assert!(log.contains("WARN") && log.contains("do not reset it on fork (CPUSchedulingResetOnFork="), "{log}");
    let log = end(start(&NEVER, &SHOWS));
    assert!(!log.contains("SCHED_"), "nothing to say without such a policy: {log}");
}
