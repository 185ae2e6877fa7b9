//! The cluster: nodes with their drivers, programs and hosts, and the one queue of what happens next.

mod program;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{
    Deadline, Effects, Election, HardState, Input, Instant, Recovery, Reply, Request, Role, Setup, Term,
};

use super::Dice;
use super::agenda::Agenda;
use super::checker::{Checker, Step, Work};
use super::clock::{Clock, Real};
use super::disk::Disk;
use super::network::Network;
use super::per_node::PerNode;
use super::record::{Host, Mark, Process, Record, Said};

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
    nodes: PerNode<Node>,
    next: Agenda<Happening>,
    dice: Dice,
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
    Order(Input),
}

/// One host and what runs on it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) setup: Setup,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    /// Runs without a place to remember things.
    pub(crate) stateless: Option<Wall>,
    /// How long work goes on that was told to stop. No longer than the lease in any case.
    pub(crate) winds_up_in: WindUp,
    election: Option<Election>,
    life: u64,
    booted_in_life: bool,
    paused: bool,
    queue: VecDeque<Box<Letter>>,
    /// A step whose state is still being written.
    writing: Option<Written>,
    published: Option<Deadline>,
    work: Option<Work>,
    winding_up: bool,
    /// What the program has said: it is able to lead.
    able: bool,
    /// Work that has hung, and until when: it returns no sooner.
    pub(crate) stuck: Option<Work>,
    looks_at: Real,
}

