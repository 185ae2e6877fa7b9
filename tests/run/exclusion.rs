//! No command outlives the lease of its node, even if the node, the guard or the command is killed or stopped.

use rustix::process::{Pid, Signal, kill_process};

use super::child::boot_nanos;
use super::rig::{Life, Rig};

/// A margin of a tenth of it is ample even on a busy machine.
const TIMEOUT: u64 = 1000;

#[test]
fn the_command_runs_on_one_node_only_and_knows_its_node_and_token() {
    let rig = Rig::start(TIMEOUT, "", &[]);
    let [life] = &rig.next_after(0, 1)[..] else {
        panic!("expected one process");
    };
    let leader = &rig.supervisors[&life.node];
    leader.wait_until_it_mentions(&[&format!("token={}: lease won", life.token)]);
    assert_eq!(rig.judge(), 1);
}

#[test]
fn a_supervisor_that_is_killed_takes_everything_that_its_command_has_started_with_it() {
    let mut rig = Rig::start(TIMEOUT, "deaf child stray", &[]);
    let lives = rig.next_after(0, 3);
    let killed_at = boot_nanos();
    rig.supervisors.remove(&lives[0].node).unwrap().kill();
    rig.wait_until_over(&lives);
    // At once, and not only when the lease runs out.
    let last = rig.lives().iter().map(|life| life.last).max().unwrap();
    assert!(last < killed_at + TIMEOUT * 1_000_000 / 2, "{} ms", (last - killed_at) / 1_000_000);
    rig.next_after(lives[0].token, 3);
    assert_eq!(rig.judge(), 2);
}

#[test]
fn a_supervisor_that_is_stopped_has_its_command_killed_before_another_leads() {
    let rig = Rig::start(TIMEOUT, "deaf child stray", &[]);
    let lives = rig.next_after(0, 3);
    let node = &lives[0].node;
    rig.signal(node, Signal::STOP);
    let stopped_at = boot_nanos();
    let next = rig.next_after(lives[0].token, 3);
    rig.wait_until_over(&lives);
    // No promise that was asked for before the stop lasts longer.
    let last = rig.lives().iter().filter(|life| life.token == lives[0].token).map(|life| life.last).max();
    assert!(last.unwrap() < stopped_at + TIMEOUT * 1_000_000);
    assert_ne!(&next[0].node, node);

    rig.signal(node, Signal::CONT);
    rig.supervisors[node].wait_until_it_mentions(&["the command ended: signal 9"]);
    rig.supervisors[node].wait_until_it_mentions(&[&format!("leader={}", next[0].node)]);
    assert_eq!(rig.judge(), 2);
}

#[test]
fn a_command_that_ignores_sigterm_is_dead_before_the_lease_runs_out() {
    let rig = Rig::start(TIMEOUT, "deaf child", &[]);
    let lives = rig.next_after(0, 2);
    let node = &lives[0].node;
    for other in rig.others(node) {
        rig.signal(&other, Signal::STOP);
    }
    let alone_since = boot_nanos();
    rig.wait_until_over(&lives);
    rig.supervisors[node].wait_until_it_mentions(&["the command ended: signal 9"]);
    // The longest lease that a promise of before can give.
    let last = rig.lives().iter().map(|life| life.last).max().unwrap();
    assert!(last < alone_since + TIMEOUT * 1_000_000);
    for other in rig.others(node) {
        rig.signal(&other, Signal::CONT);
    }
    rig.next_after(lives[0].token, 2);
    assert_eq!(rig.judge(), 2);
}

#[test]
fn a_guard_that_is_killed_takes_the_command_with_it_and_the_supervisor_ends_the_rest() {
    let rig = Rig::start(TIMEOUT, "deaf child stray", &[]);
    let lives = rig.next_after(0, 3);
    kill_process(guard_of(&lives), Signal::KILL).unwrap();
    rig.wait_until_over(&lives);
    rig.supervisors[&lives[0].node].wait_until_it_mentions(&["the guard of the command has ended"]);
    rig.next_after(lives[0].token, 3);
    assert_eq!(rig.judge(), 2);
}

#[test]
fn a_guard_that_is_stopped_is_killed_with_its_command_before_the_lease_ends() {
    let rig = Rig::start(TIMEOUT, "deaf child stray", &[]);
    let lives = rig.next_after(0, 3);
    let node = &lives[0].node;
    kill_process(guard_of(&lives), Signal::STOP).unwrap();
    for other in rig.others(node) {
        rig.signal(&other, Signal::STOP);
    }
    let alone_since = boot_nanos();
    rig.wait_until_over(&lives);
    let last = rig.lives().iter().map(|life| life.last).max().unwrap();
    assert!(last < alone_since + TIMEOUT * 1_000_000);
    rig.supervisors[node].wait_until_it_mentions(&["kills the guard of the command, which is late"]);
    for other in rig.others(node) {
        rig.signal(&other, Signal::CONT);
    }
    rig.next_after(lives[0].token, 3);
    assert_eq!(rig.judge(), 2);
}

