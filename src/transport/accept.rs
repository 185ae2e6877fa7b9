//! One thread that accepts, and one per accepted connection, for what this node answers.
//!
//! The accepting thread does no handshake, so that no stranger delays it. [`Admission`] bounds the handshakes that are
//! under way. Each has one deadline for the whole of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::admin;
use super::admission::{Admission, ClientPermit, Handshake, MOST_CLIENTS, Permit};
use super::connections::Connections;
use super::link::{LinkError, printable, receive, send};
use super::outbox::Outbox;
use super::wire::{ClientRequest, Frame, Hello};
use super::{Local, PROBE_INTERVAL, Transport, handshake_deadline, spawn};
use crate::clock;
use crate::election::{Instant, NodeId, Request};
use crate::tls::{self, Stream};

/// The dialler probes an idle connection. One that is silent for this long is dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(3 * PROBE_INTERVAL.as_secs());

/// After a failed accept. Most likely there were no file descriptors left.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

pub(super) struct Acceptor {
    local: Arc<Local>,
    connections: Arc<Connections>,
    outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    admission: Arc<Admission>,
}

impl Acceptor {
    pub(super) fn new(transport: &Transport) -> Arc<Self> {
        let Transport { local, connections, outboxes, .. } = transport;
        let admission = Admission::new(&local.members, local.timing);
        let (local, connections, outboxes) = (local.clone(), connections.clone(), outboxes.clone());
        Arc::new(Acceptor { local, connections, outboxes, admission })
    }

