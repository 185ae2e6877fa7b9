//! What program threads share with the node: the lease, who waits for it, and what the program wants.
//!
//! Nothing is decided here, and every call takes the moment `now`, or a way to read the clock where it waits. The node
//! [publishes](Leadership::publish) its lease, and is told by a nudge when [`Leadership::program`] has changed. However
//! often a program changes its mind, at most one nudge is on its way.

use std::fmt;
use std::time::Duration;

use super::lease::{Lease, LeaseState, Nudge, Tell};
use super::options::{OnOverrun, WorkPolicy};
use crate::election::{Deadline, EndReason, Instant, Term};
use crate::engine::{Health, Program, Work};
use crate::state_lock::StateLock;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, ThreadId, current_thread};

/// The longest wait without a look at the clock. Threads wait on a clock that stops while the host is suspended.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Leadership {
    inner: Mutex<Inner>,
    changed: Condvar,
    tell: Tell,
    /// How long work has to end, at most, once the lease was taken away.
    grace: Duration,
}

#[derive(Default)]
struct Inner {
    /// The leases that are current or still have guards, the current one last.
    leases: Vec<Arc<LeaseState>>,
    /// Somebody is inside [`Node::lead`](crate::Node::lead).
    attended: bool,
    waiting: bool,
    recalled: bool,
    running: Option<Running>,
    ineligible: bool,
    absent: bool,
    hold_off_until: Instant,
    health: Option<Health>,
    nudged: bool,
    closed: bool,
    /// The lock on the state of the node. A lease holds it, too.
    lock: Option<StateLock>,
}

struct Running {
    lease: Arc<LeaseState>,
    thread: ThreadId,
    hold_off: Duration,
    on_overrun: OnOverrun,
}

impl Leadership {
    /// Calls `tell` on any thread, which must not wait.
    pub(crate) fn new(grace: Duration, tell: impl Fn(Nudge) + Send + Sync + 'static) -> Self {
        let tell = std::sync::Arc::new(tell);
        Leadership { inner: Mutex::default(), changed: Condvar::new(), tell, grace }
    }

    /// Every lease holds this lock from now on.
    pub(crate) fn hold(&self, lock: StateLock) {
        self.inner().lock = Some(lock);
    }

    /// The lock on the state of the node, for a process that acts for it. None if the node keeps no state, or has
    /// stopped.
    pub(crate) fn lock(&self) -> Option<StateLock> {
        self.inner().lock.clone()
    }

    /// The lease, if this node may act as leader now.
    pub(crate) fn lease(&self, now: Instant) -> Option<Lease> {
        self.inner().leases.last().and_then(|lease| lease.take(now))
    }

    /// Publishes the lease and takes every other one away, for this reason. Returns the terms of those that guard
    /// nothing.
    pub(crate) fn publish(&self, lease: Option<Deadline>, reason: EndReason, now: Instant) -> Vec<Term> {
        let mut inner = self.inner();
        let is_current = |state: &LeaseState| lease.is_some_and(|lease| lease.token == state.token);
        let mut news = inner.waiting;
        for other in inner.leases.iter().filter(|state| !is_current(state)) {
            news |= other.revoke(reason, now + self.grace);
        }
        let mut free = Vec::new();
        inner.leases.retain(|state| {
            let gone = !is_current(state) && state.is_free();
            free.extend(gone.then_some(state.token));
            !gone
        });
        if let Some(lease) = lease {
            let lock = inner.lock.clone();
            match inner.leases.last().filter(|state| is_current(state)) {
                Some(state) => state.extend(lease.until),
                None => inner.leases.push(Arc::new(LeaseState::new(lease, self.tell.clone(), lock))),
            }
        }
        if news {
            self.changed.notify_all();
        }
        free
    }

    /// What the program is and wants now.
    pub(crate) fn program(&self) -> Program {
        self.inner().program()
    }

    /// The same, after a nudge: the next change is worth another one.
    pub(crate) fn program_after_nudge(&self) -> Program {
        let mut inner = self.inner();
        inner.nudged = false;
        inner.program()
    }

    /// What the running work wants done when it overruns.
    pub(crate) fn on_overrun(&self, term: Term) -> OnOverrun {
        let inner = self.inner();
        let running = inner.running.as_ref().filter(|running| running.lease.token == term);
        running.map(|running| running.on_overrun.clone()).unwrap_or_default()
    }

    /// No lease is ever won again.
    pub(crate) fn close(&self, now: Instant) {
        self.publish(None, EndReason::Stopped, now);
        let mut inner = self.inner();
        (inner.closed, inner.lock) = (true, None);
        // From now on only their holders keep them, and the lock with them.
        inner.leases.clear();
        drop(inner);
        self.changed.notify_all();
    }

    /// Somebody is going to do the work, until they [leave](Leadership::leave). Returns false if somebody does already.
    #[must_use]
    pub(crate) fn attend(&self) -> bool {
        let mut inner = self.inner();
        let first = !std::mem::replace(&mut inner.attended, true);
        if first {
            (inner.absent, inner.recalled) = (false, false);
            self.nudge(&mut inner);
        }
        first
    }

    pub(crate) fn leave(&self) {
        let mut inner = self.inner();
        (inner.attended, inner.waiting, inner.absent) = (false, false, true);
        self.nudge(&mut inner);
    }

    /// Makes the call that [attends](Leadership::attend) leave: work that runs has to stop. Returns whether there is
    /// such a call, and the term of the work whose lease this takes away.
    pub(crate) fn recall(&self, now: Instant) -> (bool, Option<Term>) {
        let mut inner = self.inner();
        if !inner.attended {
            return (false, None);
        }
        inner.recalled = true;
        let running = inner.running.as_ref();
        let ended = running.filter(|running| running.lease.revoke(EndReason::Resigned, now + self.grace));
        let term = ended.map(|running| running.lease.token);
        self.changed.notify_all();
        (true, term)
    }

