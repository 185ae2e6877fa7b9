//! The CA certificates that a node trusts.
//!
//! The verifier takes a name and a key from each of them, and nothing else: it would let the key of any certificate in
//! the file sign nodes, also that of a node or of a monitor which somebody has copied there. So each one has to say
//! that it is a CA's, or the file is refused.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::chain::{Role, not_after, verify};
use super::fault::explain;
use super::x509::{Facts, Key};
use super::{CertError, CertFile, CertFiles};

/// The trusted CA certificates, at least one.
#[derive(Debug)]
pub(super) struct Anchors {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) list: Vec<Anchor>,
}

#[derive(Debug)]
pub(super) struct Anchor {
    /// `CN=..`.
    pub(super) name: String,
    pub(super) raw_subject: Vec<u8>,
    pub(super) key: Key,
    /// In seconds since 1970.
    pub(super) not_after: Option<u64>,
    alone: Arc<RootCertStore>,
}

impl Anchors {
    pub(super) fn new(files: &CertFiles, cas: &[CertificateDer<'static>]) -> Result<Anchors, CertError> {
        let mut roots = RootCertStore::empty();
        let mut list = Vec::new();
        for (at, ca) in cas.iter().enumerate() {
            let which = || format!("number {} of {} certificates", at + 1, cas.len());
            let facts = Facts::read(ca).map_err(|_| {
                let problem = format!("found something that is no X.509 certificate ({}): remove it", which());
                files.fault(CertFile::Ca, problem)
            })?;
            if let Some(why) = facts.no_ca() {
                let (subject, which) = (&facts.subject, which());
                let problem = format!(
                    "found a certificate that {why}, {subject} ({which}): the owner of its key could sign nodes; \
                     remove it from this file, or put the CA's certificate in its place"
                );
                return Err(files.fault(CertFile::Ca, problem));
            }
            let mut alone = RootCertStore::empty();
            roots.add(ca.clone()).and_then(|()| alone.add(ca.clone())).map_err(|error| {
                let problem =
                    format!("found a CA certificate that {}: {} ({})", explain(&error), facts.subject, which());
                files.fault(CertFile::Ca, problem)
            })?;
            list.push(Anchor {
                name: facts.subject,
                raw_subject: facts.raw_subject,
                key: facts.key,
                not_after: not_after(ca),
                alone: Arc::new(alone),
            });
        }
        Ok(Anchors { roots: Arc::new(roots), list })
    }

    /// The CA with this name whose key cannot be checked, if there is one.
    pub(super) fn unsupported(&self, raw_subject: &[u8]) -> Option<&Anchor> {
        self.list.iter().find(|anchor| anchor.raw_subject == raw_subject && !anchor.key.is_supported())
    }
}

impl Anchor {
    /// Whether a chain that is good now is good because of this CA.
    pub(super) fn signs(&self, chain: &[CertificateDer<'_>], now: u64) -> bool {
        verify(chain, &self.alone, Role::Client, now).is_ok()
    }
}
