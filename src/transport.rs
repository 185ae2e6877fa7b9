//! Threads that speak with the other nodes, so that the election thread never waits for one of them.
//!
//! Every peer has one thread that owns the connection this node dialled to it, for what this node asks ([`peer`]).
//! Every accepted connection has one thread, for what this node answers, and one thread accepts them ([`accept`]). So
//! one peer that hangs delays nobody, and one working direction of dialling is enough to lead.
//!
//! A client, such as the program `leadelect`, is no node: it sends one request ([`client`]) and gets a reply
//! ([`admin`]).
//!
//! Frames carry no sender: who speaks is known from the first frame of a connection, checked against the certificate.

mod accept;
mod admin;
pub(crate) mod client;
mod connect;
mod deadline;
mod frame;
pub(crate) mod identity;
mod peer;
pub(crate) mod tls;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::clock;
use crate::config::Member;
use crate::election::{Instant, NodeId, Request, Timing};
use crate::inbox::Mail;
use crate::leadership::Leadership;
use crate::status::Board;

use frame::FrameError;
use identity::Identity;
use peer::Outbox;
use tls::{HandshakeError, Stream};
use wire::{Frame, Hello};

/// What every connection of this node needs to know.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) timing: Timing,
    pub(crate) rpc_timeout: Duration,
    /// Nothing if the config says `insecure: true`.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Tells this process from another with the same id.
    pub(crate) instance: u64,
    /// Why certificates could not be renewed, as last logged; empty if they could.
    pub(crate) last_problem: Mutex<String>,
    pub(crate) board: Arc<Board>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) started_at: Instant,
    pub(crate) inbox: Sender<Mail>,
}

/// A stack holds a TLS handshake and one formatted log line. Measured need is far less; the rest is never touched, so
/// it costs address space and no memory.
const STACK_SIZE: usize = 256 * 1024;

/// A connection on which nothing was asked for so long is probed, so that a dead one is found before it is needed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// A connection ends at this age, so that a renewed or withdrawn certificate takes effect.
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);

/// How a TLS handshake looks to whoever expects the length of a frame.
const TLS_HANDSHAKE: u32 = 0x1603;

/// The shortest time that a whole handshake is given: slow processors need most of it for their signatures.
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(1);

impl Local {
    fn hello(&self, to: NodeId) -> Hello {
        Hello {
            protocol: wire::PROTOCOL,
            cluster: self.cluster.clone(),
            voters: self.members.keys().copied().collect(),
            clock_drift_ppm: self.timing.clock_drift_ppm(),
            from: self.id,
            to,
            instance: self.instance,
        }
    }

    /// The moment at which a connection made now has to end, also because the peer's certificate does then.
    fn connection_ends(&self, certificate_ends: Option<u64>) -> Instant {
        let left = certificate_ends
            .map_or(LONGEST_CONNECTION, |end| Duration::from_secs(end.saturating_sub(clock::wall_seconds())));
        clock::now() + left.min(LONGEST_CONNECTION)
    }

    /// The credentials for the next connection, read again if the files have changed.
    fn credentials(&self) -> Option<Arc<tls::Credentials>> {
        let identity = self.identity.as_ref()?;
        match identity.refresh() {
            Ok(renewed) => {
                if renewed {
                    log::info!("node {}: read the renewed certificates", self.id);
                }
                self.last_problem().clear();
            }
            Err(error) => self.warn_of_renewal(&error.to_string()),
        }
        Some(identity.current())
    }

    /// Once: it is tried again for every connection.
    fn warn_of_renewal(&self, problem: &str) {
        let mut last = self.last_problem();
        if *last != problem {
            log::warn!("node {}: keeps its old certificates: {problem}", self.id);
            *last = problem.to_owned();
        }
    }

