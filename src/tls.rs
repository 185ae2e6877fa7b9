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

mod anchors;
mod chain;
mod credentials;
mod deadline;
mod expiry;
mod fault;
mod files;
mod identity;
mod pem;
mod secret;
mod stream;
#[cfg(test)]
pub(crate) mod test_ca;
mod turns;
mod x509;

use std::fmt;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

pub(crate) use chain::End;
pub(crate) use credentials::Credentials;
pub(crate) use fault::HandshakeError;
use fault::explain;
pub(crate) use files::{CertError, CertFile, CertFiles, read_bounded};
pub(crate) use identity::Identity;
pub use secret::may_be_key;
pub(crate) use secret::{path_may_be_key, shown};
pub(crate) use stream::{Stream, accept, connect};
pub(crate) use turns::{Rank, Turns, rest_after};

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
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}
