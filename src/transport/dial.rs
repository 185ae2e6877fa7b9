//! One thread per peer: dials it, and asks it what the election thread wants asked.
//!
//! 1. Dial. After a failure, pause. The pause doubles up to a quarter of the election timeout. A connection accepted
//!    from the peer ends the pause: the peer is there.
//! 2. Wait for the newest request. Probe the connection when none comes for a while.
//! 3. Send the request and wait for the answer, for `rpc_timeout` at most.
//! 4. If the connection dies and was used before, send the request again at once on a fresh one. The other process may
//!    have restarted, and the first vote must not be lost. All requests are idempotent.
//! 5. A request without an answer ends the connection, which may be stuck in retransmissions. A release is kept and
//!    sent again, because the election sends it only once. The election itself repeats every other request.
//! 6. Between two requests, look whether the connection is to be renewed. Another thread dials the next one on the side
//!    ([`renew`](super::renew)). When that is welcomed, it takes the place of the old one.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::complaints::About;
use super::connect::connect;
use super::connections::{Connections, Registration};
use super::link::{LinkError, receive, receive_first, send};
use super::outbox::Outbox;
use super::renew::{Plan, Side, SideThread, Task};
use super::wire::{Frame, Protocol};
use super::{LONGEST_CONNECTION, Local, Transport, handshake_deadline};
use crate::clock;
use crate::election::NodeId;
use crate::engine::Mail;
use crate::members::Member;
use crate::tls::{self, Credentials, Stream};

pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) local: Arc<Local>,
    pub(super) peer: NodeId,
    pub(super) member: Member,
    pub(super) outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    pub(super) connections: Arc<Connections>,
    pub(super) side: SideThread,
}

#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    protocol: Protocol,
    /// Whether it has stood for a while: then it may have died since.
    used: bool,
    plan: Plan,
    /// What this node showed. Nothing without TLS.
    shown: Option<Arc<Credentials>>,
    _registration: Registration,
}

/// The next connection, while it is dialled on the side. Nothing comes of it if the certificates were only looked at.
type Next = Option<Side<Option<Link>>>;

impl Dialler {
    pub(super) fn new(transport: &Transport, side: SideThread, peer: NodeId) -> Self {
        let Transport { local, connections, outboxes, .. } = transport;
        let member = local.members.peer(peer).expect("there is a dialler for each peer").clone();
        let (local, connections, outboxes) = (local.clone(), connections.clone(), outboxes.clone());
        Dialler { local, peer, member, outboxes, connections, side }
    }

    pub(super) fn run(self) {
        let outbox = &self.outboxes[&self.peer];
        let mut pause = SHORTEST_PAUSE;
        let mut open: Option<Link> = None;
        let mut next: Next = None;
        loop {
            let (result, final_word) = match open.take() {
                None => (self.dial_or_wait(&mut next), true),
                Some(link) => match outbox.next() {
                    None => return link.stream.close(),
                    Some((frame, epoch)) => {
                        let final_word = frame.is_release();
                        let link = self.renew(link, &mut next);
                        (self.ask(link, &mut next, frame, epoch), final_word)
                    }
                },
            };
            match result {
                Ok(link) => {
                    pause = SHORTEST_PAUSE;
                    open = Some(link);
                }
                Err(error) => {
                    self.note(&error);
                    if final_word {
                        // A node that has stopped no longer needs it.
                        self.local.inbox.mail(Mail::Unanswered { by: self.peer });
                    }
                    if outbox.pause(pause) {
                        return;
                    }
                    pause = (pause * 2).min(self.longest_pause());
                }
            }
        }
    }

    pub(super) fn longest_pause(&self) -> Duration {
        self.local.timing.election_timeout() / 4
    }

