//! Certificates for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
    der: Vec<u8>,
    /// The intermediate certificates that are written behind each certificate.
    behind: String,
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
        TestCa { folder, der: ca.der().to_vec(), behind: String::new(), issuer: Issuer::new(params, key) }
    }

    /// A CA below this one. What it signs is shown with its own certificate, and trusted through this CA's.
    pub(crate) fn intermediate(&self, common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> TestCa {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        change(&mut params);
        let ca = params.signed_by(&key, &self.issuer).expect("signed");
        fs::write(folder.path().join("ca.pem"), self.pem()).expect("written");
        let behind = ca.pem() + &self.behind;
        TestCa { folder, der: ca.der().to_vec(), behind, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    pub(crate) fn pem(&self) -> String {
        fs::read_to_string(self.path("ca.pem")).expect("read")
    }

    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
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
        fs::write(&files.cert, certificate.pem() + &self.behind).expect("written");
        fs::write(&files.key, key.serialize_pem()).expect("written");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("set");
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

/// No eight characters of the base64 in `pem` are in the text.
#[track_caller]
pub(crate) fn assert_hides(text: &str, pem: &str) {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    for run in lines.flat_map(|line| line.as_bytes().windows(8)) {
        let run = std::str::from_utf8(run).expect("base64");
        assert!(!text.contains(run), "{text:?} shows {run:?}");
    }
}
