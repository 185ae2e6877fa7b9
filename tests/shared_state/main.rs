//! What program threads share with the node, in every order in which a few threads can run.
//!
//! The sources of the lease and of the leadership state are compiled here once more, with locks, atomics and threads
//! that a scheduler controls (shuttle). It runs one thread at a time and tries all choices of the next thread, depth
//! first, at every lock and every atomic. All atomics here are sequentially consistent, which is what the sources ask
//! for. So a test that ends has seen every course of its threads.
#![allow(dead_code, unreachable_pub)] // the rest of the sources
#![allow(clippy::unwrap_used)]

mod clock {
    /// It is always this moment: what these tests ask does not depend on time.
    pub(crate) fn now() -> leadelect::election::Instant {
        crate::NOW
    }
}

mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{ThreadId, current as current_thread};
    pub(crate) use std::sync::PoisonError;
}

mod leadership;
#[path = "../../src/state_lock.rs"]
mod state_lock;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leadelect::election::{Deadline, EndReason, Instant, Term};
use leadelect::{election, engine};

use leadership::lease::{Lease, Nudge};
use leadership::options::{OnOverrun, WorkPolicy};
use leadership::state::Leadership;
use sync::Arc;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const TERM: Term = Term(3);

/// Runs `course` in every order of its threads. At least one choice there must be, or nothing was tried.
fn every_order(course: impl Fn() + Send + Sync + 'static) {
    let all_orders = shuttle::scheduler::DfsScheduler::new(None, false);
    let orders = shuttle::Runner::new(all_orders, shuttle::Config::default()).run(course);
    println!("{orders} orders");
    assert!(orders > 1, "only one order: no two threads met");
}

/// A leadership that holds a lease, and a count of how often it told that the lease is free.
fn leading() -> (Arc<Leadership>, std::sync::Arc<AtomicU64>) {
    let free = std::sync::Arc::new(AtomicU64::new(0));
    let told = free.clone();
    let leadership = Leadership::new(HOUR, move |nudge| {
        if nudge == Nudge::LeaseFree(TERM) {
            told.fetch_add(1, Ordering::SeqCst);
        }
    });
    publish(&leadership);
    (Arc::new(leadership), free)
}

fn publish(leadership: &Leadership) {
    let lease = Deadline { token: TERM, until: NOW + HOUR };
    assert_eq!(leadership.publish(Some(lease), EndReason::QuorumLost, NOW), []);
}

fn policy() -> WorkPolicy {
    WorkPolicy {
        drain: Duration::ZERO,
        max_silence: None,
        hold_off: HOUR,
        on_overrun: OnOverrun::Log,
        leave_at: Instant::NEVER,
    }
}

/// Whoever acts has stopped before the node believes it: a lease that was found free has no valid guard, and gets none.
#[test]
fn no_guard_is_valid_once_its_lease_was_found_free() {
    every_order(|| {
        let (leadership, free) = leading();
        let taker = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.lease(NOW)
        });
        let found_free = leadership.publish(None, EndReason::Resigned, NOW) == [TERM];
        let lease = taker.join().unwrap();
        let valid = lease.as_ref().is_some_and(Lease::is_valid);
        assert!(!valid, "taken away is taken away");
        assert!(!found_free || lease.is_none() || free.load(Ordering::SeqCst) == 0);
        assert!(leadership.lease(NOW).is_none());
    });
}

/// The node waits for it: the end of the last guard is told, by the one or by the other.
#[test]
fn that_a_lease_is_free_is_never_lost() {
    every_order(|| {
        let (leadership, free) = leading();
        let holder = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || drop(leadership.lease(NOW))
        });
        let found_free = leadership.publish(None, EndReason::Resigned, NOW) == [TERM];
        holder.join().unwrap();
        assert!(found_free || free.load(Ordering::SeqCst) > 0, "nobody told");
        assert_eq!(leadership.program().kept, None);
    });
}

#[test]
fn clones_of_a_guard_count_until_the_last_is_dropped() {
    every_order(|| {
        let (leadership, free) = leading();
        let lease = leadership.lease(NOW).unwrap();
        let clone = lease.clone();
        let other = shuttle::thread::spawn(move || drop(clone));
        let found_free = leadership.publish(None, EndReason::Resigned, NOW) == [TERM];
        assert!(!found_free && free.load(Ordering::SeqCst) == 0, "one guard is held here");
        drop(lease);
        other.join().unwrap();
        assert!(free.load(Ordering::SeqCst) > 0);
    });
}