    /// The same connection, or the next one if that has been welcomed. Begins to dial the next one if it is time.
    fn renew(&self, mut link: Link, next: &mut Next) -> Link {
        let ended = next.as_ref().and_then(Side::ended);
        if let Some(ended) = ended {
            *next = None;
            match ended {
                Ok(Some(renewed)) => {
                    link.stream.close();
                    link = Link { used: true, ..renewed };
                }
                Ok(None) => link.plan.looked(clock::now()),
                Err(error) => {
                    link.plan.failed(clock::now());
                    self.note_renewal(&error);
                }
            }
        }
        let replaced = self.local.identity.as_ref().is_some_and(|identity| link.has_not_shown(&identity.current()));
        if let Some(task) = link.plan.due(clock::now(), replaced).filter(|_| next.is_none()) {
            let dialler = self.clone();
            let (outboxes, peer) = (self.outboxes.clone(), self.peer);
            *next = self.side.run(move || dialler.dial_on_the_side(task), move || outboxes[&peer].look());
        }
        link
    }

    fn dial_on_the_side(&self, task: Task) -> Result<Option<Link>, LinkError> {
        match task {
            Task::Look => {
                // It reads them again, and the dialler compares.
                self.local.credentials();
                Ok(None)
            }
            Task::Dial => self.dial().map(Some),
        }
    }

    /// Dials, unless that is being done on the side.
    fn dial_or_wait(&self, next: &mut Next) -> Result<Link, LinkError> {
        match next.take().map(Side::wait) {
            Some(Ok(Some(link))) => Ok(link),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => self.dial(),
        }
    }

    /// Asks on `link`, or on a fresh connection if that one is dead.
    fn ask(&self, mut link: Link, next: &mut Next, frame: Frame, epoch: u64) -> Result<Link, LinkError> {
        let outbox = &self.outboxes[&self.peer];
        if clock::now() < link.plan.ends_at && link.stream.is_quiet() {
            match self.exchange_or_keep(&mut link, frame, epoch) {
                Ok(()) => return Ok(link),
                Err(LinkError::Gone(_)) if link.used => {}
                Err(error) => return Err(error),
            }
        } else {
            outbox.put_back(frame, epoch);
        }
        drop(link);
        let mut fresh = self.dial_or_wait(next)?;
        // Dialling takes a while: by now something newer may be waiting.
        let (frame, epoch) = outbox.take();
        self.exchange_or_keep(&mut fresh, frame, epoch)?;
        Ok(fresh)
    }

    /// Asks. Keeps a request that died with the connection, and keeps a release in any case: nothing else repeats it.
    fn exchange_or_keep(&self, link: &mut Link, frame: Frame, epoch: u64) -> Result<(), LinkError> {
        let result = self.exchange(link, &frame);
        let gone = matches!(result, Err(LinkError::Gone(_)));
        if gone || (result.is_err() && frame.is_release()) {
            self.outboxes[&self.peer].put_back(frame, epoch);
        }
        result
    }

    fn exchange(&self, link: &mut Link, frame: &Frame) -> Result<(), LinkError> {
        self.local.board.asks(self.peer);
        let asked = clock::now();
        let deadline = asked + self.local.rpc_timeout;
        link.stream.set_deadline(deadline);
        send(&mut link.stream, frame, link.protocol)?;
        let reply = receive(&mut link.stream, "an answer", deadline, link.protocol)?;
        let round_trip = clock::now().since(asked);
        if let Some(warning) = self.local.board.answered(self.peer, round_trip, self.local.timing) {
            log::warn!(logger: self.local.log, "node {}: {warning}", self.local.me());
        }
        match (frame, reply) {
            (Frame::Request(_), Frame::Reply(reply)) => {
                // A node that stops no longer reads it.
                self.local.inbox.mail(Mail::Reply { from: self.peer, reply });
            }
            (Frame::Probe, Frame::Alive) => {}
            (_, Frame::Refused(reason)) => return Err(LinkError::Refused(reason)),
            (_, other) => return Err(LinkError::Refused(format!("expected an answer, found {other:?}"))),
        }
        link.used = true;
        Ok(())
    }

