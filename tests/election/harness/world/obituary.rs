//! What is said of processes that have died: by the next process of their node, or by one that waits for its lock.
//!
//! A process of a node holds the node's lock as long as anything of it can act. So who gets the lock knows that all
//! earlier processes of the node are gone, and may say so. What it says comes late, twice, in another order or never,
//! as everything does. The chances of that are drawn apart: a run without obituaries is the same as ever.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::Term;

use super::{Happening, Letter, World};
use crate::harness::Dice;
use crate::harness::clock::Real;
use crate::harness::record::{Mark, Said};

/// How often a process says it, at least: once on each connection that it makes.
const TIMES: u8 = 2;

/// The obituaries of a run.
#[derive(Debug)]
pub(crate) struct Obituaries {
    dice: Dice,
    /// A process waits for the lock of every node, and says so soon after it has got it.
    watchers: Option<Duration>,
    /// What was said and was true. It may come again at any time.
    said: Vec<Obituary>,
    /// Up to which term all earlier processes of a node are said to be dead.
    buried: BTreeMap<NodeId, Term>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Obituary {
    of: NodeId,
    up_to: Term,
    teller: Teller,
    /// How often the node had lost its state by then.
    losses: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Teller {
    /// The process that was started next.
    Process { life: u64 },
    /// A process that does nothing but wait for the lock.
    Watcher,
    /// A process with a copy of the state, and of its lock: what it says of the node need not be true.
    Copy,
}

impl World {
    /// From now on the processes that are started say that the earlier ones are dead, if they know it; and so does a
    /// watcher of each lock, this long after a process has died.
    pub(crate) fn tell_obituaries(&mut self, seed: u64, watchers: Option<Duration>) {
        let dice = Dice(seed);
        self.obituaries = Some(Obituaries { dice, watchers, said: Vec::new(), buried: BTreeMap::new() });
    }

    /// What somebody may say who has just got the lock of a node: the vote file was written in this boot of the host,
    /// and is not in doubt.
    fn obituary(&self, id: NodeId, teller: Teller) -> Option<Obituary> {
        let node = &self.nodes[&id];
        let state = node.disk.durable().filter(|state| !node.disk.torn && !state.in_doubt)?;
        let known = node.stateless.is_none() && node.disk.written_in_this_boot;
        known.then_some(Obituary { of: id, up_to: state.term, teller, losses: node.disk_losses })
    }

    /// The process that has just been started has got the lock, and has written nothing yet.
    pub(super) fn process_speaks(&mut self, id: NodeId) {
        let teller = Teller::Process { life: self.nodes[&id].life };
        if let Some(obituary) = self.obituary(id, teller) {
            self.say(obituary, TIMES);
        }
    }

    /// Whether a process of the node has its lock: as long as anything of it can act.
    fn is_locked(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        node.engine.is_some() || node.work_outlives_until(self.now).is_some()
    }

    /// The threads of a node die, and its program does not notice: it acts for as long as its lease allows.
    pub(crate) fn dies_before_its_work(&mut self, id: NodeId) {
        let now = self.now;
        let work = self.nodes[&id].work.filter(|work| now < work.until);
        self.crash(id);
        let node = self.node_mut(id);
        let Some(work) = work.filter(|_| node.stateless.is_none()) else {
            return;
        };
        node.work = Some(work);
        let step = node.step(now);
        self.checker.acts(&step, now, work);
        self.lock_is_free(id);
    }

    /// A process has died, and its lock becomes free.
    pub(super) fn lock_is_free(&mut self, id: NodeId) {
        if let Some(soon) = self.obituaries.as_ref().and_then(|obituaries| obituaries.watchers) {
            let node = &self.nodes[&id];
            let free_at = node.work_outlives_until(self.now).unwrap_or(self.now);
            self.happens(free_at.after(soon), Happening::LockTaken { id, life: node.life });
        }
    }

    /// A watcher gets the lock of a node, if no process of the node has it, and gives it back.
    pub(crate) fn watcher_speaks(&mut self, id: NodeId) {
        if !self.is_locked(id) {
            if let Some(obituary) = self.obituary(id, Teller::Watcher) {
                self.say(obituary, TIMES);
            }
        }
    }

    /// Something that was said long ago comes once more, or a process with a copy of the state of a node says what it
    /// finds there.
    pub(crate) fn obituary_comes_late(&mut self) {
        let ids = self.ids();
        let Some(obituaries) = &mut self.obituaries else {
            return;
        };
        let dice = &mut obituaries.dice;
        let (id, to) = (*dice.pick(&ids), *dice.pick(&ids));
        let old = match dice.below(4) {
            0 => None,
            _ if obituaries.said.is_empty() => return,
            _ => Some(*dice.pick(&obituaries.said)),
        };
        match old.or_else(|| self.obituary(id, Teller::Copy)) {
            Some(obituary) if obituary.teller == Teller::Copy => self.say(obituary, 1),
            Some(obituary) if obituary.of != to => self.carry_obituary(to, obituary),
            Some(_) | None => {}
        }
    }

    /// To all other nodes, now and a few times more.
    pub(super) fn say(&mut self, obituary: Obituary, times: u8) {
        let Obituary { of, up_to, teller, .. } = obituary;
        let node = &self.nodes[&of];
        let gone = matches!(teller, Teller::Process { life } if life != node.life || node.engine.is_none());
        let ended = gone || obituary.losses != node.disk_losses;
        let again = self.now.after(node.setup.timing.heartbeat_interval());
        let Some(obituaries) = self.obituaries.as_mut().filter(|_| !ended) else {
            return;
        };
        if teller != Teller::Copy {
            let known = obituaries.buried.entry(of).or_default();
            *known = up_to.max(*known);
            if !obituaries.said.contains(&obituary) {
                obituaries.said.push(obituary);
            }
            self.checker.obituary_true(self.now, of, up_to);
        }
        for to in self.ids().into_iter().filter(|to| *to != of) {
            self.carry_obituary(to, obituary);
        }
        if times > 1 {
            self.happens(again, Happening::SaysAgain { obituary, times: times - 1 });
        }
    }

    fn carry_obituary(&mut self, to: NodeId, obituary: Obituary) {
        let Some(mut obituaries) = self.obituaries.take() else {
            return;
        };
        let delays = self.network.carry(obituary.of, to, &mut obituaries.dice);
        self.obituaries = Some(obituaries);
        let arrives: Vec<Real> = delays.into_iter().flatten().map(|delay| self.now.after(delay)).collect();
        let text = format!("Obituary term={}", obituary.up_to);
        let arrow = if arrives.is_empty() { "-x" } else { "->" };
        self.narrate(|| format!("{} {arrow} {to} {text}", obituary.of));
        for at in &arrives {
            self.happens(*at, Happening::Arrival { to, letter: Box::new(Letter::Obituary(obituary)) });
        }
        self.note(|| Mark::Message { from: obituary.of, to, said: Said::obituary(text), arrives });
    }

    /// Whether the transport of `to` lets this through. It refuses while a connection of another process of that node
    /// is open. Here only a copy is refused: what is true comes through also when it is old, and could be refused.
    pub(super) fn lets_through(&self, to: NodeId, obituary: &Obituary) -> bool {
        let (sender, receiver) = (&self.nodes[&obituary.of], &self.nodes[&to]);
        // A process of which only the program lives has no connection. Against a copy nothing helps then.
        let connected = self.is_locked(obituary.of) && receiver.met.get(&obituary.of) == Some(&sender.life);
        let beside_another = obituary.teller == Teller::Copy && connected;
        // Nothing that was said before a node has lost its state is still on its way when it leads again.
        obituary.losses == sender.disk_losses && !beside_another
    }

    /// Returns what it says, once the checker knows of it.
    pub(super) fn hears_obituary(&mut self, to: NodeId, obituary: &Obituary) -> (NodeId, Term) {
        let Obituary { of, up_to, teller, .. } = *obituary;
        let sender = &self.nodes[&of];
        // Of a process that lives on, a copy says nothing true.
        let lives = (teller == Teller::Copy && self.is_locked(of)).then_some(sender.life);
        self.checker.buries(to, (of, lives), up_to);
        (of, up_to)
    }

    /// What was said of a node is true for ever: it does not act in such a term again.
    pub(super) fn stays_dead(&mut self, id: NodeId, token: Term) {
        let buried = self.obituaries.as_ref().and_then(|obituaries| obituaries.buried.get(&id));
        if let Some(up_to) = buried.copied().filter(|up_to| token <= *up_to) {
            let text = format!("{id} acts with token {token}, and all its processes up to {up_to} are said to be dead");
            self.checker.fail("ObituaryTrue", text);
        }
    }

    /// What was said of a node before it lost its state is true no more.
    pub(super) fn loses_state(&mut self, id: NodeId) {
        self.node_mut(id).disk_losses += 1;
        if let Some(obituaries) = &mut self.obituaries {
            obituaries.buried.remove(&id);
            obituaries.said.retain(|obituary| obituary.of != id);
        }
    }
}
