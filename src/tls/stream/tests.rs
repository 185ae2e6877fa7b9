use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rcgen::date_time_ymd;
use rustls::crypto::ring;
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind};

use super::super::CertFiles;
use super::super::test_ca::{TestCa, assert_says, ends_in};
use super::*;

fn accept(tcp: TcpStream, credentials: &Credentials, deadline: Instant) -> Result<Stream, HandshakeError> {
    super::accept(tcp, credentials, (&Turns::default(), Rank::Member), deadline)
}

fn connect(tcp: TcpStream, name: &str, credentials: &Credentials, deadline: Instant) -> Result<Stream, HandshakeError> {
    super::connect(tcp, name, credentials, &Turns::default(), deadline)
}

fn in_millis(millis: u64) -> Instant {
    clock::now() + Duration::from_millis(millis)
}

/// Longer than anything but a lost peer takes on a busy machine.
fn ample() -> Instant {
    in_millis(20_000)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dialled = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    (dialled, listener.accept().expect("accepted").0)
}

/// Dials `name` with one side's files and accepts with the other's.
fn meet(
    client: &CertFiles,
    name: &str,
    server: &CertFiles,
) -> (Result<Stream, HandshakeError>, Result<Stream, HandshakeError>) {
    let client = Credentials::load(client).expect("client credentials");
    let server = Credentials::load(server).expect("server credentials");
    let (dialled, accepted) = tcp_pair();
    let accepting = thread::spawn(move || accept(accepted, &server, ample()));
    let dialled = connect(dialled, name, &client, ample());
    (dialled, accepting.join().expect("no panic"))
}

#[test]
fn two_members_talk_and_know_each_other() {
    let ca = TestCa::new("ca");
    let one = ca.sign("one", &["one.example", "127.0.0.1"]);
    let two = ca.sign("two", &["two.example"]);

    let (dialled, accepted) = meet(&one, "two.example", &two);
    let (mut dialled, mut accepted) = (dialled.expect("dialled"), accepted.expect("accepted"));
    dialled.write_all(b"ping").expect("written");
    let mut got = [0; 4];
    accepted.read_exact(&mut got).expect("read");
    accepted.write_all(b"pong").expect("written");
    dialled.read_exact(&mut got).expect("read");
    assert_eq!(&got, b"pong");
    let seen = accepted.peer_certificate().expect("mutual");
    assert!(seen.is_valid_for("one.example") && seen.is_valid_for("127.0.0.1"));
    let wrong = seen.check_name("two.example").expect_err("another's name");
    assert_says(&wrong, &["one.example", "127.0.0.1", "not for \"two.example\""]);
    assert!(!seen.is_valid_for("127.0.0.2") && !seen.is_valid_for("no name at all"));

    assert!(dialled.is_quiet());
    accepted.close();
    let closed = dialled.read(&mut got).expect("a clean end");
    assert_eq!(closed, 0);
    assert!(!dialled.is_quiet());
}

#[test]
fn a_node_is_dialled_by_its_ip_address() {
    let ca = TestCa::new("ca");
    let shared = ca.sign("shared", &["127.0.0.1", "::1"]);
    for name in ["127.0.0.1", "::1"] {
        let (dialled, accepted) = meet(&shared, name, &shared);
        assert!(dialled.is_ok() && accepted.is_ok(), "{name}: {dialled:?} {accepted:?}");
    }
}

#[test]
fn no_session_is_resumed() {
    let ca = TestCa::new("ca");
    let credentials = Credentials::load(&ca.sign("one", &["one.example"])).expect("loaded");
    let credentials = Arc::new(credentials);
    for _ in 0..2 {
        let (dialled, accepted) = tcp_pair();
        let server = credentials.clone();
        let accepting = thread::spawn(move || {
            let mut stream = accept(accepted, &server, ample()).expect("accepted");
            stream.write_all(b"!").expect("written");
            stream.tls.expect("TLS").handshake_kind()
        });
        let mut stream = connect(dialled, "one.example", &credentials, ample()).expect("dialled");
        // A ticket would have come before the byte.
        stream.read_exact(&mut [0]).expect("read");
        let kinds = [stream.tls.expect("TLS").handshake_kind(), accepting.join().expect("no panic")];
        assert_eq!(kinds, [Some(HandshakeKind::Full); 2]);
    }
}