    fn last_problem(&self) -> MutexGuard<'_, String> {
        self.last_problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handshake_deadline(timing: Timing) -> Instant {
    clock::now() + timing.election_timeout().max(SHORTEST_HANDSHAKE)
}

/// Everything that speaks with the other nodes.
#[derive(Debug)]
pub(crate) struct Transport {
    local: Arc<Local>,
    outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    connections: Arc<Connections>,
    listening_at: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Transport {
    /// Starts the threads. `listener` is this node's own address, already bound.
    pub(crate) fn start(local: Local, listener: TcpListener) -> io::Result<Transport> {
        let local = Arc::new(local);
        let peers = local.members.keys().filter(|id| **id != local.id);
        let mut transport = Transport {
            outboxes: Arc::new(peers.map(|id| (*id, Outbox::default())).collect()),
            connections: Arc::default(),
            listening_at: listener.local_addr()?,
            threads: Vec::new(),
            local,
        };
        let acceptor =
            accept::Acceptor::new(transport.local.clone(), transport.connections.clone(), transport.outboxes.clone());
        let name = format!("le{}-listen", transport.local.id);
        transport.threads.push(spawn(&name, move || acceptor.run(&listener))?);
        for id in transport.outboxes.keys().copied().collect::<Vec<_>>() {
            let dialler = peer::Dialler::new(
                transport.local.clone(),
                id,
                transport.outboxes.clone(),
                transport.connections.clone(),
            );
            let name = format!("le{}-peer-{id}", transport.local.id);
            transport.threads.push(spawn(&name, move || dialler.run())?);
        }
        Ok(transport)
    }

    /// Sends `request` as soon as `to` can be reached, unless something newer is to be sent before that.
    pub(crate) fn send(&self, to: NodeId, request: Request) {
        if let Some(outbox) = self.outboxes.get(&to) {
            outbox.put(request);
        }
    }

    /// Forgets what could not be sent yet: the node's role has changed, and it no longer means it.
    pub(crate) fn withdraw(&self) {
        for outbox in self.outboxes.values() {
            outbox.withdraw();
        }
    }
}

/// Ends every thread but that of a name server's answer. Nothing waits for longer than one connect, which is bounded.
impl Drop for Transport {
    fn drop(&mut self) {
        self.connections.stop();
        for outbox in self.outboxes.values() {
            outbox.stop();
        }
        // The listener waits in accept(): only a connection wakes it.
        let mut at = self.listening_at;
        if at.ip().is_unspecified() {
            at.set_ip(match at {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        drop(TcpStream::connect_timeout(&at, self.local.rpc_timeout));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("node {}: a transport thread has panicked", self.local.id);
            }
        }
        self.connections.wait_until_closed();
    }
}

/// Starts a named thread. Linux shows the first 15 bytes of a name.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_SIZE).spawn(body)
}

/// The open connections, so that they can be closed under the threads that wait on them.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<Open>,
    closed: Condvar,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    sockets: BTreeMap<u64, TcpStream>,
}

/// Keeps a connection in the list for as long as it lives.
#[derive(Debug)]
struct Registration {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    /// Lists a connection; fails when the node stops.
    fn register(self: &Arc<Self>, socket: &TcpStream) -> io::Result<Registration> {
        let socket = socket.try_clone()?;
        let mut open = self.open();
        if self.is_stopped() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "this node stops"));
        }
        let number = open.next;
        open.next += 1;
        open.sockets.insert(number, socket);
        Ok(Registration { connections: self.clone(), number })
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        let open = self.open();
        self.stopped.store(true, Ordering::SeqCst);
        for socket in open.sockets.values() {
            // Closed by the peer already: just as well.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.closed.notify_all();
    }

    /// Waits for `span`, or until the node stops.
    fn wait(&self, span: Duration) {
        let open = self.open();
        drop(self.closed.wait_timeout_while(open, span, |_| !self.is_stopped()));
    }

    fn wait_until_closed(&self) {
        let open = self.open();
        drop(self.closed.wait_while(open, |open| !open.sockets.is_empty()));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.open().sockets.remove(&self.number);
        self.connections.closed.notify_all();
    }
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// It is gone: the other side closed it, or it broke.
    Gone(String),
    /// The other side did not answer in time.
    Silent { waited_for: &'static str, after: Duration },
    /// One side does not accept the other: somebody has to change something.
    Refused(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Gone(what) | LinkError::Refused(what) => f.write_str(what),
            LinkError::Silent { waited_for, after } => {
                write!(f, "waited {after:.0?} for {waited_for}")
            }
        }
    }
}

