//! A node without the threads, files and TLS of this crate: only the engine, over UDP.
//!
//! `cargo run --example embed`: three nodes elect a leader, it stops in order, and another one follows. The numbers
//! in [`run`] are those of the six steps in the documentation of [`leadelect::engine`]. The protocol needs to know who
//! speaks, and UDP does not prove that. So this is for the loopback only. No node restarts here; see [`Recovery`] for
//! that.
#![allow(clippy::disallowed_methods)] // std's clock: see `now`

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Result, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex, atomic::AtomicBool, atomic::Ordering::SeqCst};
use std::{fs::File, mem, thread, time::Duration};

use bincode::{config::standard, serde as packed};
use leadelect::election::*;
use leadelect::engine::{Engine, Mail, Program};

type Peers = BTreeMap<NodeId, SocketAddr>;

/// If this clock stops in suspend, the promise of at most one leader does not hold there: see the manual, `clocks`.
fn now() -> Instant {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    Instant::ZERO + START.elapsed()
}

/// What the electing thread shares with the acting thread.
#[derive(Default)]
struct Shared {
    lease: Mutex<Option<Deadline>>,
    work: Mutex<()>,
    stop: AtomicBool,
}

/// Acts as leader if this node may, and returns the token.
fn act(leadership: &Shared) -> Option<Term> {
    let _working = leadership.work.lock().ok()?; // before reading the lease, which may be taken away at this moment
    let lease = (*leadership.lease.lock().ok()?)?;
    (now() < lease.until).then_some(lease.token)
}

struct Disk(File);
impl Store for Disk {
    type Error = std::io::Error;
    fn save(&mut self, state: &HardState) -> Result<()> {
        writeln!(self.0, "{state:?}").and_then(|()| self.0.sync_data())
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, packet: (Option<Request>, Option<Reply>)) {
    let bytes = packed::encode_to_vec(packet, standard());
    let _ = socket.send_to(&bytes.expect("a packet"), to); // a lost packet is sent again
}

fn receive(socket: &UdpSocket, peers: &Peers, wait: Duration) -> Option<Mail<()>> {
    let wait = wait.clamp(Duration::from_micros(1), Duration::from_millis(20));
    socket.set_read_timeout(Some(wait)).ok()?;
    let mut bytes = [0; 4096];
    let (length, addr) = socket.recv_from(&mut bytes).ok()?;
    let from = *peers.iter().find(|(_, known)| **known == addr)?.0;
    let (packet, _) = packed::decode_from_slice(&bytes[..length], standard()).ok()?;
    match packet {
        (Some(request), None) => Some(Mail::Request { from, request }),
        (_, reply) => reply.map(|reply| Mail::Reply { from, reply }),
    }
}

/// Runs a node until it has stopped. This program makes no calls, so that the name of a caller is `()`.
fn run(me: NodeId, socket: &UdpSocket, peers: &Peers, leadership: &Shared) -> Result<()> {
    let voters = peers.keys().map(|id| (*id, Voter::default())).collect();
    let seed = u64::from(socket.local_addr()?.port()); // good enough for nodes that never restart
    let setup = Setup { me, voters, timing: Timing::default() };
    let mut engine = Engine::<()>::new(Election::new(setup, Recovery::Fresh, now(), seed), Duration::from_millis(100));
    let mut disk = Disk(tempfile::tempfile()?);
    let mut taken = BTreeSet::new(); // the leases that were taken away and may still guard work
    let mut queue = vec![Mail::Start, Mail::Program(Program::default())]; // the last one comes first
    loop {
        // 1. Wait for mail.
        let Some(mail) = queue.pop() else {
            queue.push(Mail::Wake);
            queue.extend(receive(socket, peers, engine.wake_at().since(now())));
            queue.extend(leadership.stop.load(SeqCst).then_some(Mail::Stop));
            continue;
        };
        // 2. Read the clock, say so if it is late, and show the engine the program if it looks at it.
        let at = now();
        let is_program = matches!(mail, Mail::Program(_));
        if engine.is_late(at) && !matches!(mail, Mail::Late) {
            queue.extend([mail, Mail::Late]);
            continue;
        }
        if !is_program && engine.looks_at_program(at) {
            queue.extend([mail, Mail::Program(Program { kept: taken.first().copied(), ..Program::default() })]);
            continue;
        }
        let asker = if let Mail::Request { from, .. } = &mail { Some(*from) } else { None };
        // 3. and 4. Step, and make the state durable.
        let effects = match engine.step(at, mail).store(&mut disk) {
            Ok(effects) => effects,
            Err((error, undone)) => {
                queue.push(Mail::StorageFailed { problem: error.to_string(), undone });
                continue;
            }
        };
        // 5. Publish the lease, reply and send.
        let before = mem::replace(&mut *leadership.lease.lock().expect("no panic"), effects.lease);
        if let (Some(to), Some(reply)) = (asker, effects.reply) {
            send(socket, peers[&to], (None, Some(reply)));
        }
        effects.messages.into_iter().for_each(|(to, request)| send(socket, peers[&to], (Some(request), None)));
        if effects.stopped {
            return Ok(());
        }
        // 6. Say which of the leases that were taken away guard nothing any more.
        let token = effects.lease.map(|lease| lease.token);
        taken.extend(before.map(|lease| lease.token).filter(|old| Some(*old) != token));
        if leadership.work.try_lock().is_ok() {
            queue.extend(mem::take(&mut taken).into_iter().map(|term| Mail::LeaseFree { term }));
        }
    }
}

fn main() {
    let ids = [1_u16, 2, 3].map(NodeId::from);
    let sockets = ids.map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let addr = |socket: &UdpSocket| socket.local_addr().expect("bound");
    let peers: &Peers = &ids.into_iter().zip(sockets.iter().map(addr)).collect();
    let all_shared = ids.map(|_| Shared::default());
    let stop = |leadership: &Shared| leadership.stop.store(true, SeqCst);
    let mut last = None;
    thread::scope(|scope| {
        for ((me, socket), leadership) in ids.into_iter().zip(&sockets).zip(&all_shared) {
            scope.spawn(move || run(me, socket, peers, leadership).expect("a socket and a disk"));
        }
        let mut turns = ids.iter().zip(&all_shared).cycle().take(30_000);
        let last_but_one = turns.find_map(|(id, leadership)| {
            thread::park_timeout(Duration::from_millis(1));
            let token = act(leadership).filter(|token| last < Some(*token))?;
            println!("node {id} acts with token {token}, and is stopped");
            stop(leadership);
            last.replace(token)
        });
        all_shared.iter().for_each(stop);
        assert!(last_but_one.is_some(), "no two leaders within 30 s");
    });
}