    pub(super) fn run(self: Arc<Self>, listener: &TcpListener) {
        while !self.connections.is_stopped() {
            match listener.accept() {
                Ok(_) if self.connections.is_stopped() => {}
                Ok((tcp, addr)) => self.admit(tcp, addr.ip().to_canonical()),
                Err(error) => {
                    self.complain(&format!("cannot accept connections: {error}"));
                    self.connections.wait(PAUSE_AFTER_FAILURE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, addr: IpAddr) {
        let Some(handshake) = self.admission.handshake(addr) else {
            self.complain(&format!("turned away {addr}: too many handshakes under way"));
            return;
        };
        let this = self.clone();
        let name = format!("le{}-accept", self.local.me());
        let spawned = spawn(&name, move || {
            if let Err(error) = this.serve(tcp, addr, handshake) {
                this.part(addr, &error);
            }
        });
        if let Err(error) = spawned {
            self.complain(&format!("turned away {addr}: cannot start a thread: {error}"));
        }
    }

    fn serve(&self, tcp: TcpStream, addr: IpAddr, handshake: Handshake) -> Result<(), LinkError> {
        let _registration = self.connections.register(&tcp)?;
        tcp.set_nodelay(true)?;
        let deadline = handshake_deadline(self.local.timing);
        let mut stream = match self.local.credentials() {
            Some(credentials) => tls::accept(tcp, &credentials, deadline)?,
            None => Stream::plain(tcp, deadline),
        };
        let hello = match receive(&mut stream, "a hello", deadline)? {
            Frame::Hello(hello) => hello,
            Frame::ClientRequest(request) => {
                let place = self.admission.client();
                drop(handshake);
                return self.answer_client(stream, addr, &request, place);
            }
            other => return Err(self.refuse(&mut stream, format!("expected a hello, found {other:?}"))),
        };
        let session = self.check(&hello, &stream).and_then(|()| self.admission.session(&hello, addr, stream.tcp()));
        let session = session.map_err(|reason| self.refuse(&mut stream, reason))?;
        send(&mut stream, &Frame::Welcome(self.local.hello(hello.from)))?;
        drop(handshake);
        let certificate_ends = stream.certificate_ends();
        self.local.board.heard(hello.from, None);
        let outbox = &self.outboxes[&hello.from];
        outbox.look();
        let ends_at = self.local.connection_ends(certificate_ends);
        let end = self.converse(&mut stream, &session, ends_at);
        outbox.look();
        end
    }

    /// Whether the peer is the node it claims to be, and has the same config.
    fn check(&self, theirs: &Hello, stream: &Stream) -> Result<(), String> {
        self.local.hello(theirs.from).agree(theirs)?;
        if theirs.to != self.local.me() {
            return Err(format!("this is node {}, not node {}: check the addresses", self.local.me(), theirs.to));
        }
        let Some(member) = self.local.members.peer(theirs.from) else {
            return Err(format!("node {} speaks to itself: check the addresses", theirs.from));
        };
        let Some(certificate) = stream.peer_certificate() else {
            return Ok(()); // `insecure: true`
        };
        certificate
            .check_name(member.name())
            .map_err(|problem| format!("node {} shows a certificate that {problem}", theirs.from))
    }

    fn converse(&self, stream: &mut Stream, session: &Permit<'_>, ends_at: Instant) -> Result<(), LinkError> {
        loop {
            let deadline = (clock::now() + LONGEST_SILENCE).min(ends_at);
            let frame = receive(stream, "a request", deadline)?;
            stream.set_deadline(clock::now() + self.local.rpc_timeout);
            if let Err(reason) = session.speak(&frame) {
                return Err(self.refuse(stream, reason));
            }
            match frame {
                Frame::Request(request) => {
                    let reply = self.answer(session.node, request)?;
                    send(stream, &reply)?;
                }
                Frame::Probe => send(stream, &Frame::Alive)?,
                other => return Err(self.refuse(stream, format!("expected a request, found {other:?}"))),
            }
        }
    }

    fn answer(&self, from: NodeId, request: Request) -> Result<Frame, LinkError> {
        self.local.board.heard(from, None);
        match self.local.inbox.request(from, request).recv_timeout(self.local.rpc_timeout) {
            Ok(reply) => Ok(Frame::Reply(reply)),
            Err(RecvTimeoutError::Timeout) => {
                let waited_for = "this node's own election thread, which may wait for its disk";
                Err(LinkError::Silent { waited_for, after: self.local.rpc_timeout })
            }
            Err(RecvTimeoutError::Disconnected) => Err(LinkError::Gone(
                "this node has no answer: it stops, cannot store its vote, or has too much to do".into(),
            )),
        }
    }

    /// Answers a client, which is no node. It leaves no trace in what is known of the nodes.
    fn answer_client(
        &self,
        mut stream: Stream,
        addr: IpAddr,
        request: &ClientRequest,
        place: Option<ClientPermit<'_>>,
    ) -> Result<(), LinkError> {
        log::debug!(logger: self.local.log, "node {}: {addr} asks {:?}", self.local.me(), request.call);
        let told = match place {
            Some(_) => admin::answer(&self.local, request, addr, stream.peer_certificate().as_ref()),
            None => Err(format!("{MOST_CLIENTS} clients are being answered: ask again later")),
        };
        stream.set_deadline(clock::now() + self.local.rpc_timeout);
        let done = match told {
            Ok(told) => told.into_iter().try_for_each(|part| send(&mut stream, &Frame::ClientReply(part))),
            Err(reason) => Err(self.refuse(&mut stream, reason)),
        };
        stream.close();
        done
    }

    fn refuse(&self, stream: &mut Stream, reason: String) -> LinkError {
        // It is refused even if it can no longer be told.
        let _ = send(stream, &Frame::Refused(printable(&reason)));
        LinkError::Refused(reason)
    }

    fn part(&self, addr: IpAddr, error: &LinkError) {
        match error {
            _ if self.connections.is_stopped() => {}
            LinkError::Refused(reason) => self.complain(&format!("refused {addr}: {reason}")),
            LinkError::Gone(_) | LinkError::Silent { .. } => {
                log::debug!(logger: self.local.log, "node {}: connection from {addr}: {error}", self.local.me());
            }
        }
    }

    fn complain(&self, line: &str) {
        if let Some(suppressed) = self.admission.may_log() {
            let more = if suppressed > 0 { format!(" ({suppressed} more lines like this)") } else { String::new() };
            log::warn!(logger: self.local.log, "node {}: {}{more}", self.local.me(), printable(line));
        }
    }
}
