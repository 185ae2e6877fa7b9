//! The cluster: nodes with their drivers, programs and hosts, and the one queue of what happens next.
//!
//! A node is a shipped [`Engine`], driven in the six steps that its documentation asks for. What a driver and the state
//! that threads share do beside that, and nothing else, is written here once more.

mod node;
mod obituary;
mod program;

use std::collections::BTreeSet;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Cause, Election, Event, HardState, Instant, Recovery, Reply, Request, Setup, Term};
use leadelect::engine::{Call, Effects, Engine, Mail, Undone};

use super::Dice;
use super::agenda::Agenda;
use super::checker::{Checker, Step};
use super::clock::Real;
use super::disk::Disk;
use super::lies;
use super::network::Network;
use super::per_node::PerNode;
use super::record::{Mark, Record, Said};
use obituary::{Obituaries, Obituary};
use program::Told;

pub(crate) use node::{Node, Wall, WindUp};
pub(crate) use program::Outcome;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Real,
    pub(crate) network: Network,
    pub(crate) checker: Checker,
    /// What is said and told, if somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    /// What happens, if somebody wants to see it.
    pub(crate) record: Option<Record>,
    /// Whether the story tells every heartbeat, and not only the first of a term.
    pub(crate) every_heartbeat: bool,
    /// Nobody says obituaries, unless somebody wants it.
    obituaries: Option<Obituaries>,
    nodes: PerNode<Node>,
    next: Agenda<Happening>,
    dice: Dice,
    calls: u64,
    narrated: BTreeSet<(NodeId, NodeId, Term, bool)>,
}

#[derive(Debug)]
enum Happening {
    Arrival {
        to: NodeId,
        letter: Box<Letter>,
    },
    /// A node looks at its clock and its queue.
    Look(NodeId),
    /// A watcher gets the lock of a process of this life, which has died, unless the next process has it already.
    LockTaken {
        id: NodeId,
        life: u64,
    },
    /// A process was started before, and gets the lock of its node.
    Start(NodeId),
    SaysAgain {
        obituary: Obituary,
        times: u8,
    },
}

#[derive(Debug, Clone)]
enum Letter {
    /// `life` is the sender's: the connection that takes the reply back ends with it.
    Request {
        from: NodeId,
        life: u64,
        request: Request,
    },
    Reply {
        from: NodeId,
        life: u64,
        reply: Reply,
    },
    Obituary(Obituary),
    /// From the node's own process, in this life.
    Own {
        life: u64,
        mail: Mail<u64>,
    },
    /// What the program is and wants has changed.
    Nudge,
}

#[derive(Debug)]
struct Written {
    until: Real,
    effects: Effects<u64>,
    step: Step,
    asked: Option<(NodeId, u64)>,
    /// It was what a peer said that was stepped, and so the election.
    from_peer: bool,
}

/// More steps than that at one moment are a busy loop.
const STEPS_AT_ONCE: u32 = 10_000;

