//! How long is a cluster without a leader, for every cause, network and disk? Measured in simulated time, which is
//! exact: the same numbers on every machine.
//!
//! A row is one cause on one kind of cluster, run many times by seed. What counts is the time beyond the *floor*: the
//! first moment at which a quorum is free, because its promises have run out or were given back. The manual has the
//! table, and this test compares it with what is measured now. So a change of the protocol that costs time, or saves
//! some, shows in its diff.
//!
//! `FAILOVER=write cargo test --release --test election -- failover` writes the table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Setup, Term, Timing, Voter};
use leadelect::engine::Call;

use crate::harness::Dice;
use crate::harness::clock::Real;
use crate::harness::disk::Mood;
use crate::harness::network::Link;
use crate::harness::world::World;

/// How often each row is run.
const RUNS: u64 = 200;
/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A cluster has settled: everybody backs the leader, and nobody is new.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a process that is started again takes to start.
const START: Duration = Duration::from_millis(20);
/// How long after the end of a process another one gets its lock.
const LOCK: Duration = Duration::from_millis(3);

/// Why a leader is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Crash,
    WatchedCrash,
    RestartAtOnce,
    HandOver,
    RestartThenCrash,
    TwoInARow,
    SuccessorDead,
    SuccessorDies,
    OthersHoldOff,
    AllHoldOff,
}

const CAUSES: [(Cause, &str); 10] = [
    (Cause::Crash, "the leader crashes"),
    (Cause::WatchedCrash, "the leader is killed, and a death witness says so"),
    (Cause::RestartAtOnce, "the leader is killed and starts again at once"),
    (Cause::HandOver, "hand-over"),
    (Cause::RestartThenCrash, "a follower restarts, then the leader crashes"),
    (Cause::TwoInARow, "the next leader crashes within a heartbeat interval"),
    (Cause::SuccessorDead, "hand-over to a successor that has just crashed"),
    (Cause::SuccessorDies, "hand-over to a successor that crashes when it is elected"),
    (Cause::OthersHoldOff, "hand-over while all others hold off"),
    (Cause::AllHoldOff, "the same, and the leader holds off for long"),
];

const NETWORKS: [(&str, Link); 4] = [
    ("LAN", Link { delay: Duration::from_micros(100), jitter: Duration::from_micros(20), ..Link::GOOD }),
    ("30 ms", Link { delay: Duration::from_millis(15), jitter: Duration::from_millis(1), ..Link::GOOD }),
    ("100 ms", Link { delay: Duration::from_millis(50), jitter: Duration::from_millis(2), ..Link::GOOD }),
    (
        "Wi-Fi",
        Link {
            delay: Duration::from_millis(1),
            jitter: Duration::from_micros(1700),
            tail_per_mille: 50,
            lost_per_mille: 20,
            ..Link::GOOD
        },
    ),
];

/// The shortest and the longest write of a disk, in milliseconds. Each node has one in between.
const DISKS: [(&str, u64, u64); 6] = [
    ("1 ms", 1, 1),
    ("20 to 80 ms", 20, 80),
    ("0.3 D", 150, 150),
    ("0.5 D", 250, 250),
    ("D", 500, 500),
    ("2 D", 1000, 1000),
];

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Case {
    cause: Cause,
    network: usize,
    disk: usize,
    nodes: u16,
}

/// What came of one run: the time beyond the floor, and how many terms it took. Nothing if no leader came.
type Outcome = Option<(Duration, u64)>;

/// A cluster that has settled, and what chance does to it.
struct Run {
    world: World,
    dice: Dice,
    leader: NodeId,
    term: Term,
}

impl Run {
    fn settled(case: Case, seed: u64) -> Run {
        let voters: BTreeMap<NodeId, Voter> = (1..=case.nodes).map(|id| (NodeId::from(id), Voter::default())).collect();
        let timing = Timing::default();
        let setups = voters.keys().map(|me| Setup { me: *me, voters: voters.clone(), timing }).collect();
        let (mut world, mut dice) = (World::new(setups, seed), Dice(seed ^ 0x5eed));
        world.network.links().for_each(|link| *link = NETWORKS[case.network].1);
        for id in world.ids() {
            world.start(id);
        }
        world.run_until(Real::ZERO.after(SETTLED + chance(&mut dice, timing.heartbeat_interval())));
        world.run_to(world.now.after(PATIENCE), |world| world.acting().is_some());
        let (leader, term) = world.acting().expect("a settled cluster has a leader");
        let (_, shortest, longest) = DISKS[case.disk];
        for id in world.ids() {
            let write = Duration::from_millis(dice.between(shortest, longest));
            world.node_mut(id).disk.mood = Mood::Slow(write);
        }
        Run { world, dice, leader, term }
    }

    fn others(&self) -> Vec<NodeId> {
        self.world.ids().into_iter().filter(|id| *id != self.leader).collect()
    }

    fn pass(&mut self, span: Duration) {
        self.world.run_until(self.world.now.after(span));
    }

