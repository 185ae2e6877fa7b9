//! `leadelect resign` and `leadelect transfer`.

use rustix::process::Signal;

use super::cluster::{CALM, Cluster, Leader, SWIFT};
use super::lease_log::Claims;
use super::process::wait_for;
use super::program::{ask, ask_as};

const THREE: [&str; 3] = ["1", "2", "3"];

fn started() -> (Cluster, Leader) {
    let cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    (cluster, leader)
}

#[test]
fn a_leader_that_is_made_to_resign_hands_over_and_the_successor_is_named() {
    let (mut cluster, first) = started();

    let said = ask(&mut cluster, &["resign", "--for", "10s"]);

    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let second = cluster.leader_after(&first);
    assert_ne!(second.id, first.id);
    assert_eq!(said.out, format!("node {} has handed over to node {}\n", first.id, second.id));
    cluster.processes[&first.id].wait_until_it_mentions(&["127.0.0.1 asks it to resign"]);
    cluster.judge(Claims::MayBeReleased);
}

/// Far longer than the election timeout. For that time the node stays behind anyway.
#[test]
fn a_node_that_resigns_for_a_time_does_not_lead_again_within_it() {
    let (mut cluster, first) = started();
    let said = ask(&mut cluster, &["resign", "--for", "60s"]);
    assert_eq!(said.code, 0, "{said:?}");
    let second = cluster.leader_after(&first);
    cluster.stays(&second, CALM + 1000);
    ask(&mut cluster, &["transfer", &first.id]).fails(1, &["is not eligible now"]);
    cluster.stays(&second, 0);
    cluster.judge(Claims::MayBeReleased);
}

#[test]
fn leadership_is_transferred_to_the_named_node() {
    let (mut cluster, first) = started();
    let mut last = first.clone();
    for to in cluster.others(&first.id) {
        // The leader refuses for a moment, until it has heard that this node is eligible.
        let said = wait_for("a transfer", || {
            let said = ask(&mut cluster, &["transfer", &to]);
            let refused = said.err.contains("is not eligible now");
            (!refused).then_some(said)
        });
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        said.says(&[&format!("to node {to}")]);
        last = cluster.leader_after(&last);
        assert_eq!(last.id, to);
    }
    let said = ask(&mut cluster, &["transfer", &last.id]);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&[&format!("node {} leads already", last.id)]);
    assert_eq!(cluster.leader(), last);
    cluster.judge(Claims::MayBeReleased);
}

/// The node died a moment ago. The leader may or may not have noticed.
#[test]
fn a_transfer_to_a_node_that_is_gone_fails_and_says_why() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let first = cluster.settled();
    let to = cluster.others(&first.id)[0].clone();
    cluster.kill(&to);
    let said = ask(&mut cluster, &["transfer", &to]);
    let noticed = said.err.contains(&format!("node {to} was not heard lately, or cannot be reached"));
    let began = said.err.contains("has handed over, but node") && said.err.contains(&format!("instead of node {to}"));
    assert_eq!((said.code, noticed || began), (1, true), "{said:?}");
}

/// A command ends only when the next leader leads, which is not before the work of the last has ended.
#[test]
fn a_node_that_resigns_waits_for_the_work_that_its_lease_guards() {
    let (mut cluster, first) = started();
    cluster.process(&first.id).command("hold");
    cluster.processes[&first.id].wait_until_it_mentions(&["done hold true"]);

    let said = ask(&mut cluster, &["resign"]);

    assert_eq!(said.code, 0, "{said:?}");
    let held = cluster.processes[&first.id].see(|record| record.held.clone());
    assert_eq!(held.last().map(|(_, valid)| *valid), Some(false), "{held:?}");
    cluster.leader_after(&first);
    cluster.judge(Claims::MayBeReleased);
}

#[test]
fn leadership_is_not_transferred_to_a_node_that_is_not_in_the_config() {
    let (mut cluster, leader) = started();
    ask(&mut cluster, &["transfer", "4"]).fails(2, &["found no node \"4\"", "expected one of 1, 2, 3"]);
    cluster.stays(&leader, 0);
}

#[test]
fn leadership_is_not_transferred_to_a_witness_and_stays_where_it_is() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.plan.node("3").3 = "witness: true".into();
    cluster.start_all();
    let leader = cluster.leader();
    ask(&mut cluster, &["transfer", "3"]).fails(1, &["refused", "witness"]);
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}

#[test]
fn leadership_is_not_transferred_to_a_node_that_is_down_or_hangs() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    let others = cluster.others(&leader.id);
    cluster.process(&others[0]).signal(Signal::STOP);
    // Until its promise has run out it may just be slow.
    cluster.stays(&leader, CALM + 500);
    ask(&mut cluster, &["transfer", &others[0]]).fails(1, &["refused", &others[0]]);
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}

#[test]
fn without_a_leader_nothing_is_handed_over() {
    let mut cluster = Cluster::planned(&THREE, SWIFT);
    cluster.start("1");
    assert!(cluster.is_ready("1"));
    for command in [&["resign"][..], &["transfer", "1"]] {
        ask(&mut cluster, command).fails(1, &["nobody leads: 1 of 3 nodes can be reached"]);
    }
}

/// The node is the last resort, and there is no other node.
#[test]
fn a_single_node_that_resigns_leads_again_and_has_not_handed_over() {
    let mut cluster = Cluster::started(&["1"], SWIFT);
    let leader = cluster.leader();
    let said = ask(&mut cluster, &["resign", "--for", "20s"]);
    said.fails(1, &["node 1 has stepped down, and leads again"]);
    cluster.leader_after(&leader);
}

#[test]
fn with_insecure_anybody_may_make_a_leader_resign() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.plan.certs = None;
    cluster.start_all();
    let leader = cluster.leader();
    let said = ask(&mut cluster, &["resign"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_ne!(cluster.leader_after(&leader).id, leader.id);
}

#[test]
fn a_certificate_for_no_node_may_read_the_status_and_command_nothing() {
    let (mut cluster, leader) = started();
    let mut plan = cluster.plan.clone();
    plan.certs = Some(cluster.ca.sign("operator", &["operator.example"]));

    let said = ask_as(&mut cluster, &plan, &["status"]);
    assert_eq!(said.code, 0, "{said:?}");

    let other = cluster.others(&leader.id)[0].clone();
    for command in [&["resign"][..], &["transfer", &other]] {
        let said = ask_as(&mut cluster, &plan, command);
        said.fails(1, &["refused", "for none of the nodes", "use the certificate of a node"]);
    }
    cluster.processes[&leader.id].wait_until_it_mentions(&["WARN", "refused 127.0.0.1", "for none"]);
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}
