//! The cluster as a value: nodes, what is on its way between them, and what the checker remembers.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{
    Effects, Election, HardState, Input, Instant, Recovery, Reply, Request, Setup, Store, Term,
};

use super::names;
use crate::harness::checker::{Checker, Step, Work};
use crate::harness::clock::{Clock, Real};

/// It is always this moment: what is kept of others is counted from it.
pub(super) const NOW: Real = Real(1_000_000_000);
/// And always this moment on every node's clock.
pub(super) const LOCAL_NOW: Instant = Instant::from_nanos(1_000_000_000);

/// A value with its hash, shared by all the situations that it is part of.
#[derive(Debug)]
pub(super) struct Shared<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Shared {
            hash: hasher.finish(),
            value: Arc::new(value),
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared {
            hash: self.hash,
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.value == other.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Shared<Node>>,
    /// Sorted, so that the order in which they were sent makes no difference.
    pub(super) letters: Vec<Shared<Letter>>,
    pub(super) checker: Shared<Checker>,
    pub(super) left: Left,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    /// Messages that arrive twice.
    pub(super) twice: u8,
    pub(super) relinquishes: u8,
    /// Steps of time in which a node that should wake does not.
    pub(super) stalls: u8,
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Node {
    pub(super) ppm: i64,
    pub(super) setup: Arc<Setup>,
    /// Nothing while the process does not run.
    pub(super) election: Option<Election>,
    pub(super) durable: Option<HardState>,
    /// What was durable before that.
    pub(super) older: Option<HardState>,
    pub(super) life: u64,
    pub(super) work: Option<Work>,
}

/// What a restarted node finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Finds {
    /// All that it ever made durable.
    All,
    /// The write before, and the damage beside it.
    Damage,
    /// The write before, and is told that it is the last: what no store may do.
    OldAsNew,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Letter {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    /// The asker's: the connection that takes the reply back ends with it.
    pub(super) life: u64,
    pub(super) says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Says {
    Request(Request),
    Reply(Reply),
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ", self.from, self.to)?;
        match &self.says {
            Says::Request(request) => request.fmt(f),
            Says::Reply(reply) => reply.fmt(f),
        }
    }
}

/// Where a state is durable as soon as it is written: a crash in between is one before the step, or one after it of
/// whose messages none arrives.
struct Disk<'a>(&'a mut Node);

impl Store for Disk<'_> {
    type Error = ();

    fn save(&mut self, state: &HardState) -> Result<(), ()> {
        self.0.older = self.0.durable.replace(*state);
        Ok(())
    }
}

impl Node {
    pub(super) fn id(&self) -> NodeId {
        self.setup.me
    }

    pub(super) fn clock(&self) -> Clock {
        Clock {
            set_at: NOW,
            showed: LOCAL_NOW,
            ppm: self.ppm,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        let due = |election: &Election| election.wake_at() <= LOCAL_NOW;
        self.election.as_ref().is_some_and(due)
    }

    pub(super) fn awaits_work(&self) -> Option<Term> {
        self.election.as_ref().and_then(Election::awaits_work)
    }

    /// The driver is to be told that work has ended, and it has.
    pub(super) fn owes_word(&self) -> bool {
        self.awaits_work().is_some() && self.running().is_none()
    }

    fn running(&self) -> Option<Work> {
        self.work.filter(|work| NOW < work.until)
    }

    fn step(&self) -> Step {
        Step {
            node: self.id(),
            life: self.life,
            at: NOW,
            clock: self.clock(),
            durable: Some(self.durable.unwrap_or_default()),
            mute: false,
        }
    }
}

/// A situation that is being changed.
pub(super) struct Change {
    pub(super) nodes: Vec<Shared<Node>>,
    pub(super) letters: Vec<Shared<Letter>>,
    pub(super) checker: Checker,
    pub(super) left: Left,
}

impl Change {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Change {
            nodes: cluster.nodes.clone(),
            letters: cluster.letters.clone(),
            checker: Checker::clone(&cluster.checker),
            left: cluster.left,
        }
    }

    pub(super) fn done(mut self) -> Cluster {
        names::tidy(&mut self);
        self.letters.sort_by_key(|letter| letter.hash);
        Cluster {
            nodes: self.nodes,
            letters: self.letters,
            checker: Shared::new(self.checker),
            left: self.left,
        }
    }

    pub(super) fn place(&self, id: NodeId) -> usize {
        let place = self.nodes.iter().position(|node| node.id() == id);
        place.expect("a node")
    }

    pub(super) fn change<R>(&mut self, place: usize, what: impl FnOnce(&mut Node) -> R) -> R {
        let mut node = Node::clone(&self.nodes[place]);
        let result = what(&mut node);
        self.nodes[place] = Shared::new(node);
        result
    }

    /// One step of the shipped election, and what follows from it at once, in the order that the core asks for.
    pub(super) fn step(&mut self, place: usize, input: Input, asked: Option<(NodeId, u64)>) {
        let mut node = Node::clone(&self.nodes[place]);
        let mut election = node.election.take().expect("a node that runs");
        let asks_pre_vote = |input: &Input| {
            matches!(
                input,
                Input::Request {
                    request: Request::PreVote { .. },
                    ..
                }
            )
        };
        let before = asks_pre_vote(&input).then(|| election.clone());
        let old_term = node.durable.unwrap_or_default().term;
        let output = election.step(LOCAL_NOW, input);
        if let Some(before) = before {
            self.checker.pre_vote_pure(&before, &election, LOCAL_NOW);
        }
        let effects = output
            .store(&mut Disk(&mut node))
            .expect("a disk that works");
        if node.durable.unwrap_or_default().term < old_term {
            let text = format!("{} stores a lower term than {old_term}", node.id());
            self.checker.fail("TermDurable", text);
        }
        let names = names::rename(&mut election);
        node.election = Some(election);
        let id = node.id();
        names.forget_stale(id, node.life, &mut self.letters);
        self.effects(&mut node, effects, asked, &names);
        self.nodes[place] = Shared::new(node);
    }

