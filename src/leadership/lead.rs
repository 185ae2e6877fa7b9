//! How a program does what only a leader may do.
//!
//! [`Node::lead`](crate::Node::lead) runs a closure once per term won, and everything that ends a leadership goes
//! through it in one order: the work is told to *stop*, its end is *confirmed* because the closure returns, and only
//! then the leadership is *released*. Whatever the work does, the lease ends at its hard deadline, from when on another
//! node may lead; so that the work can have stopped by then, it is told at the soft deadline, one drain time earlier.

use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::lease::Lease;
use super::state::{Leadership, Orders, Overrun};
use crate::clock;
use crate::election::{EndReason, NodeId, Term, Timing};
use crate::inbox::Mail;

/// What the closure of [`Node::lead`](crate::Node::lead) holds while this node leads.
///
/// It may be shared with scoped threads. It cannot outlive the call.
#[derive(Debug)]
pub struct Leading<'a> {
    lease: Lease,
    handle: &'a NodeHandle,
    orders: &'a Orders,
}

impl Leading<'_> {
    /// The fencing token: grows strictly from leader to leader. See [`Lease::token`].
    #[must_use]
    pub fn token(&self) -> u64 {
        self.lease.token()
    }

    /// How long the work may go on if nothing renews the lease any more: the time to the soft deadline, or to the end
    /// of [`LeadOptions::max_silence`] if that is sooner. Zero once it has to stop. Reads the clock.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let left = self.lease.tenure().soft_left(clock::now(), self.orders.drain);
        left.unwrap_or_default()
    }

    /// The time to the hard deadline, from when on another node may lead: by then the work must have ended. Also says
    /// so once the work has to stop. Reads the clock.
    #[must_use]
    pub fn hard_remaining(&self) -> Duration {
        self.lease.tenure().until().since(clock::now())
    }

    /// Whether the work may go on. Reads the clock.
    ///
    /// # Errors
    ///
    /// When it has to stop, and why. That is final: the node gives its leadership up, and releases it when the closure
    /// returns.
    pub fn check(&self) -> Result<(), EndReason> {
        let left = self.lease.tenure().soft_left(clock::now(), self.orders.drain);
        left.map(drop).map_err(|lost| self.stop(lost))
    }

    /// Sleeps for `span`, but no longer than the work may go on. Does not count as a sign of life: see
    /// [`Leading::alive`].
    ///
    /// # Errors
    ///
    /// As [`Leading::check`], at once when the work has to stop.
    pub fn wait(&self, span: Duration) -> Result<(), EndReason> {
        let until = clock::now() + span;
        self.handle.leadership.wait(self.lease.tenure(), self.orders.drain, until).map_err(|lost| self.stop(lost))
    }

    /// The work is not stuck. To be said more often than [`LeadOptions::max_silence`], if that is set; too late is in
    /// vain.
    pub fn alive(&self) {
        if let Some(max_silence) = self.orders.max_silence {
            self.lease.tenure().alive(clock::now(), max_silence);
        }
    }

    /// What was said once stays so: the lease is taken away, and the node relinquishes.
    fn stop(&self, lost: EndReason) -> EndReason {
        let tenure = self.lease.tenure();
        if self.handle.leadership.revoke(tenure, lost) {
            let hold_off = match lost {
                EndReason::WorkSilent => self.orders.hold_off,
                _ => Duration::ZERO,
            };
            self.handle.tell(Mail::GiveUp { term: tenure.token(), why: lost, hold_off, answer: None });
        }
        tenure.lost().unwrap_or(lost)
    }
}

/// What a node does after a closure has returned: its leadership is released in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Contends again; within one election timeout only if nobody else wins.
    Rejoin,
    /// Contends again, but for so long leads only if nobody else can.
    HoldOff(Duration),
    /// [`Node::lead`](crate::Node::lead) returns. The node goes on voting, and leads only if nobody else can.
    Leave,
}

/// [`Next::Rejoin`].
impl From<()> for Next {
    fn from((): ()) -> Self {
        Next::Rejoin
    }
}

