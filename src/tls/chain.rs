//! A certificate and the intermediate ones that are shown with it.
//!
//! A chain ends when the first certificate that it needs ends, and that need not be the node's own. The verifier
//! decides which ones it needs: one that is shown and not needed may have ended long ago.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore};

use super::x509::Facts;

/// The most ends that are tried. A chain that is longer is nobody's, and each try costs signatures.
const MOST_ENDS: usize = 8;

/// In which role a certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// When what a node shows ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// In seconds since 1970.
    pub(crate) at: u64,
    /// The intermediate certificate that ends first: `CN=..`. Nothing if that is the node's own.
    pub(crate) intermediate: Option<String>,
}

/// Judges a chain as the other side of a connection does, at a moment in seconds since 1970.
pub(super) fn verify(
    chain: &[CertificateDer<'_>],
    roots: &Arc<RootCertStore>,
    role: Role,
    at: u64,
) -> Result<(), rustls::Error> {
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    match role {
        Role::Server => {
            let algorithms = ring::default_provider().signature_verification_algorithms.all;
            let leaf = ParsedCertificate::try_from(&chain[0])?;
            verify_server_cert_signed_by_trust_anchor(&leaf, roots, &chain[1..], at, algorithms)
        }
        Role::Client => client_verifier(roots.clone()).verify_client_cert(&chain[0], &chain[1..], at).map(drop),
    }
}

pub(super) fn client_verifier(roots: Arc<RootCertStore>) -> Arc<dyn ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()))
        .build()
        .expect("there is a root, and no revocation list that could be damaged")
}

/// When a chain that is good now stops being good.
pub(super) fn end(chain: &[CertificateDer<'_>], roots: &Arc<RootCertStore>, role: Role) -> Option<End> {
    let own = not_after(chain.first()?)?;
    let mut sooner: Vec<(u64, &CertificateDer<'_>)> =
        chain[1..].iter().filter_map(|shown| Some((not_after(shown)?, shown))).filter(|(at, _)| *at < own).collect();
    sooner.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let own_end = End { at: own, intermediate: None };
    if sooner.is_empty() || verify(chain, roots, role, own).is_ok() {
        return Some(own_end);
    }
    let needed = sooner.into_iter().take(MOST_ENDS).find(|(at, _)| verify(chain, roots, role, *at).is_ok());
    let needed = needed.map(|(at, shown)| {
        let subject = Facts::read(shown).map_or_else(|_| "without a name".into(), |facts| facts.subject);
        End { at, intermediate: Some(subject) }
    });
    Some(needed.unwrap_or(own_end))
}

/// When a certificate ends, in seconds since 1970.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    // Only the verifier reads dates. Asked at the end of time, it answers with the date.
    match judge_alone(certificate, u64::MAX)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

/// When a certificate begins, in seconds since 1970.
pub(super) fn not_before(certificate: &CertificateDer<'_>) -> Option<u64> {
    match judge_alone(certificate, 0)? {
        CertificateError::NotValidYetContext { not_before, .. } => Some(not_before.as_secs()),
        _ => None,
    }
}

fn judge_alone(certificate: &CertificateDer<'_>, at: u64) -> Option<CertificateError> {
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], at, &[]) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}
