//! Who is at the other end of a connection?
//!
//! Every connection is TLS 1.3 with a certificate on both sides, each signed by the cluster's CA. That proves that the
//! other end belongs here, not yet which node it is: a dialler checks the name of the node it dialled within the
//! handshake, and whoever is dialled asks [`Certificate::check_name`] afterwards, when it knows who the other claims
//! to be.
//!
//! Sessions are never resumed: a resumed session would not show its certificate again. A handshake is bounded as a
//! whole, not per read: a peer that drips one byte at a time would otherwise hold a thread for ever.
//!
//! No other file knows rustls. Validity is judged by the wall clock, because that is what certificates are written in;
//! nothing else in this crate depends on it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, ClientConnection, Connection, InconsistentKeys};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pemfile::Item;

mod fault;

pub(crate) use self::fault::HandshakeError;
use self::fault::{DAY, explain, tls_error};
use super::deadline::DeadlineSocket;
use crate::clock;
use crate::election::Instant;

/// The one protocol spoken inside. Whoever offers another is told so in the handshake.
const ALPN: &[u8] = b"leadelect/1";

/// The largest file that is read: a thousand certificates. A path to a disk or a log is a slip, not a reason to swap.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How long, and for how many reads, a failed handshake waits for the peer to take the alert that says why.
const PARTING_TIME: Duration = Duration::from_millis(100);
const PARTING_READS: usize = 64;

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
    fn path(&self, file: CertFile) -> &Path {
        match file {
            CertFile::Ca => &self.ca,
            CertFile::Cert => &self.cert,
            CertFile::Key => &self.key,
        }
    }

    pub(super) fn fault(&self, file: CertFile, problem: impl Into<String>) -> TlsError {
        TlsError { file, path: self.path(file).to_owned(), problem: problem.into() }
    }

    /// What tells that a file was replaced. A file that cannot be looked at has none.
    pub(super) fn stamps(&self) -> Stamps {
        [CertFile::Ca, CertFile::Cert, CertFile::Key].map(|file| {
            let meta = fs::metadata(self.path(file)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }
}

/// Why a node's certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsError {
    /// Which of the files is at fault.
    pub(crate) file: CertFile,
    path: PathBuf,
    problem: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for TlsError {}

/// A certificate, a peer's or the own.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Is this the certificate of a host called `name`, an IP address or a DNS name?
    ///
    /// # Errors
    ///
    /// If not: a sentence without its subject, with the name and the names in the certificate.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), String> {
        let expected =
            ServerName::try_from(name).map_err(|_| format!("is for no host, and {name:?} is no host's name"))?;
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
        // Nobody but the verifier reads dates. Asked at the end of time, it answers with the date.
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

/// What a node shows and what it trusts. Loaded whole and replaced whole.
pub(crate) struct Credentials {
    own: Certificate,
    /// When the last of the CA certificates ends, in seconds since 1970.
    ca_not_after: Option<u64>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads the files and tries the certificate the way a peer will, as a server's and as a client's.
    ///
    /// # Errors
    ///
    /// When a peer would refuse it, or a file is not what it should be.
    pub(crate) fn load(files: &CertFiles) -> Result<Credentials, TlsError> {
        Credentials::load_as(files, Side::Both)
    }

    /// The same for whoever only asks: the certificate need not be good for a server.
    ///
    /// # Errors
    ///
    /// When a node would refuse it, or a file is not what it should be.
    pub(crate) fn load_client(files: &CertFiles) -> Result<Credentials, TlsError> {
        Credentials::load_as(files, Side::Client)
    }

    fn load_as(files: &CertFiles, side: Side) -> Result<Credentials, TlsError> {
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

    /// The certificate that this node shows.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.own
    }

    /// How many whole days are left of the own certificate; negative if it has ended.
    pub(crate) fn days_left(&self) -> Option<i64> {
        days_until(self.own.not_after()?)
    }

    /// The same of the CA, the one that lasts longest if there are several. Nobody refuses a node because its CA has
    /// ended (the verifier looks at a CA's name and key only), but nothing more should be signed with it.
    pub(crate) fn ca_days_left(&self) -> Option<i64> {
        days_until(self.ca_not_after?)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).finish_non_exhaustive()
    }
}

fn days_until(end: u64) -> Option<i64> {
    let left = i128::from(end) - i128::from(UnixTime::now().as_secs());
    i64::try_from(left.div_euclid(i128::from(DAY))).ok()
}

fn roots(files: &CertFiles, cas: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca).map_err(|error| {
            let problem = format!("found a CA certificate that {}", explain(&error));
            files.fault(CertFile::Ca, problem)
        })?;
    }
    Ok(roots)
}

