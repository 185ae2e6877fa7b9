//! One thread that accepts, and one per accepted connection, for what this node answers.
//!
//! The accepting thread does no handshake, so that nobody is kept waiting by a stranger. Handshakes under way are
//! bounded, per address and for all strangers together, and each has one deadline for the whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::admin;
use super::peer::Outbox;
use super::tls::{self, Stream};
use super::wire::{ClientRequest, Frame, Hello};
use super::{Connections, LinkError, Local, PROBE_INTERVAL, handshake_deadline, printable, receive, send, spawn};
use crate::clock;
use crate::election::{Instant, NodeId, Request};
use crate::inbox::Mail;

/// Connections that have not said yet who they are: from one address, and from all the addresses together at which no
/// member is known. A member's address has places of its own, which strangers elsewhere cannot take.
const MOST_HANDSHAKES_PER_ADDRESS: usize = 32;
const MOST_HANDSHAKES_OF_STRANGERS: usize = 64;

/// Clients that are being answered. Each has shown a certificate of the CA and asked its one question, so it is gone in
/// a moment unless it had leadership handed over, which only members may.
const MOST_CLIENTS: usize = 32;

/// The dialler probes an idle connection; one that is silent for so long is dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(3 * PROBE_INTERVAL.as_secs());

/// Two processes that speak for one node within so much time both run: each is heard at least once per probe.
const TWO_VOICES: Duration = Duration::from_millis(3 * PROBE_INTERVAL.as_millis() as u64 / 2);

/// A process is told at most this often that another one runs as its node. To be told costs it a request: a leader that
/// was told at every attempt of the other would lose its lease.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// After a failed accept, most likely for want of file descriptors.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Strangers get at most one line in the log in so much time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts connections and answers them.
pub(super) struct Acceptor {
    local: Arc<Local>,
    connections: Arc<Connections>,
    outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    /// The members that are configured by an IP address. The others are known by where they spoke from last.
    configured: BTreeSet<IpAddr>,
    visitors: Mutex<Visitors>,
}

/// Who is connected, and who is about to be.
#[derive(Default)]
struct Visitors {
    handshakes: BTreeMap<IpAddr, usize>,
    sessions: BTreeMap<NodeId, Session>,
    clients: usize,
    /// How many connections there have been.
    connections: u64,
    log: Throttle,
}

/// The process that last spoke for a node.
struct Session {
    instance: u64,
    addr: IpAddr,
    heard_at: Instant,
    /// Until when it may lead on what this node has promised it. A promise to a node does not hold back another process
    /// of that node, so until then there must be none, connected or not.
    leads_until: Instant,
    /// Its one connection, with a number that tells it from those before. A process dials again only after it has
    /// given the last connection up.
    connection: Option<(u64, TcpStream)>,
    /// What to tell that process: another speaks for the same node.
    contested: Option<String>,
    tell_again_at: Instant,
}

/// Says how many lines were not logged.
#[derive(Default)]
struct Throttle {
    next: Instant,
    suppressed: u32,
}

