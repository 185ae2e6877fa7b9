//! Is what the search takes for the same the same? A node is told anew in the middle of a random run, on another clock
//! and without what is over; from then on it and its copy get the same inputs, and must do the same.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{
    Cause, Effects, Election, EndReason, Event, HardState, Input, Instant, Names, Recovery, Reply, Request, Role,
    Setup, Store, Term, Timing, TimingSpec, Voter,
};

use crate::harness::Dice;

/// Nothing gets another name but the time; what nobody can answer any more is forgotten.
struct OnTheWay(Vec<(Term, u64)>);

impl Names for OnTheWay {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        candidacy
    }

    fn heartbeat(&self, _: Term, seq: u64) -> u64 {
        seq
    }

    fn is_answerable(&self, term: Term, seq: u64) -> bool {
        self.0.contains(&(term, seq))
    }

    fn seed(&self) -> Option<u64> {
        None
    }
}

struct Node {
    election: Election,
    durable: Option<HardState>,
    /// The same told anew, and when: since then its clock shows the time since the origin.
    copy: Option<(Election, Instant)>,
}

struct Saved(Option<HardState>);

impl Store for Saved {
    type Error = ();

    fn save(&mut self, state: &HardState) -> Result<(), ()> {
        self.0 = Some(*state);
        Ok(())
    }
}

enum Letter {
    Request(NodeId, NodeId, Request),
    Reply(NodeId, NodeId, Reply),
}

const ORIGIN: Instant = Instant::from_nanos(1_000_000_000);

struct Run {
    now: Instant,
    nodes: BTreeMap<NodeId, Node>,
    letters: Vec<Letter>,
    dice: Dice,
    /// How often a node and its copy, told anew at least 30 ms before, did the same, by its role.
    compared: BTreeMap<&'static str, u64>,
}

