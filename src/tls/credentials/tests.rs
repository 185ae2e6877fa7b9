use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType, date_time_ymd};
use rustix::fs::{CWD, Mode, mkfifoat};

use super::super::files::MAX_FILE_BYTES;
use super::super::test_ca::{TestCa, assert_hides, assert_says};
use super::*;

fn refusal(load: Result<Credentials, CertError>) -> String {
    load.expect_err("should be refused").to_string()
}

#[test]
fn certificates_that_peers_would_refuse_are_not_loaded() {
    let ca = TestCa::new("ca");
    let names = &["one.example"][..];
    let old = ca.sign_with("old", names, |params| params.not_after = date_time_ymd(2020, 2, 29));
    assert_says(&refusal(Credentials::load(&old)), &["old.pem", "expired on 2020-02-29 at 00:00:00 UTC"]);
    let early = ca.sign_with("early", names, |params| params.not_before = date_time_ymd(2999, 1, 2));
    assert_says(&refusal(Credentials::load(&early)), &["early.pem", "not valid before 2999-01-02"]);

    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let usage_is_client = usage == ExtendedKeyUsagePurpose::ClientAuth;
        let half = ca.sign_with("half", names, |params| params.extended_key_usages = vec![usage]);
        assert_says(&refusal(Credentials::load(&half)), &["half.pem", "both serverAuth and clientAuth"]);
        // A client is no server.
        let asks = usage_is_client.then_some(());
        assert_eq!(Credentials::load_client(&half).ok().map(drop), asks);
    }
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let both = ca.sign_with("both", names, |params| params.extended_key_usages = both.to_vec());
    assert!(Credentials::load(&both).is_ok());

    let stranger = TestCa::new("stranger").sign("stranger", names);
    let stranger = CertFiles { ca: ca.path("ca.pem"), ..stranger };
    assert_says(&refusal(Credentials::load(&stranger)), &["stranger.pem", "cannot be read"]);
    let others = TestCa::new("others");
    let stranger = CertFiles { ca: ca.path("ca.pem"), ..others.sign("stranger", names) };
    let text = refusal(Credentials::load(&stranger));
    assert_says(&text, &["stranger.pem", "not signed by a CA in `certs.ca`"]);
    let itself = CertFiles { cert: ca.path("ca.pem"), ..both };
    assert_says(&refusal(Credentials::load(&itself)), &["ca.pem", "found a certificate that is a CA's", "gen_cert.sh"]);
}

#[test]
fn files_that_are_no_certificates_are_named_with_what_is_in_them() {
    let ca = TestCa::new("ca");
    let good = ca.sign("one", &["one.example"]);
    let other = ca.sign("other", &["one.example"]);
    let write = |name: &str, content: &[u8]| {
        fs::write(ca.path(name), content).expect("written");
        ca.path(name)
    };
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted_the_old_way = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-128-CBC,00\n\nMAA=\n-----END EC PRIVATE KEY-----\n";
    let huge = vec![b'x'; MAX_FILE_BYTES as usize + 1];
    let with_cert = |cert| CertFiles { cert, ..good.clone() };
    let with_key = |key| CertFiles { key, ..good.clone() };
    let cases = [
        (with_cert(ca.path("none.pem")), CertFile::Cert, "cannot be read"),
        (with_cert(write("empty.pem", b"")), CertFile::Cert, "found 0 bytes without any PEM section"),
        (with_cert(write("cut.der", &[0x30, 0xff, 0])), CertFile::Cert, "found 3 bytes without any PEM"),
        (
            with_cert(write("cut.pem", b"-----BEGIN CERTIFICATE-----\nMAA=\n")),
            CertFile::Cert,
            "damaged PEM: section 1 (CERTIFICATE) has no end",
        ),
        (with_cert(write("huge.pem", &huge)), CertFile::Cert, "more than 1048576 bytes"),
        (with_cert(good.key.clone()), CertFile::Cert, "found PRIVATE KEY: expected a PEM file with a CERTIFICATE"),
        (with_key(good.cert.clone()), CertFile::Key, "found CERTIFICATE: expected"),
        (
            with_key(write("locked.key", encrypted)),
            CertFile::Key,
            "found an encrypted private key, and nobody to ask for its passphrase: decrypt it with `openssl pkey",
        ),
        (with_key(write("locked-old.key", encrypted_the_old_way)), CertFile::Key, "found an encrypted private key"),
        (
            with_key(ca.path("certs/server-key.pem")),
            CertFile::Key,
            "(os error 2): run ./gen_cert.sh, which makes the files in certs/",
        ),
        (with_key(other.key.clone()), CertFile::Key, "found the key of another certificate"),
        (CertFiles { ca: ca.path("."), ..good.clone() }, CertFile::Ca, "found a folder, expected a file"),
    ];
    for (files, at_fault, expected) in cases {
        let error = Credentials::load(&files).expect_err(expected);
        assert_eq!(error.file, at_fault, "{error}");
        assert_says(&error.to_string(), &[expected, &files.path(at_fault).display().to_string()]);
    }
}

