//! One call that does the work of a leader, once per term won.

use std::convert::Infallible;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::health::Watch;
use super::lease::Lease;
use super::options::{LeadOptions, WorkPolicy};
use super::remaining::Remaining;
use super::state::Leadership;
use crate::clock;
use crate::election::{EndReason, NodeId, Term, Timing};
use crate::engine::{Answer, Call};
use crate::inbox::{Answers, Inbox};
use crate::log_queue::LogQueue;

/// What the closure of [`Node::lead`](crate::Node::lead) holds while this node leads.
///
/// It may be shared with scoped threads. It cannot outlive the call.
#[derive(Debug)]
pub struct Leading<'a> {
    lease: Lease,
    handle: &'a NodeHandle,
    policy: &'a WorkPolicy,
}

impl Leading<'_> {
    /// The fencing token: it grows strictly from leader to leader. See [`Lease::token`].
    #[must_use]
    pub fn token(&self) -> Term {
        self.lease.token()
    }

    /// The time to the hard deadline, from when on another node may lead: the work must have ended by then. It also
    /// tells so once the work has to stop. Reads the clock.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        Remaining::until(self.lease.state().until(), clock::now())
    }

    /// How long the work may go on if nothing renews the lease any more: the time to the soft deadline, or to the end
    /// of [`LeadOptions::max_silence`] if that is sooner. Over once the work has to stop. Reads the clock.
    #[must_use]
    pub fn soft_remaining(&self) -> Remaining {
        let now = clock::now();
        let soft = self.policy.soft_deadline(self.lease.state(), now);
        soft.map_or(Remaining::Over, |until| Remaining::until(until, now))
    }

    /// Whether the work may go on. Reads the clock.
    ///
    /// # Errors
    ///
    /// When the work has to stop, with the reason. That is final: the node gives its leadership up, and releases it
    /// when the closure returns.
    pub fn check(&self) -> Result<(), EndReason> {
        let soft = self.policy.soft_deadline(self.lease.state(), clock::now());
        soft.map(drop).map_err(|reason| self.stop(reason))
    }

    /// Sleeps for `span`, but no longer than the work may go on. It is no sign of life: see [`Leading::alive`].
    ///
    /// # Errors
    ///
    /// As [`Leading::check`], at once when the work has to stop.
    pub fn wait(&self, span: Duration) -> Result<(), EndReason> {
        let until = clock::now() + span;
        let waited = self.handle.leadership.wait(self.lease.state(), self.policy, until, clock::now);
        waited.map_err(|reason| self.stop(reason))
    }

    /// Says that the work is not stuck. Call it more often than [`LeadOptions::max_silence`], if that is set. A call
    /// that comes too late changes nothing.
    pub fn alive(&self) {
        if let Some(max_silence) = self.policy.max_silence {
            self.lease.state().alive(clock::now(), max_silence);
        }
    }

    /// A "no" that was said once stays: the lease is taken away, and the node gives leadership up.
    fn stop(&self, reason: EndReason) -> EndReason {
        let lease = self.lease.state();
        if self.handle.leadership.revoke(lease, reason, clock::now()) {
            let hold_off = if reason == EndReason::WorkSilent { self.policy.hold_off } else { Duration::ZERO };
            drop(self.handle.work_ends(lease.token, reason, hold_off));
        }
        lease.ended().unwrap_or(reason)
    }

    /// The work has ended: takes the lease away, and then gives up the guard. The answer comes when this node does not
    /// lead any more.
    fn give_up(self, reason: EndReason, hold_off: Duration) -> Answers {
        let lease = self.lease.state();
        self.handle.leadership.revoke(lease, reason, clock::now());
        self.handle.work_ends(lease.token, reason, hold_off)
    }
}

/// What a node does after a closure has returned: its leadership is released in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Contends again. Within one election timeout it leads only if no other node wins.
    Rejoin,
    /// Contends again, but leads within this time only if no other node can.
    HoldOff(Duration),
    /// [`Node::lead`](crate::Node::lead) returns. The node goes on voting, and leads only if no other node can.
    Leave,
}

/// [`Next::Rejoin`].
impl From<()> for Next {
    fn from((): ()) -> Self {
        Next::Rejoin
    }
}

/// What a closure of [`Node::lead`](crate::Node::lead) may return: `()`, a [`Next`], or a `Result` of one of them.
pub trait WorkResult {
    /// What [`Node::lead`](crate::Node::lead) returns: `()`, or a `Result` with the error of the closure.
    type Ended;
    #[doc(hidden)]
    type Error: Display;
    #[doc(hidden)]
    fn into_next(self) -> Result<Next, Self::Error>;
    #[doc(hidden)]
    fn ended(result: Result<(), Self::Error>) -> Self::Ended;
}

impl WorkResult for () {
    type Ended = ();
    type Error = Infallible;

    fn into_next(self) -> Result<Next, Infallible> {
        Ok(Next::Rejoin)
    }

    fn ended(Ok(()): Result<(), Infallible>) {}
}

impl WorkResult for Next {
    type Ended = ();
    type Error = Infallible;

