//! What may happen next: one thing by default, and what departs from it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Event, Role, Setup, Timing, Voter};
use leadelect::engine::{Call, Mail};

use super::DRIFT_PPM;
use super::cluster::{Change, Cluster, Cut, Fault, Kept, NOW, Node, Survives};
use super::fingerprint::{Fingerprint, Shared};
use crate::harness::checker::Checker;

/// The world that is searched.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) timing: Timing,
    /// Time passes in steps of this.
    pub(super) unit: Duration,
    /// A node is stalled for so many of them at most.
    pub(super) longest_stall: u8,
    /// Nothing is followed beyond this term.
    pub(super) terms: u64,
    pub(super) fault: Option<Fault>,
    /// That a process has died may be said.
    pub(super) obituaries: bool,
}

/// What may still depart from the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) crashes: u8,
    pub(super) orders: u8,
    /// Letters that are late or lost, letters that come twice, stalls, cuts.
    pub(super) others: u8,
    /// Of all these together.
    pub(super) together: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    // ---- by default, in this order ----
    EndWork(usize),
    /// The letter at this place of the queue.
    Deliver(usize),
    Tick(usize),
    TimePasses,
    // ---- departures ----
    /// Late, perhaps for ever.
    Hold(usize),
    DeliverAndKeep(usize),
    Stall(usize),
    Cut(Cut),
    Crash(usize),
    /// In the middle of what it would do by default, when that is stored and not yet said.
    CrashWhenStored(usize),
    Resign(usize, Option<usize>),
    // ---- what follows from a departure at any time ----
    WorkGoesOn(usize),
    /// The late letter at this place.
    DeliverLate(usize),
    GoOn(usize),
    Mend,
    Start(usize),
    /// A process of this node that has died is said to be dead.
    Bury(usize),
}

impl Left {
    /// What is left after a move, if it may be made at all.
    pub(super) fn after(self, what: Move) -> Option<Left> {
        let less = |count: u8| count.checked_sub(1);
        let mut left = self;
        match what {
            Move::EndWork(_)
            | Move::Deliver(_)
            | Move::Tick(_)
            | Move::TimePasses
            | Move::WorkGoesOn(_)
            | Move::DeliverLate(_)
            | Move::GoOn(_)
            | Move::Mend
            | Move::Start(_)
            | Move::Bury(_) => return Some(left),
            Move::Hold(_) | Move::DeliverAndKeep(_) | Move::Stall(_) | Move::Cut(_) => {
                left.others = less(left.others)?;
            }
            Move::Crash(_) | Move::CrashWhenStored(_) => left.crashes = less(left.crashes)?,
            Move::Resign(..) => left.orders = less(left.orders)?,
        }
        left.together = less(left.together)?;
        Some(left)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { crashes, orders, others, together } = self;
        write!(f, "{crashes} crashes, {orders} orders to hand over, {others} other departures, {together} together")
    }
}

/// For people.
pub(super) fn rates(fast: u8) -> String {
    let name = |place: u8| {
        if fast & (1 << place) == 0 { "slow" } else { "fast" }
    };
    [0, 1, 2].map(name).join(" ")
}

/// All nodes are started at one moment, with nothing stored. `fast` has a bit for each node whose clock is fast.
pub(super) fn beginning(world: &World, fast: u8, events: &mut Vec<Event>) -> Cluster {
    let ids = [1u16, 2, 3].map(NodeId::from);
    let voters = ids.map(|id| (id, Voter::default())).into();
    let node = |place: usize| {
        Shared::new(Node {
            ppm: if fast & (1 << place) == 0 { -i64::from(DRIFT_PPM) } else { i64::from(DRIFT_PPM) },
            setup: Kept(Arc::new(Setup { me: ids[place], voters: Clone::clone(&voters), timing: world.timing })),
            engine: None,
            durable: None,
            older: None,
            life: 0,
            work: None,
            lingers: false,
            stalled: None,
            backlog: 0,
            unsaid: None,
        })
    };
    let cluster = Cluster {
        nodes: [node(0), node(1), node(2)],
        letters: Vec::new(),
        late: Vec::new(),
        cut: Cut::default(),
        early: true,
        checker: Shared::new(Checker::default()),
    };
    let mut change = Change::of(&cluster, world.fault, events);
    for place in 0..3 {
        change.start(place);
    }
    change.done()
}

