//! The program that runs on a node, and what it shares with the node: acts on its leases in the nastiest way that it
//! may, and calls whatever it may call.

use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Deadline, EndReason, Instant, Request, Term};
use leadelect::engine::{Call, Effects, Health, Mail, Note, Program as Seen, Work as RunningWork};

use super::{Letter, Node, WindUp, World};
use crate::harness::checker::{Checker, Step, Work};
use crate::harness::clock::{Real, nanos};
use crate::harness::record::Mark;

/// What the program is and wants.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// It does its work inside `lead`, and is watched there; otherwise it only holds a lease while it acts.
    pub(crate) leads: bool,
    /// How long its work may be silent.
    pub(crate) max_silence: Option<Duration>,
    /// How long the node stays behind when its work was silent or has failed, or it was ill.
    pub(crate) hold_off: Duration,
    pub(super) ineligible: bool,
    pub(super) absent: bool,
    pub(super) hold_off_until: Instant,
    pub(super) health: Option<Health>,
    /// From when on its work counts as silent, if it says no more that it is alive.
    pub(super) silent_at: Option<Instant>,
    pub(super) nudged: bool,
    /// What the node was last shown.
    shown: Seen,
    ill: bool,
    /// The last term whose overrun the node has told.
    overran: Term,
    kept: Term,
    /// It has a turn because the node was late: from when on, and when the turn ends.
    pub(super) turn: (Instant, Instant),
    /// Until when the others may confirm the last release.
    words_until: Instant,
}

/// How a closure returns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Rejoin,
    HoldOff(Duration),
    Leave,
    Fails,
}

/// A lease, as a node and its program share it.
#[derive(Debug)]
pub(super) struct Lease {
    until: Instant,
    /// The same as the node knows it: that the program has taken it away sooner, it hears only later.
    node_until: Instant,
    /// It was taken away, by the node or by the program.
    revoked: bool,
    /// The node has taken it away.
    taken_away: bool,
    /// The program has told that it guards nothing any more.
    told_free: bool,
    /// The closure has said that it ends.
    told_end: bool,
}

/// What a step was told of, as far as the checker needs it.
pub(super) enum Told {
    Program,
    Other,
}

impl Told {
    pub(super) fn of(mail: &Mail<u64>) -> Told {
        if matches!(mail, Mail::Program(_)) { Told::Program } else { Told::Other }
    }
}

impl Program {
    /// A process starts, and with it the program.
    pub(super) fn begin(&mut self) {
        *self =
            Program { leads: self.leads, max_silence: self.max_silence, hold_off: self.hold_off, ..Program::default() };
    }
}

impl World {
    /// The work that runs on a node now does not return before `until`, although it does not act beyond its lease.
    pub(crate) fn hang(&mut self, id: NodeId, until: Real) {
        let now = self.now;
        let node = self.node_mut(id);
        if let Some(work) = node.work.filter(|work| node.engine.is_some() && now < work.until) {
            node.stuck = Some(Work { until, ..work });
        }
    }

    /// The program says whether it is eligible.
    pub(crate) fn set_eligible(&mut self, id: NodeId, eligible: bool) {
        let program = &mut self.node_mut(id).program;
        program.ineligible = !eligible;
        program.absent &= !eligible;
        self.nudge(id);
    }

    /// Somebody is there again to do the work.
    pub(crate) fn attend(&mut self, id: NodeId) {
        self.node_mut(id).program.absent = false;
        self.nudge(id);
    }

    /// The program is well as long as a good answer came before `good_until`.
    pub(crate) fn set_health(&mut self, id: NodeId, good_until: Instant) {
        let program = &mut self.node_mut(id).program;
        program.health = Some(Health { good_until, hold_off: program.hold_off });
        self.nudge(id);
    }

    /// The work says no more that it is alive.
    pub(crate) fn fall_silent(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node_mut(id);
        let local = node.clock.at(now);
        let program = &mut node.program;
        program.silent_at = program.silent_at.or(program.max_silence.map(|span| local + span));
    }

    /// The work says again that it is alive, if it is not too late.
    pub(crate) fn speak(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node_mut(id);
        let local = node.clock.at(now);
        node.program.silent_at = node.program.silent_at.filter(|at| *at <= local);
    }

