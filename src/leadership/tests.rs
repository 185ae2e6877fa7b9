//! What threads share, one thread at a time. All orders of several threads are tried by `tests/shared_state`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lease::{Lease, Nudge};
use super::options::WorkPolicy;
use super::{LeadOptions, Leadership, OnOverrun, Remaining};
use crate::clock;
use crate::election::{Deadline, EndReason, Instant, Term, Timing, TimingSpec};

const HOUR: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_millis(500);

/// A leadership, and what it tells.
fn leadership() -> (Leadership, Arc<Mutex<Vec<Nudge>>>) {
    let nudges: Arc<Mutex<Vec<Nudge>>> = Arc::default();
    let told = nudges.clone();
    (Leadership::new(GRACE, move |nudge| told.lock().expect("no panic").push(nudge)), nudges)
}

fn taken(nudges: &Mutex<Vec<Nudge>>) -> Vec<Nudge> {
    std::mem::take(&mut nudges.lock().expect("no panic"))
}

fn deadline(token: u64, until: Instant) -> Option<Deadline> {
    Some(Deadline { token: Term(token), until })
}

fn policy(max_silence: Option<Duration>) -> WorkPolicy {
    WorkPolicy {
        drain: Duration::ZERO,
        max_silence,
        hold_off: HOUR,
        on_overrun: OnOverrun::Log,
        leave_at: Instant::NEVER,
    }
}

fn begin(leadership: &Leadership, last: u64, policy: &WorkPolicy) -> Lease {
    leadership.begin(Term(last), policy, clock::now).expect("a lease")
}

#[test]
fn a_lease_is_valid_until_its_deadline_without_anybody_telling_it() {
    let (leadership, _) = leadership();
    leadership.publish(deadline(3, clock::now() + Duration::from_millis(20)), EndReason::QuorumLost, clock::now());
    let lease = leadership.lease(clock::now()).expect("20 ms are left");
    assert_eq!(lease.token(), Term(3));
    while lease.is_valid() {
        std::thread::yield_now();
    }
    assert_eq!(lease.remaining(), Remaining::Over);
    assert!(leadership.lease(clock::now()).is_none());
}

#[test]
fn a_lease_found_invalid_stays_so_even_if_the_deadline_moves() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + Duration::from_millis(1)), EndReason::QuorumLost, now);
    // The guard is taken as of a moment at which something was left, however slow this thread is.
    let lease = leadership.lease(now).expect("1 ms is left");
    while lease.is_valid() {
        std::thread::yield_now();
    }
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    assert!(!lease.is_valid());
    assert!(leadership.lease(clock::now()).is_some());
}

#[test]
fn a_lease_that_was_taken_away_is_invalid_at_once_and_free_when_its_last_guard_is_dropped() {
    let (leadership, nudges) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = leadership.lease(now).expect("an hour is left");
    let clone = lease.clone();
    assert_eq!(leadership.publish(None, EndReason::Resigned, now), []);
    assert!(!lease.is_valid() && !clone.is_valid());
    assert_eq!(leadership.program().kept, Some(Term(3)));
    drop(lease);
    assert_eq!(taken(&nudges), []);
    drop(clone);
    assert_eq!(taken(&nudges), [Nudge::LeaseFree(Term(3))]);
    assert_eq!(leadership.program().kept, None);
}

#[test]
fn a_lease_without_guards_is_free_as_soon_as_it_is_taken_away() {
    let (leadership, nudges) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    drop(leadership.lease(now));
    assert_eq!(leadership.publish(None, EndReason::Resigned, now), [Term(3)]);
    assert_eq!(leadership.publish(None, EndReason::Resigned, now), [], "told once");
    assert_eq!(taken(&nudges), []);
}

/// The program may find out first that it has to stop, and stop at once.
#[test]
fn a_lease_that_the_program_gave_up_is_free_when_the_node_takes_it_away() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = leadership.lease(now).expect("an hour is left");
    assert!(leadership.revoke(lease.state(), EndReason::Resigned, now));
    assert!(!leadership.revoke(lease.state(), EndReason::QuorumLost, now), "no news");
    drop(lease);
    assert_eq!(leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now), []);
    assert!(leadership.lease(now).is_none(), "also while the node does not know yet");
    assert_eq!(leadership.publish(None, EndReason::QuorumLost, now), [Term(3)]);
}

#[test]
fn asking_for_a_lease_that_was_given_up_tells_the_node_nothing() {
    let (leadership, nudges) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = leadership.lease(now).expect("an hour is left");
    leadership.revoke(lease.state(), EndReason::Resigned, now);
    for _ in 0..100 {
        assert!(leadership.lease(now).is_none());
    }
    assert_eq!(taken(&nudges), []);
}

#[test]
fn a_guard_of_an_older_term_is_invalid_and_does_not_hold_up_the_next_term() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let old = leadership.lease(now).expect("an hour is left");
    leadership.publish(deadline(5, now + HOUR), EndReason::QuorumLost, now);
    assert!(!old.is_valid());
    assert_eq!(leadership.lease(now).expect("an hour is left").token(), Term(5));
    assert_eq!(leadership.program().kept, Some(Term(3)));
}