    /// A random part of a heartbeat interval.
    fn moment(&mut self) -> Duration {
        chance(&mut self.dice, Timing::default().heartbeat_interval())
    }

    fn hand_over(&mut self, hold_off: Duration) {
        self.world.call(self.leader, Call::HandOver { successor: None, hold_off });
    }

    /// No other node is eligible, and the leader knows.
    fn others_hold_off(&mut self) {
        for id in self.others() {
            self.world.set_eligible(id, false);
        }
        self.pass(Timing::default().election_timeout());
    }

    /// Crashes the leader, and returns when a quorum of the others has kept its promises. `restarted` gives no vote for
    /// an election timeout after its start.
    fn crash_leader(&mut self, restarted: Option<(NodeId, Real)>) -> Real {
        self.world.crash(self.leader);
        // Its last heartbeats may be on the way. No promise runs out as soon as that.
        let timeout = Timing::default().election_timeout();
        self.pass(timeout / 2);
        let owes = |id: NodeId| {
            let restarted = restarted.filter(|(restarted, _)| *restarted == id);
            restarted.map_or(Real::ZERO, |(_, at)| at.after(timeout)).max(self.world.checker.owes_until(id))
        };
        let up = |id: &NodeId| self.world.node(*id).is_up();
        let mut free: Vec<Real> = self.others().into_iter().filter(up).map(owes).collect();
        free.sort_unstable();
        free[self.world.ids().len() / 2]
    }

    fn restart(&mut self, id: NodeId) -> Real {
        self.world.crash(id);
        self.pass(START);
        self.world.start(id);
        self.world.now
    }

    /// Waits until somebody acts in a later term, and returns whether anybody does.
    fn next_leader(&mut self) -> bool {
        let (term, end) = (self.term, self.world.now.after(PATIENCE));
        self.world.run_to(end, |world| world.acting().is_some_and(|(_, next)| next > term))
    }

    /// Lets the cause happen, and returns the floor.
    fn strike(&mut self, cause: Cause) -> Real {
        match cause {
            Cause::Crash => self.crash_leader(None),
            Cause::WatchedCrash => {
                self.world.tell_obituaries(self.dice.next(), Some(LOCK));
                self.world.crash(self.leader);
                self.world.now.after(LOCK)
            }
            Cause::RestartAtOnce => {
                self.world.tell_obituaries(self.dice.next(), None);
                self.restart(self.leader)
            }
            Cause::HandOver => {
                self.hand_over(Duration::ZERO);
                self.world.now
            }
            Cause::RestartThenCrash => {
                let others = self.others();
                let restarted = *self.dice.pick(&others);
                let at = self.restart(restarted);
                let moment = self.moment();
                self.pass(moment);
                self.crash_leader(Some((restarted, at)))
            }
            Cause::TwoInARow => {
                let first = self.leader;
                // Of five nodes it may stay away, and the rest still elects.
                let at = match self.world.ids().len() {
                    3 => self.restart(first),
                    _ => {
                        self.world.crash(first);
                        self.world.now
                    }
                };
                if self.next_leader() {
                    (self.leader, self.term) = self.world.acting().expect("somebody acts");
                    let moment = self.moment();
                    self.pass(moment);
                }
                self.crash_leader(Some((first, at)))
            }
            Cause::SuccessorDead => {
                let first = self.others()[0];
                self.world.crash(first);
                self.hand_over(Duration::ZERO);
                self.world.now
            }
            Cause::SuccessorDies => {
                self.hand_over(Duration::ZERO);
                let (before, ids) = (self.term, self.world.ids());
                // The vote is written, and its answer has not arrived.
                let elected = |world: &World| {
                    let votes = |id: &NodeId| world.node(*id).disk.durable().filter(|state| state.term > before);
                    ids.iter().find_map(|id| votes(id)?.voted_for.filter(|candidate| candidate != id))
                };
                let end = self.world.now.after(PATIENCE);
                self.world.run_to(end, |world| elected(world).is_some());
                let successor = elected(&self.world).expect("a node votes for another");
                self.world.crash(successor);
                self.term = Term(self.term.0 + 1);
                self.world.now
            }
            Cause::OthersHoldOff => {
                self.others_hold_off();
                self.hand_over(Duration::ZERO);
                self.world.now
            }
            Cause::AllHoldOff => {
                self.others_hold_off();
                self.hand_over(PATIENCE);
                self.world.now
            }
        }
    }
}

fn chance(dice: &mut Dice, below: Duration) -> Duration {
    Duration::from_nanos(dice.below(u64::try_from(below.as_nanos()).unwrap()))
}

fn outcome(case: Case, seed: u64) -> Outcome {
    let mut run = Run::settled(case, seed);
    let floor = run.strike(case.cause);
    let led = run.next_leader();
    assert_eq!(run.world.checker.violation, None, "{case:?} seed {seed}");
    let (_, term) = run.world.acting().filter(|_| led)?;
    let beyond = run.world.now.0.saturating_sub(floor.0);
    Some((Duration::from_nanos(beyond), term.0 - run.term.0))
}