impl Acceptor {
    pub(super) fn new(
        local: Arc<Local>,
        connections: Arc<Connections>,
        outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    ) -> Arc<Self> {
        let addrs = local.members.values().map(|member| member.addr.parse());
        let configured = addrs.filter_map(Result::ok).collect();
        Arc::new(Acceptor { local, connections, outboxes, configured, visitors: Mutex::default() })
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
        let Some(handshake) = self.begin_handshake(addr) else {
            self.complain(&format!("turned away {addr}: too many handshakes under way"));
            return;
        };
        let this = self.clone();
        let name = format!("le{}-accept", self.local.id);
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
        let gone = |error: io::Error| LinkError::Gone(error.to_string());
        let _registration = self.connections.register(&tcp).map_err(gone)?;
        tcp.set_nodelay(true).map_err(gone)?;
        let deadline = handshake_deadline(self.local.timing);
        let mut stream = match self.local.credentials() {
            Some(credentials) => tls::accept(tcp, &credentials, deadline)?,
            None => Stream::plain(tcp, deadline),
        };
        let hello = match receive(&mut stream, "a hello", deadline)? {
            Frame::Hello(hello) => hello,
            Frame::ClientRequest(request) => {
                let place = self.begin_answer();
                drop(handshake);
                return self.answer_client(stream, addr, &request, place);
            }
            other => {
                return Err(self.refuse(&mut stream, format!("expected a hello, found {other:?}")));
            }
        };
        let session = match self.check(&hello, &stream).and_then(|()| self.begin_session(&hello, addr, stream.tcp())) {
            Ok(session) => session,
            Err(reason) => return Err(self.refuse(&mut stream, reason)),
        };
        send(&mut stream, &Frame::Welcome(self.local.hello(hello.from)))?;
        drop(handshake);
        let certificate_ends = stream.peer_certificate().and_then(|certificate| certificate.not_after());
        self.local.board.heard(hello.from, None);
        let outbox = &self.outboxes[&hello.from];
        outbox.look();
        let ends_at = self.local.connection_ends(certificate_ends);
        let end = self.converse(&mut stream, &session, ends_at);
        outbox.look();
        end
    }

    /// Whether this is who it claims to be, and takes the same for granted.
    fn check(&self, theirs: &Hello, stream: &Stream) -> Result<(), String> {
        self.local.hello(theirs.from).agree(theirs)?;
        if theirs.to != self.local.id {
            return Err(format!("this is node {}, not node {}: check the addresses", self.local.id, theirs.to));
        }
        let Some(member) = self.local.members.get(&theirs.from).filter(|_| theirs.from != self.local.id) else {
            return Err(format!("node {} speaks to itself: check the addresses", theirs.from));
        };
        let Some(certificate) = stream.peer_certificate() else {
            return Ok(()); // `insecure: true`
        };
        certificate
            .check_name(member.name())
            .map_err(|problem| format!("node {} shows a certificate that {problem}", theirs.from))
    }

