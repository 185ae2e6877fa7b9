use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::election::TimingSpec;
use crate::tls::test_ca::{TestCa, assert_hides, ends_in};

const CLASSIC: &str = "\
certs:
  ca: certs/ca-cert.pem
  server:
    cert: certs/server-cert.pem
    key: certs/server-key.pem
nodes:
  1:
    addr: 127.0.0.1
    port: 50001
  2:
    addr: 127.0.0.1
    port: 50002
  3:
    addr: 127.0.0.1
    port: 50003
";

/// Three nodes without TLS, with `more` behind them.
fn three(more: &str) -> String {
    let nodes: String = (1..=3).map(|n| format!("  {n}: {{ addr: 10.0.0.{n}, port: 5000 }}\n")).collect();
    format!("insecure: true\nnodes:\n{nodes}{more}")
}

fn id(text: &str) -> NodeId {
    text.parse().expect("an id")
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = Config::from_yaml_str(text).expect_err(text).to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn the_classic_file_is_read_as_it_is_and_its_paths_count_from_its_folder() {
    let ca = TestCa::new("ca");
    let made = ca.sign("server", &["127.0.0.1"]);
    let certs = ca.path("certs");
    fs::create_dir(&certs).expect("a folder");
    fs::copy(made.ca, certs.join("ca-cert.pem")).expect("copied");
    fs::copy(made.cert, certs.join("server-cert.pem")).expect("copied");
    fs::copy(made.key, certs.join("server-key.pem")).expect("copied");
    fs::write(ca.path("cfg.yaml"), CLASSIC).expect("written");

    let config = Config::from_yaml_file(ca.path("cfg.yaml")).expect("a config");
    let ports: Vec<_> = config.nodes().map(|(id, member)| (id.to_string(), member.port)).collect();
    assert_eq!(ports, [("1".into(), 50001), ("2".into(), 50002), ("3".into(), 50003)]);
    let node = config.for_node("2").expect("a node");
    assert_eq!((node.id(), node.cluster.as_str()), (id("2"), "leadelect"));
    assert_eq!(node.timing(), Timing::default());
    assert_eq!(node.rpc_timeout, Duration::from_millis(250));
    assert_eq!(node.state_dir, None);
    assert_eq!(node.listen(), ("127.0.0.1".into(), 50002));
    assert_eq!(node.members.iter().count(), 3);
    assert!(node.identity.is_some());
    let [warning] = node.warnings() else { panic!("{:?}", node.warnings()) };
    assert!(warning.ends_with("not told apart: that of node 2 is valid for the nodes 1, 2 and 3"), "{warning}");
}

#[test]
fn everything_can_be_set_in_the_file() {
    let text = r#"
cluster: orders
insecure: true
state_dir: state
timing: { heartbeat_interval: 30ms, election_timeout: 0.12s, rpc_timeout: 40500us, clock_drift: 0.02% }
nodes:
  "10": { addr: db.example, port: "7000", listen: 0.0.0.0, tls_name: ten.example, priority: -3 }
  2: { addr: "[2001:db8::2]", port: 7000, witness: true }
  db-east: { addr: 10.0.0.3, port: 7000, priority: 2147483647, witness: false }
"#;
    let node = Config::from_yaml_str(text).and_then(|config| config.for_node("10")).expect("a node");
    let voters: Vec<_> = node.members.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(voters, ["2", "10", "db-east"]);
    assert_eq!((node.cluster.as_str(), node.state_dir.as_deref()), ("orders", Some("state".as_ref())));
    let spec = TimingSpec {
        heartbeat_interval: Duration::from_millis(30),
        election_timeout: Duration::from_millis(120),
        clock_drift_ppm: 200,
    };
    assert_eq!(node.timing(), Timing::new(spec).expect("valid"));
    assert_eq!(node.rpc_timeout, Duration::from_micros(40_500));
    assert_eq!(node.listen(), ("0.0.0.0".into(), 7000));
    let ten = node.members.get(id("10")).expect("a member");
    assert_eq!((ten.name(), ten.priority, ten.witness), ("ten.example", -3, false));
    let two = node.members.get(id("2")).expect("a member");
    assert_eq!((two.addr.as_str(), two.name(), two.witness), ("2001:db8::2", "2001:db8::2", true));
    let [warning] = node.warnings() else { panic!("{:?}", node.warnings()) };
    assert!(warning.contains("nothing is encrypted"), "{warning}");
}

#[test]
fn the_builder_says_what_the_file_says() {
    let built = Config::builder()
        .insecure()
        .node(("1", "10.0.0.1", 5000))
        .node(NodeSpec::new("2", "10.0.0.2", 5000).priority(7).tls_name("two.example"))
        .node(NodeSpec::new("3", "10.0.0.3", 5000).witness().listen([0, 0, 0, 0].into()))
        .cluster("orders")
        .state_dir("state")
        .heartbeat_interval(Duration::from_millis(50))
        .election_timeout(Duration::from_millis(400))
        .rpc_timeout(Duration::from_millis(90))
        .clock_drift_ppm(500)
        .build()
        .expect("a config");
    let read = Config::from_yaml_str(
        "
insecure: true
cluster: orders
state_dir: state
timing: { heartbeat_interval: 50ms, election_timeout: 400ms, rpc_timeout: 90ms, clock_drift: 500ppm }
nodes:
  1: { addr: 10.0.0.1, port: 5000 }
  2: { addr: 10.0.0.2, port: 5000, priority: 7, tls_name: two.example }
  3: { addr: 10.0.0.3, port: 5000, witness: true, listen: 0.0.0.0 }
",
    );
    assert_eq!(format!("{built:?}"), format!("{:?}", read.expect("a config")));
}

#[test]
fn whatever_is_wrong_is_named_with_its_place() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["found nothing: expected `nodes`"]),
        ("# only this\n\n", &["found nothing: expected `nodes`"]),
        ("nodes", &["invalid type: string \"nodes\", expected a map with `nodes`"]),
        ("insecure: true", &["missing field `nodes`"]),
        ("insecure: true\nnodes:\n", &["nodes: found none"]),
        ("insecure: true\nnodes: {}", &["nodes: found none: expected at least one node"]),
        ("insecure: true\nnodes: [1]", &["nodes: invalid type: sequence, expected a map from each node's id"]),
        ("insecure: true\nnodes: { 1: }", &["nodes.1: missing field `addr`"]),
        ("insecure: true\nnodes: { 1: { addr: a } }", &["nodes.1: missing field `port`", "line 2"]),
        ("insecure: true\nnodes: { 1: { addr: [a], port: 1 } }", &["nodes.1.addr: invalid type: sequence"]),
        ("nodes:\n\t1: {}", &["line 2"]),
    ];
    for (text, parts) in cases {
        refused(text, parts);
    }
    let timing = |text: &str| format!("timing: {{ {text} }}");
    let node = |text: &str| format!("  4: {{ {text} }}");
    let cases: &[(String, &[&str])] = &[
        ("---\n{}".into(), &["more than one document"]),
        ("custer: a".into(), &["unknown field `custer`, expected one of `cluster`, `certs`", "line 6"]),
        ("cluster: a b".into(), &["cluster: found \"a b\": expected 1 to 64 visible"]),
        ("cluster: ''".into(), &["cluster: found \"\""]),
        ("state_dir: ''".into(), &["state_dir: found \"\": expected a folder"]),
        (format!("cluster: {}", "x".repeat(65)), &["cluster: found a text of 65 characters"]),
        ("insecure: true".into(), &["duplicate field `insecure`"]),
        ("certs: { ca: a, server: { cert: b, key: c } }".into(), &["certs: found certificates and `insecure: true`"]),
        ("certs: { ca: a }".into(), &["certs: missing field `server`"]),
        (
            "certs: { ca: a, server: { cert: b, keys: c } }".into(),
            &["certs.server: unknown field `keys`, expected `cert` or `key`"],
        ),
        (timing("election: 1s"), &["timing: unknown field `election`, expected one of `heartbeat_interval`"]),
        (timing("election_timeout: 500"), &["timing.election_timeout: found \"500\": expected a time such as `100ms`"]),
        (timing("election_timeout: 1h"), &["timing.election_timeout: found \"1h\""]),
        (timing("heartbeat_interval: -1ms"), &["timing.heartbeat_interval: found \"-1ms\""]),
        (timing("heartbeat_interval: 99999999999999s"), &["timing.heartbeat_interval: found"]),
        (timing("election_timeout: 200ms"), &["timing: election timeout 200ms leaves no lease", "use at least 350ms"]),
        (timing("rpc_timeout: 500ms"), &["timing.rpc_timeout: found 500ms", "interval 100ms", "timeout 500ms"]),
        (timing("rpc_timeout: 99ms"), &["timing.rpc_timeout: found 99ms"]),
        (timing("clock_drift: 1000"), &["timing.clock_drift: found \"1000\": expected a rate such as `1000ppm`"]),
        (timing("clock_drift: 99%"), &["timing: clock drift 990000 ppm is too large"]),
        (node("addr: a, port: 0"), &["nodes.4.port: found \"0\": expected a port from 1 to 65535"]),
        (node("addr: a, port: 65536"), &["nodes.4.port: found \"65536\": expected a port from 1 to 65535"]),
        (node("addr: a, port: http"), &["nodes.4.port: found \"http\""]),
        (
            node("addr: 'a:1', port: 1"),
            &["nodes.4.addr: found \"a:1\": expected an IP address or a DNS name, without port"],
        ),
        (node("addr: '', port: 1"), &["nodes.4.addr: found \"\""]),
        (node("addr: 0.0.0.0, port: 1"), &["nodes.4.addr: found \"0.0.0.0\"", "use `listen`"]),
        (node("addr: null, port: 1"), &["nodes.4.addr: found `null`: expected a text", "line 6"]),
        (node("addr: ~, port: 1"), &["nodes.4.addr: found `~`: expected a text"]),
        (node("addr: , port: 1"), &["nodes.4.addr: found \"\": expected an IP address"]),
        (node("addr: true, port: 1"), &["nodes.4.addr: found `true`: expected a text"]),
        (node("addr: a, port: 1, tls_name: false"), &["nodes.4.tls_name: found `false`: expected a text"]),
        ("cluster: True".into(), &["cluster: found `True`: expected a text"]),
        ("state_dir: false".into(), &["state_dir: found `false`: expected a text"]),
        ("  null: { addr: a, port: 1 }".into(), &["nodes: found `null`: expected a text"]),
        (node("addr: 5, port: 1"), &["nodes.4.addr: found \"5\": expected an IP address"]),
        (node("addr: 10.1, port: 1"), &["nodes.4.addr: found \"10.1\""]),
        (node("addr: 10.0.0.256, port: 1"), &["nodes.4.addr: found \"10.0.0.256\""]),
        (node("addr: 0x0a000001, port: 1"), &["nodes.4.addr: found \"0x0a000001\""]),
        (node("addr: 1e3, port: 1"), &["nodes.4.addr: found \"1e3\""]),
        (node("addr: a, port: 1, tls_name: 7"), &["nodes.4.tls_name: found \"7\""]),
        (node("addr: !ENV HOST, port: 1"), &["found the tag \"!ENV\" at line 6: expected none"]),
        ("state_dir: !!binary c3RhdGU=".into(), &["found the tag \"!!binary\" at line 6"]),
        (node("addr: 'fe80::1%eth0', port: 1"), &["nodes.4.addr: found \"fe80::1%eth0\": scope ids", "DNS name"]),
        (node("addr: '[fe80::1%2]', port: 1"), &["nodes.4.addr: found \"fe80::1%2\": scope ids"]),
        (node("addr: 'fe80::1', port: 1"), &["nodes.4.addr: found \"fe80::1\": scope ids"]),
        (node("addr: a, port: 1, listen: 'fe80::1%eth0'"), &["nodes.4.listen: found \"fe80::1%eth0\": scope ids"]),
        (
            "state_dir: ~/state".into(),
            &["state_dir: found \"~/state\": no shell replaces the `~`: write the whole path"],
        ),
        ("state_dir: $HOME/state".into(), &["state_dir: found \"$HOME/state\": no shell replaces the `$`"]),
        (node("addr: a, port: 1, listen: a"), &["nodes.4.listen: found \"a\": expected an IP address"]),
        (node("addr: a, port: 1, tls_name: 'a b'"), &["nodes.4.tls_name: found \"a b\""]),
        (node("addr: a, port: 1, priority: 1.5"), &["nodes.4.priority: found \"1.5\": expected a whole number"]),
        (node("addr: a, port: 1, witness: maybe"), &["nodes.4.witness: found \"maybe\": expected `true` or `false`"]),
        (node("addr: a, port: 1, prio: 1"), &["nodes.4: unknown field `prio`, expected one of `addr`, `port`"]),
        (node("addr: a, port: 1, port: 2"), &["nodes.4: duplicate field `port`"]),
        (node("addr: 10.0.0.1, port: 5000"), &["nodes.4: found 10.0.0.1:5000 for node 1 too"]),
        ("  '1': { addr: a, port: 1 }".into(), &["nodes: found id 1 twice"]),
        ("  1: { addr: 10.0.0.1, port: 5000 }".into(), &["nodes: found id 1 twice"]),
        ("  two words: { addr: a, port: 1 }".into(), &["nodes: expected a node id of 1 to 32", "\"two words\""]),
    ];
    for (more, parts) in cases {
        refused(&three(more), parts);
    }
    refused("nodes: { 1: { addr: a, port: 1 } }", &["certs: found none: expected certificates, or `insecure: true`"]);
    refused(
        &three("").replace("insecure: true", "insecure: yes"),
        &["insecure: found \"yes\": expected `true` or `false`"],
    );
    let home = three("").replace("insecure: true", "certs: { ca: ca.pem, server: { cert: ~/a.pem, key: a.key } }");
    refused(&home, &["certs.server.cert: found \"~/a.pem\": no shell replaces the `~`"]);
    let empty = three("").replace("insecure: true", "certs: { ca: '', server: { cert: a.pem, key: a.key } }");
    refused(&empty, &["certs.ca: found \"\": expected the path of a file"]);
    let witnesses = three("").replace("5000", "5000, witness: true");
    refused(&witnesses, &["nodes: found only witnesses"]);
    let same = "insecure: true\nnodes: { 1: { addr: Db.Example, port: 1 }, 2: { addr: db.example, port: 1 } }";
    refused(same, &["nodes.2: found db.example:1 for node 1 too"]);
    let many: String = (4..=65).map(|n| format!("  {n}: {{ addr: 10.0.0.{n}, port: 5000 }}\n")).collect();
    refused(&three(&many), &["nodes: found 65: expected at most 64"]);
}

