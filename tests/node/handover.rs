//! Stop, confirm, release: many hand-overs of every kind. Everything done as leader is recorded with one clock.

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leadelect::{Config, LeadOptions, Leading, Lease, Next, Node};

use super::child::boot_nanos;
use super::dice::Dice;
use super::in_process::{Local, start_node};
use super::lead::{Ending, until_told};
use super::lease_log::{Check, Claims, judge};
use super::process::{try_for, wait_for};

/// Something that only a leader may do, from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    node: usize,
    token: u64,
    start: u64,
    end: u64,
}

/// Whether work of one leadership ever overlapped that of another, or a valid lease of another.
fn judge_work(work: &[Work], checks: &[(String, Vec<Check>)]) -> Result<(), String> {
    let mut work = work.to_vec();
    work.sort_by_key(|work| work.start);
    let mut last: Option<&Work> = None;
    for next in &work {
        if let Some(last) = last.filter(|last| last.token != next.token) {
            if next.start < last.end {
                return Err(format!("two leaders at work:\n  {last:?}\n  {next:?}"));
            }
            if next.token < last.token {
                return Err(format!("a token that falls:\n  {last:?}\n  {next:?}"));
            }
        }
        if last.is_none_or(|last| last.end < next.end) {
            last = Some(next);
        }
    }
    for (node, checks) in checks {
        for check in checks.iter().filter(|check| check.valid) {
            let inside = |work: &&Work| work.start < check.before && check.after < work.end;
            let other = |work: &&Work| work.token != check.token;
            if let Some(work) = work.iter().filter(inside).find(other) {
                return Err(format!("node {node} holds a lease while another is at work:\n  {check:?}\n  {work:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn work_that_overlaps_the_work_or_the_lease_of_another_is_found() {
    let work = |node, token, start, end| Work { node, token, start, end };
    let check = |token| Check { before: 20, after: 21, valid: true, token, left: 5 };
    let checks = |token| [("2".to_owned(), vec![check(token)])];
    let in_order = [work(0, 1, 10, 30), work(1, 2, 30, 40)];
    judge_work(&in_order, &checks(1)).unwrap();
    assert!(judge_work(&in_order, &checks(2)).is_err());
    for (bad, why) in [
        ([work(0, 1, 10, 31), work(1, 2, 30, 40)], "two leaders"),
        ([work(0, 2, 10, 30), work(1, 1, 30, 40)], "a token"),
    ] {
        let fault = judge_work(&bad, &[]).unwrap_err();
        assert!(fault.starts_with(why), "{fault}");
    }
}

/// How leadership is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Return,
    HoldOff,
    Fail,
    Panic,
    Restart,
    Resign,
    ResignFor,
    Transfer,
    Shutdown,
    /// Another thread gives it up.
    Told,
}

const WAYS: [Way; 10] = [
    Way::Return,
    Way::HoldOff,
    Way::Fail,
    Way::Panic,
    Way::Restart,
    Way::Resign,
    Way::ResignFor,
    Way::Transfer,
    Way::Shutdown,
    Way::Told,
];

const IDS: [&str; 3] = ["ra1", "ra2", "ra3"];
const TIMEOUT: Duration = Duration::from_millis(100);

/// What the threads of the test share.
struct Stage {
    config: Config,
    nodes: [Mutex<Option<Arc<Node>>>; 3],
    work: Mutex<Vec<Work>>,
    ways: Mutex<BTreeMap<Way, u64>>,
    late: AtomicU64,
    over: AtomicBool,
    seed: u64,
}

/// A guard that is held for some time, and the earliest moment at which its lease can end.
type Borrowed = (Lease, usize, Duration, u64);

impl Stage {
    fn node(&self, at: usize) -> Option<Arc<Node>> {
        self.nodes[at].lock().unwrap().clone()
    }

    /// Starts the node, leads, and does so again, until the end of the test.
    fn play(&self, at: usize, lend: &Sender<Borrowed>) {
        let mut dice = Dice::new(self.seed, at as u64);
        while !self.over.load(Ordering::SeqCst) {
            let node = Arc::new(start_node(&self.config, IDS[at]));
            *self.nodes[at].lock().unwrap() = Some(node.clone());
            let options = LeadOptions::default().drain_time(Duration::from_millis(40)).hold_off(TIMEOUT);
            loop {
                let led = catch_unwind(AssertUnwindSafe(|| {
                    node.lead_with(&options, |leading| self.act(at, &node, leading, &mut dice, lend))
                }));
                // After a failure it leads again. Otherwise it has left, or was stopped.
                if let Ok(Ok(())) = led {
                    break;
                }
            }
            *self.nodes[at].lock().unwrap() = None;
            node.shutdown();
        }
    }

    /// Works a little, gives up in some way, and works a little longer.
    fn act(
        &self,
        at: usize,
        node: &Node,
        leading: &Leading<'_>,
        dice: &mut Dice,
        lend: &Sender<Borrowed>,
    ) -> Result<Next, String> {
        let start = boot_nanos();
        let mut deadline = start + nanos(leading.remaining().at_most(Duration::MAX));
        let way = WAYS[dice.below(WAYS.len() as u64) as usize];
        let told = leading.wait(dice.micros_below(2000)).is_err();
        let now = boot_nanos();
        if !leading.remaining().is_over() {
            // The deadline is another one if the lease was renewed, and unknown if it has passed.
            deadline = now + nanos(leading.remaining().at_most(Duration::MAX));
        }
        if let Some(guard) = node.lease().filter(|_| dice.below(3) == 0) {
            lend.send((guard, at, dice.micros_below(8000), deadline)).unwrap();
        }
        let result = match way {
            Way::Return => Ok(Next::Rejoin),
            Way::HoldOff => Ok(Next::HoldOff(dice.micros_below(50_000))),
            Way::Fail => Err("planned".to_owned()),
            Way::Panic => Ok(Next::Rejoin),
            Way::Restart => Ok(Next::Leave),
            Way::Resign => {
                let _ = node.resign();
                Ok(Next::Rejoin)
            }
            Way::ResignFor => {
                let _ = node.resign_for(dice.micros_below(150_000));
                Ok(Next::Rejoin)
            }
            Way::Transfer => {
                let other = IDS[(at + 1 + dice.below(2) as usize) % 3];
                let _ = node.transfer_to(other);
                Ok(Next::Rejoin)
            }
            Way::Shutdown => {
                node.shutdown();
                Ok(Next::Rejoin)
            }
            Way::Told => {
                let _ = leading.wait(Duration::from_millis(60));
                Ok(Next::Rejoin)
            }
        };
        if way == Way::Resign && !told {
            assert!(leading.check().is_err(), "told at once, inside the closure");
        }
        // Work that was told to stop needs a while. If its lease runs out meanwhile, safety does not count the rest.
        thread::sleep(dice.micros_below(8000));
        let mut end = boot_nanos();
        if leading.remaining().is_over() {
            self.late.fetch_add(1, Ordering::SeqCst);
            end = deadline.min(end);
        }
        let token = leading.token().0;
        self.log(at, token, start, end);
        *self.ways.lock().unwrap().entry(way).or_default() += 1;
        if way == Way::Panic {
            // Without a word on stderr.
            resume_unwind(Box::new("planned"));
        }
        result
    }

    fn log(&self, node: usize, token: u64, start: u64, end: u64) {
        let mut work = self.work.lock().unwrap();
        work.push(Work { node, token, start, end });
    }

    /// Asks every node for its lease, again and again.
    fn check(&self) -> Vec<(String, Vec<Check>)> {
        let mut logs = IDS.map(|id| (id.to_owned(), Vec::new()));
        while !self.over.load(Ordering::SeqCst) {
            for (at, (_, log)) in logs.iter_mut().enumerate() {
                let Some(node) = self.node(at) else { continue };
                let before = boot_nanos();
                let lease = node.lease();
                let valid = lease.as_ref().is_some_and(Lease::is_valid);
                log.push(Check {
                    before,
                    after: boot_nanos(),
                    valid,
                    token: lease.as_ref().map_or(0, |lease| lease.token().0),
                    left: lease.as_ref().map_or(0, |lease| nanos(lease.remaining().at_most(Duration::MAX))),
                });
            }
            thread::sleep(Duration::from_micros(500));
        }
        logs.into()
    }

    /// Interferes from outside.
    fn interfere(&self) {
        let mut dice = Dice::new(self.seed, 99);
        while !self.over.load(Ordering::SeqCst) {
            thread::sleep(dice.micros_below(30_000));
            if let Some(node) = self.node(dice.below(3) as usize) {
                match dice.below(3) {
                    0 => _ = node.resign(),
                    1 => _ = node.resign_for(dice.micros_below(150_000)),
                    _ => drop(node.transfer_to(IDS[dice.below(3) as usize])),
                }
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[test]
fn over_500_random_hand_overs_no_work_overlaps_the_work_or_the_lease_of_another_node() {
    let many = env::var("HANDOVERS").ok().and_then(|many| many.parse().ok());
    let many: usize = many.unwrap_or(500);
    let seed = Dice::seed();
    let local = Local::planned_as(&IDS, |builder| {
        builder.heartbeat_interval(Duration::from_millis(15)).election_timeout(TIMEOUT)
    });
    let stage = Stage {
        config: local.config.clone(),
        nodes: [const { Mutex::new(None) }; 3],
        work: Mutex::default(),
        ways: Mutex::default(),
        late: AtomicU64::new(0),
        over: AtomicBool::new(false),
        seed,
    };
    let stage = &stage;
    let checks = thread::scope(|scope| {
        let (lend, lent) = channel::<Borrowed>();
        for at in 0..3 {
            let lend = lend.clone();
            scope.spawn(move || stage.play(at, &lend));
        }
        drop(lend);
        scope.spawn(move || {
            for (guard, at, span, deadline) in lent {
                scope.spawn(move || {
                    let start = boot_nanos();
                    thread::sleep(span);
                    let end = boot_nanos().min(deadline).max(start);
                    if start < deadline {
                        stage.log(at, guard.token().0, start, end);
                    }
                    drop(guard);
                });
            }
        });
        scope.spawn(|| stage.interfere());
        let checker = scope.spawn(|| stage.check());
        let done = try_for(Duration::from_secs(300), || {
            let led: u64 = stage.ways.lock().unwrap().values().sum();
            (led >= many as u64).then_some(())
        });
        stage.over.store(true, Ordering::SeqCst);
        wait_for("the end of every node", || {
            let nodes = (0..3).filter_map(|at| stage.node(at));
            let left = nodes.inspect(|node| node.shutdown()).count();
            (left == 0).then_some(())
        });
        assert!(done.is_some(), "{:?}", stage.ways.lock().unwrap());
        checker.join().unwrap()
    });

    let work = stage.work.lock().unwrap();
    judge_work(&work, &checks).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    judge(&checks, Claims::MayBeReleased).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    // Otherwise the test has checked nothing.
    let ways = stage.ways.lock().unwrap();
    let late = stage.late.load(Ordering::SeqCst);
    eprintln!("{ways:?}, {late} of them late, {} pieces of work", work.len());
    assert_eq!(ways.len(), WAYS.len(), "every way was taken: {ways:?}");
    let mut in_order = work.clone();
    in_order.sort_by_key(|work| work.start);
    let moves = in_order.windows(2).filter(|two| two[0].node != two[1].node);
    assert!(moves.count() > many / 4, "leadership moved");
    assert!(late < many as u64 / 2, "most work ended in time: {late}");
}

/// At default timing, from the call of `resign` to the next leader's closure, with work that takes 1 ms to stop.
/// `ROUNDS=50` for figures that are worth noting.
#[test]
fn an_orderly_hand_over_takes_no_election_timeout() {
    let rounds = env::var("ROUNDS").ok().and_then(|many| many.parse().ok());
    let rounds: usize = rounds.unwrap_or(8);
    let local = Local::started_as(&["rb1", "rb2", "rb3"], |builder| builder);
    let timeout = Duration::from_millis(500);
    let begun: Mutex<(u64, u64)> = Mutex::default();
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let _ending = Ending(&local.nodes);
        for node in &local.nodes {
            scope.spawn(|| {
                node.lead(|leading| {
                    *begun.lock().unwrap() = (leading.token().0, boot_nanos());
                    let told = until_told(leading);
                    thread::sleep(Duration::from_millis(1));
                    told
                })
            });
        }
        // A new node neither leads nor votes for two election timeouts. No event tells that they are over.
        thread::sleep(timeout * 3);
        let hand_over = |_| {
            // The node that led holds off for an election timeout. No event tells that it is over.
            thread::sleep(timeout + timeout / 4);
            let leader = wait_for("a leader", || local.nodes.iter().find(|node| node.lease().is_some()));
            let token = begun.lock().unwrap().0;
            let start = boot_nanos();
            leader.resign().unwrap();
            wait_for("the next leader", || {
                let (next, at) = *begun.lock().unwrap();
                (next > token).then(|| Duration::from_nanos(at - start))
            })
        };
        (0..rounds).map(hand_over).collect()
    });
    took.sort_unstable();
    let (median, most) = (took[rounds / 2], took[rounds - 1]);
    eprintln!("without a leader: median {median:.1?}, min {:.1?}, max {most:.1?}, n={rounds}", took[0]);
    // Far longer than a hand-over takes, and shorter than it would be if the successor had to wait for anything.
    assert!(median < timeout / 4, "{took:?}");
}
