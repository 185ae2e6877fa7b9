//! Who is at the other end of a connection?
//!
//! Every connection is TLS 1.3. Both sides show a certificate, and the cluster's CA has signed both. That proves that
//! the other end belongs to the cluster. It does not prove yet which node it is. A dialler checks the name of the node
//! it dialled within the handshake. The node that was dialled calls [`Certificate::check_name`] afterwards, when the
//! other side has said who it claims to be. Sessions are never resumed: a resumed session would not show its
//! certificate again.
//!
//! [`Credentials`] are what a node shows and trusts. An [`Identity`] loads them again when their files are replaced. A
//! [`Stream`] is a connection. No other module knows rustls. Validity is judged by the wall clock, because certificates
//! are written in it.

mod credentials;
mod deadline;
mod fault;
mod files;
mod identity;
mod stream;
#[cfg(test)]
pub(crate) mod test_ca;
mod turns;

use std::fmt;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};

pub(crate) use credentials::Credentials;
pub(crate) use fault::HandshakeError;
use fault::explain;
pub(crate) use files::{CertError, CertFile, CertFiles, read_bounded};
pub(crate) use identity::Identity;
pub(crate) use stream::{Stream, accept, connect};
pub(crate) use turns::{Rank, Turns};

/// The one protocol spoken inside. A peer that offers another is told so in the handshake.
const ALPN: &[u8] = b"leadelect/1";

/// Whether `text` can name a host: an IP address or a DNS name, without port.
pub(crate) fn is_host_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// A certificate, a peer's or the own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Checks that this is the certificate of the host `name`, an IP address or a DNS name. If not, the error is a
    /// sentence without its subject, with the name and the names in the certificate.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), String> {
        let expected =
            ServerName::try_from(name).map_err(|_| format!("cannot be for {name:?}, which is no name of a host"))?;
        ParsedCertificate::try_from(&self.0)
            .and_then(|parsed| verify_server_name(&parsed, &expected))
            .map_err(|error| explain(&error))
    }

    /// Whether [`Certificate::check_name`] finds no fault.
    pub(crate) fn is_valid_for(&self, name: &str) -> bool {
        self.check_name(name).is_ok()
    }

    /// When this certificate ends, in seconds since 1970.
    pub(crate) fn not_after(&self) -> Option<u64> {
        // Only the verifier reads dates. Asked at the end of time, it answers with the date.
        let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
        let parsed = ParsedCertificate::try_from(&self.0).ok()?;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], end_of_time, &[]) {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after.as_secs())
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}
