//! A crash costs milliseconds, if somebody says that the process is dead.
//!
//! `LEADELECT_DEATHS=100 cargo test --release --all-features --test node obituary -- --nocapture --test-threads 1`
//! kills as often, and prints how long nobody led. `LEADELECT_DEATHS_AT=5000` does so with this election timeout.

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use leadelect::config::NodeConfig;
use leadelect::death_witness::{Death, DeathWitness, WitnessProgram};
use leadelect::{Config, Node, StartError, Term};
use rustix::process::Signal;

use super::child::{self, boot_nanos};
use super::cluster::{CALM, Cluster, Leader, example, free_port};
use super::in_process::Local;
use super::lease_log::Claims;
use super::process::{Process, wait_for};

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
        leader = cluster.leader();
        // Until the node that has just started may vote again.
        cluster.stays(&leader, timeout + 500);
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
        "{says:?}, election timeout {timeout} ms, {} deaths: median {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest \
         {:.1} ms",
        gaps.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

fn measure(says: Says) -> f64 {
    // Long, so that nobody led only because a lease had run out.
    let timeout = number("LEADELECT_DEATHS_AT", 2000);
    let gaps = deaths(says, number("LEADELECT_DEATHS", 2), timeout);
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

fn refusal(config: NodeConfig) -> String {
    match Node::start(config) {
        Err(StartError::DeathWitness(error)) => error.to_string(),
        other => panic!("expected no witness: {other:?}"),
    }
}

#[test]
fn a_witness_that_cannot_watch_is_an_error_at_the_start_and_leaves_nothing_behind() {
    let local = Local::planned(&["w1", "w2"], Duration::from_secs(3));
    let config = || local.config.clone().for_node("w1").unwrap();
    let says = |config, text: &str| {
        let found = refusal(config);
        assert!(found.contains(text), "{found}");
    };
    let missing = WitnessProgram::At("/no/such/program".into());
    says(config().death_witness(missing), "cannot start /no/such/program");
    // It ends at once, without a word of it.
    says(config().death_witness(WitnessProgram::At("/bin/true".into())), "/bin/true did not become a witness");
    // It says something else.
    says(config().death_witness(WitnessProgram::At("/bin/cat".into())), "/bin/cat did not become a witness");
    let example = || WitnessProgram::At(example().into());
    says(config().death_witness(example()).without_obituary(), "`without_obituary`");
    let short = Duration::from_millis(2999);
    says(config().death_witness(example()).kill_when_stuck(short), "expected at least 3s");

    let node = Node::start(config().death_witness(example())).unwrap();
    let witness = node.death_witness_id().unwrap();
    let runs = || Path::new(&format!("/proc/{witness}/stat")).exists();
    assert!(runs());
    node.shutdown();
    assert!(!runs(), "it is gone with its node");
}

#[test]
fn a_witness_without_state_is_refused() {
    let config = Config::builder().insecure();
    let config = config.node(("w6", "127.0.0.1", free_port())).build().unwrap().for_node("w6").unwrap();
    let found = refusal(config.death_witness(WitnessProgram::At(example().into())));
    assert!(found.contains("there is no `state_dir`"), "{found}");
}

/// What a witness says is as true as the lock. So a child that acts must hold it.
#[test]
fn while_a_child_of_a_dead_program_holds_the_lock_nobody_is_told() {
    let local = Local::planned(&["w7"], Duration::from_secs(3));
    let config = || local.config.clone().for_node("w7").unwrap();
    let node = Node::start(config()).unwrap();
    drop(wait_for("a vote", || node.lease()));
    let lock = node.state_lock().unwrap().as_fd().try_clone_to_owned().unwrap();
    let mut child = Command::new("/bin/sleep").arg("1000").stdin(lock).stdout(Stdio::null()).spawn().unwrap();
    node.shutdown();
    drop(node);
    let witness = DeathWitness::new(config()).unwrap();
    let error = witness.look().unwrap_err().to_string();
    assert!(error.contains("another process uses this state"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(witness.look().unwrap(), Death::Proved(_)));
}

#[test]
fn a_lease_that_is_held_keeps_its_node_alive_for_the_others() {
    let local = Local::planned(&["w8"], Duration::from_secs(3));
    let config = || local.config.clone().for_node("w8").unwrap();
    let node = Node::start(config()).unwrap();
    let lease = wait_for("a lease", || node.lease());
    let witness = DeathWitness::new(config()).unwrap();
    node.shutdown();
    drop(node);
    assert!(witness.look().is_err(), "its holder may act");
    drop(lease);
    assert!(matches!(witness.look().unwrap(), Death::Proved(_)));
}

#[test]
fn a_process_whose_election_thread_hangs_is_killed_and_buried_if_that_is_wanted() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    for id in THREE {
        let plan = cluster.plan.clone();
        let mut command = cluster.command(id, &plan);
        command.env(child::WITNESS, example()).env(child::KILL_WHEN_STUCK, "3000");
        cluster.run(id, command);
        assert!(cluster.is_ready(id), "{}", cluster.dump());
    }
    let leader = cluster.settled();
    let stopped_at = boot_nanos();
    cluster.process(&leader.id).signal(Signal::STOP);
    // Stopped as a whole: no signal but one ends it.
    let status = cluster.process(&leader.id).wait_for_end();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    cluster.bury_killed(&leader.id, stopped_at);
    let next = wait_for("the next leader", || cluster.agreed().filter(|next| next.token > leader.token));
    assert_ne!(next.id, leader.id);
    cluster.judge(Claims::Stand);
}

/// A broken assumption, such as a copy of a running host, may make somebody say what is not true.
#[test]
fn a_death_that_is_not_true_is_refused_while_the_process_has_its_connections() {
    let local = Local::started(&["w9", "w10", "w11"], Duration::from_secs(1));
    let leads = |node: &&Node| node.lease().is_some();
    let leader = wait_for("a leader", || local.nodes.iter().find(leads));
    let others = || leader.status().peers.iter().all(|peer| peer.connected);
    wait_for("connections", || others().then_some(()));
    let lease = leader.lease().unwrap();
    let witness = DeathWitness::new(local.config.clone().for_node(leader.id().as_str()).unwrap()).unwrap();

    let told = witness.tell(Term(1 << 20)).unwrap();

    assert_eq!(told.len(), 2);
    for (peer, outcome) in &told {
        let error = outcome.as_ref().unwrap_err();
        assert!(
            error.contains("two processes run as node") || error.contains("another process spoke"),
            "{peer}: {error}"
        );
    }
    assert!(lease.is_valid(), "it was not disturbed");
}

/// It is seen to be a copy, whatever is done to its processes.
#[test]
fn a_copy_of_the_state_says_no_obituary_of_the_original() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    let mut plan = cluster.plan.clone();
    let copied = cluster.folder().join("copied");
    fs::create_dir(&copied).unwrap();
    let file = format!("node-{}.vote", leader.id);
    fs::copy(plan.state_dir.as_ref().unwrap().join(&file), copied.join(&file)).unwrap();
    plan.state_dir = Some(copied);
    plan.node(&leader.id).2 = free_port();
    for _ in 0..5 {
        let mut command = cluster.command(&leader.id, &plan);
        command.env(child::WITNESS, example());
        let mut copy = Process::start("copy", command);
        copy.wait_until_it_mentions(&["ready"]);
        copy.kill();
    }
    let config = cluster.write(&plan);
    let config = Config::from_yaml_file(config).unwrap().for_node(&leader.id).unwrap();
    let found = DeathWitness::new(config).unwrap().look().unwrap();
    assert!(matches!(&found, Death::Unproved(why) if why.contains("is a copy")), "{found:?}");
    cluster.stays(&leader, 500);
    cluster.judge(Claims::Stand);
}
