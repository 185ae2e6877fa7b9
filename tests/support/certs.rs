//! Throw-away certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
        Ca::with_key(KeyPair::generate().unwrap())
    }

    pub(crate) fn with_key(key: KeyPair) -> Ca {
        let folder = tempfile::tempdir().unwrap();
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

    /// Signs through an intermediate CA, `CN=nodes`, which is shown with the certificate.
    pub(crate) fn sign_below(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certs {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "nodes");
        change(&mut params);
        let intermediate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let own = CertificateParams::new(names).unwrap();
        let own_key = KeyPair::generate().unwrap();
        let cert = own.signed_by(&own_key, &Issuer::new(params, key)).unwrap();
        self.write(file, &(cert.pem() + &intermediate), &own_key)
    }

    pub(crate) fn sign_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certs {
        self.sign_key(file, names, &KeyPair::generate().unwrap(), change)
    }

    /// The same for a key that is there already.
    pub(crate) fn sign_key(
        &self,
        file: &str,
        names: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certs {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        self.write(file, &certificate.pem(), key)
    }

    fn write(&self, file: &str, cert: &str, key: &KeyPair) -> Certs {
        let certs = Certs {
            ca: self.folder.path().join("ca.pem"),
            cert: self.folder.path().join(format!("{file}.pem")),
            key: self.folder.path().join(format!("{file}.key")),
        };
        fs::write(&certs.cert, cert).unwrap();
        fs::write(&certs.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&certs.key, fs::Permissions::from_mode(0o600)).unwrap();
        certs
    }
}
