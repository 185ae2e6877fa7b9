//! The files that a config names: what is in them, and what is wrong with them.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pemfile::Item;

/// The largest file that is read: a thousand certificates. A path to a disk or a log is a slip, not a reason to swap.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a node's certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertFiles {
    /// The CA certificates that sign every node's certificate.
    pub(crate) ca: PathBuf,
    /// This node's certificate, followed by intermediate ones if there are any.
    pub(crate) cert: PathBuf,
    /// The private key of that certificate.
    pub(crate) key: PathBuf,
}

/// When each of the files was last changed, and its size.
pub(super) type Stamps = [Option<(SystemTime, u64)>; 3];

/// One of the [`CertFiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertFile {
    Ca,
    Cert,
    Key,
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

    /// What changes when a file is replaced. A file that cannot be looked at has none.
    pub(super) fn stamps(&self) -> Stamps {
        [CertFile::Ca, CertFile::Cert, CertFile::Key].map(|file| {
            let meta = fs::metadata(self.path(file)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
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
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// The certificates in a PEM file, at least one.
pub(super) fn certificates(files: &CertFiles, file: CertFile) -> Result<Vec<CertificateDer<'static>>, CertError> {
    pem_items(files, file, "a CERTIFICATE", |item| match item {
        Item::X509Certificate(certificate) => Some(certificate),
        _ => None,
    })
}

/// The first private key in the key file.
pub(super) fn private_key(files: &CertFiles) -> Result<PrivateKeyDer<'static>, CertError> {
    let keys = pem_items(files, CertFile::Key, "an unencrypted PRIVATE KEY", |item| match item {
        Item::Pkcs1Key(key) => Some(key.into()),
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        _ => None,
    })?;
    Ok(keys.into_iter().next().expect("pem_items finds at least one"))
}

/// The sections of a PEM file that `pick` takes, at least one.
fn pem_items<T>(
    files: &CertFiles,
    file: CertFile,
    expected: &str,
    pick: impl Fn(Item) -> Option<T>,
) -> Result<Vec<T>, CertError> {
    let fault = |found: String| files.fault(file, format!("{found}: expected a PEM file with {expected}"));
    let path = files.path(file);
    let bytes = read_bounded(path).map_err(|error| {
        let classic = path.parent().is_some_and(|folder| folder.ends_with("certs"));
        let advice = if classic && !path.exists() {
            ": run ./gen_cert.sh, which makes the files in certs/ (see ./gen_cert.sh --help)"
        } else {
            ""
        };
        let fault = files.fault(file, format!("{error}{advice}"));
        CertError { unreadable: Some(error), ..fault }
    })?;
    if file == CertFile::Key && is_encrypted(&bytes) {
        let path = path.display();
        return Err(fault(format!(
            "found an encrypted private key, and nobody to ask for its passphrase: decrypt it with \
             `openssl pkey -in {path} -out {path}.plain` and use that file"
        )));
    }
    let items: Result<Vec<Item>, _> = rustls_pemfile::read_all(&mut bytes.as_slice()).collect();
    // The parser's error quotes what it has read, which may be a key.
    let items = items.map_err(|_| fault("found damaged PEM".to_owned()))?;
    let picked: Vec<T> = items.into_iter().filter_map(pick).collect();
    if picked.is_empty() {
        let text = String::from_utf8_lossy(&bytes);
        let labels = text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"));
        return Err(fault(match labels.take(8).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => {
                format!("found {} bytes without any PEM section", bytes.len())
            }
            labels => format!("found {labels}"),
        }));
    }
    Ok(picked)
}

/// Whether the key in a PEM file has a passphrase, in the form of PKCS #8 or in an older one.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let mut lines = text.lines();
    lines.any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    })
}

/// The whole of a file that a config names, unless it is absurdly large. An error is a sentence without the file's
/// name.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let cannot_read = |error: io::Error| io::Error::new(error.kind(), format!("cannot be read: {error}"));
    if fs::metadata(path).map_err(cannot_read)?.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "found a folder, expected a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("found more than {MAX_FILE_BYTES} bytes: expected a smaller file");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}
