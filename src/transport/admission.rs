//! Who is let in?
//!
//! - A handshake needs a place. Each address has some, and so have all strangers together. Who has said nothing yet
//!   makes room for who comes next.
//! - A process needs a [`Permit`] to speak for its node. Only one process has it at a time. Another process gets it
//!   when the first is gone or silent, and no promise to it is left. A process that proves the death of all earlier
//!   ones gets it when the connections of the first have ended by themselves: then the promises to it are void (rule
//!   15).
//! - A client needs a place while its request is answered.
//!
//! Each permit gives its place back when it is dropped. No socket is read or written here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::PROBE_INTERVAL;
use super::wire::{Frame, Hello};
use crate::clock;
use crate::election::{Instant, NodeId, Request, Term, Timing};
use crate::members::Members;
use crate::sync::lock;
use crate::tls::Rank;

/// Connections that have not said yet who they are: from one address, and from all addresses together at which no
/// member is known. A member's address has places of its own. Strangers elsewhere cannot take them.
const MOST_HANDSHAKES_PER_ADDRESS: usize = 32;
const MOST_HANDSHAKES_OF_STRANGERS: usize = 64;

/// Connections that were cut off to make room, and whose threads have not ended yet. If there are more, nobody is let
/// in until some have ended.
const MOST_LEAVING: usize = 32;

/// Clients that are being answered. Each has shown a certificate of the CA and sent its one request. So it is gone in a
/// moment, unless it asked for a hand-over, and only members may do that.
pub(super) const MOST_CLIENTS: usize = 32;

/// Two processes that speak for one node within this time both run: each is heard at least once per probe.
const TWO_PROCESSES: Duration = Duration::from_millis(3 * PROBE_INTERVAL.as_millis() as u64 / 2);

/// A process is told at most this often that another one runs as its node. Each time it loses a request. A leader that
/// was told at every attempt of the other process would lose its lease.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// The end of the connections of a process that has just died comes before the one that tells of it, or a moment later.
const LAST_BREATH: Duration = Duration::from_millis(50);

/// Frames on one connection that prove that their sender runs, if they come after a certain moment. The first may have
/// been on its way. The second was sent when the first was answered.
const PROOF_OF_LIFE: u32 = 2;

/// Clients are said to ask often if more than this many requests come in this time.
const OFTEN: u32 = 100;
const OFTEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Admission {
    /// The longest promise that this node gives a leader.
    promise: Duration,
    /// The members that are configured by an IP address. The others are known by the address they spoke from last.
    configured: BTreeSet<IpAddr>,
    places: Mutex<Places>,
    /// A connection on which a node spoke has ended.
    parted: Condvar,
}

#[derive(Default)]
struct Places {
    /// Never empty. The oldest is first.
    handshakes: BTreeMap<IpAddr, Vec<UnderWay>>,
    leaving: usize,
    sessions: BTreeMap<NodeId, Session>,
    clients: usize,
    /// A moment, and how many clients have asked since.
    asked: (Instant, u32),
    connections: u64,
}

struct UnderWay {
    /// Its number among the open connections.
    connection: u64,
    /// Whether anything has come from it.
    speaks: bool,
}

/// The process that last spoke for a node.
struct Session {
    instance: u64,
    addr: IpAddr,
    heard_at: Instant,
    /// Until then it may lead on what this node has promised it. A promise to a node does not hold back another process
    /// of that node. So until then there must be none, connected or not.
    leads_until: Instant,
    /// The connection on which it speaks, with a number that tells it from those before.
    connection: Option<(u64, TcpStream)>,
    /// A newer one, on which it has not spoken yet. Until it does, the older one stands: a process dials its next
    /// connection on the side before it gives up the last.
    next: Option<(u64, TcpStream)>,
    /// Its last connection ended on its own side, as when the kernel closes those of a process that dies. If this node
    /// has closed it, the process may live.
    ended_there: bool,
    contested: Option<String>,
    tell_again_at: Instant,
    rival: Option<Rival>,
}

