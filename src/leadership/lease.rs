//! What a program holds while it acts as leader.
//!
//! "Am I leader" is never a stored yes or no. It is a deadline, compared with the clock at the moment of the question,
//! so that a stopped or stuck election thread leaves no "yes" behind. Only a "no" is stored: a lease that was taken
//! away stays away.

use std::fmt;
use std::time::Duration;

use super::remaining::Remaining;
use crate::clock;
use crate::election::{Deadline, EndReason, Instant, Term};
use crate::state_lock::StateLock;
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// The right to act as leader, for a while.
///
/// A lease is also a guard. An orderly hand-over waits until every `Lease` is dropped, or until the deadline, before
/// another node may lead. So hold it while you act, and drop it when you have stopped. While any `Lease` of a term
/// exists, even an expired one, this node does not campaign. One election timeout after the end of the lease the log
/// warns of that.
///
/// A lease that was found invalid stays invalid. Drop it, and ask for another with [`Node::lease`](crate::Node::lease).
#[derive(Debug)]
#[must_use = "dropping the lease says that the work it guards has stopped"]
pub struct Lease {
    state: Arc<LeaseState>,
    lapsed: AtomicBool,
}

impl Lease {
    /// The fencing token: it grows strictly from leader to leader. Send it along with each change of a shared resource,
    /// and let the resource refuse a token that is lower than the highest one it has seen.
    #[must_use]
    pub fn token(&self) -> Term {
        self.state.token
    }

    /// Whether this node may act as leader now. Reads the clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.remaining().is_over()
    }

    /// How long this node may still act as leader if no heartbeat is answered any more. Reads the clock.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        if self.lapsed.load(Ordering::Relaxed) {
            return Remaining::Over;
        }
        let left = self.state.left(clock::now());
        if left.is_over() {
            self.lapsed.store(true, Ordering::Relaxed);
        }
        left
    }

    pub(crate) fn state(&self) -> &Arc<LeaseState> {
        &self.state
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.state.held.fetch_add(1, Ordering::SeqCst);
        Lease { state: self.state.clone(), lapsed: AtomicBool::new(self.lapsed.load(Ordering::Relaxed)) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let last = self.state.held.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.state.ended().is_some() {
            (self.state.tell)(Nudge::LeaseFree(self.state.token));
        }
    }
}

/// What the node is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// What the program is and wants has changed.
    Program,
    /// The last guard of this lease, which was taken away, is gone.
    LeaseFree(Term),
}

/// How the node is told, from any thread.
pub(crate) type Tell = std::sync::Arc<dyn Fn(Nudge) + Send + Sync>;

/// The lease of one term, as threads share it.
pub(crate) struct LeaseState {
    pub(crate) token: Term,
    /// The hard deadline: another node may lead from then on.
    until: AtomicU64,
    /// From when on the work counts as silent.
    silent_at: AtomicU64,
    /// Zero while the lease was not taken away, then one more than the place in [`EndReason::ALL`]. Written once.
    ended: AtomicU8,
    held: AtomicUsize,
    tell: Tell,
    /// Held for as long as anything can act under this lease.
    _lock: Option<StateLock>,
}

impl LeaseState {
    pub(crate) fn new(Deadline { token, until }: Deadline, tell: Tell, lock: Option<StateLock>) -> Self {
        LeaseState {
            token,
            until: AtomicU64::new(until.as_nanos()),
            silent_at: AtomicU64::new(Instant::NEVER.as_nanos()),
            ended: AtomicU8::new(0),
            held: AtomicUsize::new(0),
            tell,
            _lock: lock,
        }
    }

    /// The hard deadline.
    pub(crate) fn until(&self) -> Instant {
        Instant::from_nanos(self.until.load(Ordering::SeqCst))
    }

    pub(crate) fn silent_at(&self) -> Instant {
        Instant::from_nanos(self.silent_at.load(Ordering::SeqCst))
    }

    /// Why the lease was taken away, if it was.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let place = self.ended.load(Ordering::SeqCst).checked_sub(1)?;
        EndReason::ALL.get(usize::from(place)).copied()
    }

    /// Until when work that takes `drain` to stop may go on, or why it has to stop now.
    pub(crate) fn soft_deadline(&self, now: Instant, drain: Duration) -> Result<Instant, EndReason> {
        if let Some(reason) = self.ended() {
            return Err(reason);
        }
        let silent_at = self.silent_at();
        if now >= silent_at {
            return Err(EndReason::WorkSilent);
        }
        let soft = match self.until() {
            Instant::NEVER => Instant::NEVER,
            until => until.before(drain),
        };
        if now >= soft {
            return Err(EndReason::QuorumLost);
        }
        Ok(soft.min(silent_at))
    }

    fn left(&self, now: Instant) -> Remaining {
        self.soft_deadline(now, Duration::ZERO).map_or(Remaining::Over, |until| Remaining::until(until, now))
    }

    // A thread that takes a guard counts it first and then looks at `ended`. A thread that takes the lease away writes
    // `ended` first and then looks at the count. These operations have one order (sequential consistency), so at least
    // one of the two threads sees what the other did.

    pub(crate) fn take(self: &Arc<Self>, now: Instant) -> Option<Lease> {
        if self.left(now).is_over() {
            return None; // Counted and dropped, it would be told again that the lease is free.
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        let lease = Lease { state: self.clone(), lapsed: AtomicBool::new(false) };
        (!self.left(now).is_over()).then_some(lease)
    }

    /// Takes the lease away, for good. Returns whether that is news. The work that it guards has to end by `end_by`.
    pub(crate) fn revoke(&self, reason: EndReason, end_by: Instant) -> bool {
        let code = reason as u8 + 1;
        let swapped = self.ended.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        self.until.fetch_min(end_by.as_nanos(), Ordering::SeqCst);
        swapped.is_ok()
    }

    /// Moves the deadline of a lease that was not taken away. Only the thread that publishes leases calls this.
    pub(crate) fn extend(&self, until: Instant) {
        if self.ended().is_none() {
            self.until.store(until.as_nanos(), Ordering::SeqCst);
        }
    }

    pub(crate) fn expect_signs_until(&self, silent_at: Instant) {
        self.silent_at.store(silent_at.as_nanos(), Ordering::SeqCst);
    }

    /// The work is alive at `now`: it is not silent before `max_silence` has passed. Once silent, it stays so.
    pub(crate) fn alive(&self, now: Instant, max_silence: Duration) {
        let later = (now + max_silence).as_nanos();
        let in_time = |silent_at| (now.as_nanos() < silent_at).then(|| later.max(silent_at));
        // An error says that it is too late: the work counts as silent.
        let _ = self.silent_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, in_time);
    }

    pub(crate) fn is_free(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }
}

impl fmt::Debug for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseState")
            .field("token", &self.token)
            .field("until", &self.until())
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}
