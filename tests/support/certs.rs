//! Throw-away certificates.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The names of the one certificate that all nodes on this host share.
pub(crate) const THIS_HOST: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// A certificate authority, and a folder with what it signs.
#[derive(Debug)]
pub(crate) struct Ca {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of one node.
#[derive(Debug, Clone)]
pub(crate) struct Certs {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let ca = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Ca { folder, issuer }
    }

    /// Signs a certificate for `names`, in the files `file`.pem and `file`.key.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) -> Certs {
        self.sign_with(file, names, |_| {})
    }

    pub(crate) fn sign_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certs {
        let certs = Certs {
            ca: self.folder.path().join("ca.pem"),
            cert: self.folder.path().join(format!("{file}.pem")),
            key: self.folder.path().join(format!("{file}.key")),
        };
        fs::write(&certs.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        self.renew(&certs, names, change);
        certs
    }

    /// Replaces a certificate in one step by another one for the same key.
    pub(crate) fn renew(&self, certs: &Certs, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::from_pem(&fs::read_to_string(&certs.key).unwrap()).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let part = certs.cert.with_extension("part");
        fs::write(&part, certificate.pem()).unwrap();
        fs::rename(part, &certs.cert).unwrap();
    }
}
