//! What a program holds while it acts as leader.
//!
//! "Am I leader" is never a stored yes or no: it is a deadline compared with the clock at the moment of the question,
//! so that a stopped or stuck election thread leaves no "yes" behind.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::election::{Deadline, Instant, Term};

/// The right to act as leader, for a while.
///
/// A lease is also a guard: while one exists, an orderly hand-over waits for it to be dropped, or for the deadline,
/// before another node may lead. So hold it while you act, and drop it when you have stopped.
///
/// A lease that was found invalid once stays so. Win another with [`Node::lease`](crate::Node::lease).
#[derive(Debug)]
pub struct Lease {
    tenure: Arc<Tenure>,
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

    /// How long this node may still act as leader if no heartbeat is answered any more; zero if it may not. Reads the
    /// clock.
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
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.tenure.held.fetch_add(1, Ordering::SeqCst);
        Lease {
            tenure: self.tenure.clone(),
            lapsed: AtomicBool::new(self.lapsed.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let last = self.tenure.held.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.tenure.until.load(Ordering::SeqCst) == REVOKED {
            (self.tenure.on_idle)();
        }
    }
}

/// No moment is before the start of the clock.
const REVOKED: u64 = 0;

type OnIdle = Arc<dyn Fn() + Send + Sync>;

/// The lease of one term, as threads share it.
struct Tenure {
    token: Term,
    until: AtomicU64,
    held: AtomicUsize,
    on_idle: OnIdle,
}

impl Tenure {
    fn left(&self) -> Duration {
        Instant::from_nanos(self.until.load(Ordering::SeqCst)).since(clock::now())
    }

    // Whoever takes a guard counts first and looks at the deadline then; whoever revokes writes the deadline first
    // and looks at the count then. In the one order of sequentially consistent operations, at least one of them sees
    // the other.

    fn take(self: &Arc<Self>) -> Option<Lease> {
        self.held.fetch_add(1, Ordering::SeqCst);
        let lease = Lease {
            tenure: self.clone(),
            lapsed: AtomicBool::new(false),
        };
        lease.is_valid().then_some(lease)
    }

    fn revoke(&self) {
        self.until.store(REVOKED, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure")
            .field("token", &self.token)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

/// Where the election thread publishes the lease, and everybody else takes it.
pub(crate) struct Office {
    /// The tenures that are current or still have guards, the current one last.
    tenures: Mutex<Vec<Arc<Tenure>>>,
    on_idle: OnIdle,
}

impl Office {
    /// `on_idle` is called, on whatever thread, when the last guard of a revoked lease is dropped.
    pub(crate) fn new(on_idle: impl Fn() + Send + Sync + 'static) -> Self {
        Office {
            tenures: Mutex::new(Vec::new()),
            on_idle: Arc::new(on_idle),
        }
    }

    /// The lease, if this node may act as leader now.
    pub(crate) fn lease(&self) -> Option<Lease> {
        let current = self.tenures().last().cloned();
        current.and_then(|tenure| tenure.take())
    }

    /// What the election says from now on.
    pub(crate) fn publish(&self, lease: Option<Deadline>) {
        let mut tenures = self.tenures();
        for tenure in tenures
            .iter()
            .filter(|tenure| lease.is_none_or(|lease| lease.token != tenure.token))
        {
            tenure.revoke();
        }
        tenures.retain(|tenure| {
            !tenure.is_idle() || lease.is_some_and(|lease| lease.token == tenure.token)
        });
        let Some(Deadline { token, until }) = lease else {
            return;
        };
        match tenures.last().filter(|tenure| tenure.token == token) {
            Some(tenure) => tenure.until.store(until.as_nanos(), Ordering::SeqCst),
            None => tenures.push(Arc::new(Tenure {
                token,
                until: AtomicU64::new(until.as_nanos()),
                held: AtomicUsize::new(0),
                on_idle: self.on_idle.clone(),
            })),
        }
    }

    /// Whether nothing is guarded any more by the lease of `token`, which was taken away before.
    pub(crate) fn is_idle(&self, token: Term) -> bool {
        self.tenures()
            .iter()
            .all(|tenure| tenure.token != token || tenure.is_idle())
    }

    fn tenures(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office")
            .field("tenures", &self.tenures)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> (Office, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        (
            Office::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
            calls,
        )
    }

    fn deadline(token: u64, left: Duration) -> Option<Deadline> {
        Some(Deadline {
            token: Term(token),
            until: clock::now() + left,
        })
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_lease_is_valid_until_its_deadline_without_anybody_telling_it() {
        let (office, _) = office();
        office.publish(deadline(3, Duration::from_millis(20)));
        let lease = office.lease().expect("20 ms are left");
        assert_eq!(lease.token(), 3);
        while lease.is_valid() {
            std::thread::yield_now();
        }
        assert_eq!(lease.remaining(), Duration::ZERO);
        assert!(office.lease().is_none());
    }

    #[test]
    fn a_lease_found_invalid_stays_so_even_if_the_deadline_moves() {
        let (office, _) = office();
        office.publish(deadline(3, Duration::from_millis(1)));
        let Some(lease) = office.lease() else { return };
        while lease.is_valid() {
            std::thread::yield_now();
        }
        office.publish(deadline(3, LONG));
        assert!(!lease.is_valid());
        assert!(office.lease().is_some());
    }

    #[test]
    fn a_revoked_lease_is_invalid_at_once_and_idle_when_its_last_guard_is_dropped() {
        let (office, calls) = office();
        office.publish(deadline(3, LONG));
        let lease = office.lease().expect("an hour is left");
        let twin = lease.clone();
        office.publish(None);
        assert!(!lease.is_valid() && !twin.is_valid());
        assert!(!office.is_idle(Term(3)));
        drop(lease);
        assert!(!office.is_idle(Term(3)));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        drop(twin);
        assert!(office.is_idle(Term(3)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_guard_of_an_older_term_neither_is_valid_nor_holds_up_the_next_term() {
        let (office, _) = office();
        office.publish(deadline(3, LONG));
        let old = office.lease().expect("an hour is left");
        office.publish(deadline(5, LONG));
        assert!(!old.is_valid());
        assert!(!office.is_idle(Term(3)));
        assert!(office.is_idle(Term(5)));
        assert_eq!(office.lease().expect("an hour is left").token(), 5);
    }

    /// The race between taking a guard and revoking: whoever wins, no guard is valid after the office was found idle.
    #[test]
    fn no_guard_is_taken_behind_the_back_of_whoever_revokes() {
        for round in 1..200 {
            let (office, _) = office();
            office.publish(deadline(round, LONG));
            std::thread::scope(|scope| {
                let taker = scope.spawn(|| office.lease());
                office.publish(None);
                let idle = office.is_idle(Term(round));
                let lease = taker.join().expect("the taker does not panic");
                assert!(!(idle && lease.is_some_and(|lease| lease.is_valid())));
            });
        }
    }
}