#[test]
fn a_peer_of_another_ca_is_refused_and_both_are_told() {
    let (ours, theirs) = (TestCa::new("ours"), TestCa::new("theirs"));
    let one = ours.sign("one", &["one.example"]);
    let two = theirs.sign("two", &["two.example"]);
    let (dialled, accepted) = meet(&one, "two.example", &two);
    let text = dialled.expect_err("a stranger").to_string();
    assert_says(&text, &["the peer has a certificate that is not signed by a CA in `certs.ca`"]);
    let text = accepted.expect_err("refused").to_string();
    assert_says(&text, &["the peer refuses this node", "did not sign this node's certificate", "UnknownCA"]);
}

#[test]
fn a_ca_made_anew_under_its_old_name_is_recognised() {
    let (old, new) = (TestCa::new("same"), TestCa::new("same"));
    let one = old.sign("one", &["one.example"]);
    let two = new.sign("two", &["two.example"]);
    let (dialled, _) = meet(&one, "two.example", &two);
    assert_says(&dialled.expect_err("a stranger").to_string(), &["was the CA made anew?"]);
}

#[test]
fn a_dialler_of_another_ca_learns_of_its_refusal_at_the_first_read() {
    let (ours, theirs) = (TestCa::new("ours"), TestCa::new("theirs"));
    let one = ours.sign("one", &["one.example"]);
    // The stranger trusts our CA, but its own certificate is of another.
    let mut stranger = Credentials::load(&theirs.sign("stranger", &["stranger.example"])).expect("loaded");
    let trusting = Credentials::load(&one).expect("loaded");
    let mut client = (*trusting.client).clone();
    client.client_auth_cert_resolver = stranger.client.client_auth_cert_resolver.clone();
    stranger.client = Arc::new(client);

    let (dialled, accepted) = tcp_pair();
    let accepting = thread::spawn(move || accept(accepted, &trusting, ample()));
    let mut dialled = connect(dialled, "one.example", &stranger, ample()).expect("its own half");
    dialled.write_all(b"a first request").expect("written");
    let error = dialled.read(&mut [0]).expect_err("refused");
    assert_says(&error.to_string(), &["the peer refuses this node", "UnknownCA"]);
    assert!(matches!(accepting.join().expect("no panic"), Err(HandshakeError::BadPeer(_))));
}

#[test]
fn a_peer_with_another_name_is_refused_and_both_names_are_told() {
    let ca = TestCa::new("ca");
    let one = ca.sign("one", &["one.example"]);
    let two = ca.sign("two", &["two.example", "10.0.0.2"]);
    let (dialled, accepted) = meet(&one, "three.example", &two);
    let text = dialled.expect_err("not three").to_string();
    assert_says(&text, &["two.example", "10.0.0.2", "not for \"three.example\""]);
    let text = accepted.expect_err("refused").to_string();
    assert_says(&text, &["the peer refuses this node", "tls_name"]);
}

#[test]
fn a_peer_without_certificate_or_with_another_protocol_is_refused() {
    let ca = TestCa::new("ca");
    let files = ca.sign("one", &["one.example"]);
    let one = Credentials::load(&files).expect("loaded");
    let nobody = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(one.roots.clone())
        .with_no_client_auth();
    let expectations = [(&b"leadelect/1"[..], "shows no certificate"), (b"h2", "not the protocol leadelect/1")];
    for (alpn, expected) in expectations {
        let mut nobody = nobody.clone();
        nobody.alpn_protocols = vec![alpn.to_vec()];
        let client = Arc::new(nobody);
        let mut nobody = Credentials::load(&files).expect("loaded");
        nobody.client = client;
        let (dialled, accepted) = tcp_pair();
        let dialling = thread::spawn(move || {
            let _ = connect(dialled, "one.example", &nobody, ample());
        });
        let error = accept(accepted, &one, ample()).expect_err("refused");
        assert_says(&error.to_string(), &[expected]);
        dialling.join().expect("no panic");
    }
}

