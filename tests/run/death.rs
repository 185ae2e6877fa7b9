//! When `leadelect run` is killed, the next command acts within milliseconds, and never beside the last one.
//!
//! `LEADELECT_DEATHS=100 cargo test --release --all-features --test run death -- --nocapture --test-threads 1` kills as
//! often, and prints how long no command acted. `LEADELECT_DEATHS_AT=500` does so with this election timeout.

use std::env;

use rustix::process::{Signal, kill_process};

use super::child::boot_nanos;
use super::exclusion::guard_of;
use super::process::wait_for;
use super::rig::{Life, Rig};

/// Long, so that no command starts only because a lease has run out.
const TIMEOUT: u64 = 2000;

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// The first sign of the command after the one with this token, once all nodes are ready for another death.
fn next(rig: &Rig, token: u64) -> Life {
    rig.next_after(token, 1).remove(0)
}

#[test]
fn when_it_is_killed_the_next_command_acts_long_before_the_lease_would_have_ended() {
    let timeout = number("LEADELECT_DEATHS_AT", TIMEOUT);
    let mut rig = Rig::start(timeout, "", &[]);
    rig.wait_until_nobody_is_new();
    let mut gaps = Vec::new();
    let mut life = next(&rig, 0);
    for _ in 0..number("LEADELECT_DEATHS", 2) {
        let killed_at = boot_nanos();
        rig.supervisors.remove(&life.node).unwrap().kill();
        let after = next(&rig, life.token);
        gaps.push((after.first - killed_at) as f64 / 1e6);
        rig.join(&life.node);
        // Until the node that has just started may vote again.
        let ready_at = boot_nanos() + (timeout + 1000) * 1_000_000;
        wait_for("the new command to go on", || {
            rig.lives().iter().any(|life| life.token == after.token && life.last > ready_at).then_some(())
        });
        life = after;
    }
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share).round() as usize];
    println!(
        "leadelect run, election timeout {timeout} ms, {} deaths, the start of the command included: median {:.1} ms, \
         p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        gaps.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.5) < timeout as f64 / 2.0, "{gaps:?}");
    rig.judge();
}

/// Then nothing kills what the command has started, and nobody may say that the node is dead.
#[test]
fn if_its_guard_is_killed_too_nobody_is_told_while_a_process_of_the_command_lives() {
    let rig = Rig::start(1000, "deaf child stray", &[]);
    rig.wait_until_nobody_is_new();
    let lives = rig.next_after(0, 3);
    let killed_at = boot_nanos();
    rig.signal(&lives[0].node, Signal::STOP);
    kill_process(guard_of(&lives), Signal::KILL).unwrap();
    // The kernel kills the command itself. What it has started lives on, and holds the lock.
    rig.supervisors[&lives[0].node].signal(Signal::KILL);
    let after = next(&rig, lives[0].token);
    let left: Vec<&Life> = lives.iter().filter(|life| !life.is_over()).collect();
    assert!(!left.is_empty(), "nothing is left");
    left.iter().for_each(|life| life.signal(Signal::KILL));
    let waited = (after.first - killed_at) / 1_000_000;
    assert!(waited > 400, "the next command acted after {waited} ms:\n{}", rig.dump());
}