/// From `openssl req -new -x509` with a config that names no extensions.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFzCBvwIUfCDGdR1Q+1ICJ4+Pq52RwrL5JJQwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyODA0MjYxNVoYDzIxMjYxMTA0MDQyNjE1WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQhlvUXkQ7mzB6A
JcC69kHKBE3EanPbk//lkkitaXFWbYDh0qzllOj0QTRcSawu9yVYrJiQPsiMLCvh
PGtk2bq2MAoGCCqGSM49BAMCA0cAMEQCIDOP86mbgB8pSLkKURZ1XRegSscj/1jY
avV/kvpI31KoAiBBnvM3piNyh6NFapMhqZAZn2mb6F469P8cRs2XonncIA==
-----END CERTIFICATE-----
";

#[test]
fn what_is_no_ca_is_refused_as_one_by_name() {
    let ca = TestCa::new("ca");
    let good = ca.sign("one", &["one.example"]);
    let named = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, "monitor");
    let monitor = ca.sign_with("monitor", &["monitor.example"], named);
    let monitor = fs::read_to_string(monitor.cert).expect("read");
    let no_signer = TestCa::with("no signer", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let cases = [
        (ca.pem() + &monitor, &["is not a CA's", "CA:TRUE", "CN=monitor", "number 2 of 2", "remove it"][..]),
        (no_signer.pem() + &ca.pem(), &["no keyCertSign", "CN=no signer", "number 1 of 2"]),
        (VERSION_1.to_owned(), &["has version 1", "CN=old", "number 1 of 1"]),
    ];
    for (bundle, expected) in cases {
        fs::write(&good.ca, bundle).expect("written");
        let error = Credentials::load(&good).expect_err(expected[0]);
        assert_eq!(error.file, CertFile::Ca, "{error}");
        assert_says(&error.to_string(), expected);
    }
}

#[test]
fn the_certificate_of_a_chain_that_is_at_fault_is_named() {
    let root = TestCa::new("root");
    let names = ["one.example"];
    let half = |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let text = refusal(Credentials::load(&root.intermediate("half", half).sign("a", &names)));
    assert_says(
        &text,
        &["found an intermediate certificate, CN=half, number 2 in the file", "serverAuth and clientAuth"],
    );
    let old = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 2, 29);
    let text = refusal(Credentials::load(&root.intermediate("old", old).sign("b", &names)));
    assert_says(&text, &["an intermediate certificate, CN=old, number 2 in the file, that expired on 2020-02-29"]);
}

#[test]
fn names_in_errors_are_plain_and_few() {
    let ca = TestCa::new("ca");
    let as_name = ca.sign_with("as-name", &[], |params| {
        params.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().expect("ASCII"))];
    });
    let credentials = Credentials::load(&as_name).expect("loaded");
    let wrong = credentials.certificate().check_name("127.0.0.1").expect_err("no IP address");
    assert_says(&wrong, &["has 127.0.0.1 as a DNS name", "subjectAltName = IP:127.0.0.1"]);

    let many: Vec<String> = (0..300).map(|n| format!("host{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let credentials = Credentials::load(&ca.sign("many", &many)).expect("loaded");
    let wrong = credentials.certificate().check_name("one.example").expect_err("another's");
    assert_says(&wrong, &["host7.example and 292 more, not for \"one.example\""]);
    assert!(wrong.len() < 200, "{wrong}");
}

#[test]
fn a_key_that_others_may_use_is_a_warning() {
    let ca = TestCa::new("ca");
    let files = ca.sign("one", &["one.example"]);
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).expect("set");
        let warnings = Credentials::load(&files).expect("loaded").warnings().concat();
        assert_eq!(warnings.contains(&format!("has mode {mode:o}")), warned, "{mode:o}: {warnings}");
    }
}

/// To open a pipe waits for a writer.
#[test]
fn what_is_no_file_is_an_error_at_once() {
    let ca = TestCa::new("ca");
    let good = ca.sign("one", &["one.example"]);
    let pipe = ca.path("pipe");
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).expect("a pipe");
    for path in [pipe, "/dev/zero".into()] {
        let error = Credentials::load_client(&CertFiles { key: path, ..good.clone() }).expect_err("no file");
        assert_says(&error.to_string(), &["found a pipe, a device or the like, expected a file"]);
    }
}

#[test]
fn nothing_of_a_key_is_in_the_debug_form() {
    let ca = TestCa::new("ca");
    let files = ca.sign("one", &["one.example"]);
    let key = fs::read_to_string(&files.key).expect("read");
    let credentials = Credentials::load(&files).expect("loaded");
    assert_hides(&format!("{credentials:?} {:?} {files:?}", credentials.contents), &key);
    let pasted = CertFiles { key: key.clone().into(), ..files };
    assert_hides(&format!("{pasted:?}"), &key);
    assert_hides(&refusal(Credentials::load(&pasted)), &key);
}