#[test]
fn a_peer_that_offers_no_protocol_at_all_is_refused() {
    let ca = TestCa::new("ca");
    let files = ca.sign("one", &["one.example"]);
    let one = Credentials::load(&files).expect("loaded");
    let mut client = (*one.client).clone();
    client.alpn_protocols.clear();
    let mut other = Credentials::load(&files).expect("loaded");
    other.client = Arc::new(client);
    let (dialled, accepted) = tcp_pair();
    let dialling = thread::spawn(move || connect(dialled, "one.example", &other, ample()).map(|_| ()));
    assert!(matches!(accept(accepted, &one, ample()), Err(HandshakeError::BadPeer(_))));
    assert!(matches!(dialling.join().expect("no panic"), Err(HandshakeError::BadPeer(_))));
}

#[test]
fn a_peer_without_tls_is_called_that_on_either_side() {
    let ca = TestCa::new("ca");
    let one = Credentials::load(&ca.sign("one", &["127.0.0.1"])).expect("loaded");
    let frame = [&[0, 0, 0, 90][..], &[7; 90]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: one\r\n\r\n"[..], &frame] {
        let (mut plain, accepted) = tcp_pair();
        plain.write_all(bytes).expect("written");
        let error = accept(accepted, &one, ample()).expect_err("no TLS");
        assert_says(&error.to_string(), &["the peer does not speak TLS"]);

        let (dialled, mut plain) = tcp_pair();
        plain.write_all(bytes).expect("written");
        let error = connect(dialled, "127.0.0.1", &one, ample()).expect_err("no TLS");
        assert_says(&error.to_string(), &["the peer does not speak TLS"]);
    }
    let (dialled, plain) = tcp_pair();
    drop(plain);
    let error = connect(dialled, "127.0.0.1", &one, ample()).expect_err("closed");
    assert!(matches!(error, HandshakeError::Network(_)), "{error}");
}

#[test]
fn a_silent_peer_holds_a_handshake_until_the_deadline_and_no_longer() {
    let ca = TestCa::new("ca");
    let one = Credentials::load(&ca.sign("one", &["127.0.0.1"])).expect("loaded");
    let (_silent, accepted) = tcp_pair();
    let (dialled, _silent_too) = tcp_pair();
    let start = clock::now();
    let errors = [
        accept(accepted, &one, in_millis(200)).expect_err("nobody"),
        connect(dialled, "127.0.0.1", &one, in_millis(200)).expect_err("nobody"),
    ];
    let took = clock::now().since(start);
    assert!((Duration::from_millis(390)..Duration::from_secs(5)).contains(&took), "{took:?}");
    for error in errors {
        assert!(matches!(&error, HandshakeError::Network(io) if io.kind() == ErrorKind::TimedOut));
        assert_says(&error.to_string(), &["did not finish within"]);
    }
}