    /// Waits for the lease of a term after `last`, and notes that the calling thread works under it. Returns none when
    /// the node has stopped, the caller was called back, or its time is up.
    pub(crate) fn begin(&self, last: Term, policy: &WorkPolicy, clock: fn() -> Instant) -> Option<Lease> {
        let mut inner = self.inner();
        inner.waiting = true;
        loop {
            let now = clock();
            if inner.closed || inner.recalled || now >= policy.leave_at {
                return None;
            }
            if let Some(lease) = inner.next(last, policy.drain, now) {
                if let Some(max_silence) = policy.max_silence {
                    lease.state().expect_signs_until(now + max_silence);
                }
                inner.waiting = false;
                inner.running = Some(Running {
                    lease: lease.state().clone(),
                    thread: current_thread().id(),
                    hold_off: policy.hold_off,
                    on_overrun: policy.on_overrun.clone(),
                });
                self.nudge(&mut inner);
                return Some(lease);
            }
            inner = self.wait_for_change(inner, policy.leave_at.since(now).min(LONGEST_WAIT));
        }
    }

    /// The closure has returned.
    pub(crate) fn end(&self) {
        let mut inner = self.inner();
        inner.running = None;
        self.nudge(&mut inner);
    }

    /// Whether the calling thread runs the closure, which somebody may be waiting for.
    pub(crate) fn is_worker(&self) -> bool {
        self.inner().own_work().is_some()
    }

    /// Takes the lease away from the calling thread, if it runs the closure, and returns whether it does. The node is
    /// still to be told.
    pub(crate) fn stop_own_work(&self, reason: EndReason, now: Instant) -> bool {
        let inner = self.inner();
        let Some(work) = inner.own_work() else {
            return false;
        };
        work.lease.revoke(reason, now + self.grace);
        self.changed.notify_all();
        true
    }

    /// Takes the lease away and returns whether that is news. The node is still to be told.
    pub(crate) fn revoke(&self, lease: &LeaseState, reason: EndReason, now: Instant) -> bool {
        let _inner = self.inner();
        let news = lease.revoke(reason, now + self.grace);
        self.changed.notify_all();
        news
    }

    /// Waits until the moment `until`, or until work under this lease has to stop.
    pub(crate) fn wait(
        &self,
        lease: &LeaseState,
        policy: &WorkPolicy,
        until: Instant,
        clock: fn() -> Instant,
    ) -> Result<(), EndReason> {
        let mut inner = self.inner();
        loop {
            let now = clock();
            let soft_left = policy.soft_deadline(lease, now)?.since(now);
            let left = until.since(now);
            if left.is_zero() {
                return Ok(());
            }
            inner = self.wait_for_change(inner, left.min(soft_left).min(LONGEST_WAIT));
        }
    }

    /// A program that says it is eligible is so, also if it has left [`Node::lead`](crate::Node::lead).
    pub(crate) fn set_eligible(&self, eligible: bool) {
        let mut inner = self.inner();
        let absent = inner.absent && !eligible;
        if (inner.ineligible, inner.absent) != (!eligible, absent) {
            (inner.ineligible, inner.absent) = (!eligible, absent);
            self.nudge(&mut inner);
        }
    }

    /// The program wants to stay behind until then, or longer if it said so before.
    pub(crate) fn hold_off(&self, until: Instant) {
        let mut inner = self.inner();
        inner.hold_off_until = inner.hold_off_until.max(until);
        self.nudge(&mut inner);
    }

    /// Sets the health of the program, or forgets it.
    pub(crate) fn set_health(&self, health: Option<Health>) {
        let mut inner = self.inner();
        inner.health = health;
        self.nudge(&mut inner);
    }

    fn nudge(&self, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.nudged, true) {
            (self.tell)(Nudge::Program);
        }
    }

    fn wait_for_change<'i>(&self, inner: MutexGuard<'i, Inner>, limit: Duration) -> MutexGuard<'i, Inner> {
        let (inner, _) = self.changed.wait_timeout(inner, limit).unwrap_or_else(PoisonError::into_inner);
        inner
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A copy, so that nothing is locked while somebody formats it, and perhaps waits for a terminal.
        let leases = self.inner().leases.clone();
        f.debug_struct("Leadership").field("leases", &leases).finish_non_exhaustive()
    }
}

impl Inner {
    fn program(&self) -> Program {
        let held = self.leases.iter().find(|lease| lease.ended().is_some() && !lease.is_free());
        Program {
            ineligible: self.ineligible,
            absent: self.absent,
            hold_off_until: self.hold_off_until,
            health: self.health,
            work: self.running.as_ref().map(Running::work),
            kept: held.map(|lease| lease.token),
        }
    }

    /// A lease of a term after `last` under which work may begin now.
    fn next(&self, last: Term, drain: Duration, now: Instant) -> Option<Lease> {
        let current = self.leases.last()?;
        let begins = current.token > last && current.soft_deadline(now, drain).is_ok();
        begins.then(|| current.take(now)).flatten()
    }

    fn own_work(&self) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.thread == current_thread().id())
    }
}

impl Running {
    fn work(&self) -> Work {
        Work {
            term: self.lease.token,
            until: self.lease.until(),
            silent_at: self.lease.silent_at(),
            told_to_stop: self.lease.ended().is_some(),
            acts_on_overrun: !matches!(self.on_overrun, OnOverrun::Log),
            hold_off: self.hold_off,
        }
    }
}