#[test]
fn a_leader_that_is_told_to_resign_ends_its_command_first() {
    let mut rig = Rig::start(TIMEOUT, "deaf child", &[]);
    let mut lives = rig.next_after(0, 2);
    for _ in 0..2 {
        rig.ask(&["resign"]);
        let next = rig.next_after(lives[0].token, 2);
        assert_ne!(next[0].node, lives[0].node);
        rig.wait_until_over(&lives);
        lives = next;
    }
    assert_eq!(rig.judge(), 3);
}

/// Only the kernel is left to kill it.
#[test]
fn a_command_dies_with_its_guard_also_while_its_supervisor_is_stopped() {
    let rig = Rig::start(TIMEOUT, "deaf", &[]);
    let lives = rig.next_after(0, 1);
    rig.signal(&lives[0].node, Signal::STOP);
    kill_process(guard_of(&lives), Signal::KILL).unwrap();
    let killed_at = boot_nanos();
    rig.wait_until_over(&lives);
    let last = rig.lives()[0].last;
    assert!(last < killed_at + TIMEOUT * 1_000_000 / 2);
    rig.signal(&lives[0].node, Signal::CONT);
    rig.next_after(lives[0].token, 1);
    assert_eq!(rig.judge(), 2);
}

/// The parent of the command, which is one of these.
pub(crate) fn guard_of(lives: &[Life]) -> Pid {
    let parents = lives.iter().map(|life| Pid::from_raw(life.parent().try_into().unwrap()).unwrap());
    parents.into_iter().find(is_guard).expect("a guard")
}

fn is_guard(process: &Pid) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"guard")
}

#[test]
fn what_a_command_leaves_behind_is_gone_before_another_leads() {
    let rig = Rig::start(TIMEOUT, "brief child stray", &["--stop-time", "300ms"]);
    for round in 0..3 {
        let token = rig.lives().iter().map(|life| life.token).max().unwrap_or(0);
        let lives = rig.next_after(token, 3);
        rig.wait_until_over(&lives);
        assert!(rig.judge() > round);
    }
    rig.next_after(rig.lives().iter().map(|life| life.token).max().unwrap(), 3);
    rig.judge();
}

/// More time than a lease has: it is renewed until the command has ended.
#[test]
fn an_orderly_stop_gives_the_command_its_time_while_the_node_still_leads() {
    let mut rig = Rig::start(500, "slow", &[]);
    let lives = rig.next_after(0, 1);
    let node = lives[0].node.clone();
    rig.signal(&node, Signal::TERM);
    let told_at = boot_nanos();
    let mut leader = rig.supervisors.remove(&node).unwrap();
    let next = rig.next_after(lives[0].token, 1);
    let status = leader.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", leader.dump());
    assert!(leader.see(|record| record.mentions(&["the command ended: exit code 0"])), "{}", leader.dump());
    assert!(next[0].first > told_at + 1_000_000_000, "the next one came too early");
    assert_eq!(rig.judge(), 2);
    for supervisor in rig.supervisors.values() {
        supervisor.signal(Signal::TERM);
    }
    for supervisor in rig.supervisors.values_mut() {
        let status = supervisor.wait_for_end();
        assert_eq!(status.code(), Some(0), "{}", supervisor.dump());
    }
}

fn children(parent: u32) -> Vec<Pid> {
    let children = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = children.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    let children: Vec<u32> = children.collect::<String>().split_whitespace().map(|id| id.parse().unwrap()).collect();
    children.into_iter().map(|id| Pid::from_raw(id.try_into().unwrap()).unwrap()).collect()
}

#[test]
fn if_the_guard_that_waits_is_stopped_the_next_leader_takes_another_one() {
    takes_another(|guard| guard);
}

#[test]
fn if_the_process_that_would_become_the_command_is_stopped_the_next_leader_takes_another_one() {
    takes_another(|guard| {
        let found = children(guard.as_raw_nonzero().get().try_into().unwrap());
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    });
}

/// Stops a process of every node that does not lead, given its spare guard. Then it kills the command.
#[track_caller]
fn takes_another(victim: impl Fn(Pid) -> Pid) {
    let rig = Rig::start(TIMEOUT, "", &[]);
    rig.wait_until_nobody_is_new();
    let lives = rig.next_after(rig.lives().iter().map(|life| life.token).max().unwrap() - 1, 1);
    let others = rig.others(&lives[0].node);
    for other in &others {
        let mut spare = children(rig.supervisors[other].id());
        spare.retain(is_guard);
        assert_eq!(spare.len(), 1, "{}", rig.dump());
        kill_process(victim(spare[0]), Signal::STOP).unwrap();
    }
    lives[0].signal(Signal::KILL);
    let next = rig.next_after(lives[0].token, 1);
    assert!(others.contains(&next[0].node), "{}", rig.dump());
    // In the first term of this leader, and not after a second hand-over.
    let leader = &rig.supervisors[&next[0].node];
    leader.wait_until_it_mentions(&[&format!("token={}", next[0].token), "takes another guard"]);
    assert_eq!(rig.judge(), 2);
}