/// Who will judge a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Whom its owner dials, and who dials it.
    Both,
    /// Whom its owner dials.
    Client,
}

/// Tries the own certificate as those will whom this node dials, and as those who dial it.
fn check_own(
    files: &CertFiles,
    chain: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    side: Side,
) -> Result<(), TlsError> {
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

/// The only TLS that is spoken: version 1.3, both sides with certificate, one protocol inside, no session resumed.
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

/// The certificates in a PEM file, at least one.
fn certificates(files: &CertFiles, file: CertFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem_items(files, file, "a CERTIFICATE", |item| match item {
        Item::X509Certificate(certificate) => Some(certificate),
        _ => None,
    })
}

/// The first private key in the key file.
fn private_key(files: &CertFiles) -> Result<PrivateKeyDer<'static>, TlsError> {
    let keys = pem_items(files, CertFile::Key, "an unencrypted PRIVATE KEY", |item| match item {
        Item::Pkcs1Key(key) => Some(key.into()),
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        _ => None,
    })?;
    Ok(keys.into_iter().next().expect("pem_items finds at least one"))
}

/// What `pick` takes of a PEM file, at least one.
fn pem_items<T>(
    files: &CertFiles,
    file: CertFile,
    expected: &str,
    pick: impl Fn(Item) -> Option<T>,
) -> Result<Vec<T>, TlsError> {
    let fault = |found: String| files.fault(file, format!("{found}: expected a PEM file with {expected}"));
    let path = files.path(file);
    let bytes = read_bounded(path).map_err(|problem| {
        let classic = path.parent().is_some_and(|folder| folder.ends_with("certs"));
        let advice = if classic && !path.exists() {
            ": run ./gen_cert.sh, which makes the files in certs/ (see ./gen_cert.sh --help)"
        } else {
            ""
        };
        files.fault(file, problem + advice)
    })?;
    if file == CertFile::Key && is_encrypted(&bytes) {
        let path = path.display();
        return Err(fault(format!(
            "found an encrypted private key, and nobody to ask for its passphrase: decrypt it with \
             `openssl pkey -in {path} -out {path}.plain` and use that file"
        )));
    }
    let items: Result<Vec<Item>, _> = rustls_pemfile::read_all(&mut bytes.as_slice()).collect();
    let items = items.map_err(|error| fault(format!("found damaged PEM ({error})")))?;
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

/// Whether the key in a PEM file is under a passphrase, in the way of PKCS #8 or in that of older programs.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let mut lines = text.lines();
    lines.any(|line| {
        line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    })
}

/// The whole of a file that a config names, if it is one and not absurdly large.
///
/// # Errors
///
/// A sentence without the file's name.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let cannot_read = |error: io::Error| format!("cannot be read: {error}");
    if fs::metadata(path).map_err(cannot_read)?.is_dir() {
        return Err("found a folder, expected a file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("found more than {MAX_FILE_BYTES} bytes, expected a file of at most so many"));
    }
    Ok(bytes)
}

/// Whether `text` can name a host: an IP address or a DNS name, without port.
pub(crate) fn is_host_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// A connection to a peer, its handshake done.
pub(crate) struct Stream {
    socket: DeadlineSocket,
    /// Absent only where the config says `insecure: true`.
    tls: Option<Box<Connection>>,
}

