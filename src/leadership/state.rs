//! Where the election thread publishes the lease, and everybody else takes it, waits for it, and stops by it.
//!
//! Also what the election thread has to know of the work: when it counts as stuck, when it has overrun, whether its
//! guards are kept for too long, whether the program is able to lead at all. It finds that here, by the clock, and
//! never waits for any of it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::lease::{Lease, LeaseState, OnIdle};
use crate::clock;
use crate::election::{Deadline, EndReason, Instant, Term};

/// The longest wait without a look at the clock. Waiting is done on a clock that stops while the host is suspended.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What is done when the work of a leader still runs at its hard deadline, from when on another node may lead.
///
/// It is logged and told as an event in any case; and until the work has ended this node is not a candidate.
#[derive(Clone, Default)]
pub enum Overrun {
    /// Nothing more.
    #[default]
    Log,
    /// This is called with the token of the lease, on a thread of its own.
    Call(Arc<dyn Fn(u64) + Send + Sync>),
    /// The process is aborted: better no process than two leaders at work.
    Abort,
}

impl fmt::Debug for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Overrun::Log => "Log",
            Overrun::Call(_) => "Call(..)",
            Overrun::Abort => "Abort",
        })
    }
}

/// What is agreed about the work.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// How long before the hard deadline it is told to stop.
    pub(crate) drain: Duration,
    pub(crate) max_silence: Option<Duration>,
    /// How long the node stays behind when the work was found stuck.
    pub(crate) hold_off: Duration,
    pub(crate) on_overrun: Overrun,
}

/// What the election thread has to act on.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// The work is stuck; its lease was taken away.
    Silent { term: Term, hold_off: Duration },
    /// The program is no longer able to lead.
    Unhealthy { hold_off: Duration },
    /// The work runs on at its hard deadline.
    Overran { term: Term, then: Overrun },
    /// A lease that ended at this moment still has guards, one grace later: the node stands for no election.
    Kept { term: Term, ended: Instant },
}

/// See the [module](self).
pub(crate) struct Leadership {
    desk: Mutex<Desk>,
    changed: Condvar,
    on_idle: OnIdle,
    /// How long work has to end, at most, once the lease was taken away.
    grace: Duration,
}

#[derive(Debug, Default)]
struct Desk {
    /// The tenures that are current or still have guards, the current one last.
    tenures: Vec<Arc<LeaseState>>,
    /// The last term of which [`Alarm::Kept`] was given.
    last_kept: Term,
    /// Whether somebody is inside [`Node::lead`](crate::Node::lead).
    manned: bool,
    /// Whether they wait for a lease.
    contending: bool,
    work: Option<Work>,
    fitness: Fitness,
    closed: bool,
}

/// The closure that runs.
#[derive(Debug)]
struct Work {
    tenure: Arc<LeaseState>,
    thread: ThreadId,
    orders: Orders,
    overran: bool,
}

/// Whether the program is able to lead.
#[derive(Debug, Default)]
struct Fitness {
    /// The program has said that it is not.
    unwilling: bool,
    /// Nobody would do the work: the program has left [`Node::lead`](crate::Node::lead).
    absent: bool,
    /// Until when the program wants to stay behind.
    hold_off_until: Option<Instant>,
    health: Option<Health>,
}

#[derive(Debug)]
struct Health {
    good: bool,
    /// By when the next answer must have come.
    due: Instant,
    /// It was good and is bad, and the election thread does not know it yet.
    news: bool,
    hold_off: Duration,
}

impl Leadership {
    /// `on_idle` is called, on whatever thread, when the last guard of a revoked lease is dropped.
    pub(crate) fn new(grace: Duration, on_idle: impl Fn() + Send + Sync + 'static) -> Self {
        Leadership { desk: Mutex::default(), changed: Condvar::new(), on_idle: Arc::new(on_idle), grace }
    }

    /// The lease, if this node may act as leader now.
    pub(crate) fn lease(&self) -> Option<Lease> {
        self.desk().tenures.last().and_then(LeaseState::take)
    }

