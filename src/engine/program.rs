//! What a node makes of its program: whether it is eligible, and whether its work is silent, overruns, or keeps a
//! lease.

use std::time::Duration;

use super::{Engine, Note, Output, Turn};
use crate::election::{Cause, EndReason, Input, Instant, Term};

impl<C: Clone> Engine<C> {
    /// Whether something about the program is due, so that [`Mail::Program`](super::Mail::Program) should be stepped
    /// before anything else. It decides on what the program is now, never on what it was.
    #[must_use]
    pub fn looks_at_program(&self, now: Instant) -> bool {
        now >= self.program_at()
    }

    /// Whether a step at `now` comes so late for what was due that [`Mail::Late`](super::Mail::Late) should be stepped
    /// before anything else. Without it the program is accused of what it had no chance to avoid.
    #[must_use]
    pub fn is_late(&self, now: Instant) -> bool {
        now.since(self.wake_at()) >= self.one_turn() / 10 && now >= self.turn.until
    }

    /// Long enough to wake up a thread of the program, short beside an election timeout.
    fn one_turn(&self) -> Duration {
        self.timing().heartbeat_interval()
    }

    pub(super) fn give_turn(&mut self, now: Instant) {
        self.turn = Turn { late_from: self.wake_at(), until: now + self.one_turn() };
    }

    /// When to look at what is due at this moment: after the program's turn, if it became due while the node was late.
    fn after_turn(&self, due: Instant) -> Instant {
        let Turn { late_from, until } = self.turn;
        if (late_from..=until).contains(&due) { until } else { due }
    }

    /// When something about the program is due, if it does not change before.
    pub(super) fn program_at(&self) -> Instant {
        let hold_off = if self.hold_off_until == Instant::ZERO { Instant::NEVER } else { self.hold_off_until };
        let health = self
            .program
            .health
            .filter(|_| self.healthy)
            .map_or(Instant::NEVER, |health| self.after_turn(health.good_until));
        let kept = self.kept().map_or(Instant::NEVER, |(_, at)| at);
        hold_off.min(health).min(self.silent_at()).min(self.overruns_at()).min(kept)
    }

    /// `is_news`: what is known of the program is what it is at this moment.
    pub(super) fn look_at_program(&mut self, now: Instant, is_news: bool, out: &mut Output<C>) {
        // First what rests on the news alone: what the election does below may take a lease away, and the program that
        // is known here has not seen it.
        if is_news && now >= self.overruns_at() {
            self.work_overran(out);
        }
        if is_news {
            self.lease_may_be_kept(now, out);
        }
        let fell_ill = self.note_health(now);
        self.note_eligibility(now, out);
        if fell_ill && self.leads() {
            let hold_off = self.program.health.map_or_else(Default::default, |health| health.hold_off);
            self.step_down(now, EndReason::Unhealthy, None, hold_off, out);
        }
        if is_news && now >= self.silent_at() {
            self.work_is_silent(now, out);
        }
    }

    /// Whether the program has just fallen ill. No answer in time is a bad one.
    fn note_health(&mut self, now: Instant) -> bool {
        let healthy = self.program.health.is_none_or(|health| now < self.after_turn(health.good_until));
        let fell_ill = self.healthy && !healthy;
        self.healthy = healthy;
        fell_ill
    }

    /// Tells the election whether the program is eligible, if that has changed.
    fn note_eligibility(&mut self, now: Instant, out: &mut Output<C>) {
        let until = self.hold_off_until.max(self.program.hold_off_until);
        let holds_off = now < until;
        self.hold_off_until = if holds_off { until } else { Instant::ZERO };
        let eligible = self.healthy && !holds_off && !self.program.ineligible && !self.program.absent;
        if eligible != self.eligible {
            self.eligible = eligible;
            self.elect(now, Input::Eligible(eligible), out);
        }
    }

    /// From when on the work counts as silent. Never, once it was told to stop.
    fn silent_at(&self) -> Instant {
        let works = self
            .program
            .work
            .filter(|work| !work.told_to_stop && self.leases.get(&work.term).is_some_and(|lease| !lease.ended));
        works.map_or(Instant::NEVER, |work| work.silent_at)
    }

    fn work_is_silent(&mut self, now: Instant, out: &mut Output<C>) {
        let work = self.program.work.expect("it is silent");
        if self.leads() && self.election.term() == work.term {
            self.step_down(now, EndReason::WorkSilent, None, work.hold_off, out);
        }
    }

    /// The hard deadline of work that still runs, and the end of the program's turn unless the program acts on an
    /// overrun. Never, once the overrun was told.
    fn overruns_at(&self) -> Instant {
        let Some(work) = self.program.work.filter(|work| work.term > self.overran) else {
            return Instant::NEVER;
        };
        let deadline = match self.leases.get(&work.term) {
            Some(lease) if !lease.ended && !work.told_to_stop => lease.until,
            // What is known of the work may be from before its lease was cut short.
            Some(lease) => work.until.min(lease.until),
            None => work.until,
        };
        if work.acts_on_overrun { deadline } else { self.after_turn(deadline) }
    }

    fn work_overran(&mut self, out: &mut Output<C>) {
        let term = self.program.work.expect("it overruns").term;
        self.overran = term;
        out.effects.overran = Some(self.told(Cause::WorkOverran { term }));
    }

    /// The first lease that was taken away and of which it was not looked yet whether it is kept; and when to look: one
    /// election timeout after its end, and after the program's turn.
    fn kept(&self) -> Option<(Term, Instant)> {
        let mut ended = self.leases.iter().filter(|(term, lease)| lease.ended && **term > self.kept);
        let timeout = self.timing().election_timeout();
        ended.next().map(|(term, lease)| (*term, self.after_turn(lease.until + timeout)))
    }

    fn lease_may_be_kept(&mut self, now: Instant, out: &mut Output<C>) {
        let Some((term, _)) = self.kept().filter(|(_, at)| now >= *at) else {
            return;
        };
        self.kept = term;
        if self.program.kept == Some(term) {
            out.effects.notes.push(Note::LeaseKept { term, ago: now.since(self.leases[&term].until) });
        }
    }
}