    fn nudge(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        if node.engine.is_some() && !std::mem::replace(&mut node.program.nudged, true) {
            node.queue.push_back(Box::new(Letter::Nudge));
            self.drive(id);
        }
    }

    /// The program finds that its work has to stop: it takes the lease away itself, and says so. The work goes on to
    /// wind up.
    pub(crate) fn stop_work(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node_mut(id);
        let Some(work) = node.work.filter(|work| now < work.until && node.program.leads) else {
            return;
        };
        if !node.revoke(now, work.token) {
            return;
        }
        let call = Call::WorkEnds { term: work.token, reason: EndReason::QuorumLost, hold_off: Duration::ZERO };
        let step = node.step(now);
        let published = node.published;
        self.set_work(id, &step, None);
        self.node_mut(id).published = published;
        self.call(id, call);
    }

    /// The closure returns by itself, while it leads.
    pub(crate) fn return_work(&mut self, id: NodeId, outcome: Outcome) {
        let now = self.now;
        let node = self.node_mut(id);
        let Some(work) = node.work.filter(|work| now < work.until && node.program.leads) else {
            return;
        };
        if node.stuck.is_some_and(|stuck| now < stuck.until) {
            return;
        }
        let told_to_stop = !node.revoke(now, work.token);
        let step = node.step(now);
        let ended = Work { until: now, ..work };
        node.work = Some(ended);
        node.winding_up = true;
        self.checker.acts(&step, now, ended);
        self.closure_returned(id, work.token, outcome, told_to_stop);
    }

    /// What a closure that has returned makes of the program, and what it tells the node.
    fn closure_returned(&mut self, id: NodeId, term: Term, outcome: Outcome, told_to_stop: bool) {
        let now = self.now;
        let node = self.node_mut(id);
        let local = node.clock.at(now);
        let program = &mut node.program;
        program.silent_at = None;
        let (reason, hold_off) = match outcome {
            Outcome::Rejoin => (EndReason::Resigned, Duration::ZERO),
            Outcome::HoldOff(span) => {
                program.hold_off_until = program.hold_off_until.max(local + span);
                (EndReason::Resigned, span)
            }
            Outcome::Leave => {
                program.absent = true;
                (EndReason::Resigned, Duration::ZERO)
            }
            Outcome::Fails if told_to_stop => (EndReason::Resigned, Duration::ZERO),
            Outcome::Fails => (EndReason::WorkFailed, program.hold_off),
        };
        if let Some(lease) = node.leases.get_mut(&term) {
            (lease.told_end, lease.told_free) = (true, true);
        }
        self.nudge(id);
        self.call(id, Call::WorkEnds { term, reason, hold_off });
        let node = self.node_mut(id);
        if node.engine.is_some() {
            node.own(Mail::LeaseFree { term });
            self.drive(id);
        }
    }

    /// What the program is and wants, as the state that threads share shows it now.
    pub(super) fn program_now(&mut self, id: NodeId) -> Seen {
        let now = self.now;
        let busy = |term: Term| self.returns_at(id, term).is_some();
        let node = self.node(id);
        let local = node.clock.at(now);
        let program = &node.program;
        let held = node.leases.iter().find(|(term, lease)| lease.revoked && busy(**term));
        let running = node
            .leases
            .iter()
            .rev()
            .find(|(term, lease)| program.leads && !lease.told_end && (busy(**term) || !lease.revoked));
        let silent_at = match (program.silent_at, program.max_silence) {
            (Some(at), _) => at,
            (None, Some(span)) => local + span,
            (None, None) => Instant::NEVER,
        };
        let seen = Seen {
            ineligible: program.ineligible,
            absent: program.absent,
            hold_off_until: program.hold_off_until,
            health: program.health,
            work: running.map(|(term, lease)| RunningWork {
                term: *term,
                until: lease.until,
                silent_at,
                told_to_stop: lease.revoked,
                acts_on_overrun: term.0 % 2 == 0,
                hold_off: program.hold_off,
            }),
            kept: held.map(|(term, _)| *term),
        };
        self.node_mut(id).program.shown = seen;
        seen
    }

    /// When the work of `term` returns, if it has not.
    pub(super) fn returns_at(&self, id: NodeId, term: Term) -> Option<Real> {
        let node = self.node(id);
        let busy = [node.work, node.stuck].into_iter().flatten();
        let busy = busy.filter(|work| work.token == term && self.now < work.until);
        busy.map(|work| work.until).max()
    }