/// TLS breaks where it is read, as when the other side refuses this node's certificate.
impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<HandshakeError>() {
            Ok(error) => error.into(),
            Err(error) => LinkError::Gone(error.to_string()),
        }
    }
}

impl From<HandshakeError> for LinkError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Network(error) => LinkError::Gone(error.to_string()),
            HandshakeError::BadPeer(what) | HandshakeError::RefusedByPeer(what) => LinkError::Refused(what),
        }
    }
}

/// The longest text of a peer's that is shown, in characters.
const MOST_SHOWN: usize = 1000;

/// A text that may hold what a peer has sent, fit for a line of the log.
fn printable(text: &str) -> String {
    let shown = text.chars().take(MOST_SHOWN);
    shown.map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// Writes one frame.
fn send(stream: &mut Stream, frame: &Frame) -> Result<(), LinkError> {
    frame::write_frame(stream, &wire::encode(frame)).map_err(LinkError::from)
}

/// Reads one frame, until `deadline`.
fn receive(stream: &mut Stream, waited_for: &'static str, deadline: Instant) -> Result<Frame, LinkError> {
    let started = clock::now();
    let mut body = Vec::new();
    stream.set_deadline(deadline);
    match frame::read_frame(stream, &mut body) {
        Ok(()) => wire::decode(&body).map_err(LinkError::Refused),
        Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(LinkError::Silent { waited_for, after: clock::now().since(started) })
        }
        Err(FrameError::Io(error)) => Err(LinkError::from(error)),
        Err(FrameError::Oversize { found, .. }) if found >> 16 == TLS_HANDSHAKE => {
            Err(LinkError::Refused("the peer speaks TLS, and this node's config says `insecure: true`".into()))
        }
        Err(error @ (FrameError::Empty | FrameError::Oversize { .. })) => Err(LinkError::Refused(error.to_string())),
        Err(error) => Err(LinkError::Gone(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::tls::tests::TestCa;
    use super::*;

    /// Node 1, which knows nobody.
    pub(super) fn local() -> Local {
        Local {
            id: 1.into(),
            cluster: "c".into(),
            members: BTreeMap::new(),
            timing: Timing::default(),
            rpc_timeout: Duration::from_millis(250),
            identity: None,
            instance: 1,
            last_problem: Mutex::default(),
            board: Arc::new(Board::new(1.into(), [])),
            leadership: Arc::new(Leadership::new(Duration::ZERO, || {})),
            started_at: clock::now(),
            inbox: crossbeam_channel::unbounded().0,
        }
    }

    #[test]
    fn a_renewal_that_fails_again_after_one_that_did_not_is_worth_another_line() {
        let ca = TestCa::new("ca");
        let files = ca.sign("one", &["one.example"]);
        let identity = Identity::load(files.clone(), "one.example").expect("loaded");
        let identity = Some(Arc::new(identity));
        let local = Local { identity, ..local() };
        let problem = || {
            local.credentials().expect("the old ones at least");
            local.last_problem().clone()
        };
        for _ in 0..2 {
            fs::write(&files.cert, "half writ").expect("written");
            let first = problem();
            assert!(first.contains("one.pem"), "{first}");
            assert_eq!(problem(), first);
            ca.sign("one", &["one.example"]);
            assert_eq!(problem(), "");
        }
    }
}
