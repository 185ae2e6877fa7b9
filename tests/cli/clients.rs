//! Clients other than the program: strangers, mistakes, and many at once. The nodes go on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certs::{Ca, Certs, THIS_HOST};
use super::cluster::{CALM, Cluster};
use super::lease_log::Claims;
use super::process::{AMPLE, wait_for};
use super::program::{ask, ask_as, with_config};

const THREE: [&str; 3] = ["1", "2", "3"];
/// The protocols of this version.
const TODAY: [u8; 2] = [2, 2];

#[test]
fn a_certificate_of_another_ca_learns_nothing() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let mut plan = cluster.plan.clone();
    let stranger = Ca::new();
    let mut certs = stranger.sign("shared", &THIS_HOST);
    plan.certs = Some(certs.clone());

    // It does not trust the nodes.
    let said = ask_as(&mut cluster, &plan, &["status"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["was the CA made anew?", "nobody leads: 0 of 3 nodes can be reached"]);

    // Nor do they trust it, even if it trusts them.
    let own = cluster.plan.certs.clone().unwrap();
    let both = std::fs::read(&own.ca).unwrap();
    let mut cas = std::fs::read(&certs.ca).unwrap();
    cas.extend(both);
    certs.ca = cluster.folder().join("both.pem");
    std::fs::write(&certs.ca, cas).unwrap();
    plan.certs = Some(certs);
    let said = ask_as(&mut cluster, &plan, &["status", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let nodes: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    for node in nodes {
        assert!(node["term"].is_null() && node["peers"].is_null(), "{node}");
        let error = node["error"].as_str().unwrap();
        assert!(error.contains("was the CA made anew?"), "{node}");
    }
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}

/// The shared certificate is that of node 3 too, which does not run.
#[test]
fn a_client_does_not_count_as_the_node_whose_certificate_it_shows() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.start("1");
    cluster.start("2");
    assert!(cluster.is_ready("1") && cluster.is_ready("2"));
    let leader = cluster.leader();
    for _ in 0..10 {
        let said = ask(&mut cluster, &["status", "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let nodes: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        for node in &nodes[..2] {
            let peers = node["peers"].as_array().unwrap();
            let third = peers.iter().find(|peer| peer["id"] == "3").unwrap();
            assert_eq!(third["connected"], false, "{node}");
            assert!(third["last_heard_ms"].is_null(), "{node}");
        }
    }
    // And the real node is let in.
    cluster.start("3");
    assert!(cluster.is_ready("3"));
    assert_eq!(cluster.leader(), leader);
    for id in ["1", "2"] {
        let two_processes = |record: &super::process::Record| record.mentions(&["two processes"]);
        assert!(!cluster.processes[id].see(two_processes), "{}", cluster.dump());
    }
    cluster.judge(Claims::Stand);
}

#[test]
fn many_clients_at_once_are_answered_or_turned_away_and_disturb_nobody() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let codes: Vec<i32> = thread::scope(|scope| {
        let asked: Vec<_> = (0..48).map(|_| scope.spawn(|| with_config(&config, &["status"]).code)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(codes.contains(&0), "{codes:?}");
    assert!(codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
    cluster.stays(&leader, 0);
    let said = ask(&mut cluster, &["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}

fn dial(port: u16) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(AMPLE)).unwrap();
    tcp
}

/// A client that speaks correct TLS, and sends any bytes inside it.
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

/// Everything that the other side sends until it closes.
#[track_caller]
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 1024];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(count) => all.extend(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("not closed within {AMPLE:?}")
            }
            Err(_) => return all,
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// The bytes of a client's question: frame 7, the lowest and the highest protocol, the cluster, the node, the question.
fn question(protocols: [u8; 2], to: &str, question: &[u8]) -> Vec<u8> {
    let [lowest, highest] = protocols;
    let mut body = vec![7, lowest, highest, 4];
    body.extend(b"test");
    body.push(u8::try_from(to.len()).unwrap());
    body.extend(to.as_bytes());
    body.extend(question);
    framed(&body)
}

#[test]
fn a_wrong_request_of_a_client_is_refused_with_the_reason_and_ends_the_connection() {
    let cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let certs = cluster.plan.certs.clone().unwrap();
    let (id, _, port, _) = cluster.plan.nodes[0].clone();
    let status = [0];
    let says = |bytes: &[u8]| {
        let mut tls = dial_tls(&certs, port);
        tls.write_all(bytes).unwrap();
        String::from_utf8_lossy(&rest(&mut tls)).into_owned()
    };

    let right = says(&question(TODAY, &id, &status));
    assert!(right.contains(env!("CARGO_PKG_VERSION")), "{right:?}");
    let later = says(&question([2, 9], &id, &status));
    assert!(later.contains(env!("CARGO_PKG_VERSION")), "{later:?}");
    for (protocols, there) in [([1, 1], "there 1;"), ([3, 9], "there 3 to 9;")] {
        let refused = says(&question(protocols, &id, &status));
        assert!(refused.contains("no common protocol: here 2, ") && refused.contains(there), "{refused:?}");
    }
    let other = says(&question(TODAY, "2", &status));
    assert!(other.contains("this is node 1, not node 2"), "{other:?}");
    // A transfer to a node that does not exist. The leader refuses it, and so does a follower.
    let transfer = says(&question(TODAY, &id, &[2, 1, b'9']));
    assert!(transfer.contains("node"), "{transfer:?}");
    // A hold-off that lies about its length, a frame of an answer, and a question in pieces.
    for bytes in [question(TODAY, &id, &[1, 0xfe]), framed(&[8, 2, 2]), framed(&[7, 2]), question(TODAY, &id, &[9])] {
        says(&bytes);
    }
    cluster.processes[&id].wait_until_it_mentions(&["WARN", "refused 127.0.0.1"]);
    cluster.stays(&leader, 0);
    cluster.nobody_panicked();
    cluster.judge(Claims::Stand);
}

/// Each client sends nothing, or asks and does not read the answer.
#[test]
fn clients_that_are_silent_or_do_not_read_are_cut_off_after_a_while() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    let certs = cluster.plan.certs.clone().unwrap();
    let (id, _, port, _) = cluster.plan.nodes[0].clone();
    let mut held = Vec::new();
    for number in 0..20 {
        let mut tls = dial_tls(&certs, port);
        tls.conn.complete_io(&mut tls.sock).unwrap();
        if number % 2 == 0 {
            tls.write_all(&question(TODAY, &id, &[0])).unwrap();
        }
        held.push(tls);
    }
    let said = ask(&mut cluster, &["status"]);
    assert_eq!(said.code, 0, "{said:?}");
    for tls in &mut held {
        rest(tls);
    }
    wait_for("threads of clients to end", || {
        let tasks = format!("/proc/{}/task", cluster.processes[&id].id());
        let names = std::fs::read_dir(tasks)
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        // The connections of its two peers stay.
        (names.filter(|name| name.contains("accept")).count() <= 2).then_some(())
    });
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}