/// Another process that has asked to speak for the node.
struct Rival {
    instance: u64,
    /// How many frames the present process has sent since, on its present connection.
    heard: u32,
}

impl Admission {
    pub(super) fn new(members: &Members, timing: Timing) -> Arc<Admission> {
        let addrs = members.iter().map(|(_, member)| member.addr.parse());
        let configured = addrs.filter_map(Result::ok).collect();
        Arc::new(Admission {
            promise: timing.election_timeout(),
            configured,
            places: Mutex::default(),
            parted: Condvar::new(),
        })
    }

    /// A place for the open connection with this number, which has not said yet who it is. `None` if there is no place
    /// left. To make room, it may cut off another one that has said nothing yet.
    pub(super) fn handshake(self: &Arc<Self>, addr: IpAddr, connection: u64) -> Option<Admitted> {
        let mut places = lock(&self.places);
        let is_member = self.is_member(&places, addr);
        let full = if places.under_way(addr) >= MOST_HANDSHAKES_PER_ADDRESS {
            Some(addr)
        } else {
            let strangers = places.handshakes.iter().filter(|(at, _)| !self.is_member(&places, **at));
            let counts: Vec<(usize, IpAddr)> = strangers.map(|(at, under_way)| (under_way.len(), *at)).collect();
            let of_strangers: usize = counts.iter().map(|(count, _)| count).sum();
            let most = counts.iter().max().map(|(_, at)| *at);
            most.filter(|_| !is_member && of_strangers >= MOST_HANDSHAKES_OF_STRANGERS)
        };
        let cut_off = match full {
            None => None,
            Some(at) => Some((at, places.cut_off_a_silent_one(at)?)),
        };
        places.handshakes.entry(addr).or_default().push(UnderWay { connection, speaks: false });
        let rank = if is_member { Rank::Member } else { Rank::Stranger };
        let handshake = Handshake { admission: self.clone(), addr, connection, rank };
        Some(Admitted { handshake, cut_off })
    }

    /// Whether a member speaks from this address.
    fn is_member(&self, places: &Places, addr: IpAddr) -> bool {
        self.configured.contains(&addr) || places.sessions.values().any(|session| session.addr == addr)
    }

    /// Notes that a client asks. If clients ask too often, how many have asked in how long.
    pub(super) fn note_client(&self) -> Option<(u32, Duration)> {
        let (now, mut places) = (clock::now(), lock(&self.places));
        let (since, count) = &mut places.asked;
        if now.since(*since) >= OFTEN_WITHIN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        (*count > OFTEN).then(|| (*count, now.since(*since)))
    }