impl World {
    pub(crate) fn new(setups: Vec<Setup>, seed: u64) -> Self {
        let ids: Vec<NodeId> = setups.iter().map(|setup| setup.me).collect();
        let nodes = setups.into_iter().map(|setup| (setup.me, Node::new(setup)));
        World {
            now: Real::ZERO,
            network: Network::new(&ids),
            checker: Checker::default(),
            story: None,
            record: None,
            every_heartbeat: false,
            obituaries: None,
            nodes: nodes.collect(),
            next: Agenda::new(),
            dice: Dice(seed),
            calls: 0,
            narrated: BTreeSet::new(),
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.ids().to_vec()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    /// Who could act as leader now and was not told to stop.
    pub(crate) fn acting(&self) -> Option<(NodeId, Term)> {
        let acts = |node: &&Node| node.work.is_some_and(|work| self.now < work.until) && !node.winding_up;
        let node = self.nodes.values().find(acts)?;
        Some((node.setup.me, node.work?.token))
    }

    /// Those that are able to lead, as far as they know themselves.
    pub(crate) fn able(&self) -> impl Iterator<Item = NodeId> {
        let able = |node: &&Node| {
            let voter = node.setup.voters[&node.setup.me];
            let engine = node.engine.as_ref();
            engine.is_some_and(|engine| engine.election().is_eligible()) && !voter.witness
        };
        self.nodes.values().filter(able).map(|node| node.setup.me)
    }

    /// Whether `other` should rather lead than `one`.
    pub(crate) fn prefers(&self, one: NodeId, other: NodeId) -> bool {
        let voters = &self.node(one).setup.voters;
        voters[&other].priority > voters[&one].priority
    }

    // ---- what may be done to a node ----

    /// Starts the node's process. `forgets`: with an empty disk.
    pub(crate) fn start(&mut self, id: NodeId) {
        let now = self.now;
        let seed = self.dice.next();
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.engine.is_some() {
            return;
        }
        if let Some(until) = node.work_outlives_until(now) {
            return self.happens(until, Happening::Start(id)); // it waits for the lock
        }
        node.life += 1;
        let local = node.clock.at(now);
        let recovery = match (node.stateless, node.disk.durable()) {
            (Some(wall), _) => {
                self.checker.forgot(id);
                let first_term = Term(match wall {
                    Wall::Runs(seconds) => seconds + now.0 / 1_000_000_000,
                    Wall::Stands(seconds) => seconds,
                });
                Recovery::Stateless { first_term }
            }
            (None, None) if !node.disk.torn => Recovery::Fresh,
            (None, state) => Recovery::Restored {
                state: HardState {
                    in_doubt: node.disk.torn || state.is_some_and(|state| state.in_doubt),
                    ..state.unwrap_or_default()
                },
                down_for: match node.booted_in_life {
                    true => local.since(Instant::ZERO),
                    false => Duration::ZERO,
                },
            },
        };
        let remembers = matches!(recovery, Recovery::Restored { state, .. } if !state.in_doubt);
        self.checker.started(id, remembers);
        node.booted_in_life = false;
        node.disk.failed = false;
        node.paused = false;
        node.program.begin();
        let election = Election::new(node.setup.clone(), recovery, local, seed);
        node.engine = Some(Engine::new(election, node.last_words()));
        node.own(Mail::Start);
        self.process_speaks(id);
        self.look(id, now);
    }

    /// Ends the process at once: what is being written is left half done.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        if let Some(written) = node.writing.take() {
            if written.until <= now {
                node.disk.finish_write();
            } else {
                node.disk.break_write(&mut self.dice);
            }
        }
        let ran = node.engine.take().is_some();
        node.queue.clear();
        node.met.clear();
        node.published = None;
        node.paused = false;
        node.stuck = None;
        node.leases.clear();
        node.stopping = None;
        node.busy_until = Real::ZERO;
        self.checker.calls_end(id);
        let node = self.nodes.get_mut(&id).expect("a node");
        let step = node.step(now);
        self.set_work(id, &step, None);
        self.checker.published(&step, None);
        if ran {
            self.lock_is_free(id);
        }
    }

    /// The host goes down and its clock starts anew; the process is to be started later.
    pub(crate) fn reboot(&mut self, id: NodeId) {
        self.crash(id);
        let now = self.now;
        let node = self.node_mut(id);
        node.clock.set_at = now;
        node.clock.showed = Instant::ZERO;
        node.booted_in_life = true;
        node.disk.written_in_this_boot = false;
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn lose_disk(&mut self, id: NodeId) {
        self.node_mut(id).disk = Disk::empty();
        self.loses_state(id);
        self.checker.forgot(id);
    }

    /// Whether somebody who asked for votes in the first term may still get one from it.
    pub(crate) fn is_asked_in_the_first_term(&self, id: NodeId) -> bool {
        self.next.values().any(|happening| match happening {
            Happening::Arrival { to, letter } => {
                let vote = |request: &Request| matches!(request, Request::Vote { term: Term(1), .. });
                *to == id && matches!(&**letter, Letter::Request { request, .. } if vote(request))
            }
            Happening::Look(_) | Happening::LockTaken { .. } | Happening::Start(_) | Happening::SaysAgain { .. } => {
                false
            }
        })
    }

    /// The newest of what the node has stored goes bad.
    pub(crate) fn rot_disk(&mut self, id: NodeId) {
        self.node_mut(id).disk.rot();
        self.loses_state(id);
        self.checker.forgot(id);
    }

    /// Stops the process, but not its clock, nor the work that it guards.
    pub(crate) fn pause(&mut self, id: NodeId) {
        self.node_mut(id).paused = true;
    }

    pub(crate) fn resume(&mut self, id: NodeId) {
        self.node_mut(id).paused = false;
        self.look(id, self.now);
    }

    /// The program of a node, or an operator, calls it.
    pub(crate) fn call(&mut self, id: NodeId, call: Call) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.engine.is_none() {
            return;
        }
        if let Some(record) = &mut self.record {
            record.call(now, id, &call);
        }
        self.calls += 1;
        self.checker.calls(self.calls, id, &call);
        node.own(Mail::Call { call, caller: self.calls });
        self.drive(id);
    }