    /// What the election says from now on; `why` is said to those whose lease this ends.
    pub(crate) fn publish(&self, lease: Option<Deadline>, why: EndReason) {
        let mut desk = self.desk();
        let is_current = |tenure: &LeaseState| lease.is_some_and(|lease| lease.token == tenure.token());
        let mut news = desk.contending;
        for tenure in desk.tenures.iter().filter(|tenure| !is_current(tenure)) {
            news |= tenure.revoke(why, clock::now() + self.grace);
        }
        desk.tenures.retain(|tenure| !tenure.is_idle() || is_current(tenure));
        if let Some(lease) = lease {
            match desk.tenures.last().filter(|tenure| is_current(tenure)) {
                Some(tenure) => tenure.extend(lease.until),
                None => {
                    let tenure = LeaseState::new(lease, self.on_idle.clone());
                    desk.tenures.push(Arc::new(tenure));
                }
            }
        }
        if news {
            self.changed.notify_all();
        }
    }

    /// Whether nothing is guarded any more by the lease of `token`, which was taken away before.
    pub(crate) fn is_idle(&self, token: Term) -> bool {
        self.desk().tenures.iter().all(|tenure| tenure.token() != token || tenure.is_idle())
    }

    /// The hard deadline of what a lease still guards, if any does.
    pub(crate) fn guarded_until(&self) -> Option<Instant> {
        let desk = self.desk();
        let guarded = desk.tenures.iter().filter(|tenure| !tenure.is_idle());
        guarded.map(|tenure| tenure.until()).max()
    }

    /// No lease is ever won again.
    pub(crate) fn close(&self) {
        self.publish(None, EndReason::Stopped);
        self.desk().closed = true;
        self.changed.notify_all();
    }

    /// Somebody is going to do the work, until they [leave](Leadership::leave); false if somebody is already.
    #[must_use]
    pub(crate) fn enter(&self) -> bool {
        let mut desk = self.desk();
        let first = !std::mem::replace(&mut desk.manned, true);
        desk.fitness.absent &= !first;
        first
    }

    pub(crate) fn leave(&self) {
        let mut desk = self.desk();
        (desk.manned, desk.contending) = (false, false);
        desk.fitness.absent = true;
    }

    /// Waits for the lease of a term after `last`, and notes that the calling thread works under it; nothing once the
    /// node has stopped.
    pub(crate) fn begin(&self, last: Term, orders: &Orders) -> Option<Lease> {
        let mut desk = self.desk();
        desk.contending = true;
        while !desk.closed {
            if let Some(lease) = desk.next(last, orders.drain) {
                let tenure = lease.tenure().clone();
                if let Some(max_silence) = orders.max_silence {
                    tenure.expect_signs_until(clock::now() + max_silence);
                }
                desk.contending = false;
                desk.work =
                    Some(Work { tenure, thread: thread::current().id(), orders: orders.clone(), overran: false });
                return Some(lease);
            }
            desk = self.wait_for_change(desk, LONGEST_WAIT);
        }
        None
    }

    /// The closure has returned.
    pub(crate) fn end(&self) {
        self.desk().work = None;
    }

    /// Whether the calling thread runs the closure, which somebody may be waiting for.
    pub(crate) fn is_worker(&self) -> bool {
        let desk = self.desk();
        let worker = desk.work.as_ref().map(|work| work.thread);
        worker == Some(thread::current().id())
    }

    /// Takes the lease away from the calling thread, if it runs the closure, and says whether it does. The election
    /// thread is still to be told.
    pub(crate) fn stop_own_work(&self, why: EndReason) -> bool {
        let desk = self.desk();
        let own = |work: &&Work| work.thread == thread::current().id();
        let Some(work) = desk.work.as_ref().filter(own) else {
            return false;
        };
        work.tenure.revoke(why, clock::now() + self.grace);
        self.changed.notify_all();
        true
    }

    /// Takes the lease away and says whether that is news. The election thread is still to be told.
    pub(crate) fn revoke(&self, tenure: &LeaseState, why: EndReason) -> bool {
        let _desk = self.desk();
        let news = tenure.revoke(why, clock::now() + self.grace);
        self.changed.notify_all();
        news
    }

    /// Waits until the moment `until`, or until work under this lease has to stop.
    pub(crate) fn wait(&self, tenure: &LeaseState, drain: Duration, until: Instant) -> Result<(), EndReason> {
        let mut desk = self.desk();
        loop {
            let now = clock::now();
            let soft_left = tenure.soft_left(now, drain)?;
            let left = until.since(now);
            if left.is_zero() {
                return Ok(());
            }
            desk = self.wait_for_change(desk, left.min(soft_left).min(LONGEST_WAIT));
        }
    }

    pub(crate) fn set_eligible(&self, eligible: bool) {
        let mut desk = self.desk();
        desk.fitness.unwilling = !eligible;
        desk.fitness.absent &= !eligible;
    }