/// How work under [`Node::lead_with`](crate::Node::lead_with) is stopped and watched.
///
/// ```
/// use leadelect::{LeadOptions, Overrun};
/// use std::time::Duration;
///
/// let options = LeadOptions::default()
///     .drain_time(Duration::from_millis(50))
///     .max_silence(Duration::from_secs(2))
///     .on_overrun(Overrun::Abort);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct LeadOptions {
    drain_time: Option<Duration>,
    max_silence: Option<Duration>,
    hold_off: Option<Duration>,
    on_overrun: Overrun,
    health_check: Option<HealthCheck>,
}

#[derive(Clone)]
struct HealthCheck {
    every: Duration,
    limit: Duration,
    check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl LeadOptions {
    /// A node whose work was stuck, failed or ill stays behind for so many election timeouts: long enough for another
    /// node to have led for a while, short enough that a fault which has passed is forgotten.
    const HOLD_OFF_TIMEOUTS: u32 = 10;
    /// A health check is neither begun more often, nor given less time.
    const SHORTEST_CHECK: Duration = Duration::from_millis(1);

    /// How long the work takes to stop: it is told to, by [`Leading::check`] and [`Leading::wait`], so long before the
    /// lease ends. Default: a fifth of the election timeout. At most a lease less two and a half heartbeat intervals,
    /// so that one lost heartbeat ends no leadership; more than that is taken for that, and logged.
    #[must_use]
    pub fn drain_time(mut self, span: Duration) -> Self {
        self.drain_time = Some(span);
        self
    }

    /// A dead-man switch: work that does not say [`Leading::alive`] for longer than this loses leadership, and the node
    /// holds off. Default: none. At least one heartbeat interval; less is taken for that, and logged.
    #[must_use]
    pub fn max_silence(mut self, span: Duration) -> Self {
        self.max_silence = Some(span);
        self
    }

    /// For how long the node leads only if nobody else can after its work was silent, has failed or panicked, or its
    /// health check was not passed. Default: ten election timeouts.
    #[must_use]
    pub fn hold_off(mut self, span: Duration) -> Self {
        self.hold_off = Some(span);
        self
    }

    /// What is done when the work still runs at the hard deadline. Default: [`Overrun::Log`].
    #[must_use]
    pub fn on_overrun(mut self, then: Overrun) -> Self {
        self.on_overrun = then;
        self
    }

    /// Asks `check` every so often, on a thread of its own, whether this program is able to lead; and once when
    /// [`Node::lead_with`](crate::Node::lead_with) begins. An error, a panic, or no answer within `limit`, is bad: the
    /// node leads only if nobody else can until a check is passed, and one that leads hands over and holds off.
    /// Default: none. Less than 1 ms, of either, is taken for 1 ms.
    ///
    /// The thread ends with the call of `lead_with`; but a check that hangs is left behind, with its thread.
    #[must_use]
    pub fn health_check(
        mut self,
        every: Duration,
        limit: Duration,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.health_check = Some(HealthCheck {
            every: every.max(Self::SHORTEST_CHECK),
            limit: limit.max(Self::SHORTEST_CHECK),
            check: Arc::new(check),
        });
        self
    }

    fn orders(&self, id: NodeId, timing: Timing) -> Orders {
        let (heartbeat, timeout) = (timing.heartbeat_interval(), timing.election_timeout());
        // The heartbeat after a lost one goes out two intervals after the last that was answered, and has half of one
        // to be answered itself.
        let longest_drain = timing.lease(timeout).saturating_sub(heartbeat * 5 / 2);
        let drain = self.drain_time.unwrap_or(timeout / 5);
        if self.drain_time.is_some() && drain > longest_drain {
            log::warn!(
                "node {id}: a drain time of {drain:?} leaves no time to work: expected at most {longest_drain:?} with \
                 this timing, and goes on with that"
            );
        }
        if let Some(silence) = self.max_silence.filter(|silence| *silence < heartbeat) {
            log::warn!(
                "node {id}: a max_silence of {silence:?} is too short: expected at least {heartbeat:?}, the heartbeat \
                 interval, and goes on with that"
            );
        }
        Orders {
            drain: drain.min(longest_drain),
            max_silence: self.max_silence.map(|silence| silence.max(heartbeat)),
            hold_off: self.hold_off.unwrap_or(timeout * Self::HOLD_OFF_TIMEOUTS),
            on_overrun: self.on_overrun.clone(),
        }
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck").field("every", &self.every).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a running node gives to those who lead with it.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    pub(crate) id: NodeId,
    pub(crate) inbox: Sender<Mail>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) timing: Timing,
}

impl NodeHandle {
    /// To a node that has stopped, nothing is to be told.
    pub(crate) fn tell(&self, mail: Mail) {
        let _ = self.inbox.send(mail);
    }
}

/// Runs `work` once per term won.
pub(crate) fn lead<T, E>(
    handle: &NodeHandle,
    options: &LeadOptions,
    mut work: impl FnMut(&Leading<'_>) -> Result<T, E>,
) -> Result<(), E>
where
    T: Into<Next>,
    E: Display,
{
    let orders = options.orders(handle.id, handle.timing);
    let _presence = Presence::begin(handle);
    let _watch = options.health_check.as_ref().map(|check| Watch::begin(handle, check, orders.hold_off));
    let mut last = Term(0);
    loop {
        let Some(lease) = handle.leadership.begin(last, &orders) else {
            return Ok(());
        };
        last = lease.tenure().token();
        if orders.max_silence.is_some() {
            handle.tell(Mail::Nudge);
        }
        let leading = Leading { lease, handle, orders: &orders };
        let result = catch_unwind(AssertUnwindSafe(|| work(&leading).map(T::into)));
        // Read before the lease is taken away: did the work fail, or was it told to stop?
        let lost = leading.check().err();
        handle.leadership.end();
        match (result, lost) {
            (Ok(Ok(Next::Rejoin)), _) => drop(leading.give_up(EndReason::Resigned, Duration::ZERO)),
            (Ok(Ok(Next::HoldOff(span))), _) => {
                // Also if leadership was lost before, and so cannot be given up with it.
                handle.leadership.hold_off(clock::now() + span);
                handle.tell(Mail::Nudge);
                drop(leading.give_up(EndReason::Resigned, span));
            }
            (Ok(Ok(Next::Leave)), _) => {
                leading.give_up(EndReason::Resigned, Duration::ZERO).wait();
                return Ok(());
            }
            (Ok(Err(error)), Some(lost)) => {
                log::warn!(
                    "node {}: the work of term {last} was told to stop ({lost}), and ended with: {error}",
                    handle.id
                );
                drop(leading.give_up(EndReason::Resigned, Duration::ZERO));
            }
            (Ok(Err(error)), None) => {
                leading.give_up(EndReason::WorkFailed, orders.hold_off).wait();
                return Err(error);
            }
            (Err(panic), lost) => {
                if lost.is_some() {
                    // Leadership may be gone already, and cannot be given up with it.
                    handle.leadership.hold_off(clock::now() + orders.hold_off);
                }
                leading.give_up(EndReason::WorkFailed, orders.hold_off).wait();
                resume_unwind(panic);
            }
        }
    }
}

/// Ends when the node no longer leads.
#[must_use]
struct Release(crossbeam_channel::Receiver<Result<(), crate::error::TransferError>>);

impl Release {
    /// At most until the hard deadline, if something else still holds a lease.
    fn wait(self) {
        while self.0.recv().is_ok() {}
    }
}

impl Leading<'_> {
    /// The work has ended: takes the lease away, and then gives up the guard.
    fn give_up(self, why: EndReason, hold_off: Duration) -> Release {
        let tenure = self.lease.tenure();
        self.handle.leadership.revoke(tenure, why);
        let (answer, ends) = crossbeam_channel::bounded(1);
        self.handle.tell(Mail::GiveUp { term: tenure.token(), why, hold_off, answer: Some(answer) });
        Release(ends)
    }
}

/// Somebody is there to do the work.
struct Presence<'a>(&'a NodeHandle);

