//! Make before break: the next connection is welcomed before the last one is closed.
//!
//! A connection ends with a certificate, at the latest after an hour. And it is renewed when this node's certificates
//! are replaced. A handshake may take longer than a lease, and it may fail. So it begins early, on another thread, and
//! the old connection is used until the new one is welcomed. It begins at a random moment, and a node renews one
//! connection at a time. So the cost of the handshakes is spread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::{LinkError, spawn};
use crate::election::Instant;

/// This node looks this often whether its certificates were replaced. It also looks whenever it dials.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// A renewal that has failed is tried again after this part of the time that is left, within these limits. So a
/// connection of an hour has dozens of tries, and one of ten seconds has several.
const RETRY_PART: u32 = 8;
const SHORTEST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// When a connection is renewed, and when it ends.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) ends_at: Instant,
    renew_at: Instant,
    retry_at: Instant,
    look_at: Instant,
    /// A random part of a time, in 65,536ths.
    part: u32,
    /// Whether `renew_at` takes account of replaced certificates.
    knows_of_replaced: bool,
}

/// What the thread on the side has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Look whether the certificates were replaced.
    Look,
    Dial,
}

impl Plan {
    /// The plan of a connection made now. `chance` is any number: it spreads the renewals over the third quarter of the
    /// time.
    pub(super) fn new(now: Instant, ends_at: Instant, chance: u64) -> Plan {
        let quarter = ends_at.since(now) / 4;
        // The upper half of a product depends on all bits of the number.
        let part = (chance.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u32;
        let renew_at = now + quarter * 2 + quarter / (1 << 16) * part;
        Plan { ends_at, renew_at, retry_at: now, look_at: now + LOOK_INTERVAL, part, knows_of_replaced: false }
    }

    /// What is to be done on the side, if anything. `replaced` says whether newer certificates are known. Then the
    /// connection is renewed at a random moment within a minute: all nodes may have got theirs at the same time.
    pub(super) fn due(&mut self, now: Instant, replaced: bool) -> Option<Task> {
        if replaced && !self.knows_of_replaced {
            self.knows_of_replaced = true;
            self.renew_at = self.renew_at.min(now + LOOK_INTERVAL / (1 << 16) * self.part);
        }
        if now < self.retry_at {
            None
        } else if now >= self.renew_at {
            Some(Task::Dial)
        } else {
            (now >= self.look_at).then_some(Task::Look)
        }
    }

    pub(super) fn looked(&mut self, now: Instant) {
        self.look_at = now + LOOK_INTERVAL;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.looked(now);
        self.retry_at = now + (self.ends_at.since(now) / RETRY_PART).clamp(SHORTEST_RETRY, LONGEST_RETRY);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The one thread of a node that dials on the side. It is there from the start on: to start a thread, or to wait for
/// the end of one, may take seconds on a host on which others move processes between control groups. A dialler has
/// heartbeats to send meanwhile. It ends when nobody can give it a job any more.
#[derive(Debug, Clone)]
pub(super) struct SideThread(Sender<Job>);

/// What comes of a job on the side.
#[derive(Debug)]
pub(super) struct Side<T>(Receiver<Result<T, LinkError>>);

impl SideThread {
    pub(super) fn start(name: &str) -> io::Result<(SideThread, JoinHandle<()>)> {
        // Without room: a job is taken only by a thread that waits for one.
        let (give, given) = crossbeam_channel::bounded::<Job>(0);
        let work = move || {
            for job in given {
                // The one who waits for the result sees that it does not come.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        Ok((SideThread(give), spawn(name, work)?))
    }

    /// Runs `job`, and then calls `done`. Nothing if the thread is busy: a node renews one connection at a time.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, LinkError> + Send + 'static,
        done: impl FnOnce() + Send + 'static,
    ) -> Option<Side<T>> {
        let (tell, result) = crossbeam_channel::bounded(1);
        let job = move || {
            // The dialler may have ended.
            let _ = tell.send(job());
            done();
        };
        self.0.try_send(Box::new(job)).ok()?;
        Some(Side(result))
    }
}

impl<T> Side<T> {
    /// What has come of it, if it has ended.
    pub(super) fn ended(&self) -> Option<Result<T, LinkError>> {
        match self.0.try_recv() {
            Ok(came) => Some(came),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(panicked())),
        }
    }

    /// Waits until it ends. It is bounded as every dial is.
    pub(super) fn wait(self) -> Result<T, LinkError> {
        self.0.recv().unwrap_or_else(|_| Err(panicked()))
    }
}

fn panicked() -> LinkError {
    LinkError::Gone("the dial on the side has panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_is_renewed_at_a_random_moment_of_the_third_quarter() {
        let moments: Vec<Instant> = (0..200).map(|chance| Plan::new(at(0), at(3600), chance).renew_at).collect();
        assert!(moments.iter().all(|moment| (at(1800)..=at(2700)).contains(moment)), "{moments:?}");
        for begin in (1800..2700).step_by(180) {
            let within = moments.iter().filter(|moment| (at(begin)..at(begin + 180)).contains(moment)).count();
            assert!(within > 20, "{within} of 200 from {begin}");
        }
    }

    #[test]
    fn renewals_that_fail_are_tried_again_and_again_until_the_end_and_no_sooner() {
        for (life, at_least, at_most) in [(20, 4, 20), (3600, 20, 80)] {
            let (mut now, mut tries) = (at(0), 0);
            let mut plan = Plan::new(now, at(life), 7);
            while now < plan.ends_at {
                if plan.due(now, false) == Some(Task::Dial) {
                    tries += 1;
                    plan.failed(now);
                    assert_eq!(plan.due(now, true), None, "also if the certificates were replaced");
                }
                now = now + Duration::from_millis(100);
            }
            assert!((at_least..=at_most).contains(&tries), "{tries} in {life} s");
        }
    }

    #[test]
    fn certificates_are_looked_at_every_minute_and_replaced_ones_are_shown_within_another() {
        let mut plan = Plan::new(at(0), Instant::ZERO + HOUR, 7);
        assert_eq!(plan.due(at(59), false), None);
        assert_eq!(plan.due(at(60), false), Some(Task::Look));
        plan.looked(at(60));
        assert_eq!(plan.due(at(119), false), None);
        let shown = (100..=160).find(|second| plan.due(at(*second), true) == Some(Task::Dial)).expect("in time");
        let mut other = Plan::new(at(0), Instant::ZERO + HOUR, 8);
        other.looked(at(100));
        let other = (100..=160).find(|second| other.due(at(*second), true) == Some(Task::Dial)).expect("in time");
        assert_ne!(shown, other, "not all at the same moment");
    }

    #[test]
    fn one_at_a_time_renews_also_after_a_panic() {
        let (side_thread, thread) = SideThread::start("side").expect("a thread");
        let run = |job: fn() -> Result<(), LinkError>| {
            // It may not have come to wait for a job yet.
            loop {
                if let Some(side) = side_thread.run(job, || {}) {
                    return side;
                }
                std::thread::yield_now();
            }
        };
        let side = run(|| panic!("as a test of the panic"));
        assert!(side.wait().expect_err("no result").to_string().contains("panicked"));
        assert!(run(|| Ok(())).wait().is_ok());
        let (go_on, waits) = crossbeam_channel::bounded::<()>(0);
        let busy = loop {
            let waits = waits.clone();
            let job = move || waits.recv().map_err(|error| LinkError::Gone(error.to_string()));
            if let Some(side) = side_thread.run(job, || {}) {
                break side;
            }
        };
        assert!(side_thread.run(|| Ok(()), || {}).is_none(), "it is busy");
        drop(go_on);
        assert!(busy.wait().is_err(), "nothing came");
        drop(side_thread);
        thread.join().expect("it ends");
    }
}