#[test]
fn a_file_that_is_no_config_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cfg.yaml");
    let says = |expected: &str| {
        let error = Config::from_yaml_file(&path).expect_err(expected);
        let (kind, cause) = (error.kind(), error.source().and_then(|source| source.downcast_ref::<io::Error>()));
        let (cause, error) = (cause.map(io::Error::kind), error.to_string());
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        (kind, cause)
    };
    assert_eq!(says("cannot be read"), (ConfigErrorKind::Unreadable, Some(io::ErrorKind::NotFound)));
    fs::write(&path, b"nodes:\n  \xff").expect("written");
    assert_eq!(says("not UTF-8 at offset 9"), (ConfigErrorKind::Syntax, None));
    fs::write(&path, three("").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).expect("written");
    assert_eq!(says("found UTF-16 text, expected UTF-8"), (ConfigErrorKind::Syntax, None));
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("written");
    says("more than 1048576 bytes");
    fs::write(&path, three("  4: { addr: a, port: x }")).expect("written");
    assert_eq!(says("cfg.yaml: nodes.4.port: found \"x\""), (ConfigErrorKind::Invalid, None));
    fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).expect("a folder");
    says("found a folder, expected a file");
    let error = Config::from_yaml_file("~/no/such.yaml").expect_err("no shell").to_string();
    assert!(
        error.ends_with("no shell replaces the `~`: write the whole path, or `./~` for a folder of that name"),
        "{error}"
    );
}