impl<'a> Presence<'a> {
    fn begin(handle: &'a NodeHandle) -> Self {
        assert!(
            handle.leadership.enter(),
            "node {}: `lead` was called while a call of it was running: one at a time, and not from inside its closure",
            handle.id
        );
        handle.tell(Mail::Nudge);
        Presence(handle)
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.leadership.leave();
        self.0.tell(Mail::Nudge);
    }
}

/// Asks for the program's health while it lives.
struct Watch<'a> {
    handle: &'a NodeHandle,
    // Its end is the thread's.
    _stop: Sender<()>,
}

impl<'a> Watch<'a> {
    fn begin(handle: &'a NodeHandle, asked: &HealthCheck, hold_off: Duration) -> Self {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let (id, inbox, leadership) = (handle.id, handle.inbox.clone(), handle.leadership.clone());
        let asked = asked.clone();
        leadership.watch_health(clock::now() + asked.limit, hold_off);
        let body = move || {
            loop {
                let begun = clock::now();
                let answer = catch_unwind(AssertUnwindSafe(|| (asked.check)()));
                let took = clock::now().since(begun);
                let bad = match answer {
                    Ok(Ok(())) if took > asked.limit => Some(format!("took {took:.1?}")),
                    Ok(Ok(())) => None,
                    Ok(Err(problem)) => Some(problem),
                    Err(_) => Some("panicked".to_owned()),
                };
                if stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected) {
                    return;
                }
                let good_until = clock::now() + asked.every + asked.limit;
                let before = leadership.note_health(bad.is_none().then_some(good_until));
                match (before, bad) {
                    (Some(true), Some(problem)) => {
                        log::warn!("node {id}: the health check was not passed: {problem}");
                    }
                    (Some(false), None) => {
                        log::info!("node {id}: the health check is passed again")
                    }
                    _ => {}
                }
                // The node has stopped: so does `lead`.
                let _ = inbox.send(Mail::Nudge);
                if stopped.recv_timeout(asked.every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        // The user's code gets a stack of the usual size.
        let name = format!("le{id}-health");
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            log::error!("node {id}: no thread for the health check, which is not passed: {error}");
            handle.leadership.note_health(None);
        }
        Watch { handle, _stop: stop }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.handle.leadership.forget_health();
        self.handle.tell(Mail::Nudge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Deadline, Term, TimingSpec};

    #[test]
    fn one_lost_heartbeat_ends_no_leadership_whatever_the_drain_time() {
        for (heartbeat, timeout) in [(100, 500), (100, 350), (20, 100), (3, 11)] {
            let millis = Duration::from_millis;
            let spec = TimingSpec {
                heartbeat_interval: millis(heartbeat),
                election_timeout: millis(timeout),
                clock_drift_ppm: 1000,
            };
            let timing = Timing::new(spec).expect("it fits");
            for options in [LeadOptions::default(), LeadOptions::default().drain_time(Duration::MAX)] {
                let drain = options.orders(1.into(), timing).drain;
                // Counted from the last heartbeat that was answered. The next is lost.
                let soft = timing.lease(timing.election_timeout()) - drain;
                let sent_again = timing.heartbeat_interval() * 2;
                assert!(soft >= sent_again + timing.heartbeat_interval() / 2, "{timing:?}: {soft:?}");
            }
        }
    }

    #[test]
    fn a_node_whose_work_panicked_holds_off_even_if_leadership_was_lost_before() {
        let timing = Timing::default();
        let leadership = Arc::new(Leadership::new(timing.election_timeout(), || {}));
        let (inbox, mail) = crossbeam_channel::unbounded();
        let handle = NodeHandle { id: 1.into(), inbox, leadership: leadership.clone(), timing };
        let until = clock::now() + Duration::from_secs(3600);
        let lease = Deadline { token: Term(3), until };
        leadership.publish(Some(lease), EndReason::QuorumLost);
        // An election thread that leads no more.
        let election = thread::spawn(move || mail.iter().for_each(drop));
        let work = |_: &Leading<'_>| -> Result<(), String> {
            leadership.publish(None, EndReason::QuorumLost);
            panic!("on purpose");
        };
        let ended = catch_unwind(AssertUnwindSafe(|| lead(&handle, &LeadOptions::default(), work)));
        assert!(ended.is_err());
        assert!(leadership.enter() && !leadership.is_able());
        drop(handle);
        assert!(election.join().is_ok());
    }
}
