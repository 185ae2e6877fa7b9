//! Who is let in?
//!
//! - A handshake needs a place. Each address has some, and so have all strangers together.
//! - A process needs a [`Permit`] to speak for its node. Only one process has it at a time. Another process gets it
//!   when the first is gone or silent, and no promise to it is left.
//! - A client needs a place while its request is answered.
//!
//! Each permit gives its place back when it is dropped. No socket is read or written here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::PROBE_INTERVAL;
use super::wire::{Frame, Hello};
use crate::clock;
use crate::election::{Instant, NodeId, Request, Timing};
use crate::members::Members;
use crate::sync::lock;

/// Connections that have not said yet who they are: from one address, and from all addresses together at which no
/// member is known. A member's address has places of its own. Strangers elsewhere cannot take them.
const MOST_HANDSHAKES_PER_ADDRESS: usize = 32;
const MOST_HANDSHAKES_OF_STRANGERS: usize = 64;

/// Clients that are being answered. Each has shown a certificate of the CA and sent its one request. So it is gone in a
/// moment, unless it asked for a hand-over, and only members may do that.
pub(super) const MOST_CLIENTS: usize = 32;

/// Two processes that speak for one node within this time both run: each is heard at least once per probe.
const TWO_PROCESSES: Duration = Duration::from_millis(3 * PROBE_INTERVAL.as_millis() as u64 / 2);

/// A process is told at most this often that another one runs as its node. Each time it loses a request. A leader that
/// was told at every attempt of the other process would lose its lease.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Strangers get at most one line in the log in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Admission {
    /// The longest promise that this node gives a leader.
    promise: Duration,
    /// The members that are configured by an IP address. The others are known by the address they spoke from last.
    configured: BTreeSet<IpAddr>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    handshakes: BTreeMap<IpAddr, usize>,
    sessions: BTreeMap<NodeId, Session>,
    clients: usize,
    connections: u64,
    next_log: Instant,
    /// How many lines were not logged since the last.
    suppressed: u32,
}

/// The process that last spoke for a node.
struct Session {
    instance: u64,
    addr: IpAddr,
    heard_at: Instant,
    /// Until then it may lead on what this node has promised it. A promise to a node does not hold back another process
    /// of that node. So until then there must be none, connected or not.
    leads_until: Instant,
    /// Its one connection, with a number that tells it from those before. A process dials again only after it has
    /// given up the last connection.
    connection: Option<(u64, TcpStream)>,
    contested: Option<String>,
    tell_again_at: Instant,
}

impl Admission {
    pub(super) fn new(members: &Members, timing: Timing) -> Arc<Admission> {
        let addrs = members.iter().map(|(_, member)| member.addr.parse());
        let configured = addrs.filter_map(Result::ok).collect();
        Arc::new(Admission { promise: timing.election_timeout(), configured, places: Mutex::default() })
    }

    /// A place for a connection that has not said yet who it is. `None` if there is no place left.
    pub(super) fn handshake(self: &Arc<Self>, addr: IpAddr) -> Option<Handshake> {
        let mut places = lock(&self.places);
        let from_here = places.handshakes.get(&addr).copied().unwrap_or(0);
        if from_here >= MOST_HANDSHAKES_PER_ADDRESS {
            return None;
        }
        let is_stranger = |addr: &IpAddr| {
            let spoke = |session: &Session| session.addr == *addr;
            !self.configured.contains(addr) && !places.sessions.values().any(spoke)
        };
        let strangers = places.handshakes.iter().filter(|(at, _)| is_stranger(at));
        let of_strangers: usize = strangers.map(|(_, count)| count).sum();
        if is_stranger(&addr) && of_strangers >= MOST_HANDSHAKES_OF_STRANGERS {
            return None;
        }
        places.handshakes.insert(addr, from_here + 1);
        Some(Handshake { admission: self.clone(), addr })
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

    /// Lets a process speak for its node, unless another process does. Ends the connection that it had before. The
    /// error is what to tell the process.
    pub(super) fn session(&self, hello: &Hello, addr: IpAddr, tcp: &TcpStream) -> Result<Permit<'_>, String> {
        let tcp = tcp.try_clone().map_err(|error| format!("cannot keep the connection: {error}"))?;
        let (id, now) = (hello.from, clock::now());
        let mut places = lock(&self.places);
        places.connections += 1;
        let number = places.connections;
        let fresh = || Session {
            instance: hello.instance,
            addr,
            heard_at: now,
            leads_until: Instant::ZERO,
            connection: None,
            contested: None,
            tell_again_at: Instant::ZERO,
        };
        let session = places.sessions.entry(id).or_insert_with(fresh);
        if session.instance != hello.instance {
            if session.connection.is_some() && now.since(session.heard_at) < TWO_PROCESSES {
                if now >= session.tell_again_at {
                    session.tell_again_at = now + TELL_INTERVAL;
                    session.contested = Some(two_processes(id, addr));
                }
                return Err(two_processes(id, session.addr));
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
        Ok(Permit { admission: self, node: id, number })
    }

    /// If a line about a stranger may be logged now, the number of lines that were not logged since the last.
    pub(super) fn may_log(&self) -> Option<u32> {
        let (now, mut places) = (clock::now(), lock(&self.places));
        if now < places.next_log {
            places.suppressed += 1;
            return None;
        }
        places.next_log = now + LOG_INTERVAL;
        Some(std::mem::take(&mut places.suppressed))
    }
}

impl Session {
    fn is(&self, number: u64) -> bool {
        self.connection.as_ref().is_some_and(|(own, _)| *own == number)
    }

    fn close(&mut self) {
        if let Some((_, tcp)) = self.connection.take() {
            // The other side may have closed it already.
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

fn two_processes(node: NodeId, other: IpAddr) -> String {
    format!("two processes run as node {node}, the other one at {other}: stop one of them")
}

pub(super) struct Handshake {
    admission: Arc<Admission>,
    addr: IpAddr,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut places = lock(&self.admission.places);
        if let Some(count) = places.handshakes.get_mut(&self.addr) {
            *count -= 1;
            if *count == 0 {
                places.handshakes.remove(&self.addr);
            }
        }
    }
}

pub(super) struct ClientPermit<'a>(&'a Admission);

impl Drop for ClientPermit<'_> {
    fn drop(&mut self) {
        lock(&self.0.places).clients -= 1;
    }
}

/// The right of a connection to speak for a node. It ends when a newer connection of that node gets it.
pub(super) struct Permit<'a> {
    admission: &'a Admission,
    pub(super) node: NodeId,
    number: u64,
}

impl Permit<'_> {
    /// Notes what the process has said. The error is what to tell the process instead of an answer.
    pub(super) fn speak(&self, frame: &Frame) -> Result<(), String> {
        let mut places = lock(&self.admission.places);
        let session = places.sessions.get_mut(&self.node).filter(|session| session.is(self.number));
        let Some(session) = session else {
            return Err(format!("node {} has another connection", self.node));
        };
        session.heard_at = clock::now();
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
        let session = places.sessions.get_mut(&self.node).filter(|session| session.is(self.number));
        if let Some(session) = session {
            session.connection = None;
        }
    }
}

#[cfg(test)]
mod tests;
