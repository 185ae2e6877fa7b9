//! What a program holds while it acts as leader.
//!
//! "Am I leader" is never a stored yes or no: it is a deadline compared with the clock at the moment of the question,
//! so that a stopped or stuck election thread leaves no "yes" behind. Only a "no" is stored: what was taken away stays
//! away.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::Remaining;
use crate::clock;
use crate::election::{Deadline, EndReason, Instant, Term};

/// The right to act as leader, for a while.
///
/// A lease is also a guard: while one exists, an orderly hand-over waits for it to be dropped, or for the deadline,
/// before another node may lead. So hold it while you act, and drop it when you have stopped: the node takes whoever
/// holds one, valid or not, for still at work, and stands for no election until it is dropped. One election timeout
/// after the end of the lease it warns of that in the log.
///
/// A lease that was found invalid once stays so. Drop it, and win another with [`Node::lease`](crate::Node::lease).
#[derive(Debug)]
pub struct Lease {
    tenure: Arc<LeaseState>,
    lapsed: AtomicBool,
}

impl Lease {
    /// The fencing token: grows strictly from leader to leader. Send it along with everything that changes a shared
    /// resource, and let the resource refuse a token that is lower than one it has seen.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.tenure.token.0
    }

    /// Whether this node may act as leader now. Reads the clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long this node may still act as leader if no heartbeat is answered any more; zero if it may not. Centuries
    /// in a cluster of one node, whose lease has no end. Reads the clock.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if self.lapsed.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let left = self.tenure.left();
        if left.is_zero() {
            self.lapsed.store(true, Ordering::Relaxed);
        }
        left
    }

    /// The token and the time left, as a status shows them.
    pub(crate) fn shown(&self) -> (Term, Remaining) {
        let ends_at = self.tenure.until().min(self.tenure.silent_at());
        let left = if self.is_valid() { Remaining::until(ends_at, clock::now()) } else { Remaining::Over };
        (self.tenure.token, left)
    }

    pub(crate) fn tenure(&self) -> &Arc<LeaseState> {
        &self.tenure
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.tenure.held.fetch_add(1, Ordering::SeqCst);
        Lease { tenure: self.tenure.clone(), lapsed: AtomicBool::new(self.lapsed.load(Ordering::Relaxed)) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let last = self.tenure.held.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.tenure.lost().is_some() {
            (self.tenure.on_idle)();
        }
    }
}

pub(crate) type OnIdle = Arc<dyn Fn() + Send + Sync>;

/// The lease of one term, as threads share it.
pub(crate) struct LeaseState {
    token: Term,
    /// The hard deadline: another node may lead from then on.
    until: AtomicU64,
    /// From when on the work is taken for stuck, unless it says that it is not.
    silent_at: AtomicU64,
    /// Nothing while zero, or else one more than the place in [`EndReason::ALL`]. Written once.
    lost: AtomicU8,
    held: AtomicUsize,
    on_idle: OnIdle,
}

impl LeaseState {
    pub(crate) fn new(Deadline { token, until }: Deadline, on_idle: OnIdle) -> Self {
        LeaseState {
            token,
            until: AtomicU64::new(until.as_nanos()),
            silent_at: AtomicU64::new(Instant::NEVER.as_nanos()),
            lost: AtomicU8::new(0),
            held: AtomicUsize::new(0),
            on_idle,
        }
    }

    pub(crate) fn token(&self) -> Term {
        self.token
    }

    /// The hard deadline.
    pub(crate) fn until(&self) -> Instant {
        Instant::from_nanos(self.until.load(Ordering::SeqCst))
    }

    pub(crate) fn silent_at(&self) -> Instant {
        Instant::from_nanos(self.silent_at.load(Ordering::SeqCst))
    }

    /// Why the lease was taken away, if it was.
    pub(crate) fn lost(&self) -> Option<EndReason> {
        let place = self.lost.load(Ordering::SeqCst).checked_sub(1)?;
        EndReason::ALL.get(usize::from(place)).copied()
    }

    /// How long work that takes `drain` to stop may still go on, or why it may not.
    pub(crate) fn soft_left(&self, now: Instant, drain: Duration) -> Result<Duration, EndReason> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let until_silent = self.silent_at().since(now);
        if until_silent.is_zero() {
            return Err(EndReason::WorkSilent);
        }
        let until_soft = self.until().before(drain).since(now);
        if until_soft.is_zero() {
            return Err(EndReason::QuorumLost);
        }
        Ok(until_soft.min(until_silent))
    }

    fn left(&self) -> Duration {
        self.soft_left(clock::now(), Duration::ZERO).unwrap_or_default()
    }

    // Whoever takes a guard counts first and looks at `lost` then; whoever revokes writes `lost` first and looks at the
    // count then. In the one order of sequentially consistent operations, at least one of them sees the other.

    pub(crate) fn take(self: &Arc<Self>) -> Option<Lease> {
        self.held.fetch_add(1, Ordering::SeqCst);
        let lease = Lease { tenure: self.clone(), lapsed: AtomicBool::new(false) };
        lease.is_valid().then_some(lease)
    }

    /// Takes the lease away, for good, and says whether that is news. Work that it guards has to end by `end_by`.
    pub(crate) fn revoke(&self, why: EndReason, end_by: Instant) -> bool {
        let place = EndReason::ALL.iter().position(|lost| *lost == why);
        let code = place.and_then(|place| u8::try_from(place + 1).ok());
        let code = code.expect("ALL lists every reason");
        let swapped = self.lost.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        self.until.fetch_min(end_by.as_nanos(), Ordering::SeqCst);
        swapped.is_ok()
    }

    /// Moves the deadline of a lease that was not taken away.
    pub(crate) fn extend(&self, until: Instant) {
        if self.lost().is_none() {
            self.until.store(until.as_nanos(), Ordering::SeqCst);
        }
    }

    pub(crate) fn expect_signs_until(&self, silent_at: Instant) {
        self.silent_at.store(silent_at.as_nanos(), Ordering::SeqCst);
    }

    /// The work is alive at `now`: it is not stuck before `max_silence` has passed. Once stuck, it stays so.
    pub(crate) fn alive(&self, now: Instant, max_silence: Duration) {
        let later = (now + max_silence).as_nanos();
        let in_time = |silent_at| (now.as_nanos() < silent_at).then(|| later.max(silent_at));
        // Too late.
        let _ = self.silent_at.fetch_update(Ordering::SeqCst, Ordering::SeqCst, in_time);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }
}

impl fmt::Debug for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseState")
            .field("token", &self.token)
            .field("left", &self.left())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