impl Cluster {
    pub(super) fn print(&self) -> u128 {
        let mut print = Fingerprint::new();
        for node in &self.nodes {
            print.word(node.print);
        }
        print.word(u128::from(self.cut.0) << 1 | u128::from(self.early));
        print.word(self.letters.len() as u128);
        for letter in self.letters.iter().chain(&self.late) {
            print.word(letter.print);
        }
        print.word(self.checker.print);
        print.whole()
    }

    pub(super) fn is_within(&self, world: &World) -> bool {
        self.nodes.iter().all(|node| node.term() <= world.terms)
    }

    /// What happens unless something departs from it.
    pub(super) fn default(&self) -> Move {
        let nodes = || self.nodes.iter().enumerate();
        let ended = |node: &Node| node.runs() && node.keeps().is_some() && !(node.lingers && node.running().is_some());
        if let Some((place, _)) = nodes().find(|(_, node)| ended(node)) {
            return Move::EndWork(place);
        }
        if let Some((place, _)) = nodes().find(|(_, node)| node.stalled == Some(0)) {
            return Move::GoOn(place);
        }
        let to = |place: usize| self.letters.iter().position(|letter| usize::from(letter.to) == place);
        let waiting = nodes().find(|(_, node)| node.runs() && node.backlog > 0);
        if let Some(letter) = waiting.and_then(|(place, _)| to(place)) {
            return Move::Deliver(letter);
        }
        if let Some((place, _)) = nodes().find(|(_, node)| node.runs() && node.is_due()) {
            return Move::Tick(place);
        }
        let runs = |to: u8| self.nodes[usize::from(to)].runs();
        let next = self.letters.iter().position(|letter| runs(letter.to));
        next.map_or(Move::TimePasses, Move::Deliver)
    }

    /// Everything else that may happen now.
    pub(super) fn departures(&self, default: Move, longest_stall: u8, moves: &mut Vec<Move>) {
        moves.clear();
        let acting = match default {
            Move::EndWork(place) | Move::Tick(place) => Some(place),
            Move::Deliver(letter) => Some(usize::from(self.letters[letter].to)),
            _ => None,
        };
        match default {
            Move::EndWork(place) if self.nodes[place].running().is_some() => {
                moves.push(Move::WorkGoesOn(place));
            }
            Move::Deliver(letter) => {
                moves.extend([Move::Hold(letter), Move::DeliverAndKeep(letter)]);
            }
            _ => {}
        }
        if let Some(place) = acting {
            moves.extend([Move::Stall(place), Move::Crash(place), Move::CrashWhenStored(place)]);
        }
        let quiet = default == Move::TimePasses;
        for (place, node) in self.nodes.iter().enumerate() {
            if quiet && node.unsaid.is_some() {
                moves.push(Move::Bury(place));
            }
            let Some(election) = node.election() else {
                if quiet {
                    moves.push(Move::Start(place));
                }
                continue;
            };
            if quiet {
                moves.push(Move::Crash(place));
            }
            if let Some(left) = node.stalled {
                if left > 0 && (quiet || left == longest_stall) {
                    moves.push(Move::GoOn(place));
                }
                continue;
            }
            if node.lingers && node.runs() && node.keeps().is_some() && default != Move::EndWork(place) {
                moves.push(Move::EndWork(place));
            }
            let leads = election.role() == Role::Leader && election.awaits_work().is_none();
            if leads && (quiet || self.early) {
                // Who comes first in the line by default, or who comes last.
                let last = if place == 2 { 1 } else { 2 };
                moves.extend([None, Some(last)].map(|to| Move::Resign(place, to)));
            }
        }
        for (place, letter) in self.late.iter().enumerate() {
            let twice = place > 0 && self.late[place - 1].print == letter.print;
            let when = quiet || self.early || !letter.old;
            if when && !twice && self.nodes[usize::from(letter.to)].runs() {
                moves.push(Move::DeliverLate(place));
            }
        }
        if !quiet {
            return;
        }
        if self.cut != Cut::default() {
            moves.push(Move::Mend);
            return;
        }
        for place in 0..3 {
            let next = (place + 1) % 3;
            moves.extend(
                [Cut::around(place), Cut::link(place, next), Cut::one_way(place, next), Cut::one_way(next, place)]
                    .map(Move::Cut),
            );
        }
    }

