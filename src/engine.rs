//! What does a node do? All of it but the doing, as a value.
//!
//! [`Election`] decides who leads, and until when. A node decides more: whether a call of the program is carried out
//! and what it is told, when the work of a leader counts as silent or as overrun, whether the node is eligible, how an
//! orderly stop goes and when it is over, and what is worth a line in the log. All of that is here, and nothing of it
//! needs a clock, a lock, a thread, a channel or a file. So a simulation can run it by seed, and a test can break it on
//! purpose.
//!
//! # How it is driven
//!
//! A loop around an [`Engine`] has six steps. The thread of a node is such a loop, and so is the simulation.
//!
//! 1. Wait for something to come, but no longer than until [`Engine::wake_at`].
//! 2. Read the clock. If [`Engine::is_late`], first step [`Mail::Late`]. If [`Engine::looks_at_program`], then step
//!    [`Mail::Program`].
//! 3. Call [`Engine::step`] with what came. When the queue is empty, step [`Mail::Wake`].
//! 4. Make the state durable with [`Output::store`]. That is the only way to the effects. If it fails, step
//!    [`Mail::StorageFailed`].
//! 5. Carry out the [`Effects`]: first tell of an overrun, then publish the lease, then everything else.
//! 6. Step [`Mail::LeaseFree`] for each term whose lease was taken away and guards nothing any more.
//!
//! `C` names a caller, so that its answer finds it: a channel in a node, a number in the simulation. The enums are
//! exhaustive on purpose: a loop that does not know one of their variants must not compile.
//!
//! An [`Engine`] and its [`Mail`] implement `serde::Serialize` for the flight recorder. Each version encodes them in
//! its own way.

mod calls;
#[cfg(feature = "checkers")]
mod canonical;
mod mail;
mod output;
mod program;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

pub use mail::{Call, Health, Mail, Program, Work};
pub use output::{Answer, Effects, Level, Note, Output, Told, Undone};

use crate::election::{
    Cause, Election, EndReason, Event, Input, Instant, NodeId, Reply, Request, Term, Timing, TimingError, TimingSpec,
};

/// One node, as a value. See the [module](self) for how to drive it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Engine<C> {
    election: Election,
    /// How long a stop waits for the others to confirm the release.
    last_words: Duration,
    program: Program,
    /// What the election was last told of the program.
    eligible: bool,
    healthy: bool,
    /// Until when this node stays behind, because its program wants it; the start of the clock if it does not.
    hold_off_until: Instant,
    /// The turn that the program got last.
    turn: Turn,
    /// The leases that were published and may still guard something.
    leases: BTreeMap<Term, Guarded>,
    /// The last term whose overrun was told.
    overran: Term,
    /// The last term of which it was looked whether its lease is kept.
    kept: Term,
    /// Those who wait until this node leads no more.
    waiting: Vec<C>,
    /// Those who have not confirmed the release yet.
    releases: BTreeSet<NodeId>,
    /// When the node stops, whatever is still pending.
    stop_by: Option<Instant>,
    /// The peers that could not be reached since this node leads, and were not heard after that.
    unreachable: BTreeSet<NodeId>,
    /// When each peer was last heard.
    heard: BTreeMap<NodeId, Instant>,
    /// The last term for which each node was reported as a second leader. It says so with every heartbeat.
    reported: BTreeMap<NodeId, Term>,
    /// When each peer last spoke of a term too far ahead.
    too_far: BTreeMap<NodeId, Instant>,
    /// What each node promised last, unless its last answer promised nothing.
    promised: BTreeMap<NodeId, Duration>,
    /// The last timer that was found late.
    late_for: Instant,
    /// When it was last stepped.
    stepped_at: Instant,
}

/// After this time without a term too far ahead, the next one of the same peer is told again.
const QUIET: Duration = Duration::from_secs(60);

/// A lease that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
struct Guarded {
    /// When what it guards must have ended.
    until: Instant,
    /// It was taken away.
    ended: bool,
}

/// After the node was late, its program gets a turn, too, before anything is said about it. What was due before the
/// node was late is not put off, so that a node that is late all the time still judges its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
struct Turn {
    /// From when on the node was late.
    late_from: Instant,
    until: Instant,
}