#[test]
fn the_first_reason_stays_and_is_news_once() {
    every_order(|| {
        let (leadership, _) = leading();
        let lease = leadership.lease(NOW).unwrap();
        let state = lease.state().clone();
        let program = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.revoke(lease.state(), EndReason::WorkSilent, NOW)
        });
        leadership.publish(None, EndReason::Resigned, NOW);
        let news = program.join().unwrap();
        assert_eq!(state.ended() == Some(EndReason::WorkSilent), news);
    });
}

#[test]
fn who_waits_for_a_lease_gets_it_and_is_not_forgotten() {
    every_order(|| {
        let leadership = Arc::new(Leadership::new(HOUR, |_| {}));
        assert!(leadership.attend());
        let waiter = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.begin(Term(0), &policy(), clock::now)
        });
        publish(&leadership);
        assert!(waiter.join().unwrap().is_some());
    });
}

#[test]
fn who_waits_for_a_lease_is_called_back() {
    every_order(|| {
        let leadership = Arc::new(Leadership::new(HOUR, |_| {}));
        assert!(leadership.attend());
        let waiter = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.begin(Term(0), &policy(), clock::now)
        });
        assert_eq!(leadership.recall(NOW), (true, None));
        assert!(waiter.join().unwrap().is_none());
    });
}

#[test]
fn who_waits_for_a_lease_hears_of_the_stop() {
    every_order(|| {
        let leadership = Arc::new(Leadership::new(HOUR, |_| {}));
        let waiter = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.begin(Term(0), &policy(), clock::now)
        });
        leadership.close(NOW);
        assert!(waiter.join().unwrap().is_none());
    });
}

#[test]
fn work_that_waits_is_told_to_stop() {
    every_order(|| {
        let (leadership, _) = leading();
        let lease = leadership.begin(Term(0), &policy(), clock::now).unwrap();
        let worker = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || leadership.wait(lease.state(), &policy(), Instant::NEVER, clock::now)
        });
        leadership.publish(None, EndReason::HigherTerm, NOW);
        assert_eq!(worker.join().unwrap(), Err(EndReason::HigherTerm));
    });
}

/// Two programs change their minds while the node looks: what it saw last is the truth, or a nudge is under way.
#[test]
fn no_change_of_mind_is_lost() {
    every_order(|| {
        let nudges = std::sync::Arc::new(AtomicU64::new(0));
        let told = nudges.clone();
        let leadership = Arc::new(Leadership::new(HOUR, move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        }));
        let program = shuttle::thread::spawn({
            let leadership = leadership.clone();
            move || {
                leadership.set_eligible(false);
                leadership.set_eligible(true);
                leadership.set_eligible(false);
            }
        });
        let mut seen = engine::Program::default();
        let mut taken = 0;
        for _ in 0..2 {
            if nudges.load(Ordering::SeqCst) > taken {
                taken += 1;
                seen = leadership.program_after_nudge();
            }
        }
        program.join().unwrap();
        let under_way = nudges.load(Ordering::SeqCst) - taken;
        assert!(under_way <= 1, "{under_way} nudges under way");
        assert!(under_way == 1 || seen == leadership.program());
    });
}

/// The silence that the node finds and the sign of life that comes at the same moment: once silent, it stays so.
#[test]
fn a_sign_of_life_moves_the_silence_on_or_comes_too_late() {
    every_order(|| {
        let (leadership, _) = leading();
        let lease = leadership.lease(NOW).unwrap();
        let state = lease.state().clone();
        state.expect_signs_until(NOW + HOUR);
        let workers = [1, 2].map(|hours| {
            let state = state.clone();
            shuttle::thread::spawn(move || state.alive(NOW, HOUR * hours))
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(state.silent_at(), NOW + HOUR * 2, "the later one");
        state.alive(NOW + HOUR * 2, HOUR);
        assert_eq!(state.silent_at(), NOW + HOUR * 2, "too late");
    });
}