#[test]
fn an_error_that_quotes_a_file_does_nothing_to_a_terminal() {
    let unknown = "c\trts: { ca: a }";
    refused(unknown, &["unknown field `c?rts`"]);
    for quoted in ["\\e[2J", "\\n", "\\u202e"] {
        for text in [
            format!("\"a{quoted}b\": c"),
            format!("cluster: \"a{quoted}b\"\ninsecure: true\nnodes: {{}}"),
            three(&format!("  \"a{quoted}b\": {{ addr: a, port: x }}\n")),
            three(&format!("  4: {{ \"a{quoted}b\": a }}\n")),
        ] {
            let error = Config::from_yaml_str(&text).expect_err(&text).to_string();
            assert!(!error.contains(|sign: char| sign.is_control() || sign == '\u{202e}'), "{error:?}");
        }
    }
}

#[test]
fn a_byte_order_mark_before_utf_8_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        Config::from_yaml_file(path)
            .expect("a config")
            .nodes()
            .map(|(id, member)| (id, member.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(read("marked.yaml", format!("\u{feff}{}", three(""))), read("plain.yaml", three("")));
}

#[test]
fn a_node_has_a_certificate_that_its_peers_accept() {
    let ca = TestCa::new("ca");
    let cluster = |files: &CertFiles| {
        Config::builder()
            .certs(&files.ca, &files.cert, &files.key)
            .node(NodeSpec::new("1", "10.0.0.1", 5000).tls_name("one.example"))
            .node(("2", "10.0.0.2", 5000))
            .node(("3", "10.0.0.3", 5000))
            .build()
            .expect("a config")
    };
    let own = ca.sign("own", &["one.example"]);
    let node = cluster(&own).for_node("1").expect("a node");
    assert_eq!(node.warnings(), [""; 0]);

    let error = cluster(&own).for_node("2").expect_err("another's").to_string();
    assert!(error.starts_with("certs.server.cert: "), "{error}");
    assert!(error.contains("own.pem: found a certificate that is valid for"), "{error}");
    assert!(error.contains("not for \"10.0.0.2\": expected this node's tls_name"), "{error}");

    let keyless = CertFiles { key: own.cert.clone(), ..own.clone() };
    let error = cluster(&keyless).for_node("1").expect_err("no key");
    assert!(error.to_string().starts_with("certs.server.key: "), "{error}");
    assert!(error.kind() == ConfigErrorKind::Certificate && error.source().is_none(), "{error:?}");

    let nowhere = CertFiles { key: ca.path("none.key"), ..own.clone() };
    let error = cluster(&nowhere).for_node("1").expect_err("no file");
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::NotFound), "{error:?}");

    let ending = ca.sign_with("ending", &["one.example", "10.0.0.3"], ends_in(9));
    let node = cluster(&ending).for_node("1").expect("a node");
    let [shared, ends] = node.warnings() else { panic!("{:?}", node.warnings()) };
    assert!(shared.ends_with("that of node 1 is valid for the nodes 1 and 3"), "{shared}");
    assert!(ends.contains("ends in 9 days"), "{ends}");

    for (days, says) in [(-5, "has ended 4 days ago"), (9, "ends in 9 days")] {
        let ca = TestCa::with("ca", ends_in(days));
        let node = cluster(&ca.sign("own", &["one.example"])).for_node("1");
        let node = node.expect("a node");
        let [warning] = node.warnings() else { panic!("{:?}", node.warnings()) };
        assert!(warning.starts_with(&format!("the CA certificate CN=ca {says}")), "{warning}");
    }
}