impl<C: Clone> Engine<C> {
    /// A node whose part in the election is `election`. First step [`Mail::Program`], then [`Mail::Start`].
    ///
    /// A stop waits for `last_words` at most until the other nodes have confirmed that leadership is released.
    #[must_use]
    pub fn new(election: Election, last_words: Duration) -> Self {
        Engine {
            election,
            last_words,
            program: Program::default(),
            eligible: true,
            healthy: true,
            hold_off_until: Instant::ZERO,
            turn: Turn::default(),
            leases: BTreeMap::new(),
            overran: Term::default(),
            kept: Term::default(),
            waiting: Vec::new(),
            releases: BTreeSet::new(),
            stop_by: None,
            unreachable: BTreeSet::new(),
            heard: BTreeMap::new(),
            reported: BTreeMap::new(),
            too_far: BTreeMap::new(),
            promised: BTreeMap::new(),
            late_for: Instant::NEVER,
            stepped_at: Instant::ZERO,
        }
    }

    /// Takes one thing at the moment `now`.
    ///
    /// # Panics
    ///
    /// If `now` is before the moment of an earlier step.
    pub fn step(&mut self, now: Instant, mail: Mail<C>) -> Output<C> {
        assert!(now >= self.stepped_at, "time went back: {now:?} after {:?}", self.stepped_at);
        self.stepped_at = now;
        let mut out = Output { save: None, role_changed: false, effects: Effects::default() };
        self.note_lateness(now, &mut out.effects);
        let is_program = matches!(mail, Mail::Program(_));
        match mail {
            Mail::Start => {
                out.effects.told.push(self.told(Cause::Started));
                self.elect(now, Input::Tick, &mut out);
            }
            Mail::Wake if now >= self.election.wake_at() => self.elect(now, Input::Tick, &mut out),
            Mail::Wake => {}
            Mail::Late => self.give_turn(now),
            Mail::Request { from, request } => {
                self.hear(now, from);
                self.elect(now, Input::Request { from, request }, &mut out);
            }
            Mail::Reply { from, reply } => self.reply(now, from, reply, &mut out),
            Mail::Obituary { of, up_to } => self.elect(now, Input::Obituary { of, up_to }, &mut out),
            Mail::Unanswered { by } => {
                self.releases.remove(&by);
                if self.leads() {
                    self.unreachable.insert(by);
                }
            }
            Mail::Call { call, caller } => self.call(now, call, caller, &mut out),
            Mail::Program(program) => self.program = program,
            Mail::LeaseFree { term } => self.lease_free(now, term, &mut out),
            Mail::Stop => self.stop(now, &mut out),
            Mail::StorageFailed { problem, undone } => {
                out.effects.notes.push(Note::StorageFailed { problem });
                out.effects.answers = undone.answers;
                self.elect(now, Input::StorageFailed, &mut out);
            }
        }
        self.look_at_program(now, is_program, &mut out);
        if !self.leads() {
            let answers = self.waiting.drain(..).map(|caller| (caller, Answer::Done));
            out.effects.answers.extend(answers);
        }
        out.effects.lease = self.election.lease();
        out.effects.stopped = self.has_stopped(now);
        out
    }

