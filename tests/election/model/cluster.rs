//! The cluster as a value: nodes, what is on its way between them, and what the checker remembers. Time is always the
//! same moment: what is kept of others is counted from it.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Election, Event, HardState, Instant, Recovery, Reply, Request, Setup, Store, Term};
use leadelect::engine::{Answer, Call, Effects, Engine, Mail};

use super::fingerprint::Shared;
use super::names;
use crate::harness::checker::{Checker, Step, Work};
use crate::harness::clock::{Clock, Real};
use crate::harness::turn::Driven;

/// It is always this moment.
pub(super) const NOW: Real = Real(1_000_000_000);
/// And always this moment on every node's clock.
pub(super) const LOCAL_NOW: Instant = Instant::from_nanos(1_000_000_000);

#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) nodes: [Shared<Node>; 3],
    /// In the order in which they were sent.
    pub(super) letters: Vec<Shared<Letter>>,
    /// Letters that are late: they arrive at any time, or never. Sorted, so that the order in which they became late
    /// makes no difference.
    pub(super) late: Vec<Shared<Letter>>,
    pub(super) cut: Cut,
    /// Nothing has happened yet in this moment.
    pub(super) early: bool,
    pub(super) checker: Shared<Checker>,
}

/// Links that carry nothing, one bit for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Cut(pub(super) u16);

impl Cut {
    pub(super) fn one_way(from: usize, to: usize) -> Cut {
        Cut(1 << (from * 3 + to))
    }

    pub(super) fn link(one: usize, other: usize) -> Cut {
        Cut(Cut::one_way(one, other).0 | Cut::one_way(other, one).0)
    }

    pub(super) fn around(place: usize) -> Cut {
        let (one, other) = ((place + 1) % 3, (place + 2) % 3);
        Cut(Cut::link(place, one).0 | Cut::link(place, other).0)
    }

    fn carries(self, from: usize, to: usize) -> bool {
        self.0 & Cut::one_way(from, to).0 == 0
    }
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Node {
    pub(super) ppm: i64,
    pub(super) setup: Kept<Setup>,
    /// Nothing while the process does not run.
    pub(super) engine: Option<Driven<()>>,
    pub(super) durable: Option<HardState>,
    /// What was durable before that.
    pub(super) older: Option<HardState>,
    pub(super) life: u64,
    pub(super) work: Option<Work>,
    /// Its work goes on, though it was told to stop.
    pub(super) lingers: bool,
    /// Does nothing: for so many more steps of time at most.
    pub(super) stalled: Option<u8>,
    /// So many letters were waiting when it went on. They come first.
    pub(super) backlog: u8,
    /// Its last process but the present one is dead, and nobody has said so yet: up to which term.
    pub(super) unsaid: Option<Term>,
}

/// What never changes need not be compared.
#[derive(Debug, Clone)]
pub(super) struct Kept<T>(pub(super) Arc<T>);

impl<T> PartialEq for Kept<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Hash for Kept<T> {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Letter {
    pub(super) from: u8,
    pub(super) to: u8,
    /// The asker's: the connection that takes the reply back ends with it.
    pub(super) life: u64,
    pub(super) says: Says,
    /// Sent in an earlier moment.
    pub(super) old: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Says {
    Request(Request),
    Reply(Reply),
    Obituary(Term),
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ", self.from + 1, self.to + 1)?;
        match &self.says {
            Says::Request(request) => request.fmt(f),
            Says::Reply(reply) => reply.fmt(f),
            Says::Obituary(up_to) => write!(f, "Obituary term={up_to}"),
        }
    }
}

/// What no host, store or driver may do, planted to see whether the search finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The store gives out the state before the last as the last.
    StoreForgets,
    /// The host tells a restarted node that it was down for an hour.
    HostLies,
    /// The program gives its lease back while its work still runs.
    WorkGoesOn,
    /// The clock stands while the node is stalled, as that of a host that sleeps.
    ClockStands,
    /// What is answered is sent before it is durable, and then the process dies.
    SaidBeforeStored,
}

/// Where a state is durable as soon as it is written.
struct Disk<'a> {
    node: &'a mut Node,
    wrote: bool,
}

impl Store for Disk<'_> {
    type Error = ();

    fn save(&mut self, state: &HardState) -> Result<(), ()> {
        self.node.older = self.node.durable.replace(*state);
        self.wrote = true;
        Ok(())
    }
}