#[test]
fn a_dripping_peer_is_cut_at_the_deadline() {
    let ca = TestCa::new("ca");
    let one = Credentials::load(&ca.sign("one", &["127.0.0.1"])).expect("loaded");
    let (mut dripping, accepted) = tcp_pair();
    // The head of a TLS record that announces 16 KiB, and then its bytes one by one.
    dripping.write_all(&[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb]).expect("written");
    let drip = thread::spawn(move || {
        while dripping.write_all(&[3]).is_ok() {
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    let start = clock::now();
    let error = accept(accepted, &one, in_millis(400)).expect_err("too slow");
    let took = clock::now().since(start);
    assert!((Duration::from_millis(390)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(matches!(error, HandshakeError::Network(io) if io.kind() == ErrorKind::TimedOut));
    drip.join().expect("no panic");
}

#[test]
fn reads_and_writes_end_at_the_deadline_with_and_without_tls() {
    let ca = TestCa::new("ca");
    let shared = ca.sign("shared", &["one.example"]);
    let (dialled, _accepted) = meet(&shared, "one.example", &shared);
    let (plain, _other) = tcp_pair();
    for mut stream in [dialled.expect("dialled"), Stream::plain(plain, Instant::NEVER)] {
        stream.set_deadline(in_millis(100));
        let error = stream.read(&mut [0]).expect_err("nothing comes");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // The peer does not read: sooner or later nothing more can be written.
        stream.set_deadline(in_millis(300));
        let endless = vec![0; 1 << 16];
        let error = (0..10_000).find_map(|_| stream.write_all(&endless).err());
        assert_eq!(error.expect("buffers end").kind(), ErrorKind::TimedOut);
    }
}

/// So a cluster goes on when its CA ends, and to stop it then would be our doing.
#[test]
fn a_ca_that_has_ended_is_known_and_is_no_reason_for_anybody_to_refuse() {
    let old = TestCa::with("old", |params| params.not_after = date_time_ymd(2020, 2, 29));
    let files = old.sign("one", &["one.example"]);
    let warnings = Credentials::load(&files).expect("loaded").warnings();
    let [warning] = warnings.as_slice() else { panic!("expected one: {warnings:?}") };
    assert_says(warning, &["the CA certificate CN=old has ended", "on 2020-02-29", "make a new CA"]);
    let (dialled, accepted) = meet(&files, "one.example", &files);
    assert!(dialled.is_ok() && accepted.is_ok(), "{dialled:?} {accepted:?}");

    // Another CA in the bundle lasts, and signs nothing here.
    let new = TestCa::new("new");
    fs::write(&files.ca, old.pem() + &new.pem()).expect("written");
    let warnings = Credentials::load(&files).expect("loaded").warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(&warnings[0], &["the CA certificate CN=old has ended"]);
    // And the other way round: the old CA is only left over.
    let renewed = new.sign("one", &["one.example"]);
    fs::write(&renewed.ca, old.pem() + &new.pem()).expect("written");
    let warnings = Credentials::load(&renewed).expect("loaded").warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(&warnings[0], &["the CA certificate CN=old in `certs.ca` has ended", "remove it"]);
}

#[test]
fn a_chain_ends_with_the_first_certificate_that_it_needs() {
    let root = TestCa::new("root");
    let brief = root.intermediate("brief", ends_in(5));
    let names = ["one.example"];
    let files = brief.sign_with("one", &names, ends_in(50));
    let end = |files: &CertFiles| {
        let own = Credentials::load(files).expect("loaded").end().cloned();
        let (dialled, accepted) = meet(files, "one.example", files);
        let (dialled, accepted) = (dialled.expect("dialled"), accepted.expect("accepted"));
        assert_eq!((dialled.end(), accepted.end()), (own.as_ref(), own.as_ref()));
        assert_eq!(dialled.certificate_ends(), own.as_ref().map(|end| end.at));
        let own = own.expect("an end");
        (clock::days_until(own.at), own.intermediate)
    };
    assert_eq!(end(&files), (5, Some("CN=brief".into())));
    let warning = Credentials::load(&files).expect("loaded").warnings().concat();
    assert_says(&warning, &["the intermediate certificate CN=brief", "ends in 5 days"]);

    assert_eq!(end(&brief.sign_with("two", &names, ends_in(3))), (3, None));
    // One that is shown and not needed may have ended.
    let lasting = root.intermediate("lasting", ends_in(60));
    let files = lasting.sign_with("three", &names, ends_in(50));
    let stale = root.intermediate("stale", |params| params.not_after = date_time_ymd(2020, 2, 29));
    let stale = fs::read_to_string(stale.sign("any", &names).cert).expect("read");
    let stale = stale.split_inclusive("-----END CERTIFICATE-----\n").nth(1).expect("its CA").to_owned();
    let chain = fs::read_to_string(&files.cert).expect("read");
    fs::write(&files.cert, chain + &stale).expect("written");
    assert_eq!(end(&files), (50, None));
}