    pub(super) fn dial(&self) -> Result<Link, LinkError> {
        if self.connections.is_stopped() {
            return Err(LinkError::Gone("this node stops".into()));
        }
        let tcp = self.connect()?;
        let registration = self.connections.register(&tcp)?;
        let deadline = handshake_deadline(self.local.timing).min(self.local.silent_from);
        let shown = self.local.credentials();
        let mut stream = match &shown {
            Some(credentials) => tls::connect(tcp, self.member.name(), credentials, &self.connections.turns, deadline)?,
            None => Stream::plain(tcp, deadline),
        };
        let speaks = self.local.speaks;
        send(&mut stream, &Frame::Hello(speaks, self.local.hello(self.peer)), speaks.highest)?;
        let (frame, protocol) = receive_first(&mut stream, "a welcome", deadline, speaks)?;
        match frame {
            Frame::Welcome(_, chosen, _) if chosen != protocol => {
                return Err(LinkError::Refused(format!("expected protocol {protocol}, found a welcome in {chosen}")));
            }
            Frame::Welcome(_, _, theirs) => {
                self.local.hello(self.peer).agree(&theirs).map_err(LinkError::Refused)?;
                if (theirs.from, theirs.to) != (self.peer, self.local.me()) {
                    let what = format!("expected node {}, found node {}", self.peer, theirs.from);
                    return Err(LinkError::Refused(what));
                }
            }
            Frame::Refused(reason) => return Err(LinkError::Refused(format!("refused by {}: {reason}", self.peer))),
            other => return Err(LinkError::Refused(format!("expected a welcome, found {other:?}"))),
        }
        let certificate_ends = stream.certificate_ends();
        self.local.board.connected(self.peer, certificate_ends);
        self.local.board.heard(self.peer);
        self.local.complaints.connected(self.peer);
        let (me, peer) = (self.local.me(), self.peer);
        log::debug!(logger: self.local.log, "node {me}: connected to {peer}, protocol {protocol}");
        // The peer ends it when the certificate ends that it was shown.
        let own_ends = shown.as_ref().and_then(|shown| shown.end()).map(|end| end.at);
        let first_end = certificate_ends.into_iter().chain(own_ends).min();
        let ends_at = Local::connection_ends(LONGEST_CONNECTION, first_end);
        let plan = Plan::new(clock::now(), ends_at, self.local.instance.wrapping_add(registration.number));
        Ok(Link { stream, protocol, used: false, plan, shown, _registration: registration })
    }

    fn connect(&self) -> Result<TcpStream, LinkError> {
        let thread = format!("le{}-dns-{}", self.local.me(), self.peer);
        let stopped = || {
            let stops = || LinkError::Gone("this node stops".into());
            self.connections.is_stopped().then(stops)
        };
        connect(&self.member, self.local.rpc_timeout, &thread, stopped)
    }

    fn note(&self, error: &LinkError) {
        let text = error.to_string();
        self.local.board.failed(self.peer, text.clone());
        self.log(error, &text);
    }

    /// The old connection still stands.
    fn note_renewal(&self, error: &LinkError) {
        let text = format!("cannot renew the connection: {error}");
        self.local.board.renewal_failed(self.peer, text.clone());
        self.log(error, &text);
    }

    fn log(&self, error: &LinkError, text: &str) {
        let (me, peer) = (self.local.me(), self.peer);
        if self.connections.is_stopped() {
            return;
        }
        let Some(line) = self.local.complaints.line(About::Peer(peer), text) else {
            return;
        };
        match error {
            LinkError::Refused(_) => log::warn!(logger: self.local.log, "node {me}: peer {peer}: {line}"),
            LinkError::Gone(_) | LinkError::Silent { .. } => {
                log::info!(logger: self.local.log, "node {me}: peer {peer}: {line}")
            }
        }
    }
}

impl Link {
    pub(super) fn close(self) {
        self.stream.close();
    }

