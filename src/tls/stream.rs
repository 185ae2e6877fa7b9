//! A connection to a peer, with its handshake done.
//!
//! A handshake is bounded as a whole, not per read. Otherwise a peer that drips one byte at a time could hold a thread
//! for ever.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::chain::{self, End, Role};
use super::deadline::DeadlineSocket;
use super::fault::{HandshakeError, tls_error};
use super::turns::{Rank, Turns, rest_after};
use super::{ALPN, Certificate, Credentials};
use crate::clock;
use crate::election::Instant;

/// How long, and for how many reads, a failed handshake waits for the peer to take the alert that says why.
const PARTING_TIME: Duration = Duration::from_millis(100);
const PARTING_READS: usize = 64;

/// A connection to a peer, its handshake done.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: DeadlineSocket,
    /// Absent only where the config says `insecure: true`.
    tls: Option<Box<Connection>>,
    /// When the first of the certificates ends that the peer showed.
    end: Option<End>,
}

/// Does the TLS handshake with a node that was dialled by `name`. The other side judges our certificate after this
/// returns: its refusal is the error of the first read.
pub(crate) fn connect(
    tcp: TcpStream,
    name: &str,
    credentials: &Credentials,
    turns: &Turns,
    deadline: Instant,
) -> Result<Stream, HandshakeError> {
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|error| HandshakeError::BadPeer(format!("{name:?} is no host's name: {error}")))?;
    let tls = ClientConnection::new(credentials.client.clone(), server_name)
        .map_err(|error| HandshakeError::from_tls(&error))?;
    let stream = handshake(tls.into(), tcp, (turns, Rank::Dialled), deadline)?;
    Ok(stream.with_end(Role::Server, credentials))
}

/// Does the TLS handshake with the peer that dialled this node.
pub(crate) fn accept(
    tcp: TcpStream,
    credentials: &Credentials,
    turn: (&Turns, Rank),
    deadline: Instant,
) -> Result<Stream, HandshakeError> {
    let tls = ServerConnection::new(credentials.server.clone()).map_err(|error| HandshakeError::from_tls(&error))?;
    Ok(handshake(tls.into(), tcp, turn, deadline)?.with_end(Role::Client, credentials))
}

fn handshake(
    mut tls: Connection,
    tcp: TcpStream,
    turn: (&Turns, Rank),
    deadline: Instant,
) -> Result<Stream, HandshakeError> {
    let allowed = deadline.since(clock::now());
    let mut socket = DeadlineSocket { tcp, deadline };
    if let Err(error) = complete(&mut tls, &mut socket, turn) {
        part(&mut tls, &mut socket);
        return Err(HandshakeError::from_io(error, allowed));
    }
    if tls.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::from_tls(&rustls::Error::NoApplicationProtocol));
    }
    let tls = Some(Box::new(tls));
    Ok(Stream { socket, tls, end: None })
}

/// As [`Connection::complete_io`], but computes only in its turn.
fn complete(tls: &mut Connection, socket: &mut DeadlineSocket, (turns, rank): (&Turns, Rank)) -> io::Result<()> {
    loop {
        flush_tls(tls, socket)?;
        if !tls.is_handshaking() {
            return Ok(());
        }
        if tls.read_tls(socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let turn = turns.wait(rank, socket.deadline).ok_or(io::ErrorKind::TimedOut)?;
        let began = clock::now();
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let took = clock::now().since(began);
        // The peer goes on meanwhile. The turn ends after the rest, so that no other handshake computes in it.
        flush_tls(tls, socket)?;
        rest_after(took);
        drop(turn);
    }
}

/// Lets the peer learn why it is refused: what rustls has left to say is the alert.
fn part(tls: &mut Connection, socket: &mut DeadlineSocket) {
    socket.deadline = socket.deadline.min(clock::now() + PARTING_TIME);
    let said = flush_tls(tls, socket);
    if said.is_ok() {
        close_after_reading(socket);
    }
}

/// Closes a socket so that what was written last arrives. To close a socket with unread bytes would reset the
/// connection, and the last words could be lost with it.
fn close_after_reading(socket: &mut DeadlineSocket) {
    let said = socket.tcp.shutdown(Shutdown::Write);
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
        Stream { socket, tls: None, end: None }
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

    fn with_end(self, role: Role, credentials: &Credentials) -> Stream {
        let shown = self.tls.as_ref().and_then(|tls| tls.peer_certificates());
        let end = shown.and_then(|shown| chain::end(shown, &credentials.roots, role));
        Stream { end, ..self }
    }

    /// When the first of the certificates ends that the peer showed and that it needs.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The same moment, in seconds since 1970.
    pub(crate) fn certificate_ends(&self) -> Option<u64> {
        Some(self.end.as_ref()?.at)
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
        // The socket is gone either way.
        let _ = self.say_goodbye();
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// As [`Stream::close`], for a peer that may still be sending: waits a moment until it has read the last words.
    pub(crate) fn part(mut self) {
        if self.say_goodbye().is_ok() {
            close_after_reading(&mut self.socket);
        }
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        self.set_deadline(clock::now() + PARTING_TIME);
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()
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

#[cfg(test)]
mod tests;
