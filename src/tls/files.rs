//! The files that a config names: what is in them, and what is wrong with them.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pemfile::Item;

use super::pem;
use super::secret::shown;

/// The largest file that is read: a thousand certificates. A path to a disk or a log is a slip, not a reason to swap.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// The bits of a file's mode that let others than its owner do anything with it.
const OTHERS: u32 = 0o077;

/// Where a node's certificates are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CertFiles {
    /// The CA certificates that sign every node's certificate.
    pub(crate) ca: PathBuf,
    /// This node's certificate, followed by intermediate ones if there are any.
    pub(crate) cert: PathBuf,
    /// The private key of that certificate.
    pub(crate) key: PathBuf,
}

/// One of the [`CertFiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertFile {
    Ca,
    Cert,
    Key,
}

/// What the files held when they were read. Two readings are compared by all that they hold: a file may be replaced by
/// one of the same size and time.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
    /// The mode of the key file, if others than its owner may use the file.
    pub(super) open_key: Option<u32>,
}

impl CertFiles {
    pub(super) fn path(&self, file: CertFile) -> &Path {
        match file {
            CertFile::Ca => &self.ca,
            CertFile::Cert => &self.cert,
            CertFile::Key => &self.key,
        }
    }

    pub(super) fn fault(&self, file: CertFile, problem: impl Into<String>) -> CertError {
        CertError { file, path: self.path(file).to_owned(), problem: problem.into(), unreadable: None }
    }

    /// Reads the files.
    pub(super) fn read(&self) -> Result<Contents, CertError> {
        let read = |file| {
            let path = self.path(file);
            read_regular(path).map_err(|error| {
                let classic = path.parent().is_some_and(|folder| folder.ends_with("certs"));
                let advice = if classic && !path.exists() {
                    ": run ./gen_cert.sh, which makes the files in certs/ (see ./gen_cert.sh --help)"
                } else {
                    ""
                };
                let fault = self.fault(file, format!("{error}{advice}"));
                CertError { unreadable: Some(error), ..fault }
            })
        };
        let ((ca, _), (cert, _), (key, mode)) = (read(CertFile::Ca)?, read(CertFile::Cert)?, read(CertFile::Key)?);
        let open_key = (mode & OTHERS != 0).then_some(mode);
        Ok(Contents { ca, cert, key, open_key })
    }
}

impl fmt::Debug for CertFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ca, cert, key) = (shown(&self.ca), shown(&self.cert), shown(&self.key));
        f.debug_struct("CertFiles").field("ca", &ca).field("cert", &cert).field("key", &key).finish()
    }
}

/// Shows nothing of what the files hold.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// Why a node's certificates cannot be used.
#[derive(Debug)]
pub(crate) struct CertError {
    /// Which of the files is at fault.
    pub(crate) file: CertFile,
    path: PathBuf,
    problem: String,
    /// If the file cannot be read.
    pub(crate) unreadable: Option<io::Error>,
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.problem)
    }
}

impl Contents {
    /// The certificates in a file, at least one.
    pub(super) fn certificates(
        &self,
        files: &CertFiles,
        file: CertFile,
    ) -> Result<Vec<CertificateDer<'static>>, CertError> {
        self.pem_items(files, file, "a CERTIFICATE", |item| match item {
            Item::X509Certificate(certificate) => Some(certificate),
            _ => None,
        })
    }

    /// The first private key in the key file.
    pub(super) fn private_key(&self, files: &CertFiles) -> Result<PrivateKeyDer<'static>, CertError> {
        let keys = self.pem_items(files, CertFile::Key, "an unencrypted PRIVATE KEY", |item| match item {
            Item::Pkcs1Key(key) => Some(key.into()),
            Item::Pkcs8Key(key) => Some(key.into()),
            Item::Sec1Key(key) => Some(key.into()),
            _ => None,
        })?;
        Ok(keys.into_iter().next().expect("pem_items finds at least one"))
    }

    /// The sections of a PEM file that `pick` takes, at least one.
    fn pem_items<T>(
        &self,
        files: &CertFiles,
        file: CertFile,
        expected: &str,
        pick: impl Fn(Item) -> Option<T>,
    ) -> Result<Vec<T>, CertError> {
        let fault = |found: String| files.fault(file, format!("{found}: expected a PEM file with {expected}"));
        let bytes = match file {
            CertFile::Ca => &self.ca,
            CertFile::Cert => &self.cert,
            CertFile::Key => &self.key,
        };
        let sections = pem::sections(bytes, files.path(file), file).map_err(fault)?;
        let picked: Vec<T> = sections.items.into_iter().filter_map(pick).collect();
        if picked.is_empty() {
            let labels: Vec<_> = sections.labels.into_iter().take(8).collect();
            return Err(fault(format!("found {}", labels.join(", "))));
        }
        Ok(picked)
    }
}

/// The whole of a file that a config names, unless it is absurdly large. An error is a sentence without the file's
/// name.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    read_regular(path).map(|(bytes, _)| bytes)
}

/// The whole of a file, and its mode.
fn read_regular(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let cannot_read = |error: io::Error| io::Error::new(error.kind(), format!("cannot be read: {error}"));
    // To open a pipe waits for a writer, and to read a terminal waits for a person.
    let at_once = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(at_once).open(path).map_err(cannot_read)?;
    let meta = file.metadata().map_err(cannot_read)?;
    if meta.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "found a folder, expected a file"));
    }
    if !meta.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "found a pipe, a device or the like, expected a file"));
    }
    let bytes = read_most(&file).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("found more than {MAX_FILE_BYTES} bytes: expected a smaller file");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok((bytes, meta.mode()))
}

fn read_most(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
