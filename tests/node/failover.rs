//! Processes elect a leader, and another one when it is killed, stopped, asked to end, or restarted.

use std::process::Command;

use rustix::process::Signal;

use super::child::boot_nanos;
use super::cluster::{CALM, Cluster, SWIFT, example};
use super::lease_log::Claims;
use super::process::{Process, wait_for};

const THREE: [&str; 3] = ["1", "2", "3"];

#[test]
fn three_processes_elect_exactly_one_leader_and_all_agree_on_it() {
    let cluster = Cluster::started(&THREE, SWIFT);
    cluster.leader();
    cluster.judge(Claims::Stand);
}

#[test]
fn a_leader_without_faults_stays() {
    let cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    cluster.stays(&leader, CALM + 500);
    assert_eq!(cluster.judge(Claims::Stand).len(), 1);
}

#[test]
fn when_the_leader_is_killed_the_survivors_agree_on_another_with_a_higher_token() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();

    cluster.kill(&first.id);

    let second = cluster.leader();
    assert_ne!(second.id, first.id);
    assert!(second.token > first.token, "{first:?} {second:?}");
    // It comes back and follows.
    cluster.start(&first.id);
    cluster.leader();
    cluster.judge(Claims::Stand);
}

#[test]
fn when_a_follower_is_killed_the_leader_stays() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    let follower = cluster.others(&leader.id).remove(0);

    cluster.kill(&follower);

    cluster.stays(&leader, CALM + 500);
    cluster.judge(Claims::Stand);
}

#[test]
fn a_leader_that_resigns_hands_over_and_follows() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();

    cluster.process(&first.id).command("resign");

    cluster.processes[&first.id].wait_until_it_mentions(&["done resign true"]);
    let second = wait_for("another leader", || cluster.agreed().filter(|leader| leader.token > first.token));
    assert!(second.token > first.token);
    cluster.judge(Claims::MayBeReleased);
}

#[test]
fn a_follower_that_resigns_is_told_that_it_does_not_lead() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let follower = cluster.others(&leader.id).remove(0);

    cluster.process(&follower).command("resign");

    cluster.processes[&follower].wait_until_it_mentions(&["done resign false"]);
    assert_eq!(cluster.agreed(), Some(leader));
}

#[test]
fn a_leader_that_gets_sigterm_exits_with_success_and_hands_over() {
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    // Node 1 cannot lead, and node 2 comes late: so the program, node 3, leads first.
    cluster.plan.node("1").3 = "witness: true".into();
    let config = cluster.plan.clone();
    let config = cluster.write(&config);
    let mut command = Command::new(example());
    command.args(["3", "--config"]).arg(&config).env("RUST_LOG", "info");
    let mut program = Process::start("program", command);
    cluster.start("1");
    program.wait_until_it_mentions(&["lease won"]);
    cluster.start("2");
    let before = wait_for("node 2 to see the leader", || {
        cluster.processes["2"].view().filter(|view| view.leader.as_deref() == Some("3"))
    });

    program.signal(Signal::TERM);

    let status = program.wait_for_end();
    assert!(status.success(), "{status}: {}", program.dump());
    assert!(program.see(|record| record.mentions(&["released to"])), "{}", program.dump());
    let next = cluster.leader();
    assert!(next.token > before.term, "{before:?} {next:?}");
    cluster.nobody_panicked();
}

