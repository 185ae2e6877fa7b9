//! One thread that accepts, and one per accepted connection, for what this node answers.
//!
//! The accepting thread does no handshake, so that no stranger delays it. [`Admission`] bounds the handshakes that are
//! under way. Each has one deadline for the whole of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;

use super::admin;
use super::admission::{Admission, Admitted, ClientPermit, Handshake, MOST_CLIENTS, Permit};
use super::complaints::About;
use super::connections::{Connections, Registration};
use super::link::{LinkError, printable, receive, receive_first, send};
use super::listen::Listener;
use super::outbox::Outbox;
use super::wire::{ClientRequest, Frame, Hello, Protocol};
use super::{LONGEST_CONNECTION, Local, PROBE_INTERVAL, Transport, handshake_deadline, spawn};
use crate::clock;
use crate::election::{Instant, NodeId, Request};
use crate::engine::Mail;
use crate::tls::{self, Stream};

/// The dialler ends a connection after an hour. This side waits longer, so that the next one is there by then.
const LONGEST_ACCEPTED: Duration = Duration::from_secs(LONGEST_CONNECTION.as_secs() + 60);

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

    pub(super) fn run(self: Arc<Self>, listener: &Listener) {
        while !self.connections.is_stopped() {
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((tcp, addr))) => self.admit(tcp, addr.ip().to_canonical()),
                Err(error) => {
                    self.complain(About::Stranger, &format!("cannot accept connections: {error}"));
                    self.connections.wait(PAUSE_AFTER_FAILURE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, addr: IpAddr) {
        let registration = match self.connections.register(&tcp) {
            Ok(registration) => registration,
            Err(_) if self.connections.is_stopped() => return,
            Err(error) => return self.turn_away(addr, &format!("cannot keep the connection: {error}")),
        };
        let Some(Admitted { handshake, cut_off }) = self.admission.handshake(addr, registration.number) else {
            return self.turn_away(addr, "too many handshakes under way");
        };
        if let Some((other, number)) = cut_off {
            self.connections.close(number);
            self.turn_away(other, "too many handshakes under way, and it has said nothing");
        }
        let this = self.clone();
        let name = format!("le{}-accept", self.local.me());
        let spawned = spawn(&name, move || {
            let (about, end) = this.serve(tcp, addr, (registration, handshake));
            if let Err(error) = end {
                this.part(about, addr, &error);
            }
        });
        if let Err(error) = spawned {
            self.turn_away(addr, &format!("cannot start a thread: {error}"));
        }
    }

    fn turn_away(&self, addr: IpAddr, reason: &str) {
        self.local.board.refused();
        self.complain(About::Stranger, &format!("turned away {addr}: {reason}"));
    }

    /// Serves a connection until it ends. Returns whose it was, and why it ended.
    fn serve(
        &self,
        tcp: TcpStream,
        addr: IpAddr,
        (registration, handshake): (Registration, Handshake),
    ) -> (About, Result<(), LinkError>) {
        // The process that connects lived at this moment, or later: TLS needs its answers. Without TLS it may have died
        // while the connection waited to be accepted.
        let accepted_at = clock::now();
        let deadline = handshake_deadline(self.local.timing);
        let mut stream = match self.shake_hands(tcp, &handshake, deadline) {
            Ok(stream) => stream,
            Err(error) => {
                if matches!(error, LinkError::Refused(_)) {
                    self.local.board.refused();
                }
                return (About::Stranger, Err(error));
            }
        };
        let mut about = About::Stranger;
        let end = self.talk(&mut stream, addr, (handshake, accepted_at, deadline), &mut about);
        if let Err(LinkError::Refused(reason)) = &end {
            self.local.board.refused();
            // It is refused even if it can no longer be told.
            stream.set_deadline(clock::now() + self.local.rpc_timeout);
            let _ = send(&mut stream, &Frame::Refused(printable(reason)), self.local.speaks.highest);
            stream.part();
        } else {
            stream.close();
        }
        drop(registration);
        (about, end)
    }

    fn shake_hands(&self, tcp: TcpStream, handshake: &Handshake, deadline: Instant) -> Result<Stream, LinkError> {
        tcp.set_nodelay(true)?;
        wait_for_a_byte(&tcp, deadline)?;
        handshake.speaks();
        Ok(match self.local.credentials() {
            Some(credentials) => tls::accept(tcp, &credentials, (&self.connections.turns, handshake.rank), deadline)?,
            None => Stream::plain(tcp, deadline),
        })
    }

    /// Reads the first frame, and goes on as it says who speaks. `about` becomes that node, if it is a member.
    fn talk(
        &self,
        stream: &mut Stream,
        addr: IpAddr,
        (handshake, accepted_at, deadline): (Handshake, Instant, Instant),
        about: &mut About,
    ) -> Result<(), LinkError> {
        let (frame, protocol) = receive_first(stream, "a hello", deadline, self.local.speaks)?;
        let hello = match frame {
            Frame::Hello(_, hello) => hello,
            Frame::ClientRequest(_, request) => {
                let place = self.admission.client();
                drop(handshake);
                return self.answer_client(stream, addr, (&request, protocol), place);
            }
            other => return Err(LinkError::Refused(format!("expected a hello, found {other:?}"))),
        };
        let certificate = self.check_certificate(&hello, stream);
        if certificate.is_ok() && self.local.members.peer(hello.from).is_some() {
            *about = About::Peer(hello.from);
        }
        let session = self.check(&hello).and(certificate).and_then(|()| {
            // The last, because it takes the place of the node.
            let tell = |up_to| self.local.inbox.mail(Mail::Obituary { of: hello.from, up_to });
            self.admission.session(&hello, addr, stream.tcp(), (accepted_at, &tell))
        });
        let session = session.map_err(LinkError::Refused)?;
        send(stream, &Frame::Welcome(self.local.speaks, protocol, self.local.hello(hello.from)), protocol)?;
        drop(handshake);
        let certificate_ends = stream.certificate_ends();
        self.local.board.heard(hello.from);
        let outbox = &self.outboxes[&hello.from];
        outbox.look();
        let ends_at = Local::connection_ends(LONGEST_ACCEPTED, certificate_ends);
        let end = self.converse(stream, protocol, &session, ends_at);
        outbox.look();
        end
    }

    /// Whether the peer means this node, and has the same config.
    fn check(&self, theirs: &Hello) -> Result<(), String> {
        let (me, from) = (self.local.me(), theirs.from);
        self.local.hello(from).agree(theirs)?;
        if theirs.to != me {
            return Err(format!("this is node {me}, not node {}: check the addresses", theirs.to));
        }
        if from == me {
            return Err(format!("node {me} speaks to itself: check the addresses"));
        }
        if self.local.members.peer(from).is_none() {
            return Err(format!("node {from} is not one of the nodes in the config of node {me}"));
        }
        Ok(())
    }

    /// Whether the certificate is that of the node that the peer claims to be. If there is no such node, another check
    /// says so.
    fn check_certificate(&self, theirs: &Hello, stream: &Stream) -> Result<(), String> {
        let (Some(member), Some(certificate)) = (self.local.members.peer(theirs.from), stream.peer_certificate())
        else {
            return Ok(()); // `insecure: true`, or no such node
        };
        certificate
            .check_name(member.name())
            .map_err(|problem| format!("node {} shows a certificate that {problem}", theirs.from))
    }

    fn converse(
        &self,
        stream: &mut Stream,
        protocol: Protocol,
        session: &Permit<'_>,
        ends_at: Instant,
    ) -> Result<(), LinkError> {
        loop {
            let deadline = (clock::now() + LONGEST_SILENCE).min(ends_at);
            let frame = receive(stream, "a request", deadline, protocol).inspect_err(|error| {
                session.ended(matches!(error, LinkError::Gone(_)));
            })?;
            stream.set_deadline(clock::now() + self.local.rpc_timeout);
            session.speak(&frame).map_err(LinkError::Refused)?;
            match frame {
                Frame::Request(request) => {
                    let reply = self.answer(session.node, request)?;
                    send(stream, &reply, protocol)?;
                }
                Frame::Probe => send(stream, &Frame::Alive, protocol)?,
                other => return Err(LinkError::Refused(format!("expected a request, found {other:?}"))),
            }
        }
    }

    fn answer(&self, from: NodeId, request: Request) -> Result<Frame, LinkError> {
        self.local.board.heard(from);
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
        stream: &mut Stream,
        addr: IpAddr,
        (request, protocol): (&ClientRequest, Protocol),
        place: Option<ClientPermit<'_>>,
    ) -> Result<(), LinkError> {
        let me = self.local.me();
        log::debug!(logger: self.local.log, "node {me}: {addr} asks {:?}, protocol {protocol}", request.call);
        self.local.board.asked_by_client();
        if let Some((count, within)) = self.admission.note_client() {
            let line = format!("clients ask often: {count} requests within {within:.0?}, the last from {addr}");
            self.complain(About::Stranger, &line);
        }
        let told = match place {
            Some(_) => admin::answer(&self.local, request, addr, stream.peer_certificate().as_ref()),
            None => Err(format!("{MOST_CLIENTS} clients are being answered: ask again later")),
        };
        stream.set_deadline(clock::now() + self.local.rpc_timeout);
        let parts = told.map_err(LinkError::Refused)?;
        parts.into_iter().try_for_each(|part| send(stream, &Frame::ClientReply(protocol, part), protocol))
    }

    fn part(&self, about: About, addr: IpAddr, error: &LinkError) {
        match error {
            _ if self.connections.is_stopped() => {}
            LinkError::Refused(reason) => self.complain(about, &format!("refused {addr}: {reason}")),
            LinkError::Gone(_) | LinkError::Silent { .. } => {
                log::debug!(logger: self.local.log, "node {}: connection from {addr}: {error}", self.local.me());
            }
        }
    }

    fn complain(&self, about: About, text: &str) {
        if let Some(line) = self.local.complaints.line(about, text) {
            log::warn!(logger: self.local.log, "node {}: {line}", self.local.me());
        }
    }
}

/// Waits until something has come, or the other side has closed.
fn wait_for_a_byte(tcp: &TcpStream, deadline: Instant) -> Result<(), LinkError> {
    let began = clock::now();
    loop {
        let left = deadline.since(clock::now());
        if left.is_zero() {
            return Err(LinkError::Silent { waited_for: "the first byte", after: clock::now().since(began) });
        }
        tcp.set_read_timeout(Some(left))?;
        match tcp.peek(&mut [0]) {
            // A socket's timeout may end early: only the clock decides.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(0) => return Err(LinkError::Gone("the peer closed the connection".into())),
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::super::tests::local;
    use super::super::wire::{ClientCall, Protocols};
    use super::*;
    use crate::status::Board;

    fn ample() -> Instant {
        clock::now() + Duration::from_secs(30)
    }

    const WITH_NEXT: Protocols = Protocols::WITH_NEXT;
    const LATEST: Protocol = WITH_NEXT.lowest;
    const TODAY: Protocols = Protocols { highest: LATEST, ..WITH_NEXT };
    const ONLY_NEXT: Protocols = Protocols { lowest: WITH_NEXT.highest, ..WITH_NEXT };

    /// Node 1 of two, without TLS.
    fn node_1(speaks: Protocols) -> (Transport, SocketAddr, Arc<Board>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let board = Arc::new(Board::new(1.into(), [(2.into(), String::new())]));
        let local = Local { speaks, board: board.clone(), ..local(["127.0.0.1", "127.0.0.2"]) };
        (Transport::start(local, listener).expect("threads"), addr, board)
    }

    fn dial(addr: SocketAddr) -> Stream {
        Stream::plain(TcpStream::connect(addr).expect("connected"), ample())
    }

    fn hello() -> Hello {
        let mine = local(["127.0.0.1", "127.0.0.2"]).hello(2.into());
        Hello { from: 2.into(), to: 1.into(), ..mine }
    }

    fn status(speaks: Protocols) -> Frame {
        Frame::ClientRequest(speaks, ClientRequest { cluster: "c".into(), to: 1.into(), call: ClientCall::Status })
    }

    #[track_caller]
    fn assert_refused(stream: &mut Stream, why: &str) {
        match receive(stream, "a refusal", ample(), LATEST) {
            Ok(Frame::Refused(told)) => assert!(told.contains(why), "{told}"),
            other => panic!("expected a refusal, found {other:?}"),
        }
        assert!(matches!(receive(stream, "the end", ample(), LATEST), Err(LinkError::Gone(_))));
    }

    #[test]
    fn every_refusal_is_told_before_the_close_and_counted() {
        let (transport, addr, board) = node_1(TODAY);
        let raw: [(&[u8], &str); 5] = [
            (b"\0\x0f\x42\x40 and more than is read", "at most 4096 bytes, found 1000000"),
            (b"\0\0\0\x03\xff\xff\xff", "expected a frame of protocol 2"),
            (b"\0\0\0\x01\x06", "expected a hello, found Alive"),
            (b"\0\0\0\x06\x00\x03\x04\xff\xff\xff", "no common protocol: here 2, there 3 to 4"),
            (b"\x16\x03\x01\x02\x00\x01", "the peer speaks TLS"),
        ];
        for (bytes, why) in raw {
            let mut stream = dial(addr);
            stream.write_all(bytes).expect("written");
            assert_refused(&mut stream, why);
        }
        let unknown = Hello { from: 9.into(), ..hello() };
        let itself = Hello { from: 1.into(), ..hello() };
        let hellos = [
            (TODAY, unknown, "node 9 is not one of the nodes in the config of node 1"),
            (TODAY, itself, "node 1 speaks to itself"),
            (ONLY_NEXT, hello(), "no common protocol: here 2, there 3"),
        ];
        for (speaks, hello, why) in hellos {
            let mut stream = dial(addr);
            send(&mut stream, &Frame::Hello(speaks, hello), speaks.highest).expect("sent");
            assert_refused(&mut stream, why);
        }
        let later: [(&[u8], &str); 2] =
            [(b"\0\0\0\x01\xfa", "expected a frame of protocol 2"), (b"\0\0\0\x01\x06", "expected a request")];
        for (bytes, why) in later {
            let mut stream = dial(addr);
            send(&mut stream, &Frame::Hello(TODAY, hello()), LATEST).expect("sent");
            let welcome = receive(&mut stream, "a welcome", ample(), LATEST).expect("a welcome");
            assert!(matches!(welcome, Frame::Welcome(..)), "{welcome:?}");
            stream.write_all(bytes).expect("written");
            assert_refused(&mut stream, why);
        }
        drop(transport);
        assert_eq!(board.status(None).counters.connections_refused, 10);
    }

    #[test]
    fn a_connection_goes_on_in_the_highest_protocol_that_both_sides_speak() {
        for (ours, theirs) in [(TODAY, WITH_NEXT), (WITH_NEXT, TODAY), (WITH_NEXT, WITH_NEXT), (WITH_NEXT, ONLY_NEXT)] {
            let (_transport, addr, _) = node_1(ours);
            let common = ours.highest.min(theirs.highest);
            let mut stream = dial(addr);
            send(&mut stream, &Frame::Hello(theirs, hello()), theirs.highest).expect("sent");
            let welcome = receive(&mut stream, "a welcome", ample(), common).expect("a welcome");
            assert!(matches!(welcome, Frame::Welcome(_, chosen, _) if chosen == common), "{welcome:?}");
            send(&mut stream, &Frame::Probe, common).expect("sent");
            assert_eq!(receive(&mut stream, "an answer", ample(), common).expect("an answer"), Frame::Alive);

            let mut stream = dial(addr);
            send(&mut stream, &status(theirs), theirs.highest).expect("sent");
            let reply = receive(&mut stream, "a reply", ample(), common).expect("a reply");
            assert!(matches!(reply, Frame::ClientReply(number, _) if number == common), "{reply:?}");
        }
    }

    #[test]
    fn requests_of_clients_are_counted() {
        let (transport, addr, board) = node_1(TODAY);
        for _ in 0..3 {
            let mut stream = dial(addr);
            send(&mut stream, &status(TODAY), LATEST).expect("sent");
            let reply = receive(&mut stream, "a reply", ample(), LATEST).expect("a reply");
            assert!(matches!(reply, Frame::ClientReply(..)), "{reply:?}");
        }
        drop(transport);
        let counters = board.status(None).counters;
        assert_eq!((counters.client_requests, counters.connections_refused), (3, 0));
    }
}