    /// What the node publishes: every other lease is taken away.
    pub(super) fn publish(&mut self, id: NodeId, step: &Step, lease: Option<Deadline>, from_peer: bool) {
        let now = self.now;
        let node = self.node_mut(id);
        let (local, grace) = (node.clock.at(now), node.setup.timing.election_timeout());
        let mut begins = false;
        for (term, other) in &mut node.leases {
            if lease.is_none_or(|lease| lease.token != *term) && !other.taken_away {
                (other.revoked, other.taken_away) = (true, true);
                other.until = other.until.min(local + grace);
                other.node_until = other.node_until.min(local + grace);
            }
        }
        let mut acts = lease;
        if let Some(Deadline { token, until }) = lease {
            begins = !node.leases.contains_key(&token);
            let new = Lease {
                until,
                node_until: until,
                revoked: false,
                taken_away: false,
                told_free: false,
                told_end: false,
            };
            let shared = node.leases.entry(token).or_insert(new);
            shared.node_until = until;
            if !shared.revoked {
                shared.until = until;
            }
            // A deadline that has passed says nothing to a program. The election takes it away in its next step.
            acts = lease.filter(|_| !shared.revoked && (from_peer || local < until));
        }
        if acts.is_some() || lease.is_none() {
            self.set_work(id, step, acts);
        }
        self.node_mut(id).published = lease;
        if begins && self.node(id).program.leads {
            self.node_mut(id).program.silent_at = None;
            self.nudge(id);
        }
    }

    /// Tells the node which leases that were taken away guard nothing any more. Returns whether there were any.
    pub(super) fn free_leases(&mut self, id: NodeId) -> bool {
        let taken = self.node(id).leases.iter().filter(|(_, lease)| lease.taken_away);
        let taken: Vec<(Term, bool)> = taken.map(|(term, lease)| (*term, lease.told_end)).collect();
        for (term, told_end) in taken {
            match self.returns_at(id, term) {
                Some(at) => self.look(id, at),
                None => {
                    self.narrate(|| format!("{id} has ended the work of term {term}"));
                    let node = self.node_mut(id);
                    if node.program.leads && !told_end {
                        self.closure_returned(id, term, Outcome::Rejoin, true);
                    }
                    let node = self.node_mut(id);
                    node.leases.remove(&term);
                    if node.engine.is_some() {
                        node.own(Mail::LeaseFree { term });
                    }
                    return true;
                }
            }
        }
        false
    }

    /// The program: acts on a lease until its last nanosecond, and, told to stop, goes on for a while.
    pub(super) fn set_work(&mut self, id: NodeId, step: &Step, lease: Option<Deadline>) {
        let now = self.now;
        let dice = &mut self.dice;
        let node = self.nodes.get_mut(&id).expect("a node");
        node.published = lease;
        let running = node.work.filter(|work| now < work.until);
        if let Some(stuck) = node.stuck.filter(|stuck| now < stuck.until) {
            if lease.is_some_and(|lease| lease.token != stuck.token) {
                let text = format!("{id} wins {lease:?} before {stuck:?} has returned");
                self.checker.fail("OneWorkAtATime", text);
            }
        }
        let work = match (lease, running) {
            (Some(lease), _) => {
                node.winding_up = false;
                Work { token: lease.token, until: node.clock.reaches(lease.until) }
            }
            (None, None) => return,
            (None, Some(work)) if node.engine.is_none() => Work { until: now, ..work },
            (None, Some(_)) if node.winding_up => return,
            (None, Some(work)) => {
                node.winding_up = true;
                let rest = work.until.0 - now.0;
                let span = match (node.winds_up_in, dice.below(3)) {
                    (WindUp::After(span), _) => nanos(span),
                    (WindUp::Anyhow, 0) => 0,
                    (WindUp::Anyhow, 1) => rest,
                    (WindUp::Anyhow, _) => dice.below(rest),
                };
                Work { until: Real(now.0.saturating_add(span).min(work.until.0)), ..work }
            }
        };
        if running.is_some_and(|old| old.token != work.token) {
            let text = format!("{id} begins the work of term {} before {running:?} has ended", work.token);
            self.checker.fail("OneWorkAtATime", text);
        }
        node.work = Some(work);
        let ending = node.winding_up;
        if work.until > now {
            self.stays_dead(id, work.token);
        }
        self.note(|| Mark::Lease { node: id, token: work.token, until: work.until, ending });
        self.checker.acts(step, now, work);
    }
}