fn setup(me: NodeId) -> Setup {
    let millis = Duration::from_millis;
    Setup {
        me,
        voters: [1u16, 2, 3]
            .map(|id| {
                let priority = i32::from(id);
                let witness = false;
                (NodeId::from(id), Voter { priority, witness })
            })
            .into(),
        timing: Timing::new(TimingSpec {
            heartbeat_interval: millis(11),
            election_timeout: millis(44),
            clock_drift_ppm: 100_000,
        })
        .unwrap(),
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let now = Instant::from_nanos(7_000_000_000);
        let mut dice = Dice(seed);
        let nodes = [1u16, 2, 3].map(NodeId::from).map(|id| {
            let election = Election::new(setup(id), Recovery::Fresh, now, dice.next());
            let node = Node { election, durable: None, copy: None };
            (id, node)
        });
        Run { now, nodes: nodes.into(), letters: Vec::new(), dice, compared: BTreeMap::new() }
    }

    fn go(&mut self) {
        let id = *self.dice.pick(&[1u16, 2, 3].map(NodeId::from));
        match self.dice.below(1000) {
            0..400 => self.arrives(false),
            400..430 => self.arrives(true),
            430..480 => {
                let place = self.dice.below(self.letters.len() as u64) as usize;
                if place < self.letters.len() {
                    self.letters.swap_remove(place);
                }
            }
            480..500 => self.tell_anew(id),
            500..503 => self.restart(id),
            503..506 => {
                let successor = Some(NodeId::from(1 + self.dice.below(3) as u16));
                let hold_off = Duration::from_millis(self.dice.below(90));
                let successor = successor.filter(|_| self.dice.chance(500));
                self.step(id, Input::StepDown { reason: EndReason::Resigned, successor, hold_off });
            }
            506..510 => {
                let eligible = self.dice.chance(700);
                self.step(id, Input::Eligible(eligible));
            }
            510..520 => {
                if let Some(term) = self.nodes[&id].election.awaits_work() {
                    self.step(id, Input::WorkEnded { term });
                }
            }
            520..540 => self.now = self.now + Duration::from_millis(self.dice.below(30)),
            _ => {
                self.now = self.now + Duration::from_nanos(self.dice.below(2_500_000));
                for id in [1u16, 2, 3].map(NodeId::from) {
                    if self.nodes[&id].election.wake_at() <= self.now && self.dice.chance(900) {
                        self.step(id, Input::Tick);
                    }
                }
            }
        }
    }

    fn arrives(&mut self, twice: bool) {
        if self.letters.is_empty() {
            return;
        }
        let place = self.dice.below(self.letters.len() as u64) as usize;
        let letter = match (twice, &self.letters[place]) {
            (true, Letter::Request(from, to, request)) => Letter::Request(*from, *to, request.clone()),
            (true, Letter::Reply(from, to, reply)) => Letter::Reply(*from, *to, reply.clone()),
            (false, _) => self.letters.swap_remove(place),
        };
        match letter {
            Letter::Request(from, to, request) => self.step(to, Input::Request { from, request }),
            Letter::Reply(from, to, reply) => self.step(to, Input::Reply { from, reply }),
        }
    }

    fn restart(&mut self, id: NodeId) {
        let seed = self.dice.next();
        let node = self.nodes.get_mut(&id).unwrap();
        let recovery =
            node.durable.map_or(Recovery::Fresh, |state| Recovery::Restored { state, down_for: Duration::ZERO });
        node.election = Election::new(setup(id), recovery, self.now, seed);
        node.copy = None;
    }

    fn tell_anew(&mut self, id: NodeId) {
        let numbers = self.letters.iter().filter_map(|letter| match letter {
            Letter::Request(_, _, Request::Heartbeat { term, seq, .. })
            | Letter::Reply(_, _, Reply::Heartbeat { term, seq, .. }) => Some((*term, *seq)),
            Letter::Request(..) | Letter::Reply(..) => None,
        });
        let mut names = OnTheWay(numbers.collect());
        let node = self.nodes.get_mut(&id).unwrap();
        let mut copy = node.election.clone();
        copy.canonicalize(self.now, ORIGIN, &mut names);
        node.copy = Some((copy, self.now));
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let name = match (node.election.role(), node.election.lease()) {
            (Role::Follower, _) => "follower",
            (Role::Candidate, _) => "candidate",
            (Role::Leader, None) => "leader without a lease",
            (Role::Leader, Some(_)) => "leader",
        };
        let mut saved = Saved(None);
        let effects = node.election.step(now, input.clone()).store(&mut saved).unwrap();
        if let Some((copy, since)) = &mut node.copy {
            let at = |local: Instant| match local {
                Instant::NEVER => Instant::NEVER,
                _ => ORIGIN + local.since(*since),
            };
            let mut also = Saved(None);
            let same = copy.step(at(now), input.clone()).store(&mut also).unwrap();
            assert_eq!(saved.0, also.0);
            assert_eq!(moved(&effects, &at), moved(&same, &|local| local));
            assert_eq!(node.election.role(), copy.role());
            assert_eq!(at(node.election.wake_at().max(now)), copy.wake_at().max(at(now)));
            if now.since(*since) > Duration::from_millis(30) {
                *self.compared.entry(name).or_default() += 1;
            }
        }
        node.durable = saved.0.or(node.durable);
        if let (Some(reply), Input::Request { from, .. }) = (effects.reply, &input) {
            self.letters.push(Letter::Reply(id, *from, reply));
        }
        for (to, request) in effects.messages {
            self.letters.push(Letter::Request(id, to, request));
        }
    }
}

/// The effects, with the lease on another clock, and without how long ago something was that an event tells.
fn moved(effects: &Effects, at: &dyn Fn(Instant) -> Instant) -> impl PartialEq + std::fmt::Debug {
    let events = effects.events.iter().cloned().map(|event| match event.cause {
        Cause::Elected { votes, after: _ } => Event { cause: Cause::Elected { votes, after: Duration::ZERO }, ..event },
        _ => event,
    });
    let lease = effects.lease.map(|lease| (lease.token, at(lease.until)));
    let events: Vec<Event> = events.collect();
    (lease, effects.reply.clone(), effects.messages.clone(), events)
}

#[test]
fn a_node_that_is_told_anew_does_the_same() {
    let mut compared = BTreeMap::new();
    let seeds = if cfg!(debug_assertions) { 40 } else { 400 };
    for seed in 0..seeds {
        let mut run = Run::new(seed);
        for _ in 0..5000 {
            run.go();
        }
        for (name, count) in run.compared {
            *compared.entry(name).or_insert(0) += count;
        }
    }
    println!("{compared:?}");
    for name in ["follower", "candidate", "leader without a lease", "leader"] {
        let count = compared.get(name).copied().unwrap_or_default();
        assert!(count > 200, "{name}: compared only {count} times");
    }
}