    /// When the next [`Mail::Wake`] is due, if nothing comes before.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        self.election.wake_at().min(self.program_at()).min(self.stop_by.unwrap_or(Instant::NEVER))
    }

    /// This node's part in the election.
    #[must_use]
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// Whether nothing is pending: no caller waits, no release is unconfirmed, no lease that was taken away still
    /// guards something.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let ended = self.leases.values().any(|lease| lease.ended);
        self.waiting.is_empty() && self.releases.is_empty() && !ended && self.leases.len() <= 1
    }

    /// One step of the election.
    fn elect(&mut self, now: Instant, input: Input, out: &mut Output<C>) {
        let role = self.election.role();
        let (save, effects) = self.election.step(now, input).into_parts();
        if self.election.role() != role {
            out.role_changed = true;
            self.releases.clear();
            self.unreachable.clear();
        }
        out.save = save.or(out.save);
        out.effects.reply = effects.reply.or(out.effects.reply.take());
        self.note_lease(now, &effects.events, &mut out.effects);
        if let Some((peer, term)) = effects.too_far {
            self.note_too_far(now, peer, term, &mut out.effects);
        }
        for (to, request) in effects.messages {
            if matches!(request, Request::Release { .. }) {
                self.releases.insert(to);
                self.stop_by = self.stop_by.map(|_| now + self.last_words);
            }
            out.effects.messages.push((to, request));
        }
        for event in effects.events {
            let level = self.level(&event);
            out.effects.told.push(Told { event, level });
        }
    }

    /// Follows the lease: how long the current one lasts, and which one has ended.
    fn note_lease(&mut self, now: Instant, events: &[Event], effects: &mut Effects<C>) {
        let lease = self.election.lease();
        let grace = self.timing().election_timeout();
        for (term, guarded) in &mut self.leases {
            if !guarded.ended && lease.is_none_or(|lease| lease.token != *term) {
                guarded.ended = true;
                guarded.until = guarded.until.min(now + grace);
                let end = events.iter().find(|event| event.token != Some(*term));
                effects.end_reason = end.map_or(EndReason::QuorumLost, |event| event.cause.end_reason());
            }
        }
        if let Some(lease) = lease {
            let guarded = self.leases.entry(lease.token).or_insert(Guarded { until: lease.until, ended: false });
            guarded.until = lease.until;
        }
    }

    /// Nothing is guarded by the lease of `term` any more. Counts only once the lease was taken away: until then the
    /// program may take another guard.
    fn lease_free(&mut self, now: Instant, term: Term, out: &mut Output<C>) {
        if !self.leases.get(&term).is_some_and(|guarded| guarded.ended) {
            return;
        }
        self.leases.remove(&term);
        if self.election.awaits_work() == Some(term) {
            self.elect(now, Input::WorkEnded { term }, out);
        }
    }

    fn reply(&mut self, now: Instant, from: NodeId, reply: Reply, out: &mut Output<C>) {
        self.hear(now, from);
        match &reply {
            Reply::Release { .. } => {
                self.releases.remove(&from);
            }
            Reply::Heartbeat { granted, .. } => {
                if granted.is_zero() {
                    self.promised.remove(&from);
                } else if let Some(problem) = self.misfit(from, *granted) {
                    out.effects.notes.push(Note::TimingDiffers { peer: from, problem });
                }
            }
            Reply::PreVote { .. } | Reply::Vote { .. } => {}
        }
        self.elect(now, Input::Reply { from, reply }, out);
    }

    fn hear(&mut self, now: Instant, from: NodeId) {
        self.heard.insert(from, now);
        self.unreachable.remove(&from);
    }

    /// What does not fit when `peer` has promised no more than `granted` to a leader with this timing. Told once: it is
    /// the peer's election timeout, and comes with every heartbeat.
    fn misfit(&mut self, peer: NodeId, granted: Duration) -> Option<TimingError> {
        if self.promised.get(&peer) == Some(&granted) {
            return None;
        }
        self.promised.insert(peer, granted);
        let timing = self.timing();
        let spec = TimingSpec {
            heartbeat_interval: timing.heartbeat_interval(),
            election_timeout: granted,
            clock_drift_ppm: timing.clock_drift_ppm(),
        };
        Timing::new(spec).err()
    }

    /// Told when it begins: a peer that speaks of such terms does so with every message.
    fn note_too_far(&mut self, now: Instant, peer: NodeId, term: Term, effects: &mut Effects<C>) {
        let last = self.too_far.insert(peer, now);
        if last.is_none_or(|last| now.since(last) >= QUIET) {
            let own = self.election.term();
            effects.notes.push(Note::TermTooFar { peer, term, own });
        }
    }

    /// How late this step is for what was due, once for each moment at which something was.
    fn note_lateness(&mut self, now: Instant, effects: &mut Effects<C>) {
        let due = self.election.wake_at();
        if now >= due && self.late_for != due {
            self.late_for = due;
            effects.late = Some(now.since(due));
        }
    }

    fn timing(&self) -> Timing {
        self.election.timing()
    }

    fn leads(&self) -> bool {
        self.election.leader() == Some(self.election.me())
    }

    /// Whether this node leads and is giving leadership up.
    fn is_stepping_down(&self) -> bool {
        self.leads() && self.election.awaits_work() == Some(self.election.term())
    }

    /// An event that only this node tells, not its election.
    fn told(&self, cause: Cause) -> Told {
        let election = &self.election;
        let (role, term, leader) = (election.role(), election.term(), election.leader());
        let event = Event { role, term, leader, token: None, cause };
        let level = Some(Level::of(&event));
        Told { event, level }
    }

    /// At which level an event is logged. A second leader is logged once in a term.
    fn level(&mut self, event: &Event) -> Option<Level> {
        let news = match event.cause {
            Cause::ProtocolViolation { by } | Cause::SecondLease { by } => {
                self.reported.insert(by, event.term) != Some(event.term)
            }
            _ => true,
        };
        news.then(|| Level::of(event))
    }
}
