//! Certificates for tests.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::UnixTime;
use tempfile::TempDir;

use super::CertFiles;
use super::fault::DAY;

/// A certificate authority for one test, with a folder for what it signs.
pub(crate) struct TestCa {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(crate) fn new(common_name: &str) -> TestCa {
        TestCa::with(common_name, |_| {})
    }

    pub(crate) fn with(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> TestCa {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let ca = params.self_signed(&key).expect("a CA");
        fs::write(folder.path().join("ca.pem"), ca.pem()).expect("written");
        TestCa { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Signs a certificate for `names` and writes `file`.pem and `file`.key.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) -> CertFiles {
        self.sign_with(file, names, |_| {})
    }

    pub(crate) fn sign_with(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let files = CertFiles {
            ca: self.path("ca.pem"),
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&files.cert, certificate.pem()).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }
}

/// A change to a certificate: it ends this many days from now.
pub(crate) fn ends_in(days: i64) -> impl FnOnce(&mut CertificateParams) {
    let half_days = i64::try_from(DAY / 2).expect("few") * (2 * days + 1);
    let end = UnixTime::now().as_secs().saturating_add_signed(half_days);
    let end = Duration::from_secs(end);
    move |params| params.not_after = date_time_ymd(1970, 1, 1) + end
}

#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}
