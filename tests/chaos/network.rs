//! The network between the hosts: a switch in this process, because the kernel of a test machine may lack netem.
//!
//! A [`Layer`] says what happens to the packets of some links. Several layers lie on one another; a packet passes all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tappers::Tun;

use super::child::boot_nanos;
use super::dice::Dice;
use super::packet::Packet;

const MILLI: u64 = 1_000_000;
/// Packets longer than this are large: a heartbeat is shorter, a certificate is longer.
const LARGE: usize = 600;
/// A slow line holds this much back, in nanoseconds, and drops what comes then.
const LONGEST_QUEUE: u64 = 300 * MILLI;

/// From one node to another, by their indexes.
pub(crate) type Link = (usize, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cut {
    #[default]
    Nothing,
    All,
    /// New connections only.
    Syn,
    Large,
    /// Both ends get a reset.
    Reset,
    /// All, in every other time of this many milliseconds.
    Flapping(u64),
}

/// What a layer does. Times are in milliseconds, chances in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layer {
    pub(crate) cut: Cut,
    pub(crate) loss: u64,
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    pub(crate) duplicate: u64,
    /// The chance of a packet to be overtaken by those of the next few milliseconds.
    pub(crate) reorder: u64,
    /// Bytes per second, or 0 for no limit.
    pub(crate) rate: u64,
}

#[derive(Debug, Default)]
struct Rules {
    layers: BTreeMap<u32, (Vec<Link>, Layer)>,
    next: u32,
    /// When a slow line is free again.
    busy: BTreeMap<(u32, Link), u64>,
    /// No packet but an overtaken one arrives before one that was sent before.
    last_due: BTreeMap<Link, u64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: u64,
    number: u64,
    to: usize,
    bytes: Vec<u8>,
}

/// What becomes of a packet.
struct Fate {
    copies: Vec<u64>,
    reset: bool,
}

impl Rules {
    fn fate(&mut self, now: u64, link: Link, packet: Packet<'_>, dice: &mut Dice) -> Fate {
        let (mut due, mut copies, mut overtaken) = (now, 1, false);
        for (id, (links, layer)) in &self.layers {
            if !links.contains(&link) {
                continue;
            }
            let dropped = match layer.cut {
                Cut::Nothing => false,
                Cut::All => true,
                Cut::Syn => packet.is_syn(),
                Cut::Large => packet.0.len() > LARGE,
                Cut::Reset => return Fate { copies: Vec::new(), reset: true },
                Cut::Flapping(period) => (now / MILLI / period) % 2 == 0,
            };
            if dropped || dice.below(1000) < layer.loss {
                return Fate { copies: Vec::new(), reset: false };
            }
            due += layer.delay * MILLI + if layer.jitter > 0 { dice.below(layer.jitter * MILLI) } else { 0 };
            copies += u64::from(dice.below(1000) < layer.duplicate);
            if dice.below(1000) < layer.reorder {
                overtaken = true;
                due += (5 + dice.below(30)) * MILLI;
            }
            let takes = (packet.0.len() as u64 * 1000 * MILLI).checked_div(layer.rate);
            if let Some(takes) = takes {
                let busy = self.busy.entry((*id, link)).or_default();
                let start = now.max(*busy);
                if start - now > LONGEST_QUEUE {
                    return Fate { copies: Vec::new(), reset: false };
                }
                *busy = start + takes;
                due += *busy - now;
            }
        }
        if !overtaken {
            let last = self.last_due.entry(link).or_default();
            due = due.max(*last);
            *last = due;
        }
        Fate { copies: (0..copies).map(|copy| due + copy * MILLI).collect(), reset: false }
    }
}

#[derive(Debug)]
pub(crate) struct Network {
    rules: Arc<Mutex<Rules>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    pub(crate) fn new(cables: Vec<Tun>, dice: Dice) -> Network {
        let rules = Arc::new(Mutex::new(Rules::default()));
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (rules, over) = (rules.clone(), over.clone());
            move || carry(&cables, &rules, &over, dice)
        });
        Network { rules, over, thread: Some(thread) }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.rules)
    }

    /// Lays this on these links. Returns what takes it off.
    pub(crate) fn lay(&self, links: Vec<Link>, layer: Layer) -> u32 {
        let mut rules = self.rules();
        rules.next += 1;
        let id = rules.next;
        rules.layers.insert(id, (links, layer));
        id
    }

    pub(crate) fn take_off(&self, id: u32) {
        self.rules().layers.remove(&id);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn lock(rules: &Mutex<Rules>) -> MutexGuard<'_, Rules> {
    rules.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(cables: &[Tun], rules: &Mutex<Rules>, over: &AtomicBool, mut dice: Dice) {
    let mut queue: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
    let mut bytes = [0; 65536];
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let next = queue.peek().map_or(50 * MILLI, |Reverse(due)| due.at.saturating_sub(boot_nanos()).min(50 * MILLI));
        let wait = Timespec { tv_sec: 0, tv_nsec: next as i64 };
        let fds: Vec<_> = cables.iter().map(AsFd::as_fd).collect();
        let mut awaited: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let _ = poll(&mut awaited, Some(&wait));
        for (from, cable) in cables.iter().enumerate() {
            while let Ok(length) = cable.recv(&mut bytes) {
                let packet = Packet(&bytes[..length]);
                let to = packet.to().map(|last| usize::from(last).wrapping_sub(1));
                let Some(to) = to.filter(|to| *to < cables.len() && *to != from) else { continue };
                let fate = lock(rules).fate(boot_nanos(), (from, to), packet, &mut dice);
                for at in fate.copies {
                    number += 1;
                    queue.push(Reverse(Due { at, number, to, bytes: packet.0.to_vec() }));
                }
                if let (true, Some((forward, back))) = (fate.reset, packet.resets()) {
                    // Fails if the host is gone.
                    let _ = cables[to].send(&forward);
                    let _ = cable.send(&back);
                }
            }
        }
        while queue.peek().is_some_and(|Reverse(due)| due.at <= boot_nanos()) {
            let Reverse(due) = queue.pop().unwrap();
            let _ = cables[due.to].send(&due.bytes);
        }
    }
}
