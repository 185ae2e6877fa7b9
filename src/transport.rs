//! Threads that speak with the other nodes, so that the election thread never waits for one of them.
//!
//! Every peer has one thread. It owns the connection that this node dialled to the peer, and sends this node's requests
//! ([`dial`]). Every accepted connection has one thread. It answers the requests of the other side. One more thread
//! accepts connections ([`accept`]). So a peer that hangs delays no other, and one working direction of dialling is
//! enough to lead. A client, such as the program `leadelect`, sends one request ([`client`]) and gets a reply
//! ([`admin`]).
//!
//! Frames carry no sender. The first frame of a connection says who speaks, and the certificate has to agree.

mod accept;
mod admin;
mod admission;
mod announce;
pub(crate) mod client;
mod complaints;
mod connect;
mod connections;
mod dial;
pub(crate) mod frame;
mod link;
mod listen;
mod outbox;
mod renew;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock;
use crate::election::{Instant, NodeId, Request, Term, Timing};
use crate::inbox::Inbox;
use crate::leadership::Leadership;
use crate::log_queue::LogQueue;
use crate::members::Members;
use crate::status::Board;
use crate::sync::lock;
use crate::tls::{Credentials, Identity, rest_after};

use accept::Acceptor;
pub(crate) use announce::announce;
pub(crate) use complaints::Complaints;
use connections::Connections;
use dial::Dialler;
pub(crate) use link::LinkError;
use link::{printable, receive_first, send};
use listen::{Listener, Stopper};
use outbox::Outbox;
use renew::SideThread;
use wire::Hello;
pub(crate) use wire::Protocols;

/// What every connection of this node needs to know.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) speaks: Protocols,
    pub(crate) cluster: String,
    pub(crate) members: Members,
    pub(crate) timing: Timing,
    pub(crate) rpc_timeout: Duration,
    /// Nothing if the config says `insecure: true`.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Tells this process from another with the same id.
    pub(crate) instance: u64,
    /// See [`Hello`].
    pub(crate) obituary: Option<Term>,
    /// No hello is said from then on.
    pub(crate) silent_from: Instant,
    /// Why certificates could not be renewed, as last logged; empty if they could.
    pub(crate) last_problem: Mutex<String>,
    pub(crate) complaints: Complaints,
    pub(crate) board: Arc<Board>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) started_at: Instant,
    pub(crate) inbox: Inbox,
    pub(crate) log: LogQueue,
}

/// A stack holds a TLS handshake and one formatted log line. Measured need is far less; the rest is never touched, so
/// it costs address space and no memory.
const STACK_SIZE: usize = 256 * 1024;

/// A connection that is idle for this long is probed, so that a dead one is found before it is needed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// A connection ends at this age, so that a renewed or withdrawn certificate takes effect.
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);

/// The shortest time that a whole handshake is given: slow processors need most of it for their signatures.
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(3);

impl Local {
    fn me(&self) -> NodeId {
        self.members.me()
    }

    fn hello(&self, to: NodeId) -> Hello {
        Hello {
            cluster: self.cluster.clone(),
            voters: self.members.iter().map(|(id, _)| id).collect(),
            clock_drift_ppm: self.timing.clock_drift_ppm(),
            from: self.me(),
            to,
            instance: self.instance,
            // After that no promise to an earlier process is left.
            obituary: self.obituary.filter(|_| clock::now() < self.started_at + self.timing.election_timeout() * 2),
        }
    }

    /// The moment at which a connection made now has to end, also because a certificate ends then.
    fn connection_ends(longest: Duration, certificate_ends: Option<u64>) -> Instant {
        let left =
            certificate_ends.map_or(longest, |end| Duration::from_secs(end.saturating_sub(clock::wall_seconds())));
        clock::now() + left.min(longest)
    }