    fn converse(&self, stream: &mut Stream, session: &Speaker<'_>, ends_at: Instant) -> Result<(), LinkError> {
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
                other => {
                    return Err(self.refuse(stream, format!("expected a request, found {other:?}")));
                }
            }
        }
    }

    /// Has the election thread answer.
    fn answer(&self, from: NodeId, request: Request) -> Result<Frame, LinkError> {
        self.local.board.heard(from, None);
        let (answer, answered) = crossbeam_channel::bounded(1);
        let stops = || LinkError::Gone("this node stops".into());
        self.local.inbox.send(Mail::Request { from, request, answer }).map_err(|_| stops())?;
        match answered.recv_timeout(self.local.rpc_timeout) {
            Ok(reply) => Ok(Frame::Reply(reply)),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Err(LinkError::Silent {
                waited_for: "this node's own election thread, which may wait for its disk",
                after: self.local.rpc_timeout,
            }),
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                Err(LinkError::Gone("this node has no answer: it stops, or cannot store its vote".into()))
            }
        }
    }

    /// Answers whoever is no node. Nothing that is noted of nodes is noted of it.
    fn answer_client(
        &self,
        mut stream: Stream,
        addr: IpAddr,
        request: &ClientRequest,
        place: Option<Client<'_>>,
    ) -> Result<(), LinkError> {
        log::debug!("node {}: {addr} asks {:?}", self.local.id, request.call);
        let told = match place {
            Some(_) => admin::answer(&self.local, request, addr, stream.peer_certificate().as_ref()),
            None => Err(format!("{MOST_CLIENTS} clients are being answered: ask again later")),
        };
        stream.set_deadline(clock::now() + self.local.rpc_timeout);
        match told {
            Ok(told) => {
                for part in told {
                    send(&mut stream, &Frame::ClientReply(part))?;
                }
                stream.close();
                Ok(())
            }
            Err(reason) => {
                let refused = self.refuse(&mut stream, reason);
                stream.close();
                Err(refused)
            }
        }
    }

    fn refuse(&self, stream: &mut Stream, reason: String) -> LinkError {
        // Whether it can still be told or not, it is refused.
        let _ = send(stream, &Frame::Refused(printable(&reason)));
        LinkError::Refused(reason)
    }

    fn part(&self, addr: IpAddr, error: &LinkError) {
        match error {
            _ if self.connections.is_stopped() => {}
            LinkError::Refused(reason) => self.complain(&format!("refused {addr}: {reason}")),
            LinkError::Gone(_) | LinkError::Silent { .. } => {
                log::debug!("node {}: connection from {addr}: {error}", self.local.id);
            }
        }
    }

    fn complain(&self, line: &str) {
        // The logger may be slow: not under the lock.
        let admitted = self.visitors().log.admit(clock::now());
        if let Some(suppressed) = admitted {
            let more = if suppressed > 0 { format!(" ({suppressed} more lines like this)") } else { String::new() };
            log::warn!("node {}: {}{more}", self.local.id, printable(line));
        }
    }

    fn begin_handshake(self: &Arc<Self>, addr: IpAddr) -> Option<Handshake> {
        let mut visitors = self.visitors();
        let from_here = visitors.handshakes.get(&addr).copied().unwrap_or(0);
        if from_here >= MOST_HANDSHAKES_PER_ADDRESS {
            return None;
        }
        let is_stranger = |addr: &IpAddr| {
            let spoke = |session: &Session| session.addr == *addr;
            !self.configured.contains(addr) && !visitors.sessions.values().any(spoke)
        };
        let strangers = visitors.handshakes.iter().filter(|(at, _)| is_stranger(at));
        let of_strangers: usize = strangers.map(|(_, count)| count).sum();
        if is_stranger(&addr) && of_strangers >= MOST_HANDSHAKES_OF_STRANGERS {
            return None;
        }
        visitors.handshakes.insert(addr, from_here + 1);
        Some(Handshake { acceptor: self.clone(), addr })
    }

    fn begin_answer(&self) -> Option<Client<'_>> {
        let mut visitors = self.visitors();
        if visitors.clients >= MOST_CLIENTS {
            return None;
        }
        visitors.clients += 1;
        Some(Client(self))
    }

    /// Lets a process speak for its node, unless another one does. Ends the connection it had before.
    fn begin_session(&self, hello: &Hello, addr: IpAddr, tcp: &TcpStream) -> Result<Speaker<'_>, String> {
        let tcp = tcp.try_clone().map_err(|error| format!("cannot keep the connection: {error}"))?;
        let (id, now) = (hello.from, clock::now());
        let mut visitors = self.visitors();
        visitors.connections += 1;
        let number = visitors.connections;
        let fresh = || Session {
            instance: hello.instance,
            addr,
            heard_at: now,
            leads_until: Instant::ZERO,
            connection: None,
            contested: None,
            tell_again_at: Instant::ZERO,
        };
        let session = visitors.sessions.entry(id).or_insert_with(fresh);
        if session.instance != hello.instance {
            if session.connection.is_some() && now.since(session.heard_at) < TWO_VOICES {
                if now >= session.tell_again_at {
                    session.tell_again_at = now + TELL_INTERVAL;
                    session.contested = Some(two_voices(id, addr));
                }
                return Err(two_voices(id, session.addr));
            }
            if now < session.leads_until {
                return Err(format!(
                    "another process led as node {id} {:.0?} ago: if it still runs, stop one; if not, just wait",
                    now.since(session.heard_at)
                ));
            }
            session.close();
            *session = fresh();
        }
        session.close();
        session.addr = addr;
        session.connection = Some((number, tcp));
        Ok(Speaker { acceptor: self, node: id, number })
    }

    fn visitors(&self) -> MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is(&self, number: u64) -> bool {
        self.connection.as_ref().is_some_and(|(own, _)| *own == number)
    }

    fn close(&mut self) {
        if let Some((_, tcp)) = self.connection.take() {
            // Closed by the other side already: just as well.
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

fn two_voices(node: NodeId, other: IpAddr) -> String {
    format!("two processes run as node {node}, the other one at {other}: stop one of them")
}

/// Counts a handshake for as long as it is under way.
struct Handshake {
    acceptor: Arc<Acceptor>,
    addr: IpAddr,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut visitors = self.acceptor.visitors();
        if let Some(count) = visitors.handshakes.get_mut(&self.addr) {
            *count -= 1;
            if *count == 0 {
                visitors.handshakes.remove(&self.addr);
            }
        }
    }
}

/// Counts a client for as long as it is being answered.
struct Client<'a>(&'a Acceptor);

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.0.visitors().clients -= 1;
    }
}

