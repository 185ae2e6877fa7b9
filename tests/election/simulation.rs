//! Whole clusters at random: every fault there is, mixed anew by each seed, and then peace.
//!
//! A run is one seed: a cluster of 2 to 9 nodes with its clocks, timings, links and disks; 20 to 60 simulated seconds
//! in which nodes crash, restart, reboot and stop, links break, delay, lose, repeat and reorder, disks fail, and
//! operators ask for hand-overs; some kinds of fault only, so that rare ones are not always hidden by common ones
//! ("swarm testing", Groce and others 2012). Then all of it stops, and within a bounded time there must be a leader.
//! Then trouble comes back to all but that leader and the quorum that it needs, and must not end its leadership. In the
//! end a minority is lost for good, and the rest must find a leader again. The [checker](crate::harness::checker)
//! watches all the time.
//!
//! A pause stands for a suspended host as well: the clock runs on, and the program may act until its lease ends.
//!
//! - `SEEDS=100000 cargo test --release --test election -- simulation --nocapture` runs so many, on all cores;
//! - `FROM=1000000` starts there;
//! - `MINUTES=120` ends after so long, or after `SEEDS`, whichever is first, and says every minute how far it is;
//! - `THREADS=1` leaves the other cores to others;
//! - `CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1` make a long campaign a tenth faster;
//! - `SEED=17` replays one, and tells what was said;
//! - `SEED=17 PICTURE=target/run-17.svg` draws it, too: the end of a run that fails, or the whole of another, unless
//!   `FROM_MS` and `TO_MS` say which part.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Instant, Setup, Term, Timing, TimingSpec, Voter};

use crate::harness::Dice;
use crate::harness::clock::Real;
use crate::harness::disk::Mood;
use crate::harness::network::Link;
use crate::harness::record::Record;
use crate::harness::world::{Wall, WindUp, World};
use crate::picture;
use liar::Liar;

mod campaign;
mod liar;
mod obituary;
mod program;

/// How many lines of a failed run are shown.
const LAST_LINES: usize = 80;

