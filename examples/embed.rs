//! The protocol without the threads, files and TLS of this crate: only the state machine, over UDP.
//!
//! `cargo run --example embed`: three nodes elect a leader, it stops in order, and another one follows. The protocol
//! needs to know who speaks, and UDP does not prove that. So this is for the loopback only. No node restarts here; see
//! [`Recovery`] for that.
#![allow(clippy::disallowed_methods)] // std's clock: see `now`

use std::io::{Result, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex, atomic::AtomicBool, atomic::Ordering::SeqCst};
use std::{collections::BTreeMap, fs::File, thread, time::Duration};

use bincode::{config::standard, serde as packed};
use leadelect::election::*;

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

fn receive(socket: &UdpSocket, peers: &Peers, wait: Duration) -> Option<(NodeId, Input)> {
    let wait = wait.clamp(Duration::from_micros(1), Duration::from_millis(20));
    socket.set_read_timeout(Some(wait)).ok()?;
    let mut bytes = [0; 4096];
    let (length, addr) = socket.recv_from(&mut bytes).ok()?;
    let from = *peers.iter().find(|(_, known)| **known == addr)?.0;
    let (packet, _) = packed::decode_from_slice(&bytes[..length], standard()).ok()?;
    match packet {
        (Some(request), None) => Some((from, Input::Request { from, request })),
        (_, reply) => reply.map(|reply| (from, Input::Reply { from, reply })),
    }
}

fn elect(me: NodeId, socket: &UdpSocket, peers: &Peers, leadership: &Shared) -> Result<()> {
    let voters = peers.keys().map(|id| (*id, Voter::default())).collect();
    let timing = Timing::default();
    let seed = u64::from(socket.local_addr()?.port()); // good enough for nodes that never restart
    let mut election = Election::new(Setup { me, voters, timing }, Recovery::Fresh, now(), seed);
    let mut disk = Disk(tempfile::tempfile()?);
    while !leadership.stop.load(SeqCst) || election.leader() == Some(me) {
        let mut inputs = vec![(me, Input::Tick)];
        inputs.extend(receive(socket, peers, election.wake_at().since(now()))); // popped before the tick
        let resign = Input::StepDown { reason: EndReason::Resigned, successor: None, hold_off: Duration::MAX };
        inputs.extend(leadership.stop.load(SeqCst).then_some((me, resign)));
        while let Some((from, input)) = inputs.pop() {
            // The order matters: read the clock, step, store, publish, send, and look whether the work has ended.
            let effects = election.step(now(), input).store(&mut disk)?;
            *leadership.lease.lock().expect("no panic") = effects.lease;
            if effects.reply.is_some() {
                send(socket, peers[&from], (None, effects.reply));
            }
            for (to, request) in effects.messages {
                send(socket, peers[&to], (Some(request), None));
            }
            let idle = leadership.work.try_lock().is_ok();
            let ended = election.awaits_work().filter(|_| idle);
            inputs.extend(ended.map(|term| (me, Input::WorkEnded { term })));
        }
    }
    Ok(())
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
            scope.spawn(move || elect(me, socket, peers, leadership).expect("a socket and a disk"));
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