/// The right of a connection to speak for a node, until a newer one of the same node takes it over.
struct Speaker<'a> {
    acceptor: &'a Acceptor,
    node: NodeId,
    number: u64,
}

impl Speaker<'_> {
    /// Notes what the process has said.
    ///
    /// # Errors
    ///
    /// What to tell the process instead of an answer.
    fn speak(&self, frame: &Frame) -> Result<(), String> {
        let mut visitors = self.acceptor.visitors();
        let session = visitors.sessions.get_mut(&self.node).filter(|session| session.is(self.number));
        let Some(session) = session else {
            return Err(format!("node {} has another connection", self.node));
        };
        session.heard_at = clock::now();
        match frame {
            Frame::Request(Request::Heartbeat { .. }) => {
                let promise = self.acceptor.local.timing.election_timeout();
                session.leads_until = session.heard_at + promise;
            }
            Frame::Request(Request::Release { .. }) => session.leads_until = Instant::ZERO,
            _ => {}
        }
        session.contested.take().map_or(Ok(()), Err)
    }
}

impl Drop for Speaker<'_> {
    fn drop(&mut self) {
        let mut visitors = self.acceptor.visitors();
        let session = visitors.sessions.get_mut(&self.node).filter(|session| session.is(self.number));
        if let Some(session) = session {
            session.connection = None;
        }
    }
}

