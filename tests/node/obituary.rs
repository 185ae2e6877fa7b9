//! A crash costs milliseconds, if somebody says that the process is dead.
//!
//! `LEADELECT_DEATHS=100 cargo test --release --all-features --test node obituary -- --nocapture --test-threads 1` kills
//! as often, and prints how long nobody led. `LEADELECT_DEATHS_AT=5000` does so with this election timeout.

use std::env;

use rustix::process::Signal;

use super::child::{self, boot_nanos};
use super::cluster::{Cluster, Leader, example};
use super::lease_log::Claims;
use super::process::wait_for;

const THREE: [&str; 3] = ["1", "2", "3"];

/// Who says that a process is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Witness,
    Restart,
    Nobody,
}

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// How long nobody led, in milliseconds, for each death of a leader. After a restart without what the program itself
/// needs to start.
fn deaths(says: Says, count: u64, timeout: u64) -> Vec<f64> {
    let mut cluster = Cluster::planned(&THREE, timeout);
    let start = |cluster: &mut Cluster, id: &str| {
        let plan = cluster.plan.clone();
        let mut command = cluster.command(id, &plan);
        command.env("RUST_LOG", "info");
        if says == Says::Witness {
            command.env(child::WITNESS, example());
        }
        cluster.run(id, command);
    };
    for id in THREE {
        start(&mut cluster, id);
        assert!(cluster.is_ready(id), "{}", cluster.dump());
    }
    let mut gaps = Vec::new();
    let mut leader = cluster.settled();
    for _ in 0..count {
        let killed_at = boot_nanos();
        cluster.process(&leader.id).signal(Signal::KILL);
        let old = cluster.process(&leader.id).wait_for_end();
        assert!(!old.success());
        cluster.bury_killed(&leader.id, killed_at);
        if says == Says::Restart {
            start(&mut cluster, &leader.id);
        }
        let survivors = cluster.others(&leader.id);
        let names: Vec<&str> = survivors.iter().map(String::as_str).collect();
        let next = wait_for("the next leader", || cluster.agreed_by(&names).filter(|next| next.token > leader.token));
        let first = first_check(&cluster, &next);
        let own_start = if says == Says::Restart { own_start(&cluster, &leader.id, killed_at) } else { 0 };
        gaps.push((first - killed_at - own_start) as f64 / 1e6);
        if says != Says::Restart {
            start(&mut cluster, &leader.id);
        }
        leader = cluster.settled();
    }
    cluster.judge(Claims::Stand);
    gaps.sort_by(f64::total_cmp);
    gaps
}

/// When the leader saw first that it holds its lease.
fn first_check(cluster: &Cluster, leader: &Leader) -> u64 {
    cluster.processes[&leader.id].see(|record| {
        let mut checks = record.checks.iter();
        checks.find(|check| check.valid && check.token == leader.token).unwrap().after
    })
}

/// From the moment at which the earlier process was killed until its program came to start the node again.
fn own_start(cluster: &Cluster, id: &str, killed_at: u64) -> u64 {
    let at = wait_for("the start of the node", || {
        cluster.processes[id].see(|record| {
            let line = record.said.iter().find_map(|line| line.strip_prefix("starts "))?;
            line.parse::<u64>().ok()
        })
    });
    at - killed_at
}

fn tell(says: Says, gaps: &[f64], timeout: u64) {
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share).round() as usize];
    println!(
        "{says:?}, election timeout {timeout} ms, {} deaths: median {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        gaps.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

fn measure(says: Says) -> f64 {
    // Long, so that nobody led only because a lease had run out.
    let timeout = number("LEADELECT_DEATHS_AT", 5000);
    let gaps = deaths(says, number("LEADELECT_DEATHS", 3), timeout);
    tell(says, &gaps, timeout);
    gaps[gaps.len() / 2] / timeout as f64
}

#[test]
fn under_a_witness_the_next_leader_acts_long_before_the_lease_of_the_dead_would_have_ended() {
    let share = measure(Says::Witness);
    assert!(share < 0.5, "{share} of the election timeout");
}

#[test]
fn a_node_that_starts_again_at_once_says_that_it_had_died() {
    let share = measure(Says::Restart);
    assert!(share < 0.5, "{share} of the election timeout");
}

#[test]
fn without_anybody_who_says_so_the_lease_of_the_dead_is_waited_out() {
    let share = measure(Says::Nobody);
    assert!(share > 0.5, "{share} of the election timeout");
}