#[test]
fn a_lease_that_was_taken_away_leaves_its_work_no_more_than_the_grace() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = begin(&leadership, 0, &policy(None));
    leadership.publish(None, EndReason::Resigned, now);
    assert_eq!(lease.state().until(), now + GRACE);
    assert_eq!(leadership.program().work.map(|work| (work.until, work.told_to_stop)), Some((now + GRACE, true)));
}

#[test]
fn a_sign_of_life_counts_only_before_the_work_is_silent() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = begin(&leadership, 0, &policy(Some(GRACE)));
    let silent_at = lease.state().silent_at();
    let almost = silent_at.before(Duration::from_nanos(1));
    assert_eq!(lease.state().soft_deadline(silent_at, Duration::ZERO), Err(EndReason::WorkSilent));
    lease.state().alive(silent_at, HOUR);
    assert_eq!(lease.state().silent_at(), silent_at, "too late");
    lease.state().alive(almost, GRACE);
    assert_eq!(lease.state().silent_at(), almost + GRACE);
}

#[test]
fn however_often_a_program_changes_its_mind_one_nudge_is_under_way() {
    let (leadership, nudges) = leadership();
    for turn in 0..1000 {
        leadership.set_eligible(turn % 2 == 0);
        leadership.set_health(None);
        leadership.hold_off(clock::now());
    }
    assert_eq!(taken(&nudges), [Nudge::Program]);
    assert!(leadership.program_after_nudge().ineligible);
    leadership.set_eligible(false);
    assert_eq!(taken(&nudges), [], "nothing has changed");
    leadership.set_eligible(true);
    assert_eq!(taken(&nudges), [Nudge::Program]);
}

#[test]
fn a_program_that_left_is_absent_until_it_comes_back_or_says_that_it_is_eligible() {
    let (leadership, _) = leadership();
    assert!(!leadership.program().absent);
    assert!(leadership.attend());
    assert!(!leadership.attend(), "one at a time");
    leadership.set_eligible(false);
    leadership.leave();
    assert!(leadership.program().absent && leadership.program().ineligible);
    leadership.set_eligible(true);
    assert!(!leadership.program().absent && !leadership.program().ineligible);
    leadership.leave();
    assert!(leadership.attend() && !leadership.program().absent);
}

#[test]
fn a_hold_off_is_never_shortened() {
    let (leadership, _) = leadership();
    let now = clock::now();
    leadership.hold_off(now + HOUR);
    leadership.hold_off(now);
    assert_eq!(leadership.program().hold_off_until, now + HOUR);
}

#[test]
fn a_call_that_waits_or_works_can_be_called_back_and_the_next_one_is_not_affected() {
    let (leadership, _) = leadership();
    let now = clock::now();
    assert_eq!(leadership.recall(now), (false, None));
    assert!(leadership.attend());
    assert_eq!(leadership.recall(now), (true, None));
    assert!(leadership.begin(Term(0), &policy(None), clock::now).is_none());
    leadership.leave();
    assert!(leadership.attend());
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = begin(&leadership, 0, &policy(None));
    assert_eq!(leadership.recall(now), (true, Some(Term(3))));
    assert_eq!(leadership.recall(now), (true, None), "no news");
    assert_eq!(lease.state().ended(), Some(EndReason::Resigned));
}

#[test]
fn a_call_with_a_time_limit_ends_with_or_without_a_lease() {
    let (leadership, _) = leadership();
    let now = clock::now();
    let limited = WorkPolicy { leave_at: now + Duration::from_millis(5), ..policy(None) };
    assert!(leadership.begin(Term(0), &limited, clock::now).is_none());
    leadership.publish(deadline(3, now + HOUR), EndReason::QuorumLost, now);
    let lease = begin(&leadership, 0, &policy(None));
    assert_eq!(limited.soft_deadline(lease.state(), limited.leave_at), Err(EndReason::Resigned));
    assert_eq!(leadership.wait(lease.state(), &limited, now + HOUR, clock::now), Err(EndReason::Resigned));
}

#[test]
fn nobody_waits_for_a_node_that_has_stopped() {
    let (leadership, _) = leadership();
    let stopped = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(leadership.begin(Term(0), &policy(None), clock::now).is_none());
            stopped.fetch_add(1, Ordering::SeqCst);
        });
        leadership.close(clock::now());
    });
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
}

#[test]
fn one_lost_heartbeat_ends_no_leadership_whatever_the_drain_time() {
    for (heartbeat, timeout) in [(100, 500), (100, 350), (20, 100), (3, 11)] {
        let millis = Duration::from_millis;
        let timing = Timing::new(TimingSpec {
            heartbeat_interval: millis(heartbeat),
            election_timeout: millis(timeout),
            clock_drift_ppm: 1000,
        });
        let timing = timing.expect("it fits");
        for options in [LeadOptions::default(), LeadOptions::default().drain_time(Duration::MAX)] {
            let drain = options.policy(1.into(), timing, Instant::ZERO, &log::logger()).drain;
            // Counted from the last heartbeat that was answered. The next is lost.
            let soft = timing.lease(timing.election_timeout()) - drain;
            let sent_again = timing.heartbeat_interval() * 2;
            assert!(soft >= sent_again + timing.heartbeat_interval() / 2, "{timing:?}: {soft:?}");
        }
    }
}