    fn has_not_shown(&self, current: &Arc<Credentials>) -> bool {
        self.shown.as_ref().is_some_and(|shown| !Arc::ptr_eq(shown, current))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::super::tests::local;
    use super::super::wire::{Hello, Protocols};
    use super::*;
    use crate::election::{Instant, Reply, Request, Term};

    /// Node 1, which dials node 2 at `port`.
    fn dialler(port: u16) -> Dialler {
        let outboxes = BTreeMap::from([(2.into(), Outbox::default())]);
        Dialler {
            local: Arc::new(local(["127.0.0.1", "127.0.0.1"])),
            peer: 2.into(),
            member: Member::new("127.0.0.1", port),
            outboxes: Arc::new(outboxes),
            connections: Arc::default(),
            side: SideThread::start("le1-next").expect("a thread").0,
        }
    }

    fn ample() -> Instant {
        clock::now() + Duration::from_secs(30)
    }

    /// As node 2: welcomes the next connection, and hears what is asked on it first.
    fn welcome(listener: &TcpListener, local: &Local) -> (Stream, Frame) {
        let (tcp, _) = listener.accept().expect("a connection");
        let mut stream = Stream::plain(tcp, ample());
        let (hello, protocol) = receive_first(&mut stream, "a hello", ample(), local.speaks).expect("a hello");
        assert!(matches!(hello, Frame::Hello(..)), "{hello:?}");
        let welcome = Hello { from: 2.into(), to: 1.into(), ..local.hello(2.into()) };
        send(&mut stream, &Frame::Welcome(local.speaks, protocol, welcome), protocol).expect("sent");
        let asked = receive(&mut stream, "a request", ample(), protocol).expect("a request");
        (stream, asked)
    }

    #[test]
    fn a_welcome_that_names_another_protocol_than_the_highest_common_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let dialler = dialler(listener.local_addr().expect("an address").port());
        let (speaks, other) = (dialler.local.speaks, Protocols::WITH_NEXT);
        let welcome = Hello { from: 2.into(), to: 1.into(), ..dialler.local.hello(2.into()) };
        let dialled = thread::spawn(move || dialler.dial().map(drop));
        let mut stream = Stream::plain(listener.accept().expect("a connection").0, ample());
        send(&mut stream, &Frame::Welcome(other, other.highest, welcome), speaks.highest).expect("sent");
        let error = dialled.join().expect("no panic").expect_err("a wrong number");
        assert_eq!(error.to_string(), "expected protocol 2, found a welcome in 3");
    }

    #[test]
    fn a_release_that_is_not_answered_is_sent_again_until_it_is() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let dialler = dialler(listener.local_addr().expect("an address").port());
        let (local, outboxes) = (dialler.local.clone(), dialler.outboxes.clone());
        let outbox = &outboxes[&2.into()];
        let (term, seq, successor) = (Term(1), 1, Some(2.into()));
        let release = Request::Release { term, seq, successor };
        outbox.put(release.clone());
        let thread = thread::spawn(move || dialler.run());

        let asks = Frame::Request(release.clone());
        let (silent, asked) = welcome(&listener, &local);
        assert_eq!(asked, asks);
        let (mut answering, asked) = welcome(&listener, &local);
        assert_eq!(asked, asks, "after the silence");
        let answer = Frame::Reply(Reply::Release { term });
        send(&mut answering, &answer, local.speaks.highest).expect("sent");
        let vote = Request::Vote { term, candidacy: 7 };
        outbox.put(vote.clone());
        let asked = receive(&mut answering, "a request", ample(), local.speaks.highest).expect("a request");
        assert_eq!(asked, Frame::Request(vote), "after the answer");

        outbox.put(release);
        drop(answering);
        let (closed, asked) = welcome(&listener, &local);
        assert_eq!(asked, asks, "on a fresh connection");
        drop(closed);
        let (last, asked) = welcome(&listener, &local);
        assert_eq!(asked, asks, "after the end of that");
        outbox.stop();
        drop((silent, last));
        thread.join().expect("no panic");
    }
}