#[test]
fn an_unknown_node_is_told_who_is_known() {
    for wrong in ["4", "two words", ""] {
        let error = Config::from_yaml_str(&three("")).and_then(|config| config.for_node(wrong));
        let error = error.expect_err("unknown");
        assert_eq!(error.to_string(), format!("nodes: found no node {wrong:?}: expected one of 1, 2 or 3"));
        assert_eq!(error.kind(), ConfigErrorKind::UnknownNode);
    }
}

#[test]
fn an_even_number_of_voters_is_warned_of() {
    let four = three("  4: { addr: 10.0.0.4, port: 5000 }");
    let node = Config::from_yaml_str(&four).and_then(|config| config.for_node("1")).expect("a node");
    let expected = "4 voters survive the loss of 1, just as 3 would: an odd number costs one node less";
    assert_eq!(node.warnings()[0], expected);
}

/// A key may be pasted into the config, or given to the builder, in the place of its path.
#[test]
fn nothing_of_a_key_is_in_an_error_or_in_the_debug_form() {
    let key = TestCa::new("ca").key_pem();
    let bare: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let literal = key.trim_end().replace('\n', "\\n");
    let certs = |value: &str| {
        three("").replace("insecure: true", &format!("certs: {{ ca: a, server: {{ cert: b, key: {value} }} }}"))
    };
    let block = format!("|\n    {}", key.replace('\n', "\n    "));
    let mut texts = Vec::new();
    for value in [&bare, &literal, &format!("\"{bare}\""), &block, &format!("{} {}", &bare[..64], &bare[64..])] {
        texts.push(certs(value));
        texts.push(certs("k").replace("key: k", &format!("key: k, {value}: x")));
        for place in ["cluster", "insecure", "state_dir", "timing", "nodes", "certs"] {
            texts.push(format!("{place}: {value}\n{}", three("").replacen(&format!("{place}:"), "other:", 1)));
        }
        for place in ["timing: { election_timeout: VALUE }", "timing: { clock_drift: VALUE }"] {
            texts.push(format!("{}\n{}", place.replace("VALUE", value), three("")));
        }
        for node in ["addr: VALUE, port: 1", "addr: a, port: VALUE", "addr: a, port: 1, tls_name: VALUE"] {
            texts.push(three(&format!("  4: {{ {} }}", node.replace("VALUE", value))));
        }
        texts.push(three(&format!("  {value}: {{ addr: a, port: 1 }}")));
    }
    texts.push(key.clone());
    for text in texts {
        let made = Config::from_yaml_str(&text);
        let error = made.err().unwrap_or_else(|| panic!("should be refused: {text}"));
        assert_hides(&format!("{error} {error:?}"), &key);
    }
    let builder = Config::builder().node(("1", "10.0.0.1", 5000));
    for pasted in [&key, &bare, &literal] {
        let builder = builder.clone().certs("ca.pem", "node.pem", pasted);
        assert_hides(&format!("{builder:?}"), &key);
        let error = builder.build().expect_err("a key");
        assert!(error.to_string().starts_with("certs.server.key: found a text of "), "{error}");
        assert_hides(&format!("{error} {error:?}"), &key);
        let error = Config::from_yaml_file(pasted).expect_err("no file");
        assert_hides(&error.to_string(), &key);
        let error = Config::from_yaml_str(&three("")).and_then(|config| config.for_node(pasted.as_str()));
        assert_hides(&error.expect_err("no node").to_string(), &key);
    }
}

#[test]
fn a_state_folder_that_others_may_write_to_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    for (mode, warned) in [(0o700, false), (0o755, false), (0o770, true), (0o1777, true)] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("set");
        let mut builder = Config::builder().insecure().state_dir(folder.path());
        for id in 1..=3 {
            builder = builder.node((id, "10.0.0.1", 5000 + id));
        }
        let node = builder.build().and_then(|config| config.for_node("1")).expect("a node");
        let warned_of = node.warnings().iter().any(|warning| warning.contains(&format!("has mode {mode:o}")));
        assert_eq!(warned_of, warned, "{mode:o}: {:?}", node.warnings());
    }
}