    /// The situation after a move; nothing if it is the same.
    pub(super) fn after(&self, what: Move, world: &World, events: &mut Vec<Event>) -> Option<Cluster> {
        let mut change = Change::of(self, world.fault, events);
        change.cluster.early = false;
        match what {
            Move::EndWork(place) => {
                change.end_work(place, Survives::Yes);
            }
            Move::Deliver(letter) => {
                change.take_and_deliver(letter, Survives::Yes);
            }
            Move::Tick(place) => {
                change.step(place, Mail::Wake, None, Survives::Yes);
            }
            Move::TimePasses => change.pass(world.unit),
            Move::Hold(letter) => {
                let letter = change.cluster.letters.remove(letter);
                change.less_backlog(usize::from(letter.to));
                change.cluster.late.push(letter);
            }
            Move::DeliverAndKeep(letter) => {
                let kept = change.cluster.letters[letter].clone();
                change.cluster.late.push(kept);
                change.take_and_deliver(letter, Survives::Yes);
            }
            Move::Stall(place) => {
                change.change(place, |node| node.stalled = Some(world.longest_stall));
            }
            Move::Cut(cut) => change.cluster.cut = cut,
            Move::Crash(place) => change.crash(place),
            Move::CrashWhenStored(place) => {
                let survives = Survives::OnlyTheState;
                let stored = match self.default() {
                    Move::EndWork(_) => change.end_work(place, survives),
                    Move::Deliver(letter) => change.take_and_deliver(letter, survives),
                    _ => change.step(place, Mail::Wake, None, survives),
                };
                if !stored {
                    // The same as a crash before it.
                    return None;
                }
            }
            Move::Resign(place, successor) => {
                let successor = successor.map(|to| self.nodes[to].id());
                if !change.call(place, Call::HandOver { successor, hold_off: Duration::ZERO }) {
                    return None;
                }
            }
            Move::WorkGoesOn(place) => {
                change.change(place, |node| node.lingers = true);
            }
            Move::DeliverLate(letter) => {
                let letter = change.cluster.late.remove(letter);
                change.deliver(&letter, Survives::Yes);
            }
            Move::GoOn(place) => {
                let waiting = self.letters.iter();
                let waiting = waiting.filter(|letter| usize::from(letter.to) == place).count();
                change.change(place, |node| {
                    node.stalled = None;
                    node.backlog = u8::try_from(waiting).unwrap();
                });
            }
            Move::Mend => change.cluster.cut = Cut::default(),
            Move::Start(place) => change.start(place),
            Move::Bury(place) => change.bury(place),
        }
        if let Move::Crash(place) | Move::CrashWhenStored(place) = what {
            change
                .change(place, |node| node.unsaid = node.durable.filter(|_| world.obituaries).map(|state| state.term));
        }
        Some(change.done())
    }

    /// Whether a program may act that was not told to stop.
    pub(super) fn acting(&self) -> Option<u64> {
        let acts = |node: &&Shared<Node>| node.election().is_some_and(|election| election.lease().is_some());
        let work = self.nodes.iter().find(acts)?.work?;
        (work.until > NOW).then_some(work.token.0)
    }

    pub(super) fn tell(&self, what: Move) -> String {
        let id = |place: usize| self.nodes[place].id();
        match what {
            Move::EndWork(place) => format!("the work of {} has ended", id(place)),
            Move::Deliver(letter) => self.letters[letter].to_string(),
            Move::Tick(place) => format!("{} looks at its clock", id(place)),
            Move::TimePasses => "time passes".to_owned(),
            Move::Hold(letter) => format!("LATE OR LOST: {}", *self.letters[letter]),
            Move::DeliverAndKeep(letter) => {
                format!("NOT FOR THE LAST TIME: {}", *self.letters[letter])
            }
            Move::Stall(place) => format!("{} STALLS", id(place)),
            Move::Cut(cut) => format!("CUT: {cut}"),
            Move::Crash(place) => format!("{} CRASHES", id(place)),
            Move::CrashWhenStored(place) => {
                format!("{} CRASHES in the middle of: {}", id(place), self.tell(self.default()))
            }
            Move::Resign(place, None) => format!("{} IS TO LEAD NO MORE", id(place)),
            Move::Resign(place, Some(to)) => {
                format!("{} IS TO HAND OVER to {}", id(place), id(to))
            }
            Move::WorkGoesOn(place) => format!("the work of {} goes on", id(place)),
            Move::DeliverLate(letter) => format!("late: {}", *self.late[letter]),
            Move::GoOn(place) => format!("{} goes on", id(place)),
            Move::Mend => "all links carry again".to_owned(),
            Move::Start(place) => format!("{} starts", id(place)),
            Move::Bury(place) => format!("a process of {} is said to be dead", id(place)),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = (0..9).filter(|bit| self.0 & (1 << bit) != 0);
        let links: Vec<String> = links.map(|bit| format!("{} -> {}", bit / 3 + 1, bit % 3 + 1)).collect();
        f.write_str(&links.join(", "))
    }
}
