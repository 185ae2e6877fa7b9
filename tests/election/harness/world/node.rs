//! One host of the cluster, and the process that runs on it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Deadline, HardState, Instant, Role, Setup, Term};
use leadelect::engine::{Engine, Mail};

use super::program::{Lease, Program};
use super::{Letter, Written};
use crate::harness::Dice;
use crate::harness::checker::{Step, Work};
use crate::harness::clock::{Clock, Real};
use crate::harness::disk::Disk;
use crate::harness::record::{Host, Process};

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
    pub(super) engine: Option<Engine<u64>>,
    pub(super) life: u64,
    pub(super) booted_in_life: bool,
    pub(super) paused: bool,
    pub(super) queue: VecDeque<Box<Letter>>,
    /// A step whose state is still being written.
    pub(super) writing: Option<Written>,
    pub(super) published: Option<Deadline>,
    pub(super) work: Option<Work>,
    pub(super) winding_up: bool,
    pub(crate) program: Program,
    /// The leases of this life that are published or still guard something.
    pub(super) leases: BTreeMap<Term, Lease>,
    /// When it was told to stop.
    pub(super) stopping: Option<Instant>,
    /// The election thread gets no processor for this time, after the next step with something to tell.
    pub(crate) slow_turn: Duration,
    pub(super) busy_until: Real,
    /// It does not say what its engine does.
    pub(crate) lies: Option<Dice>,
    /// Work that has hung, and until when: it returns no sooner.
    pub(crate) stuck: Option<Work>,
    pub(super) looks_at: Real,
    /// From which life of which peer a connection has come, in this life.
    pub(super) met: BTreeMap<NodeId, u64>,
    /// How often what it had stored was lost.
    pub(super) disk_losses: u64,
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

impl Node {
    pub(super) fn new(setup: Setup) -> Self {
        Node {
            setup,
            clock: Clock { set_at: Real::ZERO, showed: Instant::from_nanos(3_600_000_000_000), ppm: 0 },
            disk: Disk::empty(),
            stateless: None,
            winds_up_in: WindUp::After(Duration::ZERO),
            engine: None,
            life: 0,
            booted_in_life: false,
            paused: false,
            queue: VecDeque::new(),
            writing: None,
            published: None,
            work: None,
            winding_up: false,
            program: Program::default(),
            leases: BTreeMap::new(),
            stopping: None,
            slow_turn: Duration::ZERO,
            busy_until: Real::ZERO,
            lies: None,
            stuck: None,
            looks_at: Real::NEVER,
            met: BTreeMap::new(),
            disk_losses: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.engine.is_some()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        let stops = |letter: &Letter| matches!(letter, Letter::Own { mail: Mail::Stop, .. });
        self.stopping.is_some() || self.queue.iter().any(|letter| stops(letter))
    }

    /// Whether nothing is pending in it.
    pub(crate) fn is_settled(&self) -> bool {
        self.engine.as_ref().is_none_or(Engine::is_settled)
    }

    /// Until when work goes on although the node's own threads have died. The process lives on, and keeps its lock.
    pub(super) fn work_outlives_until(&self, now: Real) -> Option<Real> {
        let work = self.work.filter(|work| self.engine.is_none() && now < work.until);
        work.map(|work| work.until)
    }

    /// Of a peer's lives the last one has a connection, whatever is late of an earlier one.
    pub(super) fn meets(&mut self, peer: NodeId, life: u64) {
        let known = self.met.entry(peer).or_default();
        *known = life.max(*known);
    }

    /// How long the others may take to answer a release.
    pub(super) fn last_words(&self) -> Duration {
        self.setup.timing.election_timeout() / 2
    }

    /// Puts mail of the process itself into its queue.
    pub(super) fn own(&mut self, mail: Mail<u64>) {
        self.queue.push_back(Box::new(Letter::Own { life: self.life, mail }));
    }

    /// Until when the election thread waits for the disk, or for somebody to read the log.
    pub(super) fn waits_until(&self, now: Real) -> Option<Real> {
        let writing = self.writing.as_ref().map(|written| written.until);
        writing.or_else(|| (now < self.busy_until).then_some(self.busy_until))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn term(&self) -> Term {
        self.engine.as_ref().map_or(Term::default(), |engine| engine.election().term())
    }

    /// The node as its users see it.
    pub(crate) fn status(&self, now: Real) -> String {
        let Some(engine) = &self.engine else {
            return "down".to_owned();
        };
        let election = engine.election();
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

    pub(super) fn host(&self) -> Host {
        let process = match (&self.engine, self.paused) {
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

    pub(super) fn step(&self, at: Real) -> Step {
        Step {
            node: self.setup.me,
            life: self.life,
            at,
            clock: self.clock,
            durable: self.durable(),
            storage_failed: self.disk.failed,
            settling: self.setup.timing.settling(),
            leads: self.engine.as_ref().is_some_and(|engine| engine.election().leader() == Some(self.setup.me)),
            term: self.term(),
        }
    }

    pub(super) fn durable(&self) -> Option<HardState> {
        let durable = self.disk.durable().unwrap_or_default();
        self.stateless.is_none().then_some(durable)
    }
}