    /// A place for a client. `None` if there is no place left.
    pub(super) fn client(&self) -> Option<ClientPermit<'_>> {
        let mut places = lock(&self.places);
        if places.clients >= MOST_CLIENTS {
            return None;
        }
        places.clients += 1;
        Some(ClientPermit(self))
    }

    /// Lets a process speak for its node, unless another process does. The connection that it had before ends when it
    /// speaks on the new one. The error is what to tell the process.
    ///
    /// An obituary in its hello is told before anything else that the process says. It is not believed if the hello
    /// came long after the connection: a node that has lost its state meanwhile may lead again in such a term, two
    /// election timeouts after its start at the earliest.
    pub(super) fn session(
        &self,
        hello: &Hello,
        addr: IpAddr,
        tcp: &TcpStream,
        (accepted_at, tell): (Instant, &dyn Fn(Term)),
    ) -> Result<Permit<'_>, String> {
        let tcp = tcp.try_clone().map_err(|error| format!("cannot keep the connection: {error}"))?;
        let id = hello.from;
        let mut places = lock(&self.places);
        if hello.obituary.is_some() {
            let others_speak = |places: &mut Places| places.is_another_connected(hello);
            let waited = self.parted.wait_timeout_while(places, LAST_BREATH, others_speak);
            (places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let now = clock::now();
        // The kernel has closed the connections of a dead process. So one that still has one may live.
        let believed = now < accepted_at + self.promise && !places.is_another_connected(hello);
        let obituary = hello.obituary.filter(|_| believed);
        places.connections += 1;
        let number = places.connections;
        let fresh = || Session {
            instance: hello.instance,
            addr,
            heard_at: now,
            leads_until: Instant::ZERO,
            connection: None,
            next: None,
            ended_there: false,
            contested: None,
            tell_again_at: Instant::ZERO,
            rival: None,
        };
        let session = places.sessions.entry(id).or_insert_with(fresh);
        if session.instance != hello.instance {
            if session.is_connected() && now.since(session.heard_at) < TWO_PROCESSES {
                // Who only tells of a death is not there to speak for the node.
                if now >= session.tell_again_at && hello.obituary.is_none() {
                    session.tell_again_at = now + TELL_INTERVAL;
                    session.contested = Some(two_processes(id, addr));
                }
                return Err(session.refuse_rival(hello, now));
            }
            let died = obituary.is_some() && session.ended_there;
            if now < session.leads_until && !died {
                return Err(another_process("led", id, session.addr, now.since(session.heard_at)));
            }
            close(&mut session.connection);
            close(&mut session.next);
            *session = fresh();
        }
        close(&mut session.next);
        (session.addr, session.ended_there) = (addr, false);
        if session.connection.is_none() {
            session.connection = Some((number, tcp));
            session.rival = None;
        } else {
            session.next = Some((number, tcp));
        }
        if let Some(up_to) = obituary {
            tell(up_to);
        }
        Ok(Permit { admission: self, node: id, number })
    }
}

impl Places {
    /// Whether a process of the same node has a connection, and another one says hello.
    fn is_another_connected(&self, hello: &Hello) -> bool {
        let session = self.sessions.get(&hello.from);
        session.is_some_and(|session| session.instance != hello.instance && session.is_connected())
    }

    fn under_way(&self, addr: IpAddr) -> usize {
        self.handshakes.get(&addr).map_or(0, Vec::len)
    }

    /// Takes the place of the oldest connection from this address that has said nothing. Returns its number.
    fn cut_off_a_silent_one(&mut self, addr: IpAddr) -> Option<u64> {
        if self.leaving >= MOST_LEAVING {
            return None;
        }
        let silent = self.handshakes.get(&addr)?.iter().find(|under_way| !under_way.speaks)?.connection;
        self.remove(addr, silent);
        self.leaving += 1;
        Some(silent)
    }

    /// Returns whether it was there.
    fn remove(&mut self, addr: IpAddr, connection: u64) -> bool {
        let Some(under_way) = self.handshakes.get_mut(&addr) else {
            return false;
        };
        let before = under_way.len();
        under_way.retain(|one| one.connection != connection);
        let removed = under_way.len() < before;
        if under_way.is_empty() {
            self.handshakes.remove(&addr);
        }
        removed
    }
}

impl Session {
    /// Whether it speaks, or may speak, on the connection with this number.
    fn has(&self, number: u64) -> bool {
        is(&self.connection, number) || is(&self.next, number)
    }

    fn is_connected(&self) -> bool {
        self.connection.is_some() || self.next.is_some()
    }

    /// What to tell another process that wants to speak for this node, while this one seems to run. Truth first: it may
    /// have died without a word, as when its host was cut off.
    fn refuse_rival(&mut self, hello: &Hello, now: Instant) -> String {
        let rival = self.rival.take().filter(|rival| rival.instance == hello.instance);
        let rival = self.rival.insert(rival.unwrap_or(Rival { instance: hello.instance, heard: 0 }));
        if rival.heard >= PROOF_OF_LIFE {
            return two_processes(hello.from, self.addr);
        }
        another_process("spoke", hello.from, self.addr, now.since(self.heard_at))
    }
}

