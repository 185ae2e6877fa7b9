//! Certificates end, and are replaced while a node runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::tls::{CertFile, CertFiles, Credentials, Stamps, TlsError};

/// A node's credentials over time.
pub(crate) struct Identity {
    files: CertFiles,
    name: String,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    stamps: Stamps,
    credentials: Arc<Credentials>,
}

impl Identity {
    /// Loads the credentials of the node that its peers dial as `name`.
    ///
    /// # Errors
    ///
    /// When a peer would refuse them, also for the name.
    pub(crate) fn load(files: CertFiles, name: &str) -> Result<Identity, TlsError> {
        let loaded = Mutex::new(Loaded::load(&files, name)?);
        let name = name.to_owned();
        Ok(Identity { files, name, loaded })
    }

    /// The credentials for the next connection.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        self.lock().credentials.clone()
    }

    /// Loads the files again if one was replaced since they were last loaded, and tells whether that was so.
    ///
    /// # Errors
    ///
    /// As [`Identity::load`]. The old credentials stay, and the next call tries again: files are replaced one by one,
    /// and a clock may be set late.
    pub(crate) fn refresh(&self) -> Result<bool, TlsError> {
        if self.files.stamps() == self.lock().stamps {
            return Ok(false);
        }
        let loaded = Loaded::load(&self.files, &self.name)?;
        *self.lock() = loaded;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Loaded> {
        // The content is replaced whole: a panic elsewhere leaves no half of it.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn load(files: &CertFiles, name: &str) -> Result<Loaded, TlsError> {
        // First the stamps: a file that is replaced while it is read is then read again.
        let stamps = files.stamps();
        let credentials = Arc::new(Credentials::load(files)?);
        credentials.certificate().check_name(name).map_err(|found| {
            let expected = "expected this node's tls_name, or else its addr, as subjectAltName: peers check it";
            files.fault(CertFile::Cert, format!("found a certificate that {found}: {expected}"))
        })?;
        Ok(Loaded { stamps, credentials })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}
