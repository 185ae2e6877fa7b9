//! Certificates end, and are replaced while a node runs.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::files::Stamps;
use super::{CertError, CertFile, CertFiles, Credentials};
use crate::sync::lock;

/// A node's credentials over time.
pub(crate) struct Identity {
    files: CertFiles,
    name: String,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: Stamps,
    credentials: Arc<Credentials>,
}

/// Locks nothing: who formats it may wait for a terminal, and the threads of the node do not.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// Loads the credentials of the node that its peers dial as `name`. Fails if a peer would refuse them, also for the
    /// name.
    pub(crate) fn load(files: CertFiles, name: &str) -> Result<Identity, CertError> {
        let loaded = Mutex::new(Loaded::load(&files, name)?);
        let name = name.to_owned();
        Ok(Identity { files, name, loaded })
    }

    /// The credentials for the next connection.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        lock(&self.loaded).credentials.clone()
    }

    /// Loads the files again if one was replaced since they were last loaded, and tells whether that was so. Fails
    /// as [`Identity::load`]. Then the old credentials stay, and the next call tries again: files are replaced one by
    /// one, and a clock may be set late.
    pub(crate) fn refresh(&self) -> Result<bool, CertError> {
        if self.files.stamps() == lock(&self.loaded).stamps {
            return Ok(false);
        }
        let loaded = Loaded::load(&self.files, &self.name)?;
        *lock(&self.loaded) = loaded;
        Ok(true)
    }
}

impl Loaded {
    fn load(files: &CertFiles, name: &str) -> Result<Loaded, CertError> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::test_ca::{TestCa, assert_says, ends_in};
    use super::*;

    #[test]
    fn replaced_files_are_loaded_and_bad_ones_are_not() {
        let ca = TestCa::new("ca");
        let files = ca.sign_with("one", &["one.example"], ends_in(20));
        assert!(Identity::load(files.clone(), "two.example").is_err());
        let identity = Identity::load(files.clone(), "one.example").expect("loaded");
        assert_eq!(identity.current().days_left(), Some(20));
        assert_eq!(identity.refresh().ok(), Some(false));

        ca.sign("one", &["one.example", "a-longer-certificate.example"]);
        assert_eq!(identity.refresh().ok(), Some(true));
        assert!(identity.current().days_left() > Some(700_000));
        assert_eq!(identity.refresh().ok(), Some(false));

        ca.sign("one", &["two.example"]);
        let error = identity.refresh().expect_err("another's name");
        assert_says(&error.to_string(), &["one.pem", "two.example", "not for \"one.example\""]);
        fs::write(&files.key, "half writ").expect("written");
        assert!(identity.refresh().is_err() && identity.refresh().is_err());
        assert!(identity.current().certificate().is_valid_for("one.example"));
    }
}