fn is(connection: &Option<(u64, TcpStream)>, number: u64) -> bool {
    connection.as_ref().is_some_and(|(own, _)| *own == number)
}

fn close(connection: &mut Option<(u64, TcpStream)>) {
    if let Some((_, tcp)) = connection.take() {
        // The other side may have closed it already.
        let _ = tcp.shutdown(Shutdown::Both);
    }
}

fn two_processes(node: NodeId, other: IpAddr) -> String {
    format!("two processes run as node {node}, the other one at {other}: stop one of them")
}

fn another_process(did: &str, node: NodeId, other: IpAddr, ago: Duration) -> String {
    format!(
        "another process {did} as node {node} {ago:.0?} ago, at {other}: if it still runs, stop one; if not, just wait"
    )
}

/// A new connection has a place. Another one may have lost its own.
pub(super) struct Admitted {
    pub(super) handshake: Handshake,
    /// The address of the other one, and its number.
    pub(super) cut_off: Option<(IpAddr, u64)>,
}

/// A place of a connection that has not said yet who it is.
pub(super) struct Handshake {
    admission: Arc<Admission>,
    addr: IpAddr,
    connection: u64,
    pub(super) rank: Rank,
}

impl Handshake {
    /// Something has come. From now on it keeps its place.
    pub(super) fn speaks(&self) {
        let mut places = lock(&self.admission.places);
        let under_way = places.handshakes.get_mut(&self.addr).into_iter().flatten();
        for own in under_way.filter(|one| one.connection == self.connection) {
            own.speaks = true;
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut places = lock(&self.admission.places);
        if !places.remove(self.addr, self.connection) {
            places.leaving -= 1;
        }
    }
}

pub(super) struct ClientPermit<'a>(&'a Admission);

impl Drop for ClientPermit<'_> {
    fn drop(&mut self) {
        lock(&self.0.places).clients -= 1;
    }
}

/// The right of a connection to speak for a node. It ends when the node speaks on a newer one.
pub(super) struct Permit<'a> {
    admission: &'a Admission,
    pub(super) node: NodeId,
    number: u64,
}

impl Permit<'_> {
    /// The connection has ended; `there` if on its other side, and not on this one.
    pub(super) fn ended(&self, there: bool) {
        let mut places = lock(&self.admission.places);
        if let Some(session) = places.sessions.get_mut(&self.node).filter(|session| session.has(self.number)) {
            session.ended_there = there;
        }
    }

    /// Notes what the process has said. The error is what to tell the process instead of an answer.
    pub(super) fn speak(&self, frame: &Frame) -> Result<(), String> {
        let mut places = lock(&self.admission.places);
        let session = places.sessions.get_mut(&self.node);
        let Some(session) = session.filter(|session| session.has(self.number)) else {
            return Err(format!("node {} has another connection", self.node));
        };
        if is(&session.next, self.number) {
            close(&mut session.connection);
            session.connection = session.next.take();
            session.rival = None;
        }
        session.heard_at = clock::now();
        if let Some(rival) = &mut session.rival {
            rival.heard += 1;
        }
        match frame {
            Frame::Request(Request::Heartbeat { .. }) => {
                session.leads_until = session.heard_at + self.admission.promise;
            }
            Frame::Request(Request::Release { .. }) => session.leads_until = Instant::ZERO,
            _ => {}
        }
        session.contested.take().map_or(Ok(()), Err)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut places = lock(&self.admission.places);
        let Some(session) = places.sessions.get_mut(&self.node) else {
            return;
        };
        for connection in [&mut session.connection, &mut session.next] {
            connection.take_if(|(own, _)| *own == self.number);
        }
        drop(places);
        self.admission.parted.notify_all();
    }
}

#[cfg(test)]
mod tests;
