//! What a node shows and what it trusts.
//!
//! A certificate is tried when it is loaded, in the way in which peers will judge it. So a node that starts is not
//! refused for its certificate, and a wrong file is named where it is configured.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use super::anchors::Anchors;
use super::chain::{self, End, Role, client_verifier, verify};
use super::expiry::{Stage, ends};
use super::fault::explain_own;
use super::files::Contents;
use super::secret::shown;
use super::x509::{Facts, SUPPORTED};
use super::{ALPN, CertError, CertFile, CertFiles, Certificate};
use crate::clock;

/// Certificate and key are replaced one after the other. A reader in between finds a pair that does not fit,
/// and reads once more after this time.
const REPLACEMENT_TIME: Duration = Duration::from_millis(100);

/// What a node shows and what it trusts. Loaded whole and replaced whole.
pub(crate) struct Credentials {
    own: Certificate,
    /// When the first of the certificates that the node shows ends.
    end: Option<End>,
    cas: Vec<Ca>,
    /// What is allowed and may not be meant.
    remarks: Vec<String>,
    pub(super) contents: Contents,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

/// A CA that the node trusts.
struct Ca {
    name: String,
    /// In seconds since 1970.
    end: u64,
    /// Whether it signs what this node shows.
    signs_own: bool,
}

/// In which role the owner of a certificate shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It dials, and is dialled.
    Both,
    /// It only dials.
    Client,
}

impl Credentials {
    /// Reads the files and tries the certificate the way a peer will, as a client's: it need not be good for a server.
    /// Fails if a peer would refuse it, or if a file is not what it should be.
    pub(crate) fn load_client(files: &CertFiles) -> Result<Credentials, CertError> {
        twice(|| Credentials::new(files, files.read()?, Side::Client))
    }

    #[cfg(test)]
    pub(crate) fn load(files: &CertFiles) -> Result<Credentials, CertError> {
        Credentials::new(files, files.read()?, Side::Both)
    }