#[test]
fn simulation_of_whole_clusters() {
    match number("SEED") {
        Some(seed) => replay(seed),
        None => campaign::run_all(),
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs one seed and tells what was said; a failure says so in the first line, and how to see it again in the last.
fn replay(seed: u64) {
    println!("seed {seed}");
    let again = format!("SEED={seed} cargo test --release --test election -- simulation --nocapture");
    let world = catch_unwind(AssertUnwindSafe(|| run(seed, true)));
    let Ok(mut world) = world else {
        panic!("seed {seed}\nthe election panicked, see above\n{again}");
    };
    let story = world.story.take().unwrap_or_default();
    for line in &story[story.len().saturating_sub(LAST_LINES)..] {
        println!("{line}");
    }
    world.observe();
    if let (Some(path), Some(record)) = (std::env::var_os("PICTURE"), &world.record) {
        let path = Path::new(&path);
        let window = picture::Window::of(record, number("FROM_MS"), number("TO_MS"));
        picture::write(path, record, &format!("seed {seed}"), window);
        println!("{} shows {window}; FROM_MS and TO_MS choose another part", path.display());
    }
    if let Some(violation) = &world.checker.violation {
        panic!("seed {seed}\n{violation}\n{again}\nPICTURE=target/run-{seed}.svg {again}");
    }
}

/// What may happen in the days of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Reboot,
    Pause,
    CutOneWay,
    CutPair,
    Isolate,
    Divide,
    Shape,
    Mend,
    BadLink,
    Disk,
    HandOver,
    Eligible,
    Forget,
    Rot,
    SpuriousTick,
    Hang,
    Returns,
    FindsEnd,
    Silent,
    Ill,
    Stop,
    SlowTurn,
    /// A process dies and the next one or a watcher says so at once; or something like that comes late or is untrue.
    Obituary,
}

/// All but the obituary, which only some runs have.
const FAULTS: [Fault; 23] = [
    Fault::Crash,
    Fault::Reboot,
    Fault::Pause,
    Fault::CutOneWay,
    Fault::CutPair,
    Fault::Isolate,
    Fault::Divide,
    Fault::Shape,
    Fault::Mend,
    Fault::BadLink,
    Fault::Disk,
    Fault::HandOver,
    Fault::Eligible,
    Fault::Forget,
    Fault::Rot,
    Fault::SpuriousTick,
    Fault::Hang,
    Fault::Returns,
    Fault::FindsEnd,
    Fault::Silent,
    Fault::Ill,
    Fault::Stop,
    Fault::SlowTurn,
];

#[derive(Debug, Clone, Copy)]
enum Later {
    Start,
    Resume,
    /// All links, so that no kind of fault alone keeps a cluster down.
    Mend,
    /// The disk is repaired, and the process that may have fallen mute is restarted.
    Repair,
    /// The disk is replaced by an empty one.
    Forget,
    /// Somebody is there again to do the work.
    Attend,
    /// The program is well again.
    Well,
    /// The work says again that it is alive.
    Speak,
    /// The liar goes on.
    Lie,
}

struct Trouble {
    dice: Dice,
    world: World,
    faults: Vec<Fault>,
    /// The longest election timeout that any node has had.
    timeout: Duration,
    /// What timings are drawn from: see [`timing`].
    knobs: (u64, bool, u32),
    later: BTreeMap<(Real, NodeId), Later>,
    forgot: bool,
    liar: Option<Liar>,
}

fn run(seed: u64, tell: bool) -> World {
    let mut trouble = Trouble::new(seed, tell);
    trouble.rage();
    trouble.make_peace();
    trouble.expect_trust();
    if let Some(leader) = trouble.expect_a_leader() {
        trouble.expect_settled();
        let leader = trouble.world.acting().unwrap_or(leader);
        let leader = trouble.expect_the_best(leader);
        let leader = trouble.expect_a_term_of_its_own(leader);
        // A liar may have released its term before it won it. Who was told so follows it only in the next one.
        if let Some(leader) = leader.filter(|_| !trouble.world.checker.lied) {
            trouble.trouble_the_others(leader);
        }
        trouble.lose_some_for_good();
    }
    trouble.world
}

impl Trouble {
    fn new(seed: u64, tell: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x6c65_6164);
        let drift = *dice.pick(&[0, 100, 1000, 10_000, 100_000]);
        let shortest = dice.between(150, 1000);
        let same_timing = dice.chance(600);
        let most = *dice.pick(&[3, 5, 9]);
        let count = u16::try_from(dice.between(2, most)).unwrap();
        let witnesses: Vec<u64> = (0..dice.below(3))
            .filter_map(|_| {
                let witness = dice.between(2, u64::from(count));
                dice.chance(150).then_some(witness)
            })
            .collect();
        let voters: BTreeMap<NodeId, Voter> = (1..=count)
            .map(|id| {
                let priority = i32::try_from(dice.below(2)).unwrap();
                let witness = witnesses.contains(&u64::from(id));
                (NodeId::from(id), Voter { priority, witness })
            })
            .collect();
        let timings: Vec<Timing> = voters.keys().map(|_| timing(&mut dice, shortest, same_timing, drift)).collect();
        let timeout = timings.iter().map(Timing::election_timeout).max().unwrap();
        let setups = voters.keys().zip(timings).map(|(me, timing)| Setup { me: *me, voters: voters.clone(), timing });
        let mut world = World::new(setups.collect(), dice.next());
        world.story = tell.then(Vec::new);
        world.record = tell.then(Record::default);
        let stateless = dice.chance(100);
        let wall_runs = dice.chance(500);
        for id in world.ids() {
            let span = i64::from(drift);
            let ppm = [-span, span, i64::try_from(dice.below(2 * u64::from(drift) + 1)).unwrap() - span];
            let node = world.node_mut(id);
            node.clock.ppm = *dice.pick(&ppm);
            node.clock.showed = Instant::from_nanos(dice.between(1, 1 << 50));
            node.winds_up_in = WindUp::Anyhow;
            node.stateless = stateless.then(|| match wall_runs {
                true => Wall::Runs(1_700_000_000 + dice.below(4)),
                false => Wall::Stands(100),
            });
        }
        let likely = *dice.pick(&[150, 400, 800]);
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| dice.chance(likely)).collect();
        if faults.is_empty() {
            faults.push(Fault::Crash);
        }
        if let Some(often) = obituary::choose(seed, &mut world) {
            faults.extend(std::iter::repeat_n(Fault::Obituary, often));
        }
        let liar = Liar::of(seed, &world.ids());
        let mut trouble = Trouble {
            dice,
            world,
            faults,
            timeout,
            knobs: (shortest, same_timing, drift),
            later: BTreeMap::new(),
            forgot: false,
            liar,
        };
        trouble.choose_programs();
        if trouble.dice.chance(300) {
            trouble.worsen_all_links();
        }
        trouble
    }

    fn rage(&mut self) {
        if let Some(liar) = &self.liar {
            self.later.insert((Real(5_000_000_000), liar.id), Later::Lie);
            self.later.insert((Real(12_000_000_000), liar.id), Later::Lie);
        }
        for id in self.world.ids() {
            let at = self.soon(self.timeout);
            self.later.insert((at, id), Later::Start);
        }
        let end = Real(self.dice.between(20, 60) * 1_000_000_000);
        let pause = *self.dice.pick(&[30_000_000, 200_000_000, 1_500_000_000]);
        let mut next = Real(self.dice.below(pause));
        while self.world.now < end && self.world.checker.violation.is_none() {
            let due = self.later.first_key_value().map(|(key, later)| (*key, *later));
            match due {
                Some(((at, id), later)) if at <= next => {
                    self.later.remove(&(at, id));
                    self.world.run_until(at);
                    match later {
                        Later::Start => self.start(id),
                        Later::Resume => self.resume(id),
                        Later::Mend => self.mend(),
                        Later::Repair => self.repair(id),
                        Later::Forget => self.forget(id),
                        Later::Attend => self.world.attend(id),
                        Later::Well => self.world.set_health(id, Instant::NEVER),
                        Later::Speak => self.world.speak(id),
                        Later::Lie => self.lie(),
                    }
                }
                Some(_) | None => {
                    self.world.run_until(next);
                    let fault = *self.dice.pick(&self.faults);
                    self.strike(fault);
                    next = Real(next.0 + self.dice.below(pause));
                }
            }
        }
    }

    /// Now and then with another configuration, so that a promise may be longer than all that the node is told of.
    fn start(&mut self, id: NodeId) {
        if !self.world.node(id).is_up() && self.dice.chance(200) {
            let (shortest, same_timing, drift) = self.knobs;
            let timing = timing(&mut self.dice, shortest, same_timing, drift);
            self.timeout = self.timeout.max(timing.election_timeout());
            self.world.node_mut(id).setup.timing = timing;
        }
        self.world.narrate(|| format!("{id} is started"));
        self.world.start(id);
    }

    fn resume(&mut self, id: NodeId) {
        self.world.narrate(|| format!("{id} goes on"));
        self.world.resume(id);
    }

    fn mend(&mut self) {
        self.world.narrate(|| "all links are good".to_owned());
        self.world.network.links().for_each(|link| *link = Link::GOOD);
    }

    fn repair(&mut self, id: NodeId) {
        self.world.narrate(|| format!("{id} has a good disk"));
        let node = self.world.node_mut(id);
        node.disk.mood = Mood::Works;
        if node.disk.failed {
            self.world.crash(id);
            self.start(id);
        }
    }

    fn strike(&mut self, fault: Fault) {
        let victim = self.victim();
        self.world.narrate(|| format!("{victim} is struck: {fault:?}"));
        let ids = self.world.ids();
        let others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != victim).collect();
        let other = *self.dice.pick(&others);
        let much_later = self.soon(self.timeout * 8);
        let later = match fault {
            Fault::CutOneWay | Fault::CutPair | Fault::Isolate | Fault::Divide | Fault::Shape | Fault::BadLink => {
                Some(Later::Mend)
            }
            Fault::Disk => Some(Later::Repair),
            _ => None,
        };
        if let Some(later) = later {
            self.later.entry((much_later, victim)).or_insert(later);
        }
        match fault {
            Fault::Crash | Fault::Reboot => {
                match fault {
                    Fault::Crash => self.world.crash(victim),
                    _ => self.world.reboot(victim),
                }
                let at = self.soon(self.timeout * 2);
                self.later.insert((at, victim), Later::Start);
            }
            Fault::Pause => {
                self.world.pause(victim);
                let at = self.soon(self.timeout * 2);
                self.later.insert((at, victim), Later::Resume);
            }
            Fault::CutOneWay => self.world.network.link(victim, other).cut = true,
            Fault::CutPair => self.cut(victim, other),
            Fault::Isolate => others.into_iter().for_each(|other| self.cut(victim, other)),
            Fault::Divide => {
                let (ones, rest): (Vec<NodeId>, Vec<NodeId>) = ids.into_iter().partition(|_| self.dice.chance(500));
                for one in ones {
                    rest.iter().for_each(|other| self.cut(one, *other));
                }
            }
            Fault::Shape => self.shape(&ids),
            Fault::Mend => self.world.network.links().for_each(|link| link.cut = false),
            Fault::BadLink if self.dice.chance(300) => self.worsen_all_links(),
            Fault::BadLink => {
                let link = bad_link(&mut self.dice, self.timeout);
                *self.world.network.link(victim, other) = link;
            }
            Fault::Disk => {
                let slow = Mood::Slow(self.span(self.timeout));
                let mood = *self.dice.pick(&[Mood::Works, Mood::Works, slow, slow, Mood::Fails]);
                self.world.node_mut(victim).disk.mood = mood;
            }
            Fault::Forget if self.dice.chance(300) => self.forget(victim),
            // Most dangerous just when somebody else is about to be elected.
            Fault::Forget => {
                others.into_iter().for_each(|other| self.cut(victim, other));
                self.later.insert((much_later, victim), Later::Mend);
                let at = self.soon(self.timeout);
                self.later.insert((at, other), Later::Forget);
            }
            // The newest record goes bad, and the process finds that at its next start.
            Fault::Rot => {
                self.world.crash(victim);
                self.world.rot_disk(victim);
                let at = self.soon(self.timeout / 2);
                self.later.insert((at, victim), Later::Start);
            }
            Fault::SpuriousTick => self.world.wake(victim),
            Fault::Obituary => self.strike_with_obituary(victim),
            Fault::HandOver
            | Fault::Eligible
            | Fault::Hang
            | Fault::Returns
            | Fault::FindsEnd
            | Fault::Silent
            | Fault::Ill
            | Fault::Stop
            | Fault::SlowTurn => self.strike_program(fault, victim, other),
        }
    }

    /// A disk is lost, and with it a node's memory. Once in a run, and only when the cluster and all that is on its
    /// way to that node are past the first term: one such loss is borne, by the doubt that a node without a past has
    /// about every later term. Past it on their disks, too: a node that could never write is one without a past.
    fn forget(&mut self, victim: NodeId) {
        let old = |id: &NodeId| {
            let node = self.world.node(*id);
            let stored = node.disk.durable();
            let kept = stored.is_some_and(|state| state.term >= Term(2));
            node.term() >= Term(2) && (kept || node.stateless.is_some())
        };
        let late = self.world.is_asked_in_the_first_term(victim);
        if self.forgot || late || !self.world.ids().iter().all(old) {
            return;
        }
        self.forgot = true;
        self.world.crash(victim);
        self.world.narrate(|| format!("{victim} has lost its disk"));
        self.world.lose_disk(victim);
        let at = self.soon(self.timeout / 4);
        self.later.insert((at, victim), Later::Start);
    }

    /// Often the leader: there is most to break.
    fn victim(&mut self) -> NodeId {
        let acting = self.world.acting().filter(|_| self.dice.chance(500));
        acting.map_or_else(|| *self.dice.pick(&self.world.ids()), |(id, _)| id)
    }

    fn cut(&mut self, one: NodeId, other: NodeId) {
        self.world.network.link(one, other).cut = true;
        self.world.network.link(other, one).cut = true;
    }

    /// Cuts all links but those of a form in which some see what others do not.
    fn shape(&mut self, ids: &[NodeId]) {
        let mut row = ids.to_vec();
        for place in (1..row.len()).rev() {
            let other = usize::try_from(self.dice.below(place as u64 + 1)).unwrap();
            row.swap(place, other);
        }
        let form = self.dice.below(4);
        let middle = row.len() / 2;
        for (i, one) in row.iter().enumerate() {
            for (j, other) in row.iter().enumerate().skip(i + 1) {
                let joined = match form {
                    0 => j == i + 1,                 // a chain
                    1 => i == 0,                     // a hub
                    2 => j <= middle || i >= middle, // two halves that share one node
                    _ => false,                      // everybody alone
                };
                if !joined {
                    self.cut(*one, *other);
                }
            }
        }
    }

    fn worsen_all_links(&mut self) {
        let Trouble { dice, world, timeout, .. } = self;
        world.network.links().for_each(|link| *link = bad_link(dice, *timeout));
    }

    fn span(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.dice.below(u64::try_from(most.as_nanos()).unwrap()))
    }

    fn soon(&mut self, most: Duration) -> Real {
        let span = self.span(most);
        self.world.now.after(span)
    }

    /// All that was broken is mended, and nodes that have fallen mute are restarted. Bad luck of the past, such as a
    /// queue that is full of old messages, stays.
    fn make_peace(&mut self) {
        if self.world.checker.violation.is_some() {
            return;
        }
        self.world.narrate(|| "peace".to_owned());
        self.mend();
        for id in self.world.ids() {
            self.repair(id);
            if self.world.node(id).is_paused() {
                self.resume(id);
            }
            if self.world.node(id).is_stopping() {
                self.world.crash(id);
            }
            if !self.world.node(id).is_up() {
                self.start(id);
            }
            self.mend_program(id);
        }
    }

    /// Some node with timely links to a quorum becomes leader, within a bound, and terms do not run away.
    fn expect_a_leader(&mut self) -> Option<(NodeId, Term)> {
        let highest = |world: &World| world.ids().iter().map(|id| world.node(*id).term()).max();
        let before = highest(&self.world);
        // A write and a hand-over may still last two timeouts each; quarantine of two timeouts, an election of as
        // much, a second one if a node comes with a higher term, and all of it on clocks that differ by a fifth.
        self.world.checker.yielded = false;
        self.world.run_until(self.world.now.after(self.timeout * 15));
        if self.world.checker.yielded {
            // It may just be handing over to a better one.
            let end = self.world.now.after(self.timeout * 4);
            self.world.run_to(end, |world| world.acting().is_some());
        }
        let leader = self.world.acting();
        if leader.is_none() {
            let text = format!("no leader at {:?}, 15 timeouts after the last fault", self.world.now);
            self.world.checker.fail("SomeoneLeads", text);
        }
        // A node without state jumps to its wall clock, and a node that was lied to, to what it has heard of.
        let remembers =
            self.liar.is_none() && self.world.ids().iter().all(|id| self.world.node(*id).stateless.is_none());
        let (before, after) = (before?, highest(&self.world)?);
        if remembers && after.0 > before.0 + MOST_TERMS_IN_PEACE {
            let text = format!("from {before} to {after} in 15 timeouts without a fault");
            self.world.checker.fail("TermsDoNotRunAway", text);
        }
        leader
    }

    /// In the end the eligible node with the highest priority leads. Some runs look at it: the wait for a node that has
    /// often failed is long.
    fn expect_the_best(&mut self, leader: (NodeId, Term)) -> (NodeId, Term) {
        if self.world.checker.violation.is_some() || !self.dice.chance(50) {
            return leader;
        }
        let best = |world: &World| {
            let acting = world.acting();
            acting.is_some_and(|(id, _)| {
                let able = world.able().any(|other| other == id);
                world.able().all(|other| able && !world.prefers(id, other))
            })
        };
        let timeouts = self.world.ids().into_iter();
        let timeouts = timeouts.map(|id| self.world.node(id).setup.timing.settling());
        let longest = timeouts.max().unwrap_or_default() * (64 + 2) * 5 / 4;
        let end = self.world.now.after(longest);
        if !self.world.run_to(end, best) && self.world.checker.violation.is_none() {
            let text = format!("{:?} leads at {:?}", self.world.acting(), self.world.now);
            self.world.checker.fail("BestLeads", text);
        }
        self.world.acting().unwrap_or(leader)
    }

    /// A leader whose term was led before by another node hears of that from a node that followed it. It gives the term
    /// up.
    fn expect_a_term_of_its_own(&mut self, leader: (NodeId, Term)) -> Option<(NodeId, Term)> {
        if self.world.checker.twice_led != Some(leader.1) {
            return Some(leader);
        }
        self.expect_a_leader()
    }

    /// A leader that reaches a timely quorum stays, whatever happens to the rest.
    fn trouble_the_others(&mut self, leader: (NodeId, Term)) {
        let ids = self.world.ids();
        let mut others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != leader.0).collect();
        while others.len() > ids.len() - (ids.len() / 2 + 1) {
            let spared = usize::try_from(self.dice.below(others.len() as u64)).unwrap();
            others.remove(spared);
        }
        let end = self.world.now.after(self.timeout * 10);
        self.world.checker.yielded = false;
        while self.world.now < end && self.world.checker.violation.is_none() {
            if let Some(victim) = others.first().map(|_| *self.dice.pick(&others)) {
                let other = *self.dice.pick(&ids);
                self.trouble_one(victim, other);
            }
            self.world.obituary_comes_late();
            let next = self.soon(self.timeout / 2);
            let gone = |world: &World| world.acting() != Some(leader);
            if self.world.run_to(next, gone) && self.world.checker.violation.is_none() {
                if self.world.checker.yielded {
                    return; // nobody disturbed it: it made room for a better one
                }
                let text = format!("{leader:?} leads no more at {:?}, and had a timely quorum", self.world.now);
                self.world.checker.fail("NobodyDisturbs", text);
            }
        }
    }

    /// A minority never comes back, and was lost while some saw what others did not; the rest elects.
    fn lose_some_for_good(&mut self) {
        self.make_peace();
        self.world.run_until(self.world.now.after(self.timeout * 3));
        let ids = self.world.ids();
        let victim = self.victim();
        let other = *self.dice.pick(&ids);
        match self.dice.below(3) {
            0 => self.shape(&ids),
            1 if other != victim => self.world.network.link(victim, other).cut = true,
            _ if other != victim => self.cut(victim, other),
            _ => {}
        }
        let at = self.soon(self.timeout * 4);
        self.world.run_until(at);
        if self.world.checker.violation.is_some() {
            return;
        }
        self.mend();
        let mut able = ids.iter().filter(|id| !self.is_witness(**id)).count();
        let mut lost = BTreeSet::new();
        while lost.len() < (ids.len() - 1) / 2 && (lost.is_empty() || self.dice.chance(500)) {
            let victim = self.victim();
            if !self.is_witness(victim) && !lost.contains(&victim) {
                if able == 1 {
                    break;
                }
                able -= 1;
            }
            lost.insert(victim);
            self.world.narrate(|| format!("{victim} is lost for good"));
            self.world.crash(victim);
        }
        self.expect_a_leader();
    }

    fn is_witness(&self, id: NodeId) -> bool {
        self.world.node(id).setup.voters[&id].witness
    }

    fn trouble_one(&mut self, victim: NodeId, other: NodeId) {
        let what = self.dice.below(8);
        self.world.narrate(|| format!("{victim} is troubled: {what}"));
        let (up, paused) = {
            let node = self.world.node(victim);
            (node.is_up(), node.is_paused())
        };
        match what {
            0 | 1 if !up => self.start(victim),
            0 => self.world.crash(victim),
            1 => self.world.reboot(victim),
            2 if paused => self.resume(victim),
            2 => self.world.pause(victim),
            3 if other != victim => self.cut(victim, other),
            4 if other != victim => {
                self.world.network.link(victim, other).cut = true;
                *self.world.network.link(other, victim) = bad_link(&mut self.dice, self.timeout);
            }
            5 => {
                self.world.crash(victim);
                self.world.rot_disk(victim);
            }
            6 => {
                for one in self.world.ids().into_iter().filter(|one| *one != victim) {
                    *self.world.network.link(victim, one) = Link::GOOD;
                    *self.world.network.link(one, victim) = Link::GOOD;
                }
            }
            _ => self.start(victim),
        }
    }
}

