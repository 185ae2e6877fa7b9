//! `leadelect check`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, date_time_ymd};

use super::certs::{Ca, Certs, THIS_HOST};
use super::cluster::{CALM, Cluster, Plan};
use super::program::{Said, ask, ask_as, in_the_end, leadelect, with_config};
use super::skip;

const THREE: [&str; 3] = ["1", "2", "3"];

/// How many lines begin with this word.
fn count(said: &Said, word: &str) -> usize {
    said.out.lines().filter(|line| line.starts_with(word)).count()
}

#[test]
fn a_cluster_in_order_has_no_errors_and_a_shared_certificate_is_a_warning() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.leader();
    // Until all nodes are connected with each other, that is a warning, too.
    let command = ["check", "--id", "2"];
    let said = in_the_end(&mut cluster, &command, |said| count(said, "warning ") == 1);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    said.says(&[
        "cluster test, nodes 1, 2, 3, heartbeat interval 100ms, election timeout 3s",
        "signed by the CA, valid for 1, 2, 3, ends in",
        "members are not told apart",
        &format!("node {} leads in term {}: 3 of 3", leader.id, leader.term),
        "errors: 0, warnings: 1",
    ]);
    for id in THREE {
        said.says(&[&format!("ok       node {id} at 127.0.0.1:")]);
    }
    assert_eq!((count(&said, "error "), count(&said, "warning ")), (0, 1), "{said:?}");
}