    pub(crate) fn hold_off(&self, until: Instant) {
        self.desk().fitness.hold_off_until = Some(until);
    }

    /// From now on the health of the program counts: an answer must come by `due`.
    pub(crate) fn watch_health(&self, due: Instant, hold_off: Duration) {
        self.desk().fitness.health = Some(Health { good: true, due, news: false, hold_off });
    }

    /// An answer: good until the next is due, or bad. Returns what was known before.
    pub(crate) fn note_health(&self, good_until: Option<Instant>) -> Option<bool> {
        let mut desk = self.desk();
        let health = desk.fitness.health.as_mut()?;
        health.refresh(clock::now());
        let before = health.good;
        health.good = good_until.is_some();
        health.due = good_until.unwrap_or(health.due);
        health.news = !health.good && (health.news || before);
        Some(before)
    }

    pub(crate) fn forget_health(&self) {
        self.desk().fitness.health = None;
    }

    /// Whether the program is able to lead.
    pub(crate) fn is_able(&self) -> bool {
        self.desk().fitness.is_able(clock::now())
    }

    /// When [`Leadership::is_able`] or [`Leadership::alarm`] may have news, without a nudge.
    pub(crate) fn alarm_at(&self) -> Instant {
        let desk = self.desk();
        let work = desk.work.as_ref().map_or(Instant::NEVER, Work::alarm_at);
        let kept = desk.kept().map_or(Instant::NEVER, |tenure| tenure.until());
        work.min(desk.fitness.changes_at()).min(kept + self.grace)
    }

    /// What the election thread has to act on now; each alarm is given once.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        let mut desk = self.desk();
        let now = clock::now();
        if let Some(hold_off) = desk.fitness.alarm(now) {
            return Some(Alarm::Unhealthy { hold_off });
        }
        if let Some(work) = desk.work.as_mut() {
            let (term, orders) = (work.tenure.token(), &work.orders);
            if work.tenure.lost().is_none() && now >= work.tenure.silent_at() {
                work.tenure.revoke(EndReason::WorkSilent, now + self.grace);
                self.changed.notify_all();
                let hold_off = orders.hold_off;
                return Some(Alarm::Silent { term, hold_off });
            }
            if !work.overran && now >= work.tenure.until() {
                work.overran = true;
                let then = orders.on_overrun.clone();
                return Some(Alarm::Overran { term, then });
            }
        }
        let kept = desk.kept()?;
        let (term, ended) = (kept.token(), kept.until());
        if now < ended + self.grace {
            return None;
        }
        desk.last_kept = term;
        Some(Alarm::Kept { term, ended })
    }

    fn wait_for_change<'d>(&self, desk: MutexGuard<'d, Desk>, limit: Duration) -> MutexGuard<'d, Desk> {
        let (desk, _) = self.changed.wait_timeout(desk, limit).unwrap_or_else(PoisonError::into_inner);
        desk
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("desk", &self.desk).finish_non_exhaustive()
    }
}

impl Desk {
    /// A lease of a term after `last` under which work may begin now.
    fn next(&self, last: Term, drain: Duration) -> Option<Lease> {
        let current = self.tenures.last()?;
        let begins = current.token() > last && current.soft_left(clock::now(), drain).is_ok();
        begins.then(|| current.take()).flatten()
    }

    /// The first lease that was taken away and still has guards, if that was not said yet.
    fn kept(&self) -> Option<&LeaseState> {
        let mut later = self.tenures.iter().map(Arc::as_ref);
        later.find(|tenure| tenure.token() > self.last_kept && tenure.lost().is_some() && !tenure.is_idle())
    }
}

impl Work {
    fn alarm_at(&self) -> Instant {
        let silent_at = match self.tenure.lost() {
            None => self.tenure.silent_at(),
            Some(_) => Instant::NEVER,
        };
        let overruns_at = if self.overran { Instant::NEVER } else { self.tenure.until() };
        silent_at.min(overruns_at)
    }
}

impl Fitness {
    fn is_able(&mut self, now: Instant) -> bool {
        self.hold_off_until = self.hold_off_until.filter(|until| now < *until);
        let healthy = self.health.as_mut().is_none_or(|health| {
            health.refresh(now);
            health.good
        });
        healthy && !self.unwilling && !self.absent && self.hold_off_until.is_none()
    }

    fn changes_at(&self) -> Instant {
        let health = self.health.as_ref();
        let health = health.map_or(Instant::NEVER, |health| match (health.news, health.good) {
            (true, _) => Instant::ZERO,
            (false, true) => health.due,
            (false, false) => Instant::NEVER,
        });
        health.min(self.hold_off_until.unwrap_or(Instant::NEVER))
    }

