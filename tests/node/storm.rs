//! A thousand random calls from many threads: nothing hangs, and every thread ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use leadelect::{EndReason, HealthCheck, LeadOptions, Leading, Next, Node};

use super::dice::Dice;
use super::in_process::{Local, threads};
use super::lead::until_told;
use super::process::wait_for;

const IDS: [&str; 3] = ["xa1", "xa2", "xa3"];
const TIMEOUT: Duration = Duration::from_millis(100);
/// Only a deadlock takes longer.
const LIMIT: Duration = Duration::from_secs(120);

struct Storm<'a> {
    nodes: &'a [Node],
    calls: [AtomicU64; 12],
    over: AtomicBool,
}

impl Storm<'_> {
    fn any(&self, dice: &mut Dice) -> &Node {
        &self.nodes[dice.below(3) as usize]
    }

    /// Any call of any node. Nothing that it answers is wrong here.
    fn call(&self, dice: &mut Dice) {
        let node = self.any(dice);
        let span = dice.micros_below(3000);
        let call = dice.below(12);
        match call {
            0 => drop(node.status()),
            1 => drop(node.events().next_within(span)),
            2 => {
                let guard = node.lease();
                thread::sleep(span);
                drop(guard);
            }
            3 => _ = node.resign(),
            4 => _ = node.resign_for(span * 20),
            5 => drop(node.transfer_to(self.any(dice).id().as_str())),
            6 => node.set_eligible(dice.below(2) == 0),
            7 => {
                let guard = node.lease();
                // Waits for the guard, at most until the deadline.
                _ = node.resign();
                drop(guard);
            }
            8 => {
                let second = catch_unwind(AssertUnwindSafe(|| {
                    // Somebody leads with it already, or else it is this thread for a moment.
                    node.lead(|_| Ok::<_, EndReason>(Next::Leave))
                }));
                drop(second);
            }
            9 => drop(node.id()),
            10 => drop(node.status().to_string()),
            _ => drop(node.lease().map(|lease| lease.clone().remaining())),
        }
        self.calls[call as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn work(&self, leading: &Leading<'_>, dice: &mut Dice) -> Result<Next, String> {
        for _ in 0..dice.below(8) {
            leading.alive();
            self.call(dice);
            let _ = (leading.soft_remaining(), leading.remaining());
            if dice.below(3) == 0 {
                leading.check().map_err(|lost| lost.to_string())?;
            }
        }
        if dice.below(3) == 0 {
            let mut theirs = [dice.clone(), Dice::new(7, dice.below(1000))];
            thread::scope(|scope| {
                for dice in &mut theirs {
                    scope.spawn(|| self.call(dice));
                }
            });
        }
        let _ = leading.wait(dice.micros_below(5000));
        match dice.below(5) {
            0 => Err("planned".to_owned()),
            1 => Ok(Next::HoldOff(dice.micros_below(50_000))),
            2 => Ok(Next::Leave),
            _ => Ok(Next::Rejoin),
        }
    }

    fn total(&self) -> u64 {
        self.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).sum()
    }
}

fn storm(seed: u64, nodes: &[Node]) -> [u64; 12] {
    let storm = Storm { nodes, calls: [const { AtomicU64::new(0) }; 12], over: AtomicBool::new(false) };
    let storm = &storm;
    thread::scope(|scope| {
        for (at, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                let mut dice = Dice::new(seed, at as u64);
                let options = LeadOptions::default().max_silence(Duration::from_millis(50)).health_check(
                    HealthCheck::new(|| Ok(())).every(Duration::from_millis(5)).timeout(Duration::from_millis(50)),
                );
                while !storm.over.load(Ordering::SeqCst) {
                    let led = catch_unwind(AssertUnwindSafe(|| {
                        node.lead_with(&options, |leading| storm.work(leading, &mut dice))
                    }));
                    if led.is_err() {
                        // Refused, because another thread leads at this very moment.
                        thread::sleep(dice.micros_below(20_000));
                    }
                }
                // It stops from inside, if it leads now; and otherwise from outside.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    node.lead(|leading| {
                        node.shutdown();
                        until_told(leading)
                    })
                }));
            });
        }
        for thread in 10..16 {
            scope.spawn(move || {
                let mut dice = Dice::new(seed, thread);
                while !storm.over.load(Ordering::SeqCst) {
                    storm.call(&mut dice);
                }
                for node in nodes {
                    node.shutdown_within(dice.micros_below(200_000));
                    node.shutdown();
                    storm.call(&mut dice);
                }
            });
        }
        scope.spawn(|| {
            wait_for("a thousand calls", || (storm.total() >= 1000).then_some(()));
            storm.over.store(true, Ordering::SeqCst);
        });
    });
    storm.calls.each_ref().map(|calls| calls.load(Ordering::SeqCst))
}

#[test]
fn a_thousand_random_calls_from_everywhere_hang_nothing_and_leave_no_thread() {
    let seed = Dice::seed();
    let (done, end) = channel();
    let test = thread::spawn(move || {
        let local = Local::started_as(&IDS, |builder| {
            builder.heartbeat_interval(Duration::from_millis(15)).election_timeout(TIMEOUT)
        });
        let calls = storm(seed, &local.nodes);
        // After the end, too, every call returns.
        for node in &local.nodes {
            assert_eq!(node.lead(until_told), Ok(()));
            assert!(node.resign().is_err() && node.transfer_to(IDS[0]).is_err());
        }
        for id in IDS {
            wait_for("the end of every thread", || threads(id).is_empty().then_some(()));
        }
        let _ = done.send(calls);
    });
    match end.recv_timeout(LIMIT) {
        Ok(calls) => {
            eprintln!("{calls:?}");
            assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
            assert!(calls.iter().sum::<u64>() >= 1000);
        }
        // The thread has failed and says why.
        Err(_) if test.is_finished() => test.join().unwrap(),
        Err(_) => panic!("seed {seed}: hangs: {:?}", IDS.map(threads)),
    }
}