    pub(super) fn new(files: &CertFiles, contents: Contents, side: Side) -> Result<Credentials, CertError> {
        let anchors = Anchors::new(files, &contents.certificates(files, CertFile::Ca)?)?;
        let chain = contents.certificates(files, CertFile::Cert)?;
        let key = contents.private_key(files)?;
        let own = Certificate(chain[0].clone());
        let now = clock::wall_seconds();
        check_own(files, &chain, &anchors, side, now)?;
        let cas = anchors.list.iter().filter_map(|anchor| {
            let signs_own = anchor.signs(&chain, now);
            Some(Ca { name: anchor.name.clone(), end: anchor.not_after?, signs_own })
        });
        let (cas, end) = (cas.collect(), chain::end(&chain, &anchors.roots, Role::Client));
        let remarks = remarks(files, &contents, &anchors);
        let (client, server) = configs(anchors.roots.clone(), chain, key).map_err(|error| {
            let found = match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key of another certificate",
                // The parser's own words may tell something of the key.
                _ => "a private key that cannot be used",
            };
            let cert = shown(&files.cert);
            files.fault(CertFile::Key, format!("found {found}: expected the key of {cert}; {SUPPORTED}"))
        })?;
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Credentials { own, end, cas, remarks, contents, roots: anchors.roots, client, server })
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.own
    }

    /// When the first of the certificates ends that this node shows.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// How near the end is of what this node shows, and of the CA that has signed it.
    pub(super) fn stages(&self) -> (Stage, Stage) {
        let now = clock::wall_seconds();
        let stage = |end: u64| Stage::of(end, now);
        let own = self.end.as_ref().map_or(Stage::Far, |end| stage(end.at));
        (own, self.signing_ca().map_or(Stage::Far, |ca| stage(ca.end)))
    }

    /// The CA that has signed what this node shows; the one that lasts longest if several have.
    fn signing_ca(&self) -> Option<&Ca> {
        self.cas.iter().filter(|ca| ca.signs_own).max_by_key(|ca| ca.end)
    }

    /// What is allowed and may not be meant, a sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.expiry_warnings();
        let now = clock::wall_seconds();
        let others = self.cas.iter().filter(|ca| !ca.signs_own && Stage::of(ca.end, now) == Stage::Over);
        warnings.extend(others.map(|ca| {
            format!(
                "the CA certificate {} in `certs.ca` {}: nodes still accept what it has signed; remove it from the \
                 file once no node needs it",
                ca.name,
                ends(ca.end, now)
            )
        }));
        warnings.extend(self.remarks.iter().cloned());
        warnings
    }

    /// The ends that are near.
    pub(super) fn expiry_warnings(&self) -> Vec<String> {
        let (now, (own, ca)) = (clock::wall_seconds(), self.stages());
        let mut warnings = Vec::new();
        // No peer refuses a node because its CA has ended: the verifier looks only at a CA's name and key.
        if let Some(signing) = self.signing_ca().filter(|_| ca != Stage::Far) {
            let advice = match ca {
                Stage::Over => {
                    "nodes still accept what it has signed, but nothing new should be signed with it; make a new CA"
                }
                Stage::Far | Stage::Month | Stage::Week | Stage::Day => "make a new CA in time",
            };
            let (name, ends) = (&signing.name, ends(signing.end, now));
            warnings.push(format!("the CA certificate {name} {ends}: {advice} (see gen_cert.sh)"));
        }
        if let Some(end) = self.end.as_ref().filter(|_| own != Stage::Far) {
            let what = match &end.intermediate {
                None => "the certificate of this node".to_owned(),
                Some(name) => format!("the intermediate certificate {name}, which this node shows with its own,"),
            };
            let then = if own == Stage::Over { " no peer accepts it any more;" } else { "" };
            let ends = ends(end.at, now);
            warnings.push(format!("{what} {ends}:{then} replace the file, it is read again"));
        }
        warnings
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Loads once more if the first time fails: files are replaced one by one.
pub(super) fn twice<T>(load: impl Fn() -> Result<T, CertError>) -> Result<T, CertError> {
    load().or_else(|_| {
        // A wait that ends too early is a try that comes too early, and no more.
        thread::park_timeout(REPLACEMENT_TIME);
        load()
    })
}

fn remarks(files: &CertFiles, contents: &Contents, anchors: &Anchors) -> Vec<String> {
    let useless = anchors.list.iter().filter(|anchor| !anchor.key.is_supported());
    let mut remarks: Vec<String> = useless
        .map(|anchor| {
            let (name, key) = (&anchor.name, &anchor.key);
            format!("the CA certificate {name} has a key {key}: nothing that it signs is accepted; {SUPPORTED}")
        })
        .collect();
    if let Some(mode) = contents.open_key {
        let (path, mode) = (shown(&files.key), mode & 0o777);
        remarks.push(format!(
            "the key {path} has mode {mode:03o}: others than its owner may use the file, and a copy of the key acts as \
             this node; `chmod go= {path}`"
        ));
    }
    remarks
}

/// Tries the own certificate as the other side of a connection will.
fn check_own(
    files: &CertFiles,
    chain: &[CertificateDer<'static>],
    anchors: &Anchors,
    side: Side,
    now: u64,
) -> Result<(), CertError> {
    let fault = |problem: String| files.fault(CertFile::Cert, format!("found {problem}"));
    let as_server = match side {
        Side::Both => verify(chain, &anchors.roots, Role::Server, now),
        Side::Client => Ok(()),
    };
    let judged = as_server.and_then(|()| verify(chain, &anchors.roots, Role::Client, now));
    judged.map_err(|error| fault(explain_own(&error, chain, anchors)))?;
    // The key signs every handshake.
    match Facts::read(&chain[0]) {
        Ok(facts) if !facts.key.is_supported() => {
            Err(fault(format!("a certificate whose key is {}: {SUPPORTED}", facts.key)))
        }
        Ok(_) | Err(_) => Ok(()),
    }
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