/// Does the TLS handshake with a node that was dialled by `name`.
///
/// The other side judges our certificate after this returns: its refusal is the error of the first read.
pub(crate) fn connect(
    tcp: TcpStream,
    name: &str,
    credentials: &Credentials,
    deadline: Instant,
) -> Result<Stream, HandshakeError> {
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|error| HandshakeError::BadPeer(format!("{name:?} is no host's name: {error}")))?;
    let tls = ClientConnection::new(credentials.client.clone(), server_name)
        .map_err(|error| HandshakeError::from_tls(&error))?;
    handshake(tls.into(), tcp, deadline)
}

/// Does the TLS handshake with whoever dialled this node.
pub(crate) fn accept(tcp: TcpStream, credentials: &Credentials, deadline: Instant) -> Result<Stream, HandshakeError> {
    let tls = ServerConnection::new(credentials.server.clone()).map_err(|error| HandshakeError::from_tls(&error))?;
    handshake(tls.into(), tcp, deadline)
}

fn handshake(mut tls: Connection, tcp: TcpStream, deadline: Instant) -> Result<Stream, HandshakeError> {
    let allowed = deadline.since(clock::now());
    let mut socket = DeadlineSocket { tcp, deadline };
    let mut done = tls.complete_io(&mut socket).map(|_| ());
    if done.is_ok() && tls.is_handshaking() {
        done = Err(io::ErrorKind::UnexpectedEof.into());
    }
    if let Err(error) = done {
        part(&mut tls, &mut socket);
        return Err(HandshakeError::from_io(error, allowed));
    }
    if tls.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::from_tls(&rustls::Error::NoApplicationProtocol));
    }
    let tls = Some(Box::new(tls));
    Ok(Stream { socket, tls })
}

/// Lets the peer learn why it is refused: what rustls has left to say is the alert, and to close a socket with unread
/// bytes would reset the connection, and the alert could be lost with it.
fn part(tls: &mut Connection, socket: &mut DeadlineSocket) {
    socket.deadline = socket.deadline.min(clock::now() + PARTING_TIME);
    let said = flush_tls(tls, socket).and_then(|()| socket.tcp.shutdown(Shutdown::Write));
    let mut rest = [0; 1024];
    let mut reads = 0;
    while said.is_ok() && reads < PARTING_READS && matches!(socket.read(&mut rest), Ok(1..)) {
        reads += 1;
    }
}

fn flush_tls(tls: &mut Connection, socket: &mut DeadlineSocket) -> io::Result<()> {
    while tls.wants_write() {
        if tls.write_tls(socket)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

impl Stream {
    /// A connection without any protection, for configs that say `insecure: true`.
    pub(crate) fn plain(tcp: TcpStream, deadline: Instant) -> Stream {
        let socket = DeadlineSocket { tcp, deadline };
        Stream { socket, tls: None }
    }

    /// Every read and write from now on ends by `deadline`, with [`io::ErrorKind::TimedOut`].
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.socket.deadline = deadline;
    }

    /// What the peer showed; nothing without TLS.
    pub(crate) fn peer_certificate(&self) -> Option<Certificate> {
        let chain = self.tls.as_ref()?.peer_certificates()?;
        Some(Certificate(chain.first()?.clone().into_owned()))
    }

    /// The socket underneath, for its addresses and options.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.socket.tcp
    }

    /// Whether a connection on which nothing is awaited can still be used. A peer that never speaks unasked has
    /// closed it, or is about to, as soon as there is anything to read.
    pub(crate) fn is_quiet(&self) -> bool {
        let tcp = self.tcp();
        let peeked = tcp.set_nonblocking(true).and_then(|()| tcp.peek(&mut [0]));
        let quiet = matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        tcp.set_nonblocking(false).is_ok() && quiet
    }

    /// Tells the peer that this is the end, if that is possible without waiting for long, and closes.
    pub(crate) fn close(mut self) {
        self.set_deadline(clock::now() + PARTING_TIME);
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        // The socket is gone either way.
        let _ = self.flush();
        let _ = self.tcp().shutdown(Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buf);
        };
        loop {
            match tls.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            tls.complete_io(&mut self.socket).map_err(|error| match tls_error(&error) {
                Some(tls) => io::Error::new(error.kind(), HandshakeError::from_tls(tls)),
                None => error,
            })?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(buf);
        };
        let written = tls.writer().write(buf)?;
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => flush_tls(tls, &mut self.socket),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