/// Every cause on every network, on every disk, and with every number of nodes, each with the usual rest. The slowest
/// disks also with five nodes.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (cause, _) in CAUSES {
        let usual = Case { cause, network: 0, disk: 0, nodes: 3 };
        cases.push(usual);
        cases.extend([5, 7].map(|nodes| Case { nodes, ..usual }));
        cases.extend((1..NETWORKS.len()).map(|network| Case { network, ..usual }));
        cases.extend((1..DISKS.len()).map(|disk| Case { disk, ..usual }));
    }
    let slow = 3..DISKS.len();
    cases.extend(slow.map(|disk| Case { cause: Cause::Crash, network: 0, disk, nodes: 5 }));
    cases
}

/// The best node has a slow disk, and the others have fast ones. Returns how often the leader changes in ten minutes,
/// and who leads in the end.
fn favourite_with_a_slow_disk(seed: u64) -> (u64, Option<NodeId>) {
    let priority = |id: u16| if id == 1 { 1 } else { 0 };
    let voter = |id| (NodeId::from(id), Voter { priority: priority(id), witness: false });
    let voters: BTreeMap<NodeId, Voter> = (1..=3).map(voter).collect();
    let setups = voters.keys().map(|me| Setup { me: *me, voters: voters.clone(), timing: Timing::default() }).collect();
    let (mut world, mut dice) = (World::new(setups, seed), Dice(seed));
    world.network.links().for_each(|link| *link = NETWORKS[0].1);
    for id in world.ids() {
        let write = if id == NodeId::from(1) { dice.between(40, 80) } else { 1 };
        world.node_mut(id).disk.mood = Mood::Slow(Duration::from_millis(write));
        world.start(id);
    }
    let (mut changes, mut last) = (0, None);
    let end = Real::ZERO.after(Duration::from_secs(600));
    while world.run_to(end, |world| world.acting().is_some_and(|leader| Some(leader) != last)) {
        changes += u64::from(last.is_some());
        last = world.acting();
    }
    assert_eq!(world.checker.violation, None, "seed {seed}");
    (changes, world.acting().map(|(id, _)| id))
}

#[test]
fn a_favourite_with_a_slow_disk_leads_in_the_end_and_changes_are_few() {
    for seed in 0..20 {
        let (changes, leader) = favourite_with_a_slow_disk(seed);
        assert_eq!(leader, Some(NodeId::from(1)), "seed {seed}, {changes} changes");
        assert!(changes <= 3, "seed {seed}: {changes} changes in ten minutes");
    }
}

const HEAD: &str = "| cause | nodes | round trip | write | median | p99 | longest | more than one term | no leader |\n\
                    |---|---|---|---|---|---|---|---|---|\n";

fn row(case: Case) -> String {
    let Case { cause, network, disk, nodes } = case;
    let outcomes: Vec<Outcome> = (0..RUNS).map(|seed| outcome(case, seed)).collect();
    let mut beyond: Vec<Duration> = outcomes.iter().flatten().map(|(beyond, _)| *beyond).collect();
    beyond.sort_unstable();
    let at = |share: f64| {
        let place = ((beyond.len() as f64 - 1.0) * share).round() as usize;
        beyond.get(place).map_or("-".to_owned(), |beyond| format!("{:.1} ms", beyond.as_secs_f64() * 1e3))
    };
    let several = outcomes.iter().flatten().filter(|(_, terms)| *terms > 1).count();
    let share = |count: usize| format!("{:.1} %", count as f64 * 100.0 / RUNS as f64);
    let name = CAUSES.iter().find(|(known, _)| *known == cause).unwrap().1;
    let (median, p99, longest) = (at(0.5), at(0.99), at(1.0));
    let (several, none) = (share(several), share(outcomes.len() - beyond.len()));
    let (network, disk) = (NETWORKS[network].0, DISKS[disk].0);
    format!("| {name} | {nodes} | {network} | {disk} | {median} | {p99} | {longest} | {several} | {none} |\n")
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it runs thousands of clusters")]
fn failover_takes_as_long_as_the_manual_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/failover.md");
    let page = fs::read_to_string(&path).unwrap();
    let start = page.find(HEAD).expect("the table") + HEAD.len();
    let old = page[start..].split_inclusive('\n').take_while(|line| line.starts_with('|'));
    let end = start + old.map(str::len).sum::<usize>();
    let mut table = String::new();
    for case in cases() {
        table.write_str(&row(case)).unwrap();
    }
    println!("{HEAD}{table}");
    if std::env::var_os("FAILOVER").is_some_and(|what| what == "write") {
        fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
        return;
    }
    let differ = table.lines().zip(page[start..end].lines()).filter(|(now, then)| now != then);
    let differ: Vec<String> = differ.map(|(now, then)| format!("then {then}\nnow  {now}")).collect();
    assert!(
        differ.is_empty() && table.lines().count() == page[start..end].lines().count(),
        "failover takes another time than {} says:\n{}\nRead it, and then write it with FAILOVER=write",
        path.display(),
        differ.join("\n")
    );
}