    fn alarm(&mut self, now: Instant) -> Option<Duration> {
        let health = self.health.as_mut()?;
        health.refresh(now);
        std::mem::take(&mut health.news).then_some(health.hold_off)
    }
}

impl Health {
    /// No answer is a bad answer.
    fn refresh(&mut self, now: Instant) {
        if self.good && now >= self.due {
            self.good = false;
            self.news = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn leadership() -> (Leadership, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        (
            Leadership::new(LONG, move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
            calls,
        )
    }

    fn deadline(token: u64, left: Duration) -> Option<Deadline> {
        Some(Deadline { token: Term(token), until: clock::now() + left })
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_lease_is_valid_until_its_deadline_without_anybody_telling_it() {
        let (leadership, _) = leadership();
        leadership.publish(deadline(3, Duration::from_millis(20)), EndReason::QuorumLost);
        let lease = leadership.lease().expect("20 ms are left");
        assert_eq!(lease.token(), 3);
        while lease.is_valid() {
            std::thread::yield_now();
        }
        assert_eq!(lease.remaining(), Duration::ZERO);
        assert!(leadership.lease().is_none());
    }

    #[test]
    fn a_lease_found_invalid_stays_so_even_if_the_deadline_moves() {
        let (leadership, _) = leadership();
        leadership.publish(deadline(3, Duration::from_millis(1)), EndReason::QuorumLost);
        let Some(lease) = leadership.lease() else { return };
        while lease.is_valid() {
            std::thread::yield_now();
        }
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        assert!(!lease.is_valid());
        assert!(leadership.lease().is_some());
    }

    #[test]
    fn a_revoked_lease_is_invalid_at_once_and_idle_when_its_last_guard_is_dropped() {
        let (leadership, calls) = leadership();
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        let lease = leadership.lease().expect("an hour is left");
        let twin = lease.clone();
        leadership.publish(None, EndReason::QuorumLost);
        assert!(!lease.is_valid() && !twin.is_valid());
        assert!(!leadership.is_idle(Term(3)));
        drop(lease);
        assert!(!leadership.is_idle(Term(3)));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        drop(twin);
        assert!(leadership.is_idle(Term(3)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_guard_of_an_older_term_neither_is_valid_nor_holds_up_the_next_term() {
        let (leadership, _) = leadership();
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        let old = leadership.lease().expect("an hour is left");
        leadership.publish(deadline(5, LONG), EndReason::QuorumLost);
        assert!(!old.is_valid());
        assert!(!leadership.is_idle(Term(3)));
        assert!(leadership.is_idle(Term(5)));
        assert_eq!(leadership.lease().expect("an hour is left").token(), 5);
    }

    /// The race between taking a guard and revoking: no guard is valid after the lease was found idle.
    #[test]
    fn no_guard_is_taken_behind_the_back_of_whoever_revokes() {
        for round in 1..200 {
            let (leadership, _) = leadership();
            leadership.publish(deadline(round, LONG), EndReason::QuorumLost);
            std::thread::scope(|scope| {
                let taker = scope.spawn(|| leadership.lease());
                leadership.publish(None, EndReason::QuorumLost);
                let idle = leadership.is_idle(Term(round));
                let lease = taker.join().expect("the taker does not panic");
                assert!(!(idle && lease.is_some_and(|lease| lease.is_valid())));
            });
        }
    }

    fn orders(max_silence: Option<Duration>) -> Orders {
        Orders { drain: Duration::ZERO, max_silence, hold_off: LONG, on_overrun: Overrun::Log }
    }

    #[test]
    fn silent_work_loses_its_lease_once_and_never_gets_it_back() {
        let (leadership, _) = leadership();
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        let lease = leadership.begin(Term(0), &orders(Some(Duration::from_millis(5))));
        let lease = lease.expect("an hour is left");
        let alarm_at = leadership.alarm_at();
        assert!(alarm_at < Instant::NEVER);
        while clock::now() < alarm_at {
            std::thread::yield_now();
        }
        // Too late, also before anybody has noticed.
        lease.tenure().alive(clock::now(), LONG);
        assert!(!lease.is_valid());
        assert!(matches!(leadership.alarm(), Some(Alarm::Silent { .. })));
        assert!(leadership.alarm().is_none() && leadership.alarm_at() > alarm_at);
        assert_eq!(lease.tenure().lost(), Some(EndReason::WorkSilent));
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        assert!(leadership.lease().is_none(), "the election does not know yet");
    }

    #[test]
    fn work_overruns_once_at_its_hard_deadline_and_not_after_its_end() {
        let leadership = Leadership::new(Duration::from_millis(5), || {});
        for token in [3, 4] {
            leadership.publish(deadline(token, LONG), EndReason::QuorumLost);
            let lease = leadership.begin(Term(token - 1), &orders(None));
            let lease = lease.expect("an hour is left");
            leadership.publish(None, EndReason::Resigned);
            let runs_on = token == 3;
            if !runs_on {
                leadership.end();
            }
            while clock::now() < lease.tenure().until() {
                std::thread::yield_now();
            }
            assert_eq!(matches!(leadership.alarm(), Some(Alarm::Overran { .. })), runs_on);
            // Only that its guard is kept, if this thread was slow.
            assert!(!matches!(leadership.alarm(), Some(Alarm::Overran { .. })));
            leadership.end();
        }
        assert_eq!(leadership.alarm_at(), Instant::NEVER);
    }

    #[test]
    fn a_guard_that_is_kept_for_the_grace_after_its_lease_is_said_once() {
        let leadership = Leadership::new(Duration::from_millis(5), || {});
        let mut guards = Vec::new();
        for token in [3, 4] {
            leadership.publish(deadline(token, LONG), EndReason::QuorumLost);
            guards.extend(leadership.lease());
            assert!(leadership.alarm().is_none() && leadership.alarm_at() == Instant::NEVER);
            leadership.publish(None, EndReason::Resigned);
            let (at, until) = (leadership.alarm_at(), guards[0].tenure().until());
            assert!(at > until && at < Instant::NEVER);
            while clock::now() < at {
                std::thread::yield_now();
            }
            let alarm = leadership.alarm();
            assert!(
                matches!(alarm, Some(Alarm::Kept { term: Term(term), ended })
                    if term == token && ended == until),
                "{alarm:?}"
            );
            assert!(leadership.alarm().is_none() && leadership.alarm_at() == Instant::NEVER);
            guards.clear();
        }
    }

    #[test]
    fn a_guard_that_is_dropped_in_time_is_not_said_to_be_kept() {
        let leadership = Leadership::new(Duration::ZERO, || {});
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        let guard = leadership.lease();
        leadership.publish(None, EndReason::Resigned);
        drop(guard);
        assert!(leadership.alarm().is_none() && leadership.alarm_at() == Instant::NEVER);
    }

    #[test]
    fn a_revoked_lease_leaves_its_work_no_more_than_the_grace() {
        let grace = Duration::from_millis(7);
        let leadership = Leadership::new(grace, || {});
        leadership.publish(deadline(3, LONG), EndReason::QuorumLost);
        let lease = leadership.begin(Term(0), &orders(None)).expect("an hour is left");
        leadership.publish(None, EndReason::Resigned);
        assert!(lease.tenure().until() <= clock::now() + grace);
    }

    #[test]
    fn a_program_is_able_only_if_it_is_there_willing_and_healthy() {
        let (leadership, _) = leadership();
        assert!(leadership.is_able());
        leadership.set_eligible(false);
        assert!(!leadership.is_able());
        assert!(leadership.enter());
        assert!(!leadership.enter() && !leadership.is_able());
        leadership.set_eligible(true);
        assert!(leadership.is_able());
        leadership.leave();
        assert!(!leadership.is_able());
        assert!(leadership.enter() && leadership.is_able());
        // No answer in time is a bad one; only a good one makes up for it.
        leadership.watch_health(clock::now(), LONG);
        assert!(!leadership.is_able());
        assert!(matches!(leadership.alarm(), Some(Alarm::Unhealthy { hold_off: LONG })));
        assert!(leadership.alarm().is_none() && leadership.alarm_at() == Instant::NEVER);
        assert_eq!(leadership.note_health(Some(clock::now() + LONG)), Some(false));
        assert!(leadership.is_able());
        assert_eq!(leadership.note_health(None), Some(true));
        assert!(leadership.alarm_at() <= clock::now() && leadership.alarm().is_some());
        leadership.forget_health();
        assert!(leadership.is_able());
        leadership.hold_off(clock::now() + LONG);
        assert!(!leadership.is_able() && leadership.alarm_at() < Instant::NEVER);
        leadership.hold_off(clock::now());
        assert!(leadership.is_able() && leadership.alarm_at() == Instant::NEVER);
    }
}
