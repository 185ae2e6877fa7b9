//! Calls to nodes that run elsewhere.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use leadelect::remote::{Client, RemoteError, Transfer};
use leadelect::{Config, NodeId, Role, Term};

use super::cluster::{CALM, Cluster, Leader, free_port};
use super::lease_log::Claims;

const THREE: [&str; 3] = ["1", "2", "3"];

fn started() -> (Cluster, Leader, Client) {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let plan = cluster.plan.clone();
    let config = Config::from_yaml_file(cluster.write(&plan)).unwrap();
    (cluster, leader, Client::new(config).unwrap())
}

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

#[test]
fn a_client_sees_what_each_node_sees() {
    let (cluster, leader, client) = started();
    assert_eq!(client.valid_for(), THREE.map(id));
    let mut tokens = Vec::new();
    for (node, status) in client.status_of_all() {
        let status = status.unwrap();
        let seen = &status;
        assert_eq!((seen.id, seen.term, seen.leader), (node, Term(leader.term), Some(id(&leader.id))));
        assert_eq!(seen.role == Role::Leader, node == id(&leader.id));
        assert_eq!(seen.token.is_some(), !seen.lease.is_over());
        tokens.extend(seen.token);
        let (_, addr, port, _) = cluster.plan.nodes.iter().find(|(id, ..)| *id != node.as_str()).unwrap();
        let at = format!("{addr}:{port}");
        assert!(seen.peers.iter().any(|peer| peer.addr == at), "{seen:?}");
        assert!(status.uptime > Duration::ZERO && status.round_trip > Duration::ZERO);
    }
    assert_eq!(tokens, [Term(leader.token)]);
    cluster.judge(Claims::Stand);
}

#[test]
fn only_the_leader_resigns_and_transfers_and_only_to_whom_it_can() {
    let (cluster, leader, client) = started();
    let leads = id(&leader.id);
    let follows = id(&cluster.others(&leader.id)[0]);
    let refused = |result: Result<(), RemoteError>, why: &str| match result {
        Err(RemoteError::Refused(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{why}: {other:?}"),
    };
    refused(client.resign(follows, Duration::ZERO), "does not lead");
    refused(client.transfer(Transfer { leader: follows, to: leads }), "does not lead");
    refused(client.transfer(Transfer { leader: leads, to: leads }), "leads already");
    refused(client.transfer(Transfer { leader: leads, to: "4" }), "no node \"4\"");
    for unknown in ["4", "two words"] {
        let error = RemoteError::UnknownNode { id: unknown.into() };
        assert_eq!(client.resign(unknown, Duration::ZERO), Err(error));
    }
    cluster.stays(&leader, 0);
    assert_eq!(client.resign(leads, Duration::from_secs(30)), Ok(()));
    cluster.leader_after(&leader);
    cluster.judge(Claims::MayBeReleased);
}

/// The client cannot tell whether the node got the call.
#[test]
fn a_call_without_an_answer_may_still_take_effect_and_the_error_says_so() {
    let (in_doubt, leads, zero) = ("may still do what it was asked for", id("1"), Duration::ZERO);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config::builder().insecure();
    let config = config.node(("1", "127.0.0.1", port));
    let config = config.node(("2", "127.0.0.1", free_port()));
    let client = Client::new(config.build().unwrap()).unwrap();
    let silent = |result| match result {
        Err(RemoteError::Silent(text)) => text.contains(in_doubt),
        other => panic!("{other:?}"),
    };
    // It accepts the connection and does nothing more.
    assert!(silent(client.resign(leads, zero)));
    assert!(silent(client.transfer(Transfer { leader: leads, to: "2" })));
    assert!(!silent(client.status(leads).map(drop)));

    let unreachable = |result| match result {
        Err(RemoteError::Unreachable(text)) => text.contains(in_doubt),
        other => panic!("{other:?}"),
    };
    // It was not even asked.
    assert!(!unreachable(client.resign(id("2"), zero)));
    // It hangs up.
    thread::spawn(move || listener.incoming().for_each(drop));
    assert!(unreachable(client.resign(leads, zero)));
}