impl Node {
    /// The program takes the lease away itself. Returns whether that is news.
    fn revoke(&mut self, now: Real, term: Term) -> bool {
        let (local, grace) = (self.clock.at(now), self.setup.timing.election_timeout());
        let Some(lease) = self.leases.get_mut(&term) else {
            return false;
        };
        lease.until = lease.until.min(local + grace);
        !std::mem::replace(&mut lease.revoked, true)
    }

    /// Whether the node has made of its program what it should, in this step.
    pub(super) fn check_program(&mut self, checker: &mut Checker, step: &Step, told: &Told, effects: &Effects<u64>) {
        let Some(engine) = &self.engine else {
            return;
        };
        let (me, local, program) = (self.setup.me, step.local(), &mut self.program);
        if let Some(stopping) = self.stopping {
            // The time of a promise for the work, and then as much as the others may take to confirm the release.
            let words = self.setup.timing.election_timeout() / 2;
            if effects.messages.iter().any(|(_, request)| matches!(request, Request::Release { .. })) {
                program.words_until = local + words;
            }
            let limit = program.words_until.max(stopping + self.setup.timing.election_timeout() + words);
            checker.stops_in_time(step, limit, effects.stopped);
            let held = self.leases.values().map(|lease| lease.until).max();
            let busy = [self.work, self.stuck].into_iter().flatten().any(|work| step.at < work.until);
            if effects.stopped && busy && held.is_some_and(|until| local < until) && local < limit {
                checker.fail("WorkEndsFirst", format!("{me} stops at {local:?}, and its work has time until {held:?}"));
            }
        }
        let seen = program.shown;
        let (late_from, turn_ends) = program.turn;
        // What became due while the node was late, or in the turn.
        let put_off = |due: Instant| if due < late_from || due > turn_ends { due } else { turn_ends };
        let healthy = seen.health.is_none_or(|health| local < put_off(health.good_until));
        // One that leads although it is ill, because no other node can, goes on.
        let fell_ill = !healthy && !std::mem::replace(&mut program.ill, !healthy);
        if fell_ill && step.leads && effects.lease.is_some() {
            checker.fail("IllLeadsNoMore", format!("{me} leads on at {local:?} with {seen:?}"));
        }
        if !matches!(told, Told::Program) || step.storage_failed {
            return;
        }
        let wants = !seen.ineligible && !seen.absent && healthy && local >= seen.hold_off_until;
        let held_off = checker.holds_off(me, local);
        if engine.election().is_eligible() != (wants && !held_off) {
            let text = format!("{me} at {local:?} of {seen:?}, held off: {held_off}");
            checker.fail("EligibleAsAsked", text);
        }
        let overruns_at = |work: &RunningWork| if work.acts_on_overrun { work.until } else { put_off(work.until) };
        if let Some(work) = seen.work.filter(|work| local >= overruns_at(work) && work.term > program.overran) {
            program.overran = work.term;
            if effects.overran.is_none() {
                checker.fail("OverrunTold", format!("{me} at {local:?} of {work:?}"));
            }
        } else if effects.overran.is_some() {
            checker.fail("OverrunTold", format!("{me} at {local:?} of no work: {seen:?}"));
        }
        let silent = seen.work.is_some_and(|work| !work.told_to_stop && local >= work.silent_at);
        if silent
            && step.leads
            && effects.lease.is_some_and(|lease| Some(lease.token) == seen.work.map(|work| work.term))
        {
            checker.fail("SilentLeadsNoMore", format!("{me} leads on at {local:?} with {seen:?}"));
        }
        let grace = self.setup.timing.election_timeout();
        let kept = seen.kept.and_then(|term| Some((term, self.leases.get(&term)?)));
        if let Some((term, lease)) = kept {
            let is_told = effects.notes.iter().any(|note| matches!(note, Note::LeaseKept { .. }));
            if lease.taken_away && local >= put_off(lease.node_until + grace) && term > program.kept {
                program.kept = term;
                if !is_told {
                    checker
                        .fail("KeptLeaseTold", format!("{me} at {local:?}: {term}, which ended at {:?}", lease.until));
                }
            }
        }
    }
}