    /// The credentials for the next connection, read again if the files have changed.
    fn credentials(&self) -> Option<Arc<Credentials>> {
        let identity = self.identity.as_ref()?;
        let began = clock::now();
        let refreshed = identity.refresh();
        let took = clock::now().since(began);
        match refreshed {
            Ok(renewed) => {
                if renewed {
                    rest_after(took);
                    log::info!(logger: self.log, "node {}: read the renewed certificates", self.me());
                }
                lock(&self.last_problem).clear();
            }
            Err(error) => {
                // Said once: the files are read again for every connection.
                let (problem, mut last) = (error.to_string(), lock(&self.last_problem));
                if *last != problem {
                    log::warn!(logger: self.log, "node {}: keeps its old certificates: {problem}", self.me());
                    *last = problem;
                }
            }
        }
        for ends in identity.news() {
            log::warn!(logger: self.log, "node {}: {ends}", self.me());
        }
        Some(identity.current())
    }
}

fn handshake_deadline(timing: Timing) -> Instant {
    clock::now() + timing.election_timeout().max(SHORTEST_HANDSHAKE)
}

#[derive(Debug)]
pub(crate) struct Transport {
    local: Arc<Local>,
    outboxes: Arc<BTreeMap<NodeId, Outbox>>,
    connections: Arc<Connections>,
    stopper: Option<Stopper>,
    threads: Vec<JoinHandle<()>>,
}

impl Transport {
    /// Starts the threads. `listener` is this node's own address, already bound.
    pub(crate) fn start(local: Local, listener: TcpListener) -> io::Result<Transport> {
        let local = Arc::new(local);
        let outboxes = local.members.peers().map(|(id, _)| (id, Outbox::default()));
        let (listener, stopper) = Listener::new(listener)?;
        let mut transport = Transport {
            outboxes: Arc::new(outboxes.collect()),
            connections: Arc::default(),
            stopper: Some(stopper),
            threads: Vec::new(),
            local,
        };
        let acceptor = Acceptor::new(&transport);
        let name = format!("le{}-listen", transport.local.me());
        transport.threads.push(spawn(&name, move || acceptor.run(&listener))?);
        let (side, thread) = SideThread::start(&format!("le{}-next", transport.local.me()))?;
        transport.threads.push(thread);
        for id in transport.outboxes.keys().copied().collect::<Vec<_>>() {
            let dialler = Dialler::new(&transport, side.clone(), id);
            let name = format!("le{}-peer-{id}", transport.local.me());
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

    /// Forgets the requests that could not be sent yet. They belong to a role that the node no longer has.
    pub(crate) fn withdraw(&self) {
        for outbox in self.outboxes.values() {
            outbox.withdraw();
        }
    }
}

/// Ends every thread, except one that still waits for a name server. Nothing here needs the network. Nothing waits for
/// longer than one connect, which is bounded.
impl Drop for Transport {
    fn drop(&mut self) {
        self.connections.stop();
        for outbox in self.outboxes.values() {
            outbox.stop();
        }
        drop(self.stopper.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!(logger: self.local.log, "node {}: a transport thread has panicked", self.local.me());
            }
        }
        self.connections.wait_until_closed();
    }
}

/// Starts a named thread. Linux shows the first 15 bytes of a name.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_SIZE).spawn(body)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::members::tests::members;
    use crate::tls::test_ca::TestCa;

    /// Node 1 of those whose addresses are given.
    pub(super) fn local<const N: usize>(addrs: [&str; N]) -> Local {
        Local {
            speaks: Protocols::of_this_build(),
            cluster: "c".into(),
            members: members(addrs),
            timing: Timing::default(),
            rpc_timeout: Duration::from_millis(250),
            identity: None,
            instance: 1,
            obituary: None,
            silent_from: Instant::NEVER,
            last_problem: Mutex::default(),
            complaints: Complaints::default(),
            board: Arc::new(Board::new(1.into(), [])),
            leadership: Arc::new(Leadership::new(Duration::ZERO, |_| {})),
            started_at: clock::now(),
            inbox: Inbox::new().0,
            log: LogQueue::start(1.into()).expect("a thread"),
        }
    }

    #[test]
    fn a_renewal_that_fails_again_after_one_that_did_not_is_worth_another_line() {
        let ca = TestCa::new("ca");
        let files = ca.sign("one", &["one.example"]);
        let identity = Identity::load(files.clone(), "one.example").expect("loaded");
        let identity = Some(Arc::new(identity));
        let local = Local { identity, ..local(["one.example"]) };
        let problem = || {
            local.credentials().expect("the old ones at least");
            lock(&local.last_problem).clone()
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