#[test]
fn a_node_that_is_down_is_an_error_and_the_nodes_that_miss_it_are_named() {
    let mut cluster = Cluster::started(&THREE, CALM);
    let leader = cluster.settled();
    let down = cluster.others(&leader.id)[0].clone();
    cluster.kill(&down);
    cluster.processes[&leader.id].wait_until_it_mentions(&[&format!("error {down} ")]);
    let said = ask(&mut cluster, &["check"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&[
        &format!("error    node {down} at 127.0.0.1:"),
        &format!("warning  node {} does not reach node {down}: ", leader.id),
        "2 of 3 nodes agree",
    ]);
    assert_eq!(count(&said, "error "), 1, "{said:?}");
}

/// A plan for three nodes that do not run, and the CA.
fn planned() -> (Cluster, Plan) {
    let cluster = Cluster::planned(&THREE, CALM);
    let plan = cluster.plan.clone();
    (cluster, plan)
}

#[test]
fn offline_no_node_is_asked() {
    let (mut cluster, plan) = planned();
    let said = ask_as(&mut cluster, &plan, &["check", "--offline"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains(" at 127.0.0.1:"), "{said:?}");
    let said = ask_as(&mut cluster, &plan, &["check"]);
    assert_eq!((said.code, count(&said, "error ")), (1, 4), "{said:?}");
    said.says(&["nobody leads: 0 of 3 nodes can be reached"]);
}

/// Each config has one mistake. The error names its place and says what to do.
#[test]
fn every_certificate_that_peers_would_refuse_is_an_error() {
    type Slip = fn(&Ca, &mut Certs);
    let slips: [(Slip, &[&str]); 7] = [
        (|_, certs| certs.cert = "/no/such.pem".into(), &["certs.server.cert: /no/such.pem: cannot be read"]),
        (|_, certs| certs.ca = certs.key.clone(), &["certs.ca: ", "expected a PEM file with a CERTIFICATE"]),
        (|_, certs| certs.key = certs.cert.clone(), &["certs.server.key: ", "PRIVATE KEY"]),
        (
            |ca, certs| certs.key = ca.sign("other", &THIS_HOST).key,
            &["certs.server.key: ", "found the key of another certificate"],
        ),
        (
            |_, certs| {
                // Its folder goes with it.
                let other = Ca::new();
                let moved = certs.cert.with_file_name("other-ca.pem");
                fs::copy(other.sign("any", &THIS_HOST).ca, &moved).unwrap();
                certs.ca = moved;
            },
            &["certs.server.cert: ", "was the CA made anew?"],
        ),
        (
            |ca, certs| {
                *certs = ca.sign_with("ended", &THIS_HOST, |params| {
                    params.not_before = date_time_ymd(2020, 1, 1);
                    params.not_after = date_time_ymd(2021, 1, 1);
                });
            },
            &["certs.server.cert: ", "expired"],
        ),
        (
            |ca, certs| *certs = ca.sign("elsewhere", &["elsewhere.example"]),
            &["certs.server.cert: ", "elsewhere.example", "tls_name"],
        ),
    ];
    for (slip, parts) in slips {
        let (mut cluster, mut plan) = planned();
        slip(&cluster.ca, plan.certs.as_mut().unwrap());
        let said = ask_as(&mut cluster, &plan, &["check", "--offline", "--id", "1"]);
        assert_eq!((said.code, count(&said, "error ")), (1, 1), "{said:?}");
        let line = said.out.lines().find(|line| line.starts_with("error ")).unwrap();
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
    }
}

#[test]
fn every_mistake_in_a_config_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config: PathBuf = folder.path().join("cfg.yaml");
    let nodes = "nodes:\n  1: { addr: 127.0.0.1, port: 21001 }\n";
    let slips = [
        (String::new(), "found nothing: expected `nodes`"),
        (format!("insecure: true\nclutser: a\n{nodes}"), "unknown field `clutser`"),
        (nodes.to_owned(), "certs"),
        (format!("insecure: maybe\n{nodes}"), "insecure: found \"maybe\""),
        (format!("insecure: true\ntiming: {{ election_timeout: 5 }}\n{nodes}"), "timing.election_timeout: found \"5\""),
        (format!("insecure: true\ntiming: {{ election_timeout: 150ms }}\n{nodes}"), "leaves no lease"),
        ("insecure: true\nnodes:\n  1: { addr: 127.0.0.1, port: 0 }\n".to_owned(), "nodes.1.port"),
    ];
    for (yaml, part) in slips {
        fs::write(&config, &yaml).unwrap();
        let said = with_config(&config, &["check", "--offline"]);
        assert_eq!((said.code, count(&said, "error ")), (1, 1), "{yaml}: {said:?}");
        let line = said.out.lines().find(|line| line.starts_with("error ")).unwrap();
        assert!(line.contains(part) && line.contains("cfg.yaml"), "{part:?}: {line}");
    }
    let said = leadelect(&["check", "--config", "/no/such/file.yaml"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["error    /no/such/file.yaml: cannot be read"]);
}

#[test]
fn a_node_that_is_not_in_the_config_is_an_error_with_those_that_are() {
    let (mut cluster, plan) = planned();
    let said = ask_as(&mut cluster, &plan, &["check", "--offline", "--id", "7"]);
    assert_eq!(said.code, 1, "{said:?}");
    said.says(&["found no node \"7\": expected one of 1, 2 or 3"]);
}

fn ends_in_days(days: u64) -> impl FnOnce(&mut CertificateParams) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = now.unwrap() + Duration::from_secs(days * 86_400 + 3600);
    move |params| params.not_after = date_time_ymd(1970, 1, 1) + end
}

#[test]
fn a_certificate_for_no_node_and_one_that_ends_soon_are_warnings() {
    let (mut cluster, mut plan) = planned();
    plan.certs = Some(cluster.ca.sign("operator", &["operator.example"]));
    let said = ask_as(&mut cluster, &plan, &["check", "--offline"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&["valid for no node", "may read the status, but cannot run a node"]);

    for names in [&["operator.example"][..], &THIS_HOST] {
        plan.certs = Some(cluster.ca.sign_with("brief", names, ends_in_days(10)));
        let said = ask_as(&mut cluster, &plan, &["check", "--offline"]);
        assert_eq!(said.code, 0, "{said:?}");
        let line = said.out.lines().find(|line| line.contains("ends in 10 days"));
        assert!(line.is_some(), "{said:?}");
        let warnings = said.out.lines().filter(|line| line.starts_with("warning "));
        let of_it = warnings.filter(|line| line.contains("ends in 10 days"));
        assert_eq!(of_it.count(), 1, "{said:?}");
    }
}

#[test]
fn a_config_without_certificates_is_a_warning() {
    let (mut cluster, mut plan) = planned();
    plan.certs = None;
    let said = ask_as(&mut cluster, &plan, &["check", "--offline"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.says(&["anybody who reaches a port can vote"]);
}

/// The warnings at the start are of the config. Later ones are of the node alone.
#[test]
fn a_node_that_runs_warns_of_the_end_of_its_chain_after_a_renewal_that_is_short() {
    let mut cluster = Cluster::started(&THREE, CALM);
    cluster.leader();
    let certs = cluster.plan.certs.clone().unwrap();
    let (cert, key) = (fs::read(&certs.cert).unwrap(), fs::read(&certs.key).unwrap());
    let brief = cluster.ca.sign_with("brief", &THIS_HOST, ends_in_days(6));
    fs::copy(&brief.key, &certs.key).unwrap();
    fs::copy(&brief.cert, &certs.cert).unwrap();
    // Each connection makes the nodes read the files again.
    let said = in_the_end(&mut cluster, &["check"], |said| said.out.contains("node 1: its certificate ends in 6 days"));
    said.says(&["the certificate of this node ends in 6 days", "node 2: its certificate ends in 6 days"]);
    for process in cluster.processes.values() {
        process.wait_until_it_mentions(&["WARN", "the certificate of this node ends in 6 days"]);
        let warned = |line: &&String| line.contains("the certificate of this node ends in");
        let times = process.see(|record| record.log.iter().filter(warned).count());
        assert_eq!(times, 1, "{}", process.dump());
    }
    fs::write(&certs.key, key).unwrap();
    fs::write(&certs.cert, cert).unwrap();
    in_the_end(&mut cluster, &["check"], |said| !said.out.contains("ends in 6 days"));
}

#[test]
fn an_intermediate_certificate_that_ends_first_is_named() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.plan.certs = Some(cluster.ca.sign_below("below", &THIS_HOST, ends_in_days(9)));
    cluster.start_all();
    cluster.leader();
    let said = ask(&mut cluster, &["check"]);
    said.says(&["the intermediate certificate CN=nodes", "ends in 9 days, on ", "ends in 9 days"]);
    for id in THREE {
        said.says(&[&format!("node {id}: its intermediate certificate CN=nodes ends in 9 days")]);
        cluster.processes[id].wait_until_it_mentions(&["the intermediate certificate CN=nodes", "ends in 9 days"]);
    }
    let said = ask(&mut cluster, &["status", "--json"]);
    let nodes: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    for node in nodes {
        assert_eq!(
            (node["certificate_days"].as_i64(), node["ends_first"].as_str()),
            (Some(9), Some("CN=nodes")),
            "{node}"
        );
    }
}

/// Files as OpenSSL makes them, and what `check` says of them.
#[test]
fn keys_and_signatures_that_are_not_supported_are_named_with_those_that_are() {
    let Some(shop) = Shop::new() else { return };
    let (p256, p521) = (["EC", "P-256"], ["EC", "P-521"]);
    let (rsa1024, rsa2048) = (["RSA", "1024"], ["RSA", "2048"]);
    let pss = |salt| ["-sigopt", "rsa_padding_mode:pss", "-sigopt", salt];
    let cases: [(Kind, Kind, &[&str], &str); 9] = [
        (rsa1024, p256, &[], "signed by the CA CN=ca with a key RSA with 1024 bits"),
        (p521, p256, &[], "signed by the CA CN=ca with a key ECDSA P-521"),
        (["RSA-PSS", ""], p256, &[], "signed by the CA CN=ca with a key RSA-PSS"),
        (p256, p521, &[], "whose key is ECDSA P-521"),
        (p256, rsa1024, &[], "whose key is RSA with 1024 bits"),
        (p256, p256, &["-sha512"], "a signature ECDSA with SHA-512"),
        (p256, p256, &["-sha1"], "a signature ECDSA with SHA-1"),
        (rsa2048, p256, &pss("rsa_pss_saltlen:20"), "a signature RSA-PSS with unusual parameters"),
        (rsa2048, p256, &pss("rsa_pss_saltlen:-1"), "ok       certificate: signed by the CA"),
    ];
    for (ca, leaf, how, expected) in cases {
        shop.make(ca, leaf, how);
        let said = with_config(&shop.config(), &["check", "--offline", "--id", "1"]);
        said.says(&[expected]);
        if said.code != 0 {
            said.says(&["supported are keys ECDSA P-256, ECDSA P-384, Ed25519 and RSA with 2048 to 8192 bits"]);
            assert!(said.out.lines().all(|line| line.len() < 500), "{said:?}");
        }
    }
    let as_p12 = ["pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-passout", "pass:x", "-out", "all.p12"];
    shop.openssl(&as_p12);
    shop.openssl(&["pkey", "-in", "key.pem", "-outform", "DER", "-out", "key.der"]);
    for (file, expected) in [("all.p12", "found PKCS #12"), ("key.der", "found a private key in DER")] {
        fs::copy(shop.folder.path().join(file), shop.folder.path().join("key.pem")).unwrap();
        with_config(&shop.config(), &["check", "--offline"]).says(&[expected, "convert it with `openssl "]);
    }
}

/// The algorithm of a key, and its curve or its bits.
type Kind = [&'static str; 2];

/// A folder in which OpenSSL makes certificates.
struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Option<Shop> {
        if Command::new("openssl").arg("version").output().is_err() {
            skip::because("needs openssl");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let openssl = "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\nCN=ca\n\
                       [ca]\nbasicConstraints=critical,CA:TRUE\n[leaf]\nsubjectAltName=IP:127.0.0.1\n";
        fs::write(folder.path().join("x.cnf"), openssl).unwrap();
        let config = "certs: { ca: ca.pem, server: { cert: cert.pem, key: key.pem } }\n\
                      nodes:\n  1: { addr: 127.0.0.1, port: 21001 }\n";
        fs::write(folder.path().join("cfg.yaml"), config).unwrap();
        Some(Shop { folder })
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("cfg.yaml")
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn make(&self, ca: Kind, leaf: Kind, how: &[&str]) {
        for ([algorithm, size], file) in [(ca, "ca.key"), (leaf, "key.pem")] {
            let option = match algorithm {
                "EC" => format!("ec_paramgen_curve:{size}"),
                "RSA" => format!("rsa_keygen_bits:{size}"),
                _ => "rsa_keygen_bits:2048".to_owned(),
            };
            self.openssl(&["genpkey", "-algorithm", algorithm, "-pkeyopt", &option, "-out", file]);
        }
        self.openssl(&["req", "-x509", "-new", "-key", "ca.key", "-config", "x.cnf", "-days", "90", "-out", "ca.pem"]);
        self.openssl(&["req", "-new", "-key", "key.pem", "-config", "x.cnf", "-out", "request"]);
        let sign =
            ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1", "-days", "60"];
        let into = ["-extfile", "x.cnf", "-extensions", "leaf", "-out", "cert.pem"];
        self.openssl(&[&sign[..], &into, how].concat());
    }
}

#[test]
fn timing_is_measured_and_the_shortest_one_is_named() {
    let mut cluster = Cluster::started(&THREE, CALM);
    cluster.leader();
    let others = ["an answer of node 1: at worst", "an answer of node 3: at worst"];
    let said = in_the_end(&mut cluster, &["check", "--id", "2", "--timing"], |said| {
        others.iter().all(|line| said.out.contains(line))
    });
    said.says(&[
        "timing: a thread wakes late: at worst",
        "timing: a write to the state folder: at worst",
        "shortest election timeout is about",
    ]);
    assert!(!said.out.contains("an answer of node 2"), "{said:?}");
    let state = cluster.plan.state_dir.clone().unwrap();
    let trials = fs::read_dir(state).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("check")
    });
    assert_eq!(trials.count(), 0, "it leaves nothing behind");
    let said = ask(&mut cluster, &["check", "--offline", "--timing"]);
    said.says(&["timing: no disk is measured without --id"]);
    assert!(!said.out.contains("an answer of"), "{said:?}");
}