/// A leader that is paused for longer than its lease cannot notice that it is deposed. It must not act when it goes on.
#[test]
fn a_leader_that_was_paused_does_not_lead_when_it_goes_on() {
    const ROUNDS: usize = 3;
    const STOPPED_NANOS: u64 = 2_000_000_000;
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let mut tokens = vec![cluster.leader().token];
    let mut held_until_it_stopped = 0;
    for round in 0.. {
        if held_until_it_stopped == ROUNDS {
            break;
        }
        assert!(round < ROUNDS * 5, "the leader changes before it can be stopped");
        let leader = cluster.leader();
        let survivors = cluster.others(&leader.id);
        let survivors: Vec<&str> = survivors.iter().map(String::as_str).collect();
        cluster.process(&leader.id).command("hold");
        cluster.processes[&leader.id].wait_until_it_mentions(&["done hold"]);

        let stopped_at = boot_nanos();
        cluster.process(&leader.id).signal(Signal::STOP);
        let next = wait_for("the survivors' leader", || {
            cluster.agreed_by(&survivors).filter(|next| next.token > leader.token)
        });
        tokens.push(next.token);
        wait_for("two seconds", || (boot_nanos() > stopped_at + STOPPED_NANOS).then_some(()));
        let continued_at = boot_nanos();
        cluster.process(&leader.id).signal(Signal::CONT);

        let first = wait_for("a check after the stop", || {
            cluster.processes[&leader.id]
                .see(|record| record.checks.iter().find(|check| check.before >= continued_at).copied())
        });
        assert!(!first.valid, "{first:?} after {continued_at}: {}", cluster.dump());
        let held = wait_for("a look at the held lease", || {
            cluster.processes[&leader.id].see(|record| record.held.last().copied().filter(|(_, valid)| !valid))
        });
        // Otherwise the machine was busy, and the lease was lost before.
        held_until_it_stopped += usize::from(held.0 > stopped_at);
        cluster.process(&leader.id).command("drop");
        cluster.leader();
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    let runs = cluster.judge(Claims::Stand);
    assert!(runs.len() > ROUNDS, "{runs:?}");
}

#[test]
fn terms_and_tokens_grow_over_orderly_and_abrupt_restarts_of_all_nodes() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();
    for id in THREE {
        cluster.stop(id);
    }
    for id in THREE {
        cluster.start(id);
    }
    let second = cluster.leader();
    assert!(second.term > first.term && second.token > first.token, "{first:?} {second:?}");

    for id in THREE {
        cluster.process(id).signal(Signal::KILL);
    }
    for id in THREE {
        cluster.kill(id);
    }
    for id in THREE {
        cluster.start(id);
    }
    let third = cluster.leader();
    assert!(third.term > second.term && third.token > second.token, "{second:?} {third:?}");
    cluster.judge(Claims::MayBeReleased);
}

#[test]
fn a_node_that_starts_late_sees_the_leader_and_disturbs_nobody() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.start("1");
    cluster.start("2");
    let before = cluster.leader();

    cluster.start("3");

    assert_eq!(cluster.leader(), before);
    cluster.stays(&before, CALM + 500);
    cluster.judge(Claims::Stand);
}

#[test]
fn three_nodes_without_encryption_elect_a_leader_and_fail_over() {
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    cluster.plan.certs = None;
    cluster.start_all();
    let first = cluster.leader();
    assert!(cluster.processes["1"].see(|record| record.mentions(&["WARN", "insecure: true"])));
    cluster.kill(&first.id);
    assert!(cluster.leader().token > first.token);
    cluster.judge(Claims::Stand);
}

#[test]
fn three_nodes_without_a_state_folder_elect_a_leader_and_say_what_is_weaker() {
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    cluster.plan.state_dir = None;
    cluster.start_all();
    cluster.leader();
    assert!(cluster.processes["1"].see(|record| record.mentions(&["WARN", "without `state_dir`"])));
    cluster.judge(Claims::Stand);
}

#[test]
fn a_node_that_comes_back_without_its_state_does_not_disturb_the_leader() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.plan.state_dir = None;
    cluster.start_all();
    let leader = cluster.settled();
    let follower = cluster.others(&leader.id).remove(0);
    cluster.kill(&follower);

    cluster.start(&follower);

    cluster.stays(&leader, CALM + 500);
    assert_eq!(cluster.leader().token, leader.token);
    cluster.judge(Claims::Stand);
}

#[test]
fn one_node_alone_leads_at_once() {
    let cluster = Cluster::started(&["1"], SWIFT);
    assert_eq!(cluster.leader().token, 1);
}

#[test]
fn of_two_nodes_neither_leads_without_the_other() {
    let mut cluster = Cluster::planned(&["1", "2"], SWIFT);
    cluster.start("1");
    assert!(cluster.is_ready("1"));
    let never_led = |cluster: &Cluster, since: u64| {
        let until = since + 3 * SWIFT * 1_000_000;
        wait_for("checks", || {
            cluster.processes["1"].see(|record| (record.checks.last()?.before > until).then_some(()))
        });
        cluster.processes["1"].see(|record| {
            let mut checks = record.checks.iter();
            !checks.any(|check| check.before > since && check.valid)
        })
    };
    assert!(never_led(&cluster, boot_nanos()), "{}", cluster.dump());
    cluster.start("2");
    cluster.leader();

    cluster.kill("2");

    wait_for("the lease to end", || cluster.processes["1"].view()?.token.is_none().then_some(()));
    assert!(never_led(&cluster, boot_nanos()), "{}", cluster.dump());
    cluster.judge(Claims::Stand);
}