impl Throttle {
    /// Whether a line may be logged now, and how many were not since the last.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        if now < self.next {
            self.suppressed += 1;
            return None;
        }
        self.next = now + LOG_INTERVAL;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::tests::local;
    use super::*;
    use crate::config::Config;
    use crate::election::Term;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Node 1, of which node 3 is a member with an IP address.
    fn acceptor() -> Arc<Acceptor> {
        let nodes = [("1", "one.example"), ("2", "two.example"), ("3", "127.0.0.3")];
        let config = nodes.iter().fold(Config::builder().insecure(), |config, (id, addr)| config.node((*id, *addr, 1)));
        let config = config.build().expect("a config");
        let members = config.nodes().map(|(id, member)| (id, member.clone()));
        let local = Local { members: members.collect(), ..local() };
        Acceptor::new(Arc::new(local), Arc::default(), Arc::default())
    }

    /// Any connection will do.
    fn connection() -> TcpStream {
        let listener = TcpListener::bind((HERE, 0)).expect("a free port");
        TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection")
    }

    /// Node 2, as the process `instance` says it, asks to speak.
    fn begin(acceptor: &Acceptor, instance: u64) -> Result<Speaker<'_>, String> {
        let hello = Hello { from: 2.into(), instance, ..acceptor.local.hello(1.into()) };
        acceptor.begin_session(&hello, HERE, &connection())
    }

    fn heartbeat() -> Frame {
        Frame::Request(Request::Heartbeat {
            term: Term(1),
            seq: 1,
            promise: Duration::from_millis(500),
            succession: Vec::new(),
        })
    }

    fn release() -> Frame {
        let (term, seq, successor) = (Term(1), 1, None);
        Frame::Request(Request::Release { term, seq, successor })
    }

    #[test]
    fn strangers_that_are_turned_away_leave_nothing_behind() {
        let acceptor = acceptor();
        let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        let under_way: Vec<Handshake> =
            (0..100).filter_map(|number| acceptor.begin_handshake(address(number % 3))).collect();
        assert_eq!(under_way.len(), MOST_HANDSHAKES_OF_STRANGERS);
        for number in 1000..2000 {
            assert!(acceptor.begin_handshake(address(number)).is_none());
        }
        drop(under_way);
        assert!(acceptor.visitors().handshakes.is_empty());
    }

    #[test]
    fn clients_beyond_the_limit_are_told_so_and_take_no_place_of_a_member() {
        let acceptor = acceptor();
        let clients: Vec<Client<'_>> = std::iter::from_fn(|| acceptor.begin_answer()).collect();
        assert_eq!(clients.len(), MOST_CLIENTS);
        assert!(acceptor.begin_handshake(HERE).is_some());
        assert!(begin(&acceptor, 7).is_ok());
        drop(clients);
        assert!(acceptor.begin_answer().is_some());
    }

    #[test]
    fn strangers_leave_room_for_whoever_comes_from_a_members_address() {
        let acceptor = acceptor();
        let address = |number: u8| IpAddr::from([127, 0, 0, number]);
        let places = |number| {
            let all = std::iter::from_fn(|| acceptor.begin_handshake(address(number)));
            all.take(1000).collect::<Vec<_>>()
        };
        // Node 2 is known by where it spoke from.
        drop(begin(&acceptor, 7).expect("the only one"));
        let strangers: Vec<Handshake> = (10..20).flat_map(places).collect();
        assert_eq!(strangers.len(), MOST_HANDSHAKES_OF_STRANGERS);
        assert!(places(9).is_empty());
        for member in [1, 3] {
            let own = places(member);
            assert_eq!(own.len(), MOST_HANDSHAKES_PER_ADDRESS, "node at {member}");
        }
        let (_one, _three) = (places(1), places(3));
        drop(strangers);
        assert_eq!(places(9).len(), MOST_HANDSHAKES_PER_ADDRESS);
    }

    #[test]
    fn of_two_processes_the_one_that_speaks_goes_on_and_both_are_told_once_in_a_while() {
        let acceptor = acceptor();
        let first = begin(&acceptor, 7).expect("the only one");
        assert_eq!(first.speak(&Frame::Probe), Ok(()));
        let refused = begin(&acceptor, 8).err().expect("the second one");
        assert!(refused.contains("two processes run as node 2"), "{refused}");
        assert_eq!(first.speak(&Frame::Probe), Err(refused));
        assert!(begin(&acceptor, 8).is_err(), "still");
        assert_eq!(first.speak(&Frame::Probe), Ok(()), "told a moment ago");
        drop(first);
        assert!(begin(&acceptor, 8).is_ok());
    }

    #[test]
    fn no_other_process_speaks_for_a_leader_before_the_promises_to_it_have_ended() {
        let acceptor = acceptor();
        let leader = begin(&acceptor, 7).expect("the only one");
        assert_eq!(leader.speak(&heartbeat()), Ok(()));
        drop(leader);
        let refused = begin(&acceptor, 8).err().expect("too early");
        assert!(refused.contains("another process led as node 2"), "{refused}");
        let again = begin(&acceptor, 7).expect("the same process");
        assert_eq!(again.speak(&release()), Ok(()));
        drop(again);
        assert!(begin(&acceptor, 8).is_ok());
    }

    #[test]
    fn a_newer_connection_of_the_same_process_ends_the_older_one_and_outlives_its_end() {
        let acceptor = acceptor();
        let older = begin(&acceptor, 7).expect("the only one");
        let newer = begin(&acceptor, 7).expect("the same process");
        assert!(older.speak(&Frame::Probe).is_err());
        drop(older);
        assert_eq!(newer.speak(&Frame::Probe), Ok(()));
        assert!(begin(&acceptor, 8).is_err(), "the newer connection counts");
        drop(newer);
        assert!(begin(&acceptor, 8).is_ok());
    }
}