impl Node {
    pub(super) fn id(&self) -> NodeId {
        self.setup.0.me
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { set_at: NOW, showed: LOCAL_NOW, ppm: self.ppm }
    }

    pub(super) fn election(&self) -> Option<&Election> {
        self.engine.as_ref().map(|driven| driven.engine.election())
    }

    pub(super) fn runs(&self) -> bool {
        self.engine.is_some() && self.stalled.is_none()
    }

    pub(super) fn is_due(&self) -> bool {
        self.engine.as_ref().is_some_and(|driven| driven.engine.wake_at() <= LOCAL_NOW)
    }

    /// The lease that was taken away and that its program still holds.
    pub(super) fn keeps(&self) -> Option<Term> {
        self.engine.as_ref().and_then(|driven| driven.taken().first().copied())
    }

    pub(super) fn running(&self) -> Option<Work> {
        self.work.filter(|work| NOW < work.until)
    }

    pub(super) fn term(&self) -> u64 {
        self.election().map_or(0, |election| election.term().0)
    }

    fn step(&self) -> Step {
        Step {
            node: self.id(),
            life: self.life,
            at: NOW,
            clock: self.clock(),
            durable: Some(self.durable.unwrap_or_default()),
            storage_failed: false,
            settling: self.setup.0.timing.settling(),
            leads: self.election().is_some_and(|election| election.leader() == Some(self.id())),
            term: Term(self.term()),
        }
    }
}

/// Whether what a step wants done is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    Yes,
    /// The process ends when its state is durable, and nothing is said.
    OnlyTheState,
}

/// A situation that is being changed.
pub(super) struct Change<'a> {
    pub(super) cluster: Cluster,
    checker: Checker,
    pub(super) fault: Option<Fault>,
    /// What the nodes told on the way.
    pub(super) events: &'a mut Vec<Event>,
    /// A call was refused.
    refused: bool,
}

/// The number of a call by the program of the node at this place. It makes one at a time.
fn call(place: usize) -> u64 {
    place as u64
}