    fn into_next(self) -> Result<Next, Infallible> {
        Ok(self)
    }

    fn ended(Ok(()): Result<(), Infallible>) {}
}

impl<T: Into<Next>, E: Display> WorkResult for Result<T, E> {
    type Ended = Result<(), E>;
    type Error = E;

    fn into_next(self) -> Result<Next, E> {
        self.map(T::into)
    }

    fn ended(result: Result<(), E>) -> Result<(), E> {
        result
    }
}

/// What [`lead`] needs of a running node.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    pub(crate) id: NodeId,
    pub(crate) inbox: Inbox,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) timing: Timing,
    pub(crate) log: LogQueue,
}

impl NodeHandle {
    /// Tells the node that the work of `term` ends, or has ended. The answer comes when it does not lead any more.
    pub(crate) fn work_ends(&self, term: Term, reason: EndReason, hold_off: Duration) -> Answers {
        self.inbox.call(Call::WorkEnds { term, reason, hold_off })
    }
}

/// Waits until the node does not lead any more: at most until the hard deadline, if something else still holds a lease.
pub(crate) fn wait(answers: &Answers) {
    while !matches!(answers.recv(), Ok(Answer::Done) | Err(_)) {}
}

/// Runs `work` once per term won.
pub(crate) fn lead<R: WorkResult>(
    handle: &NodeHandle,
    options: &LeadOptions,
    mut work: impl FnMut(&Leading<'_>) -> R,
) -> R::Ended {
    let policy = options.policy(handle.id, handle.timing, clock::now(), &handle.log);
    let _presence = Presence::begin(handle);
    let _watch = options.health_check.as_ref().map(|check| Watch::begin(handle, check, policy.hold_off));
    let leadership = &handle.leadership;
    let mut last = Term(0);
    loop {
        let Some(lease) = leadership.begin(last, &policy, clock::now) else {
            return R::ended(Ok(()));
        };
        last = lease.token();
        let leading = Leading { lease, handle, policy: &policy };
        let result = catch_unwind(AssertUnwindSafe(|| work(&leading).into_next()));
        // Read before the lease is taken away: did the work fail, or was it told to stop?
        let stopped = leading.check().err();
        leadership.end();
        match (result, stopped) {
            (Ok(Ok(Next::Rejoin)), _) => drop(leading.give_up(EndReason::Resigned, Duration::ZERO)),
            (Ok(Ok(Next::HoldOff(span))), _) => {
                // Also if leadership was lost before, and so cannot be given up with it.
                leadership.hold_off(clock::now() + span);
                drop(leading.give_up(EndReason::Resigned, span));
            }
            (Ok(Ok(Next::Leave)), _) => {
                wait(&leading.give_up(EndReason::Resigned, Duration::ZERO));
                return R::ended(Ok(()));
            }
            (Ok(Err(error)), Some(reason)) => {
                log::warn!(
                    logger: handle.log,
                    "node {}: the work of term {last} had to stop ({reason}), and then failed: {error}",
                    handle.id
                );
                drop(leading.give_up(EndReason::Resigned, Duration::ZERO));
            }
            (Ok(Err(error)), None) => {
                wait(&leading.give_up(EndReason::WorkFailed, policy.hold_off));
                return R::ended(Err(error));
            }
            (Err(panic), stopped) => {
                if stopped.is_some() {
                    // Leadership may be gone already, and cannot be given up with it.
                    leadership.hold_off(clock::now() + policy.hold_off);
                }
                wait(&leading.give_up(EndReason::WorkFailed, policy.hold_off));
                resume_unwind(panic);
            }
        }
    }
}

/// Somebody is there to do the work.
struct Presence<'a>(&'a NodeHandle);

impl<'a> Presence<'a> {
    fn begin(handle: &'a NodeHandle) -> Self {
        assert!(
            handle.leadership.attend(),
            "node {}: `lead` was called while a call of it was running: one at a time, and not from inside its closure",
            handle.id
        );
        Presence(handle)
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.leadership.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::election::Deadline;

    #[test]
    fn a_node_whose_work_panicked_holds_off_even_if_leadership_was_lost_before() {
        let timing = Timing::default();
        let leadership = Arc::new(Leadership::new(timing.election_timeout(), |_| {}));
        let (inbox, mail) = Inbox::new();
        let log = LogQueue::start(1.into()).expect("a thread");
        let handle = NodeHandle { id: 1.into(), inbox, leadership: leadership.clone(), timing, log };
        let until = clock::now() + Duration::from_secs(3600);
        leadership.publish(Some(Deadline { token: Term(3), until }), EndReason::QuorumLost, clock::now());
        // An election thread that leads no more.
        let election = thread::spawn(move || mail.iter().for_each(drop));
        let work = |_: &Leading<'_>| {
            leadership.publish(None, EndReason::QuorumLost, clock::now());
            panic!("on purpose");
        };
        let ended = catch_unwind(AssertUnwindSafe(|| lead::<()>(&handle, &LeadOptions::default(), work)));
        assert!(ended.is_err());
        assert!(leadership.program().hold_off_until > clock::now());
        drop(handle);
        assert!(election.join().is_ok());
    }
}
