//! A stranger, and a node with another config, is refused and named, and does no harm.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certs::{Ca, Certs, THIS_HOST};
use super::cluster::{CALM, Cluster, Leader, Plan, SWIFT};
use super::lease_log::Claims;
use super::process::{AMPLE, wait_for};

const THREE: [&str; 3] = ["1", "2", "3"];

/// Nodes 1 and 2 of three, with a leader, while node 3 is still to come.
fn two_of_three() -> (Cluster, Leader) {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.start("1");
    cluster.start("2");
    assert!(cluster.is_ready("1") && cluster.is_ready("2"));
    let leader = cluster.leader();
    (cluster, leader)
}

/// Starts node 3 with a config of its own, waits until it says `to_itself` and one of the others says `to_them`, and
/// checks that those two were not disturbed.
#[track_caller]
fn node_3_is_refused(change: impl FnOnce(&mut Plan), to_itself: &[&str], to_them: &[&str]) {
    let (mut cluster, leader) = two_of_three();
    let mut plan = cluster.plan.clone();
    change(&mut plan);

    cluster.start_as("3", "3", &plan);

    assert!(cluster.is_ready("3"));
    cluster.processes["3"].wait_until_it_mentions(to_itself);
    cluster.processes["1"].wait_until_it_mentions(to_them);
    cluster.processes["2"].wait_until_it_mentions(to_them);
    cluster.kill("3");
    cluster.stays(&leader, CALM + 500);
    cluster.judge(Claims::Stand);
}

#[test]
fn a_node_of_another_ca_is_refused_and_both_sides_are_told() {
    let stranger = Ca::new();
    node_3_is_refused(
        |plan| plan.certs = Some(stranger.sign("shared", &THIS_HOST)),
        &["error ", "was the CA made anew?"],
        &["error 3 ", "was the CA made anew?"],
    );
}

#[test]
fn a_node_with_the_certificate_of_another_host_is_refused_with_both_names() {
    let (mut cluster, leader) = two_of_three();
    let mut plan = cluster.plan.clone();
    plan.certs = Some(cluster.ca.sign("elsewhere", &["elsewhere.example"]));
    // It believes that this is its name; the others go by its address.
    plan.node("3").3 = "tls_name: elsewhere.example".into();

    cluster.start_as("3", "3", &plan);

    let both = ["elsewhere.example", "not for \"127.0.0.1\""];
    for id in ["1", "2"] {
        // Dialled by it, and dialling it.
        cluster.processes[id].wait_until_it_mentions(&["refused 127.0.0.1", both[0], both[1]]);
        cluster.processes[id].wait_until_it_mentions(&["error 3 ", both[0], both[1]]);
    }
    cluster.processes["3"].wait_until_it_mentions(&["refused by", both[0], both[1]]);
    cluster.kill("3");
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}

#[test]
fn a_node_with_another_list_of_members_is_refused_with_both_lists() {
    node_3_is_refused(
        |plan| {
            let fourth = Plan::new(None, &["4"], CALM).nodes.remove(0);
            plan.nodes.push(fourth);
        },
        &["error ", "different nodes", "[1, 2, 3]", "[1, 2, 3, 4]"],
        &["error 3 ", "different nodes", "[1, 2, 3]", "[1, 2, 3, 4]"],
    );
}

#[test]
fn a_node_of_another_cluster_is_refused_with_both_names() {
    node_3_is_refused(
        |plan| plan.cluster = "elsewhere".into(),
        &["error ", "different cluster", "test", "elsewhere"],
        &["error 3 ", "different cluster", "test", "elsewhere"],
    );
}

#[test]
fn a_node_that_goes_without_encryption_is_refused() {
    node_3_is_refused(|plan| plan.certs = None, &["error "], &["WARN", "refused 127.0.0.1", "insecure: true"]);
}

/// Three nodes with a leader, and somebody who dials them.
fn attacked(attack: impl Fn(&Cluster, u16), says: &[&str]) {
    let cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    for (id, _, port, _) in &cluster.plan.nodes {
        attack(&cluster, *port);
        cluster.processes[id].wait_until_it_mentions(says);
    }
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}

fn dial(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(AMPLE)).unwrap();
    tcp
}