impl<'a> Change<'a> {
    pub(super) fn of(cluster: &Cluster, fault: Option<Fault>, events: &'a mut Vec<Event>) -> Change<'a> {
        let checker = Checker::clone(&cluster.checker);
        Change { cluster: cluster.clone(), checker, fault, events, refused: false }
    }

    pub(super) fn done(self) -> Cluster {
        let Change { mut cluster, checker, .. } = self;
        names::tidy(&mut cluster, checker);
        cluster
    }

    pub(super) fn change<R>(&mut self, place: usize, what: impl FnOnce(&mut Node) -> R) -> R {
        let mut node = Node::clone(&self.cluster.nodes[place]);
        let result = what(&mut node);
        self.cluster.nodes[place] = Shared::new(node);
        result
    }

    /// One step of the shipped engine, and what follows from it at once, in the order that the engine asks for.
    /// Returns whether something was stored.
    pub(super) fn step(
        &mut self,
        place: usize,
        mail: Mail<()>,
        asked: Option<(usize, u64)>,
        survives: Survives,
    ) -> bool {
        let mut node = Node::clone(&self.cluster.nodes[place]);
        let mut driven = node.engine.take().expect("a node that runs");
        let asks_pre_vote = matches!(&mail, Mail::Request { request: Request::PreVote { .. }, .. });
        let before = asks_pre_vote.then(|| driven.engine.election().clone());
        let old_term = node.durable.unwrap_or_default().term;
        let mut disk = Disk { node: &mut node, wrote: false };
        let done = driven.step(LOCAL_NOW, mail, &mut disk);
        let wrote = disk.wrote;
        if let Some(before) = before {
            self.checker.pre_vote_pure(&before, driven.engine.election(), LOCAL_NOW);
        }
        let early = survives == Survives::OnlyTheState && self.fault == Some(Fault::SaidBeforeStored);
        if early && wrote {
            node.durable = node.older;
        }
        if node.durable.unwrap_or_default().term < old_term {
            let text = format!("{} stores a lower term than {old_term}", node.id());
            self.checker.fail("TermDurable", text);
        }
        let names = names::rename(&mut driven.engine, place);
        node.engine = Some(driven);
        names.rename(place, &mut self.cluster.letters);
        names.rename(place, &mut self.cluster.late);
        self.cluster.late.sort_by_key(|letter| letter.print);
        if survives == Survives::Yes || early {
            for effects in done {
                self.effects(place, &mut node, effects, asked, &names);
            }
        }
        self.cluster.nodes[place] = Shared::new(node);
        if survives == Survives::OnlyTheState {
            self.crash(place);
        }
        wrote
    }

    fn effects(
        &mut self,
        place: usize,
        node: &mut Node,
        effects: Effects<()>,
        asked: Option<(usize, u64)>,
        names: &names::Candidacy,
    ) {
        let step = node.step();
        self.checker.published(&step, effects.lease);
        if let Some(lease) = effects.lease {
            let work = Work { token: lease.token, until: node.clock().reaches(lease.until) };
            if let Some(old) = node.running().filter(|old| old.token != work.token) {
                let text = format!("{} begins {work:?} before {old:?} has ended", node.id());
                self.checker.fail("OneWorkAtATime", text);
            }
            node.work = Some(work);
            node.lingers = false;
            self.checker.acts(&step, NOW, work);
        }
        for told in effects.told {
            self.checker.tells(&step, &told.event);
            self.events.push(told.event);
        }
        if let (Some(reply), Some((to, life))) = (effects.reply, asked) {
            let id = self.cluster.nodes[to].id();
            self.checker.answers(&step, (id, life), &reply);
            self.send(place, to, life, Says::Reply(reply));
        }
        for (to, request) in effects.messages {
            self.checker.asks(&step, &request);
            let to = self.place(to);
            let request = names.in_request(request);
            self.send(place, to, node.life, Says::Request(request));
        }
        for ((), answer) in effects.answers {
            self.checker.answered(&step, call(place), &answer);
            self.refused |= matches!(answer, Answer::Refused(_));
        }
        if !step.leads && self.checker.open_calls().any(|(number, _)| number == call(place)) {
            let text = format!("{} leads no more, and does not say so to its program", step.node);
            self.checker.fail("CallsAnswered", text);
        }
    }

    fn place(&self, id: NodeId) -> usize {
        let place = self.cluster.nodes.iter().position(|node| node.id() == id);
        place.expect("a node")
    }

    fn send(&mut self, from: usize, to: usize, life: u64, says: Says) {
        if self.cluster.cut.carries(from, to) {
            self.cluster.letters.push(Shared::new(Letter {
                from: u8::try_from(from).unwrap(),
                to: u8::try_from(to).unwrap(),
                life,
                says,
                old: false,
            }));
        }
    }

    pub(super) fn less_backlog(&mut self, place: usize) {
        if self.cluster.nodes[place].backlog > 0 {
            self.change(place, |node| node.backlog -= 1);
        }
    }

    pub(super) fn take_and_deliver(&mut self, letter: usize, survives: Survives) -> bool {
        let letter = self.cluster.letters.remove(letter);
        self.less_backlog(usize::from(letter.to));
        self.deliver(&letter, survives)
    }

    pub(super) fn deliver(&mut self, letter: &Letter, survives: Survives) -> bool {
        let (place, asker) = (usize::from(letter.to), usize::from(letter.from));
        let from = self.cluster.nodes[asker].id();
        match letter.says.clone() {
            Says::Request(request) => {
                let to = self.cluster.nodes[place].id();
                self.checker.hears(to, (from, letter.life), &request);
                let mail = Mail::Request { from, request };
                self.step(place, mail, Some((asker, letter.life)), survives)
            }
            Says::Reply(reply) => self.step(place, Mail::Reply { from, reply }, None, survives),
            Says::Obituary(up_to) => {
                self.checker.obituary_true(NOW, from, up_to);
                self.checker.buries(self.cluster.nodes[place].id(), (from, None), up_to);
                self.step(place, Mail::Obituary { of: from, up_to }, None, survives)
            }
        }
    }

    /// Everything that ran is gone at once.
    pub(super) fn crash(&mut self, place: usize) {
        let step = self.change(place, |node| {
            node.engine = None;
            node.work = None;
            node.lingers = false;
            node.stalled = None;
            node.backlog = 0;
            node.step()
        });
        self.checker.stops(step.node);
        self.checker.calls_end(step.node);
        self.checker.published(&step, None);
        names::Candidacy::NONE.rename(place, &mut self.cluster.letters);
        names::Candidacy::NONE.rename(place, &mut self.cluster.late);
        self.cluster.late.sort_by_key(|letter| letter.print);
    }

    /// Somebody who has got the lock of a dead process tells both others, now or some time later.
    pub(super) fn bury(&mut self, place: usize) {
        let Some(up_to) = self.change(place, |node| node.unsaid.take()) else {
            return;
        };
        self.checker.obituary_true(NOW, self.cluster.nodes[place].id(), up_to);
        for to in (0..3).filter(|to| *to != place) {
            self.send(place, to, 0, Says::Obituary(up_to));
        }
    }

    pub(super) fn start(&mut self, place: usize) {
        let id = self.cluster.nodes[place].id();
        self.checker.started(id, true);
        let fault = self.fault;
        self.change(place, |node| {
            if fault == Some(Fault::StoreForgets) && node.older.is_some() {
                node.durable = node.older;
            }
            let recovery = match node.durable {
                None => Recovery::Fresh,
                Some(state) => Recovery::Restored {
                    state,
                    down_for: match fault {
                        Some(Fault::HostLies) => Duration::from_secs(3600),
                        _ => Duration::ZERO,
                    },
                },
            };
            node.life += 1;
            let setup = Setup::clone(&node.setup.0);
            let last_words = setup.timing.election_timeout();
            let mut engine = Engine::new(Election::new(setup, recovery, LOCAL_NOW, 0), last_words);
            names::rename(&mut engine, place);
            node.engine = Some(Driven::new(engine));
        });
    }

    /// The program has stopped, and gives its lease back.
    pub(super) fn end_work(&mut self, place: usize, survives: Survives) -> bool {
        let term = self.cluster.nodes[place].keeps();
        if self.fault != Some(Fault::WorkGoesOn) {
            let id = self.cluster.nodes[place].id();
            self.checker.stops(id);
            self.change(place, |node| {
                node.work = None;
                node.lingers = false;
            });
        }
        let term = term.expect("a lease that is kept");
        self.step(place, Mail::LeaseFree { term }, None, survives)
    }

    /// The program calls its node. Returns whether that has changed anything.
    pub(super) fn call(&mut self, place: usize, what: Call) -> bool {
        let old = self.cluster.nodes[place].clone();
        self.checker.calls(call(place), old.id(), &what);
        self.step(place, Mail::Call { call: what, caller: () }, None, Survives::Yes);
        !self.refused || self.cluster.nodes[place].print != old.print || self.checker.violation.is_some()
    }

    /// So much passes in the world.
    pub(super) fn pass(&mut self, span: Duration) {
        let later = NOW.after(span);
        let stands = self.fault == Some(Fault::ClockStands);
        let on = |node: &Node| match stands && node.stalled.is_some() {
            true => Duration::ZERO,
            false => node.clock().at(later).since(LOCAL_NOW),
        };
        let spans: Vec<_> = self.cluster.nodes.iter().map(|node| on(node)).collect();
        let ids: Vec<_> = self.cluster.nodes.iter().map(|node| node.id()).collect();
        let span_of = |id: NodeId| spans[ids.iter().position(|own| *own == id).expect("a node")];
        self.checker.aged(NOW, span, span_of);
        self.cluster.early = true;
        for letter in self.cluster.letters.iter_mut().chain(&mut self.cluster.late) {
            if !letter.old {
                *letter = Shared::new(Letter { old: true, ..Letter::clone(letter) });
            }
        }
        for (place, passed) in spans.iter().enumerate() {
            let names = self.change(place, |node| {
                if let Some(work) = &mut node.work {
                    work.until = Real(work.until.0.saturating_sub(later.0 - NOW.0));
                }
                node.work = node.running();
                if let Some(left) = &mut node.stalled {
                    *left = left.saturating_sub(1);
                }
                let driven = node.engine.as_mut();
                driven.map(|driven| names::move_to_now(&mut driven.engine, LOCAL_NOW + *passed))
            });
            if let Some(names) = names {
                names.rename(place, &mut self.cluster.letters);
                names.rename(place, &mut self.cluster.late);
            }
            self.sleeps(place, span);
        }
        self.cluster.late.sort_by_key(|letter| letter.print);
    }

    /// Planted: what a host that slept may do by its clock, it may do later by everybody else's.
    fn sleeps(&mut self, place: usize, span: Duration) {
        if self.fault != Some(Fault::ClockStands) || self.cluster.nodes[place].stalled.is_none() {
            return;
        }
        let later = self.change(place, |node| {
            let work = node.work.as_mut()?;
            work.until = work.until.after(span);
            Some((*work, node.step()))
        });
        if let Some((work, step)) = later {
            self.checker.acts(&step, NOW, work);
        }
    }
}
