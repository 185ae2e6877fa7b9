use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::super::test_ca::TestCa;
use super::*;

fn facts(change: impl FnOnce(&mut CertificateParams)) -> Facts {
    Facts::read(&TestCa::with("the ca", change).der()).expect("a certificate")
}

#[test]
fn a_ca_says_that_it_is_one() {
    let good = facts(|_| {});
    assert_eq!((good.subject.as_str(), good.no_ca()), ("CN=the ca", None));
    assert_eq!(good.raw_subject, good.raw_issuer);
    assert_eq!(facts(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]).no_ca(), None);
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let leaf = facts(|params| params.is_ca = is_ca);
        assert!(leaf.no_ca().is_some_and(|why| why.contains("CA:TRUE")), "{leaf:?}");
    }
    let no_signer =
        facts(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]);
    assert!(no_signer.no_ca().is_some_and(|why| why.contains("keyCertSign")), "{no_signer:?}");
}

#[test]
fn kinds_of_keys_and_signatures_are_named() {
    let of = |algorithm| {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
        let facts = Facts::read(certificate.der()).expect("a certificate");
        (facts.key.to_string(), signature_kind(&facts.signature), facts.key.is_supported())
    };
    assert_eq!(of(&rcgen::PKCS_ECDSA_P256_SHA256), ("ECDSA P-256".into(), "ECDSA with SHA-256".into(), true));
    assert_eq!(of(&rcgen::PKCS_ECDSA_P384_SHA384), ("ECDSA P-384".into(), "ECDSA with SHA-384".into(), true));
    assert_eq!(of(&rcgen::PKCS_ED25519), ("Ed25519".into(), "Ed25519".into(), true));
    assert!(!Key::Rsa(1024).is_supported() && Key::Rsa(2048).is_supported() && Key::Rsa(8192).is_supported());
    assert_eq!(Key::Rsa(1024).to_string(), "RSA with 1024 bits");
    assert_eq!(signature_kind(&[0x06, 3]), "unknown");
}

/// No bytes make the reader panic, or read something that is not there.
#[test]
fn damaged_certificates_are_errors() {
    let whole = TestCa::new("ca").der();
    for end in 0..whole.len() {
        assert!(Facts::read(&whole[..end]).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        for byte in [0x00, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            let _ = Facts::read(&damaged);
        }
    }
}