/// Reads until the other side has closed, and returns what it said before.
#[track_caller]
fn last_words(stream: &mut impl Read) -> String {
    let (mut said, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => said.extend(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("not closed within {AMPLE:?}")
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[track_caller]
fn is_closed(stream: &mut impl Read) {
    last_words(stream);
}

/// Sends `bytes` inside TLS to each of three nodes. Each says `why` before it closes, and in its log.
fn told_why(bytes: &[u8], why: &str) {
    let attack = |cluster: &Cluster, port| {
        let mut tls = dial_tls(&own_certs(cluster), port);
        tls.write_all(bytes).unwrap();
        let told = last_words(&mut tls);
        assert!(told.contains(why), "{told:?}");
    };
    attacked(attack, &["WARN", "refused 127.0.0.1", why]);
}

/// A client of the cluster's CA that speaks TLS as a node does.
fn dial_tls(certs: &Certs, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certs.ca).unwrap()).unwrap();
    let own = CertificateDer::from_pem_file(&certs.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&certs.key).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own], key)
        .unwrap();
    config.alpn_protocols = vec![b"leadelect/1".to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, dial(port))
}

fn own_certs(cluster: &Cluster) -> Certs {
    cluster.plan.certs.clone().unwrap()
}

#[test]
fn garbage_instead_of_tls_is_refused_and_named() {
    let attack = |_: &Cluster, port| {
        let mut tcp = dial(port);
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: leader\r\n\r\n").unwrap();
        is_closed(&mut tcp);
    };
    attacked(attack, &["WARN", "refused 127.0.0.1", "the peer does not speak TLS"]);
}

#[test]
fn a_frame_too_large_inside_tls_is_refused_with_its_size() {
    // More of it than the node reads.
    let mut bytes = 1_000_000_u32.to_be_bytes().to_vec();
    bytes.extend([7; 10_000]);
    told_why(&bytes, "at most 4096 bytes, found 1000000");
}

#[test]
fn a_frame_of_garbage_inside_tls_is_refused_and_named() {
    told_why(b"\0\0\0\x05\xff\xff\xff\xff\xff", "expected a frame of protocol 2");
}

#[test]
fn a_first_frame_that_is_no_hello_is_refused_and_named() {
    told_why(b"\0\0\0\x01\x05", "expected a hello, found Probe");
}

/// A later version may have other fields behind its two numbers.
#[test]
fn a_hello_of_later_protocols_is_answered_with_all_numbers() {
    told_why(
        b"\0\0\0\x09\x00\xfb\x2c\x01\xfb\x2d\x01\xff\xff",
        "no common protocol: here 2, there 300 to 301; run versions of leadelect that share one",
    );
}

/// 40 connections that say nothing are more than one address may have under way. Existing connections need no
/// handshake, and new ones come through as soon as the deadline has cut the silent ones off.
#[test]
fn silent_connections_neither_stop_an_election_nor_stay() {
    let mut cluster = Cluster::started(&THREE, SWIFT);
    let first = cluster.leader();
    let mut silent: Vec<TcpStream> = Vec::new();
    for (.., port, _) in &cluster.plan.nodes {
        silent.extend((0..40).map(|_| dial(*port)));
    }
    for process in cluster.processes.values() {
        process.wait_until_it_mentions(&["WARN", "turned away 127.0.0.1", "too many handshakes"]);
    }

    cluster.kill(&first.id);
    let second = cluster.leader();
    assert!(second.token > first.token);
    // A node that comes back has to get through.
    cluster.start(&first.id);
    cluster.leader();

    for tcp in &mut silent {
        is_closed(tcp);
    }
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}

/// One byte now and then resets the timeout of a read, but not the deadline of the handshake.
#[test]
fn a_handshake_that_drips_is_cut_off() {
    let cluster = Cluster::started(&THREE, SWIFT);
    cluster.leader();
    // The beginning of a TLS record that announces 512 bytes.
    let mut drops = [0x16, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(1));
    let mut tcp = dial(cluster.plan.nodes[0].2);
    tcp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait_for("the end of the connection", || {
        let dripped = tcp.write_all(&[drops.next().unwrap()]);
        let ended = match tcp.read(&mut [0; 64]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        (dripped.is_err() || ended).then_some(())
    });
    cluster.leader();
    cluster.judge(Claims::Stand);
}