/// In peace the terms grow by elections that were under way, and by the split votes of a few.
const MOST_TERMS_IN_PEACE: u64 = 12;

/// Timings may differ between nodes, as long as every heartbeat interval fits every election timeout.
fn timing(dice: &mut Dice, shortest: u64, same_timing: bool, drift: u32) -> Timing {
    let usual = shortest / 5;
    let (heartbeat, timeout) = match same_timing {
        true => (usual, shortest),
        false => (dice.between(shortest / 10, shortest * 2 / 7), dice.between(shortest, 2 * shortest)),
    };
    let millis = Duration::from_millis;
    let spec =
        TimingSpec { heartbeat_interval: millis(heartbeat), election_timeout: millis(timeout), clock_drift_ppm: drift };
    Timing::new(spec).unwrap()
}

fn bad_link(dice: &mut Dice, timeout: Duration) -> Link {
    let most = u64::try_from(timeout.as_nanos()).unwrap();
    let scale = *dice.pick(&[100, 20, 5, 1]);
    Link {
        cut: false,
        delay: Duration::from_nanos(dice.below(most / scale)),
        jitter: Duration::from_nanos(dice.below(most / scale)),
        tail_per_mille: *dice.pick(&[0, 0, 20, 100]),
        lost_per_mille: *dice.pick(&[0, 10, 100, 400]),
        twice_per_mille: *dice.pick(&[0, 0, 50, 400]),
    }
}
