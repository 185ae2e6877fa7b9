use std::fs;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::super::files::MAX_FILE_BYTES;
use super::super::test_ca::{TestCa, assert_says};
use super::*;

fn refusal(load: Result<Credentials, CertError>) -> String {
    load.expect_err("should be refused").to_string()
}

#[test]
fn certificates_that_peers_would_refuse_are_not_loaded() {
    let ca = TestCa::new("ca");
    let names = &["one.example"][..];
    let old = ca.sign_with("old", names, |params| params.not_after = date_time_ymd(2020, 2, 29));
    assert_says(&refusal(Credentials::load(&old)), &["old.pem", "expired on 2020-02-29", "days ago"]);
    let early = ca.sign_with("early", names, |params| params.not_before = date_time_ymd(2999, 1, 2));
    assert_says(&refusal(Credentials::load(&early)), &["early.pem", "not valid before 2999-01-02, in "]);

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
        (with_cert(write("der.pem", &[0x30, 0xff, 0])), CertFile::Cert, "found 3 bytes without any PEM"),
        (with_cert(write("cut.pem", b"-----BEGIN CERTIFICATE-----\nMAA=\n")), CertFile::Cert, "damaged PEM"),
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