/// The wall clock of a node without state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wall {
    /// It showed so many seconds at the start of the world.
    Runs(u64),
    /// It shows the same at every start: a host without a real-time clock.
    Stands(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum WindUp {
    After(Duration),
    /// Each time differently: at once, when the lease ends, or between.
    Anyhow,
}

#[derive(Debug)]
struct Written {
    until: Real,
    effects: Effects,
    step: Step,
    asked: Option<(NodeId, u64)>,
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
            nodes: nodes.collect(),
            next: Agenda::new(),
            dice: Dice(seed),
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
            node.election.is_some() && node.able && !voter.witness
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
        if node.election.is_some() {
            return;
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
        node.able = true;
        node.election = Some(Election::new(node.setup.clone(), recovery, local, seed));
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
        node.election = None;
        node.queue.clear();
        node.published = None;
        node.paused = false;
        node.stuck = None;
        let step = node.step(now);
        self.set_work(id, &step, None);
        self.checker.published(&step, None);
    }

    /// The host goes down and its clock starts anew; the process is to be started later.
    pub(crate) fn reboot(&mut self, id: NodeId) {
        self.crash(id);
        let now = self.now;
        let node = self.node_mut(id);
        node.clock.set_at = now;
        node.clock.showed = Instant::ZERO;
        node.booted_in_life = true;
    }

    /// The disk is replaced by an empty one.
    pub(crate) fn lose_disk(&mut self, id: NodeId) {
        self.node_mut(id).disk = Disk::empty();
        self.checker.forgot(id);
    }

    /// Whether somebody who asked for votes in the first term may still get one from it.
    pub(crate) fn is_asked_in_the_first_term(&self, id: NodeId) -> bool {
        self.next.values().any(|happening| match happening {
            Happening::Arrival { to, letter } => {
                let vote = |request: &Request| matches!(request, Request::Vote { term: Term(1), .. });
                *to == id && matches!(&**letter, Letter::Request { request, .. } if vote(request))
            }
            Happening::Look(_) => false,
        })
    }

    /// The newest of what the node has stored goes bad.
    pub(crate) fn rot_disk(&mut self, id: NodeId) {
        self.node_mut(id).disk.rot();
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

    /// Puts an order into the node's queue.
    pub(crate) fn order(&mut self, id: NodeId, input: Input) {
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.election.is_some() {
            if let Some(record) = &mut self.record {
                record.order(self.now, id, &input);
            }
            node.queue.push_back(Box::new(Letter::Order(input)));
            self.drive(id);
        }
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
        if node.election.is_none() {
            return;
        }
        if matches!(&*letter, Letter::Reply { life, .. } if *life != node.life) {
            return; // the connection that it would have come on has ended
        }
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
        let Some(election) = node.election.as_ref().filter(|_| !node.paused) else {
            return false;
        };
        if let Some(written) = node.writing.take_if(|written| written.until <= now) {
            node.disk.finish_write();
            self.release(id, written);
            return true;
        }
        if let Some(written) = &node.writing {
            let until = written.until;
            self.look(id, until);
            return false;
        }
        if let Some(letter) = node.queue.pop_front() {
            match *letter {
                Letter::Request { from, life, request } => {
                    self.checker.hears(id, (from, life), &request);
                    self.step(id, Input::Request { from, request }, Some((from, life)));
                }
                Letter::Reply { from, reply, .. } => {
                    self.step(id, Input::Reply { from, reply }, None);
                }
                Letter::Order(input) => {
                    if let Input::Eligible(able) = input {
                        node.able = able;
                    }
                    self.step(id, input, None);
                }
            }
            return true;
        }
        if let Some(term) = election.awaits_work() {
            match self.returns_at(id, term) {
                Some(at) => self.look(id, at),
                None => {
                    self.narrate(|| format!("{id} has ended the work of term {term}"));
                    self.step(id, Input::WorkEnded { term }, None);
                    return true;
                }
            }
        }
        let node = self.nodes.get_mut(&id).expect("a node");
        let Some(election) = &node.election else {
            return false;
        };
        let wake_at = election.wake_at();
        if node.clock.at(now) >= wake_at {
            self.step(id, Input::Tick, None);
            return true;
        }
        let at = node.clock.reaches(wake_at);
        if node.looks_at != at {
            node.looks_at = at;
            self.look(id, at);
        }
        false
    }

    fn step(&mut self, id: NodeId, input: Input, asked: Option<(NodeId, u64)>) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        let local = node.clock.at(now);
        let election = node.election.as_mut().expect("a running node");
        let asks_pre_vote = matches!(&input, Input::Request { request: Request::PreVote { .. }, .. });
        let before = asks_pre_vote.then(|| election.clone());
        let output = election.step(local, input);
        if let Some(before) = before {
            self.checker.pre_vote_pure(&before, election, local);
        }
        match output.store(&mut node.disk) {
            Ok(effects) => {
                let until = now.after(node.disk.busy_for());
                let step = node.step(now);
                let written = Written { until, effects, step, asked };
                if until > now {
                    node.writing = Some(written);
                } else {
                    node.disk.finish_write();
                    self.release(id, written);
                }
            }
            Err(()) => {
                node.disk.break_write(&mut self.dice);
                self.narrate(|| format!("{id} could not write"));
                self.note(|| Mark::Fault { node: id, text: "could not write".to_owned() });
                self.step(id, Input::StorageFailed, None);
            }
        }
    }

    /// What a step wanted done, once its state is durable, in the order that the core asks for.
    fn release(&mut self, id: NodeId, written: Written) {
        let Written { effects, mut step, asked, .. } = written;
        step.durable = self.nodes[&id].durable();
        self.checker.published(&step, effects.lease);
        self.set_work(id, &step, effects.lease);
        for event in &effects.events {
            self.checker.tells(&step, event);
            self.narrate(|| format!("{id} {event}"));
            self.note(|| Mark::Role {
                node: id,
                role: event.role,
                term: event.term,
                leader: event.leader,
                text: event.to_string(),
            });
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
            let letter = Box::new(Letter::Reply { from: id, life, reply });
            self.send(id, to, letter, text);
        }
        for (to, request) in effects.messages {
            self.checker.asks(&step, &request);
            let text = self.story.is_some().then(|| request.to_string());
            let text = text.filter(|_| match &request {
                Request::Heartbeat { term, .. } => self.narrated.insert((id, to, *term, false)) || self.every_heartbeat,
                Request::PreVote { .. } | Request::Vote { .. } | Request::Release { .. } => true,
            });
            let letter = Box::new(Letter::Request { from: id, life: step.life, request });
            self.send(id, to, letter, text);
        }
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
            Letter::Order(_) => unreachable!("orders are not sent"),
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

impl Node {
    fn new(setup: Setup) -> Self {
        Node {
            setup,
            clock: Clock { set_at: Real::ZERO, showed: Instant::from_nanos(3_600_000_000_000), ppm: 0 },
            disk: Disk::empty(),
            stateless: None,
            winds_up_in: WindUp::After(Duration::ZERO),
            election: None,
            life: 0,
            booted_in_life: false,
            paused: false,
            queue: VecDeque::new(),
            writing: None,
            published: None,
            work: None,
            winding_up: false,
            able: true,
            stuck: None,
            looks_at: Real::NEVER,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.election.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn term(&self) -> Term {
        self.election.as_ref().map_or(Term::default(), Election::term)
    }

    /// The node as its users see it.
    pub(crate) fn status(&self, now: Real) -> String {
        let Some(election) = &self.election else {
            return "down".to_owned();
        };
        let mut text = format!("{} term={}", election.role(), election.term());
        if let (Some(leader), Role::Follower | Role::Candidate) = (election.leader(), election.role()) {
            text += &format!(" leader={leader}");
        }
        if let Some(lease) = self.published {
            let left = lease.until.since(self.clock.at(now));
            text += &format!(" token={} lease {:.1?} left", lease.token, left);
        }
        text
    }

    fn host(&self) -> Host {
        let process = match (&self.election, self.paused) {
            (None, _) => Process::Down,
            (Some(_), true) => Process::Paused,
            (Some(_), false) => Process::Runs,
        };
        Host {
            process,
            life: self.life,
            booted: self.clock.set_at,
            ppm: self.clock.ppm,
            mood: self.disk.mood,
            torn: self.disk.torn,
            stored: self.disk.durable().is_some(),
            stateless: self.stateless.is_some(),
        }
    }

    fn step(&self, at: Real) -> Step {
        Step {
            node: self.setup.me,
            life: self.life,
            at,
            clock: self.clock,
            durable: self.durable(),
            storage_failed: self.disk.failed,
            settling: self.setup.timing.settling(),
        }
    }

    fn durable(&self) -> Option<HardState> {
        let durable = self.disk.durable().unwrap_or_default();
        self.stateless.is_none().then_some(durable)
    }
}