    /// The process is asked to end in order.
    pub(crate) fn stop(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.engine.is_some() && !node.is_stopping() {
            node.own(Mail::Stop);
            self.drive(id);
        }
    }

    /// Time has passed, says somebody, and it may not be so.
    pub(crate) fn wake(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.engine.is_some() {
            node.own(Mail::Wake);
            self.drive(id);
        }
    }

    /// A node says what its engine does not.
    pub(crate) fn says(&mut self, from: NodeId, to: NodeId, request: Request) {
        if self.nodes[&from].engine.is_none() {
            return;
        }
        let text = self.story.is_some().then(|| request.to_string());
        let life = self.nodes[&from].life;
        self.send(from, to, Box::new(Letter::Request { from, life, request }), text);
    }

    // ---- time ----

    pub(crate) fn run_until(&mut self, end: Real) {
        self.run_to(end, |_| false);
    }

    /// Runs until `end`, or until `enough` after any happening.
    pub(crate) fn run_to(&mut self, end: Real, enough: impl Fn(&World) -> bool) -> bool {
        self.observe();
        while self.checker.violation.is_none() {
            if enough(self) {
                return true;
            }
            let Some((at, happening)) = self.next.take_until(end) else {
                break;
            };
            self.now = at;
            match happening {
                Happening::Arrival { to, letter } => self.arrive(to, letter),
                Happening::Look(id) => self.drive(id),
                Happening::LockTaken { id, life } if self.nodes[&id].life == life => self.watcher_speaks(id),
                Happening::LockTaken { .. } => {}
                Happening::Start(id) => self.start(id),
                Happening::SaysAgain { obituary, times } => self.say(obituary, times),
            }
        }
        self.observe();
        self.now = self.now.max(end);
        false
    }

    /// Notes what was done to nodes and links since the last look, and whether something has gone wrong.
    pub(crate) fn observe(&mut self) {
        let Some(record) = &mut self.record else {
            return;
        };
        for node in self.nodes.values() {
            record.see_host(self.now, &node.setup, node.host());
        }
        record.see_links(self.now, &self.network.all());
        record.see_time(self.now, self.checker.violation.as_deref());
    }

    fn happens(&mut self, at: Real, what: Happening) {
        self.next.add(at, what);
    }

    fn look(&mut self, id: NodeId, at: Real) {
        if at != Real::NEVER {
            self.happens(at, Happening::Look(id));
        }
    }

    fn arrive(&mut self, to: NodeId, letter: Box<Letter>) {
        let node = self.nodes.get_mut(&to).expect("a node");
        if node.engine.is_none() {
            return;
        }
        if matches!(&*letter, Letter::Reply { life, .. } | Letter::Own { life, .. } if *life != node.life) {
            return; // the connection that it would have come on has ended
        }
        match &*letter {
            Letter::Obituary(obituary) if !self.lets_through(to, obituary) => return,
            Letter::Request { from, life, .. } => self.node_mut(to).meets(*from, *life),
            _ => {}
        }
        let node = self.nodes.get_mut(&to).expect("a node");
        node.queue.push_back(letter);
        self.drive(to);
    }

    // ---- the driver ----

    /// The election thread: the queue first, then the clock; nothing while it is stopped or waits for the disk.
    fn drive(&mut self, id: NodeId) {
        for _ in 0..STEPS_AT_ONCE {
            if self.checker.violation.is_some() || !self.drive_once(id) {
                return;
            }
        }
        self.checker.fail("BusyLoop", format!("{id} is never done at {:?}", self.now));
    }

    /// Takes one step, and tells whether there may be another to take now.
    fn drive_once(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        let Some(engine) = node.engine.as_ref().filter(|_| !node.paused) else {
            return false;
        };
        if let Some(written) = node.writing.take_if(|written| written.until <= now) {
            node.disk.finish_write();
            self.release(id, written);
            return true;
        }
        if let Some(until) = node.waits_until(now) {
            self.look(id, until);
            return false;
        }
        if engine.is_late(node.clock.at(now)) {
            let node = self.nodes.get_mut(&id).expect("a node");
            let turn_ends = node.clock.at(now) + node.setup.timing.heartbeat_interval();
            node.program.turn = (node.engine.as_ref().expect("it runs").wake_at(), turn_ends);
            self.step(id, Mail::Late, None);
            return true;
        }
        if engine.looks_at_program(node.clock.at(now)) {
            let program = self.program_now(id);
            self.step(id, Mail::Program(program), None);
            return true;
        }
        if let Some(letter) = node.queue.pop_front() {
            self.take(id, *letter);
            return true;
        }
        if self.free_leases(id) {
            return true;
        }
        let node = self.nodes.get_mut(&id).expect("a node");
        let Some(engine) = &node.engine else {
            return false;
        };
        let wake_at = engine.wake_at();
        if node.clock.at(now) >= wake_at {
            self.step(id, Mail::Wake, None);
            return true;
        }
        let at = node.clock.reaches(wake_at);
        if node.looks_at != at {
            node.looks_at = at;
            self.look(id, at);
        }
        false
    }

