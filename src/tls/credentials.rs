//! What a node shows and what it trusts.
//!
//! A certificate is tried when it is loaded, in the way in which peers will judge it. So a node that starts is not
//! refused for its certificate, and a wrong file is named where it is configured.

use std::fmt;
use std::sync::Arc;

use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use super::fault::explain;
use super::files::{certificates, private_key};
use super::{ALPN, CertError, CertFile, CertFiles, Certificate};
use crate::clock;

/// What a node shows and what it trusts. Loaded whole and replaced whole.
pub(crate) struct Credentials {
    own: Certificate,
    /// When the last of the CA certificates ends, in seconds since 1970.
    ca_not_after: Option<u64>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads the files and tries the certificate the way a peer will, as a server's and as a client's. Fails if a peer
    /// would refuse it, or if a file is not what it should be.
    pub(crate) fn load(files: &CertFiles) -> Result<Credentials, CertError> {
        Credentials::load_as(files, Side::Both)
    }

    /// The same for a client: the certificate need not be good for a server.
    pub(crate) fn load_client(files: &CertFiles) -> Result<Credentials, CertError> {
        Credentials::load_as(files, Side::Client)
    }

    fn load_as(files: &CertFiles, side: Side) -> Result<Credentials, CertError> {
        let cas = certificates(files, CertFile::Ca)?;
        let ca_ends = cas.iter().map(|ca| Certificate(ca.clone()).not_after());
        let ca_not_after = ca_ends.max().flatten();
        let roots = Arc::new(roots(files, cas)?);
        let chain = certificates(files, CertFile::Cert)?;
        let key = private_key(files)?;
        let own = Certificate(chain[0].clone());
        check_own(files, &chain, &roots, side)?;
        let (client, server) = configs(roots, chain, key).map_err(|error| {
            let found = match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    "the key of another certificate".to_owned()
                }
                other => format!("a private key that cannot be used ({other})"),
            };
            let cert = files.cert.display();
            files.fault(CertFile::Key, format!("found {found}: expected the key of {cert}"))
        })?;
        Ok(Credentials { own, ca_not_after, client: Arc::new(client), server: Arc::new(server) })
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.own
    }

    /// How many whole days are left of the own certificate; negative if it has ended.
    pub(crate) fn days_left(&self) -> Option<i64> {
        Some(clock::days_until(self.own.not_after()?))
    }

    /// The same of the CA, or of the CA that lasts longest if there are several. No peer refuses a node because its CA
    /// has ended: the verifier looks only at a CA's name and key. But a CA that has ended should sign nothing more.
    pub(crate) fn ca_days_left(&self) -> Option<i64> {
        Some(clock::days_until(self.ca_not_after?))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).finish_non_exhaustive()
    }
}

pub(super) fn roots(files: &CertFiles, cas: Vec<CertificateDer<'static>>) -> Result<RootCertStore, CertError> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca).map_err(|error| {
            let problem = format!("found a CA certificate that {}", explain(&error));
            files.fault(CertFile::Ca, problem)
        })?;
    }
    Ok(roots)
}

/// In which role a certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Its owner dials, and is dialled.
    Both,
    /// Its owner only dials.
    Client,
}

/// Tries the own certificate as the other side of a connection will.
fn check_own(
    files: &CertFiles,
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    side: Side,
) -> Result<(), CertError> {
    let now = UnixTime::now();
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let as_server = |leaf: &ParsedCertificate<'_>| {
        verify_server_cert_signed_by_trust_anchor(leaf, roots, &chain[1..], now, algorithms)
    };
    let as_client = || client_verifier(roots.clone()).verify_client_cert(&chain[0], &chain[1..], now);
    ParsedCertificate::try_from(&chain[0])
        .and_then(|leaf| match side {
            Side::Both => as_server(&leaf),
            Side::Client => Ok(()),
        })
        .and_then(|()| as_client().map(|_| ()))
        .map_err(|error| {
            let problem = format!("found a certificate that {}", explain(&error));
            files.fault(CertFile::Cert, problem)
        })
}

fn client_verifier(roots: Arc<RootCertStore>) -> Arc<dyn ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()))
        .build()
        .expect("there is a root, and no revocation list that could be damaged")
}

/// The only TLS that is spoken: version 1.3, a certificate on both sides, one protocol inside, no resumed session.
fn configs(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(ClientConfig, ServerConfig), rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();

    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(client_verifier(roots))
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((client, server))
}

#[cfg(test)]
mod tests;
