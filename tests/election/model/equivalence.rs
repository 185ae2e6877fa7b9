//! Is what the search takes for the same the same? In the middle of a random run a copy of a node is told anew, on
//! another clock and without what is over. From then on the node and its copy get the same mail, and must do the same.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{
    Cause, Election, EndReason, Event, HardState, Instant, Names, Recovery, Reply, Request, Role, Setup, Store, Term,
    Timing, TimingSpec, Voter,
};
use leadelect::engine::{Answer, Call, Effects, Engine, Health, Mail, Program, Work};

use crate::harness::Dice;
use crate::harness::turn::Driven;

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
    driven: Driven<u64>,
    durable: Option<HardState>,
    /// The same told anew, and when: since then its clock shows the time since the origin.
    copy: Option<(Driven<u64>, Instant)>,
}

impl Node {
    fn election(&self) -> &Election {
        self.driven.engine.election()
    }
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
    calls: u64,
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

fn begin(me: NodeId, recovery: Recovery, now: Instant, seed: u64) -> Driven<u64> {
    let election = Election::new(setup(me), recovery, now, seed);
    Driven::new(Engine::new(election, Duration::from_millis(20)))
}

/// What a program shows of itself at a moment that is `now` on this clock and `origin` on another, shown there.
fn elsewhere(program: Program, now: Instant, origin: Instant) -> Program {
    let at = |at: Instant| match at {
        Instant::NEVER => Instant::NEVER,
        at if at < now => origin.before(now.since(at)),
        at => origin + at.since(now),
    };
    let Program { hold_off_until, health, work, .. } = program;
    Program {
        hold_off_until: at(hold_off_until),
        health: health.map(|health| Health { good_until: at(health.good_until), ..health }),
        work: work.map(|work| Work { until: at(work.until), silent_at: at(work.silent_at), ..work }),
        ..program
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let now = Instant::from_nanos(7_000_000_000);
        let mut dice = Dice(seed);
        let nodes = [1u16, 2, 3]
            .map(NodeId::from)
            .map(|id| (id, Node { driven: begin(id, Recovery::Fresh, now, dice.next()), durable: None, copy: None }));
        Run { now, nodes: nodes.into(), letters: Vec::new(), dice, calls: 0, compared: BTreeMap::new() }
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
            503..506 => self.call(id),
            506..512 => self.program_changes(id),
            // What is said of the dead need not be true here.
            _ if self.dice.chance(4) => {
                let (of, highest) =
                    (*self.dice.pick(&[1u16, 2, 3].map(NodeId::from)), self.nodes[&id].election().term());
                let up_to = Term(highest.0.saturating_sub(self.dice.below(2)));
                self.step(id, Mail::Obituary { of, up_to });
            }
            512..520 => {
                if let Some(term) = self.nodes[&id].driven.taken().first().copied() {
                    self.step(id, Mail::LeaseFree { term });
                }
            }
            520..540 => self.now = self.now + Duration::from_millis(self.dice.below(30)),
            _ => {
                self.now = self.now + Duration::from_nanos(self.dice.below(2_500_000));
                for id in [1u16, 2, 3].map(NodeId::from) {
                    if self.nodes[&id].driven.engine.wake_at() <= self.now && self.dice.chance(900) {
                        self.step(id, Mail::Wake);
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
            Letter::Request(from, to, request) => self.step(to, Mail::Request { from, request }),
            Letter::Reply(from, to, reply) => self.step(to, Mail::Reply { from, reply }),
        }
    }

    /// The program hands over, or says that its work ends.
    fn call(&mut self, id: NodeId) {
        let election = self.nodes[&id].election();
        let (term, hold_off) = (election.term(), Duration::from_millis(self.dice.below(90)));
        let call = match self.dice.below(4) {
            0 => Call::WorkEnds { term, reason: EndReason::WorkFailed, hold_off },
            1 => Call::HandOver { successor: Some(NodeId::from(1 + self.dice.below(3) as u16)), hold_off },
            _ => Call::HandOver { successor: None, hold_off },
        };
        self.calls += 1;
        self.step(id, Mail::Call { call, caller: self.calls });
    }

    /// The program becomes eligible or not, well or ill, or begins, continues or ends its work.
    fn program_changes(&mut self, id: NodeId) {
        let (now, dice) = (self.now, &mut self.dice);
        let mut soon = || now + Duration::from_millis(dice.below(60));
        let (one, other) = (soon(), soon());
        let hold_off = Duration::from_millis(dice.below(50));
        let node = self.nodes.get_mut(&id).unwrap();
        let lease = node.election().lease();
        let mut program = node.driven.program;
        match dice.below(6) {
            0 => program.ineligible = dice.chance(300),
            1 => program.absent = dice.chance(300),
            2 => program.hold_off_until = one,
            3 => program.health = dice.chance(500).then_some(Health { good_until: one, hold_off }),
            4 => {
                let (told_to_stop, acts_on_overrun) = (false, true);
                let silent_at = other;
                let work = |term, until| Work { term, until, silent_at, told_to_stop, acts_on_overrun, hold_off };
                program.work = lease.map(|lease| work(lease.token, lease.until));
            }
            _ => program.work = program.work.map(|work| Work { told_to_stop: true, until: one, ..work }),
        }
        node.driven.program = program;
        if let Some((copy, since)) = &mut node.copy {
            copy.program = elsewhere(program, *since, ORIGIN);
        }
        self.step(id, Mail::Program(self.nodes[&id].driven.seen()));
    }

    fn restart(&mut self, id: NodeId) {
        let seed = self.dice.next();
        let node = self.nodes.get_mut(&id).unwrap();
        let recovery =
            node.durable.map_or(Recovery::Fresh, |state| Recovery::Restored { state, down_for: Duration::ZERO });
        node.driven = begin(id, recovery, self.now, seed);
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
        let mut copy = node.driven.clone();
        copy.engine.canonicalize(self.now, ORIGIN, &mut names);
        copy.program = elsewhere(copy.program, self.now, ORIGIN);
        node.copy = Some((copy, self.now));
    }

    fn step(&mut self, id: NodeId, mail: Mail<u64>) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let name = match (node.election().role(), node.election().lease()) {
            (Role::Follower, _) => "follower",
            (Role::Candidate, _) => "candidate",
            (Role::Leader, None) => "leader without a lease",
            (Role::Leader, Some(_)) => "leader",
        };
        let mut saved = Saved(None);
        let done = node.driven.step(now, mail.clone(), &mut saved);
        if let Some((copy, since)) = &mut node.copy {
            let at = |local: Instant| match local {
                Instant::NEVER => Instant::NEVER,
                _ => ORIGIN + local.since(*since),
            };
            let told = match &mail {
                Mail::Program(_) => Mail::Program(copy.seen()),
                _ => mail.clone(),
            };
            let mut also = Saved(None);
            let same = copy.step(at(now), told, &mut also);
            assert_eq!(saved.0, also.0);
            assert_eq!(moved(&done, &at), moved(&same, &|local| local));
            let (engine, copied) = (&node.driven.engine, &copy.engine);
            assert_eq!(engine.election().role(), copied.election().role());
            assert_eq!(engine.election().is_eligible(), copied.election().is_eligible());
            // It is not remembered whether the log was told of a lease that is kept.
            let wakes = |driven: &Driven<u64>, earliest: Instant| match driven.taken().first() {
                Some(_) => driven.engine.election().wake_at().max(earliest),
                None => driven.engine.wake_at().max(earliest),
            };
            assert_eq!(at(wakes(&node.driven, now)), wakes(copy, at(now)));
            if now.since(*since) > Duration::from_millis(30) {
                *self.compared.entry(name).or_default() += 1;
            }
        }
        node.durable = saved.0.or(node.durable);
        for effects in done {
            if let (Some(reply), Mail::Request { from, .. }) = (effects.reply, &mail) {
                self.letters.push(Letter::Reply(id, *from, reply));
            }
            for (to, request) in effects.messages {
                self.letters.push(Letter::Request(id, to, request));
            }
        }
    }
}

/// The effects, with the lease on another clock, and without how long ago something was that an event tells, what is
/// worth a line in the log, and the words of a refusal.
fn moved(done: &[Effects<u64>], at: &dyn Fn(Instant) -> Instant) -> impl PartialEq + std::fmt::Debug {
    let told = |effects: &Effects<u64>| {
        let told = effects.overran.iter().chain(&effects.told).map(|told| told.event.clone());
        let told = told.map(|event| match event.cause {
            Cause::Elected { votes, after: _ } => {
                Event { cause: Cause::Elected { votes, after: Duration::ZERO }, ..event }
            }
            _ => event,
        });
        told.collect::<Vec<Event>>()
    };
    let answers = |effects: &Effects<u64>| {
        let answers = effects.answers.iter().map(|(caller, answer)| {
            let kind = match answer {
                Answer::Refused(_) => "refused",
                Answer::Begun => "begun",
                Answer::Done => "done",
            };
            (*caller, kind)
        });
        answers.collect::<Vec<_>>()
    };
    let last = done.last().expect("a step");
    let lease = last.lease.map(|lease| (lease.token, at(lease.until)));
    let messages: Vec<(NodeId, Request)> = done.iter().flat_map(|effects| effects.messages.clone()).collect();
    let told: Vec<Event> = done.iter().flat_map(told).collect();
    let answers: Vec<(u64, &str)> = done.iter().flat_map(answers).collect();
    (lease, last.reply.clone(), messages, told, answers)
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