    fn take(&mut self, id: NodeId, letter: Letter) {
        match letter {
            Letter::Request { from, life, request } => {
                self.checker.hears(id, (from, life), &request);
                self.step(id, Mail::Request { from, request }, Some((from, life)));
            }
            Letter::Reply { from, reply, .. } => self.step(id, Mail::Reply { from, reply }, None),
            Letter::Obituary(obituary) => {
                let (of, up_to) = self.hears_obituary(id, &obituary);
                self.step(id, Mail::Obituary { of, up_to }, None);
            }
            Letter::Own { mail, .. } => {
                let node = self.nodes.get_mut(&id).expect("a node");
                match mail {
                    Mail::Stop => drop(node.stopping.get_or_insert(node.clock.at(self.now))),
                    Mail::Start => {
                        let program = self.program_now(id);
                        self.step(id, Mail::Program(program), None);
                    }
                    _ => {}
                }
                self.step(id, mail, None);
            }
            Letter::Nudge => {
                self.nodes.get_mut(&id).expect("a node").program.nudged = false;
                let program = self.program_now(id);
                self.step(id, Mail::Program(program), None);
            }
        }
    }

    fn step(&mut self, id: NodeId, mail: Mail<u64>, asked: Option<(NodeId, u64)>) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        let local = node.clock.at(now);
        let engine = node.engine.as_mut().expect("a running node");
        // Of a term too far ahead a node takes note, whatever the message is.
        let nearest = engine.election().term().0.saturating_add(Term::LARGEST_JUMP);
        let asks_pre_vote =
            matches!(&mail, Mail::Request { request: Request::PreVote { term, .. }, .. } if term.0 <= nearest);
        let before = asks_pre_vote.then(|| engine.election().clone());
        let told = Told::of(&mail);
        let from_peer = matches!(&mail, Mail::Request { .. } | Mail::Reply { .. } | Mail::Obituary { .. });
        let election = engine.election();
        let steps_down = election.leader() == Some(id) && election.awaits_work() == Some(election.term());
        if let (true, Mail::Call { call: Call::HandOver { successor: None, hold_off }, .. }) = (steps_down, &mail) {
            self.checker.held_off(id, local + *hold_off);
        }
        let output = engine.step(local, mail);
        if let Some(before) = before {
            self.checker.pre_vote_pure(&before, engine.election(), local);
        }
        match output.store(&mut node.disk) {
            Ok(effects) => {
                let until = now.after(node.disk.busy_for());
                let step = node.step(now);
                node.check_program(&mut self.checker, &step, &told, &effects);
                let written = Written { until, effects, step, asked, from_peer };
                if until > now {
                    node.writing = Some(written);
                } else {
                    node.disk.finish_write();
                    self.release(id, written);
                }
            }
            Err(((), undone)) => self.storage_fails(id, undone),
        }
    }

    fn storage_fails(&mut self, id: NodeId, undone: Undone<u64>) {
        self.nodes.get_mut(&id).expect("a node").disk.break_write(&mut self.dice);
        self.narrate(|| format!("{id} could not write"));
        self.note(|| Mark::Fault { node: id, text: "could not write".to_owned() });
        self.step(id, Mail::StorageFailed { problem: "could not write".to_owned(), undone }, None);
    }

    /// What a step wanted done, once its state is durable, in the order that the engine asks for.
    fn release(&mut self, id: NodeId, written: Written) {
        let Written { effects, mut step, asked, from_peer, .. } = written;
        let (stopped, says) = (effects.stopped, effects.told.iter().any(|told| told.level.is_some()));
        step.durable = self.nodes[&id].durable();
        self.checker.published(&step, effects.lease);
        self.publish(id, &step, effects.lease, from_peer);
        // Before what is said, so that a story tells first what a node has become.
        for told in effects.overran.into_iter().chain(effects.told) {
            self.tell(id, &step, &told.event);
        }
        if let (Some(reply), Some((to, life))) = (effects.reply, asked) {
            self.checker.answers(&step, (to, life), &reply);
            let text = self.story.is_some().then(|| reply.to_string());
            let text = text.filter(|_| match &reply {
                Reply::Heartbeat { term, granted, .. } => {
                    let news = granted.is_zero() || self.narrated.insert((id, to, *term, true));
                    news || self.every_heartbeat
                }
                Reply::PreVote { .. } | Reply::Vote { .. } | Reply::Release { .. } => true,
            });
            let ids = self.nodes.ids().to_vec();
            let reply = match &mut self.nodes.get_mut(&id).expect("a node").lies {
                Some(dice) => lies::twisted(dice, reply, &ids),
                None => reply,
            };
            let letter = Box::new(Letter::Reply { from: id, life, reply });
            self.send(id, to, letter, text);
        }
        for (to, request) in effects.messages {
            self.checker.asks(&step, &request);
            if let Request::Release { term, .. } = &request {
                self.released(id, &step, to, *term);
            }
            let text = self.story.is_some().then(|| request.to_string());
            let text = text.filter(|_| match &request {
                Request::Heartbeat { term, .. } => self.narrated.insert((id, to, *term, false)) || self.every_heartbeat,
                Request::PreVote { .. } | Request::Vote { .. } | Request::Release { .. } => true,
            });
            let letter = Box::new(Letter::Request { from: id, life: step.life, request });
            self.send(id, to, letter, text);
        }
        for (call, answer) in effects.answers {
            self.checker.answered(&step, call, &answer);
        }
        let node = self.nodes.get_mut(&id).expect("a node");
        if says && !node.slow_turn.is_zero() {
            node.busy_until = self.now.after(std::mem::take(&mut node.slow_turn));
        }
        if stopped && node.engine.is_some() {
            self.narrate(|| format!("{id} has stopped"));
            self.crash(id);
        }
    }

    fn tell(&mut self, id: NodeId, step: &Step, event: &Event) {
        self.checker.tells(step, event);
        if event.cause == Cause::Started {
            return;
        }
        self.narrate(|| format!("{id} {event}"));
        self.note(|| Mark::Role {
            node: id,
            role: event.role,
            term: event.term,
            leader: event.leader,
            text: event.to_string(),
        });
    }

    /// A release is said: nothing may act any more under the lease that it ends. If it is not answered in time, the
    /// transport says so.
    fn released(&mut self, id: NodeId, step: &Step, to: NodeId, term: Term) {
        self.checker.releases(step, term, self.returns_at(id, term));
        let node = &self.nodes[&id];
        let (life, at) = (node.life, self.now.after(node.last_words()));
        let letter = Box::new(Letter::Own { life, mail: Mail::Unanswered { by: to } });
        self.happens(at, Happening::Arrival { to: id, letter });
    }

    fn send(&mut self, from: NodeId, to: NodeId, letter: Box<Letter>, text: Option<String>) {
        let delays = self.network.carry(from, to, &mut self.dice);
        if let Some(text) = text {
            let arrow = match delays {
                [None, _] => "-x",
                [Some(_), _] => "->",
            };
            self.narrate(|| format!("{from} {arrow} {to} {text}"));
        }
        let said = |letter: &Letter| match letter {
            Letter::Request { request, .. } => Said::from(request),
            Letter::Reply { reply, .. } => Said::from(reply),
            Letter::Obituary(_) | Letter::Own { .. } | Letter::Nudge => unreachable!("no message of an engine"),
        };
        let arrivals = delays.map(|delay| delay.map(|delay| self.now.after(delay)));
        self.note(|| Mark::Message {
            from,
            to,
            said: said(&letter),
            arrives: arrivals.iter().flatten().copied().collect(),
        });
        let [first, second] = arrivals;
        let copy = second.map(|at| (at, letter.clone()));
        for (at, letter) in first.map(|at| (at, letter)).into_iter().chain(copy) {
            self.happens(at, Happening::Arrival { to, letter });
        }
    }

    fn note(&mut self, mark: impl FnOnce() -> Mark) {
        if let Some(record) = &mut self.record {
            record.note(self.now, mark());
        }
    }

    pub(crate) fn narrate(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let millis = self.now.0 as f64 / 1e6;
            story.push(format!("{millis:>9.1}  {}", line()));
        }
    }
}