    fn effects(
        &mut self,
        node: &mut Node,
        effects: Effects,
        asked: Option<(NodeId, u64)>,
        names: &names::Candidacy,
    ) {
        let step = node.step();
        self.checker.published(&step, effects.lease);
        if let Some(lease) = effects.lease {
            let work = Work {
                token: lease.token,
                until: node.clock().reaches(lease.until),
            };
            if node.running().is_some_and(|old| old.token != work.token) {
                let text = format!(
                    "{} begins {work:?} before {:?} has ended",
                    node.id(),
                    node.work
                );
                self.checker.fail("OneWorkAtATime", text);
            }
            node.work = Some(work);
            self.checker.acts(&step, NOW, work);
        }
        for event in &effects.events {
            self.checker.tells(&step, event);
        }
        if let (Some(reply), Some((to, life))) = (effects.reply, asked) {
            self.checker.answers(&step, (to, life), &reply);
            self.send(node.id(), to, life, Says::Reply(reply));
        }
        for (to, request) in effects.messages {
            self.checker.asks(&step, &request);
            let request = names.in_request(request);
            self.send(node.id(), to, node.life, Says::Request(request));
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, life: u64, says: Says) {
        self.letters.push(Shared::new(Letter {
            from,
            to,
            life,
            says,
        }));
    }

    pub(super) fn deliver(&mut self, letter: &Letter) {
        let place = self.place(letter.to);
        let from = letter.from;
        match letter.says.clone() {
            Says::Request(request) => {
                self.checker.hears(letter.to, (from, letter.life), &request);
                let input = Input::Request { from, request };
                self.step(place, input, Some((from, letter.life)));
                self.answer_pre_vote(from);
            }
            Says::Reply(reply) => self.step(place, Input::Reply { from, reply }, None),
        }
    }

    /// A pre-vote is asked and answered at one moment, or not at all: it changes nothing in who is asked.
    fn answer_pre_vote(&mut self, asker: NodeId) {
        let answers = |letter: &Shared<Letter>| {
            letter.to == asker && matches!(letter.says, Says::Reply(Reply::PreVote { .. }))
        };
        if self.letters.last().is_some_and(answers) {
            let answer = self.letters.pop().expect("the last");
            self.deliver(&answer);
        }
    }

    /// Everything that ran is gone at once.
    pub(super) fn crash(&mut self, place: usize) {
        let mut step = None;
        self.change(place, |node| {
            node.election = None;
            node.work = None;
            step = Some(node.step());
        });
        let step = step.expect("a node");
        self.checker.stops(step.node);
        self.checker.published(&step, None);
        let id = step.node;
        names::Candidacy::NONE.forget_stale(id, step.life, &mut self.letters);
    }

    pub(super) fn start(&mut self, place: usize, finds: Finds) {
        let mut life = 0;
        let id = self.nodes[place].id();
        if finds == Finds::Damage {
            self.checker.forgot(id);
        }
        self.checker.started(id, finds != Finds::Damage);
        self.change(place, |node| {
            if finds != Finds::All {
                node.durable = node.older;
            }
            let state = node.durable.unwrap_or_default();
            let recovery = match (node.durable, finds) {
                (None, Finds::All) => Recovery::Fresh,
                (_, Finds::All | Finds::OldAsNew) => Recovery::Restored {
                    state,
                    down_for: Duration::ZERO,
                },
                (_, Finds::Damage) => Recovery::Restored {
                    state: HardState {
                        in_doubt: true,
                        ..state
                    },
                    down_for: Duration::ZERO,
                },
            };
            node.life += 1;
            life = node.life;
            let setup = Setup::clone(&node.setup);
            let mut election = Election::new(setup, recovery, LOCAL_NOW, 0);
            names::rename(&mut election);
            node.election = Some(election);
        });
        // The connections of the life before are gone, and the answers on them.
        self.letters.retain(|letter| {
            letter.to != id || letter.life == life || matches!(letter.says, Says::Request(_))
        });
    }

    pub(super) fn end_work(&mut self, place: usize) {
        let node = &self.nodes[place];
        let (id, term) = (node.id(), node.awaits_work());
        self.change(place, |node| node.work = None);
        self.checker.stops(id);
        if let Some(term) = term {
            self.step(place, Input::WorkEnded { term }, None);
        }
    }

    /// So much passes in the world.
    pub(super) fn pass(&mut self, span: Duration) {
        let later = NOW.after(span);
        let on = |node: &Node| node.clock().at(later).since(LOCAL_NOW);
        let spans: Vec<_> = self
            .nodes
            .iter()
            .map(|node| (node.id(), on(node)))
            .collect();
        let on = |id: NodeId| {
            spans
                .iter()
                .find(|(node, _)| *node == id)
                .expect("a node")
                .1
        };
        self.checker.aged(NOW, span, on);
        for place in 0..self.nodes.len() {
            self.change(place, |node| {
                let passed = LOCAL_NOW + on(node.id());
                if let Some(work) = &mut node.work {
                    work.until = Real(work.until.0 - (later.0 - NOW.0).min(work.until.0));
                }
                node.work = node.running();
                if let Some(election) = &mut node.election {
                    *election = names::moved(election, passed);
                }
            });
        }
    }
}
