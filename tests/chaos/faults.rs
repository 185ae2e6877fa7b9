//! Every fault that is known, one row each: how it is inflicted, and how it is mended.

use std::fs;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustix::io::Errno;
use rustix::process::Signal;

use super::certs::{Ca, Certs};
use super::child::boot_nanos;
use super::cluster::Cluster;
use super::dice::Dice;
use super::holdings::holdings;
use super::network::{Cut, Layer, Link};
use super::processes::{self, Crowd};
use super::quota::Quota;
use super::round::await_leader;

/// What undoes a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    Start(usize),
    Continue(i32),
    TakeOff(u32),
    Shim(usize),
    Certificate(usize),
    Descriptors(i32),
    Processors(usize),
    Log(usize),
    Disk(usize),
    Crowds,
    /// Nothing is undone before somebody leads all the same.
    AwaitLeader,
}

/// An inflicted fault.
#[derive(Debug, Default)]
pub(crate) struct Wound {
    pub(crate) repairs: Vec<Repair>,
    /// How long it is left, in milliseconds, if that matters.
    pub(crate) lasts: Option<u64>,
}

/// A cluster, a victim, and chance.
#[derive(Debug)]
pub(crate) struct Scene<'c> {
    pub(crate) cluster: &'c mut Cluster,
    pub(crate) victim: usize,
    pub(crate) dice: &'c mut Dice,
    /// The longest stop of a process, in milliseconds.
    pub(crate) longest_stop: u64,
}

/// Whom a fault hits first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The process of a node, which is killed or stopped.
    Node,
    /// The same, and what it has stored.
    State,
    /// A guard.
    Guard,
    /// What else only `leadelect run` has.
    Command,
    /// A certificate that peers refuse. A node does not start with it.
    Certificate,
    /// The processor of a node.
    Processor,
    World,
}

impl Whom {
    /// Whether two faults cannot be judged together.
    pub(crate) fn excludes(self, other: Whom) -> bool {
        let either = |one: Whom, two: Whom| (self, other) == (one, two) || (self, other) == (two, one);
        // Only the token protects from what a guard and a node leave behind together.
        either(Whom::Guard, Whom::Node)
            || either(Whom::Guard, Whom::State)
            // A node that is started again refuses such a certificate, and that is right.
            || either(Whom::Certificate, Whom::Node)
            || either(Whom::Certificate, Whom::State)
            // What is done to a spoilt state rests on why a start has failed, and that it does so soon.
            || either(Whom::State, Whom::State)
            || either(Whom::State, Whom::Processor)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) whom: Whom,
    pub(crate) inflict: fn(&mut Scene<'_>) -> Wound,
}

const fn row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::World, inflict }
}

const fn node_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::Node, inflict }
}

const fn state_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::State, inflict }
}

const fn certificate_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::Certificate, inflict }
}

const fn processor_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::Processor, inflict }
}

const fn guard_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::Guard, inflict }
}

const fn run_row(name: &'static str, inflict: fn(&mut Scene<'_>) -> Wound) -> Fault {
    Fault { name, whom: Whom::Command, inflict }
}

pub(crate) const FAULTS: &[Fault] = &[
    node_row("kill node", |scene| scene.end(Signal::KILL, &[])),
    node_row("terminate node", |scene| scene.end(Signal::TERM, &[])),
    node_row("stop node", |scene| scene.stop(&[])),
    node_row("stop two nodes", |scene| scene.stop(&[1])),
    guard_row("kill guard", |scene| scene.guarded(|(_, guard)| guard, Signal::KILL)),
    guard_row("stop guard", |scene| scene.guarded(|(_, guard)| guard, Signal::STOP)),
    run_row("kill command", |scene| scene.guarded(|(command, _)| command, Signal::KILL)),
    run_row("terminate command", |scene| scene.guarded(|(command, _)| command, Signal::TERM)),
    run_row("stop command", |scene| scene.guarded(|(command, _)| command, Signal::STOP)),
    guard_row("kill spare guard", |scene| scene.spare(Signal::KILL)),
    guard_row("stop spare guard", |scene| scene.spare(Signal::STOP)),
    row("cut both ways", |scene| scene.lay(Scene::own_links, cut(Cut::All))),
    row("cut outgoing", |scene| scene.lay(Scene::outgoing, cut(Cut::All))),
    row("cut incoming", |scene| scene.lay(Scene::incoming, cut(Cut::All))),
    row("chain", |scene| scene.lay(Scene::not_in_chain, cut(Cut::All))),
    row("hub", |scene| scene.lay(Scene::not_to_hub, cut(Cut::All))),
    row("bridge", |scene| scene.lay(Scene::not_over_bridge, cut(Cut::All))),
    row("flapping", |scene| {
        let period = 20 + scene.dice.below(400);
        scene.lay(Scene::own_links, cut(Cut::Flapping(period)))
    }),
    row("cut new connections", |scene| scene.lay(Scene::some_links, cut(Cut::Syn))),
    row("cut large packets", |scene| scene.lay(Scene::some_links, cut(Cut::Large))),
    row("reset connections", |scene| {
        let wound = scene.lay(Scene::some_links, cut(Cut::Reset));
        Wound { lasts: Some(200), ..wound }
    }),
    row("loss", |scene| {
        let loss = 50 + scene.dice.below(400);
        scene.lay(Scene::some_links, Layer { loss, ..Layer::default() })
    }),
    row("delay", |scene| {
        let delay = 5 + scene.dice.below(150);
        scene.lay(Scene::some_links, Layer { delay, ..Layer::default() })
    }),
    row("jitter", |scene| {
        let jitter = 10 + scene.dice.below(200);
        scene.lay(Scene::some_links, Layer { jitter, ..Layer::default() })
    }),
    row("duplication", |scene| scene.lay(Scene::some_links, Layer { duplicate: 500, ..Layer::default() })),
    row("reordering", |scene| scene.lay(Scene::some_links, Layer { reorder: 300, ..Layer::default() })),
    row("slow line", |scene| {
        let rate = 1500 + scene.dice.below(15_000);
        scene.lay(Scene::some_links, Layer { rate, ..Layer::default() })
    }),
    node_row("restart two", |scene| scene.end(Signal::KILL, &[1])),
    node_row("restart all", |scene| {
        let others: Vec<usize> = (1..scene.cluster.size()).collect();
        scene.end(Signal::KILL, &others)
    }),
    state_row("state truncated", |scene| scene.spoil(|old| old[..old.len() / 2].to_vec())),
    state_row("state one record garbage", |scene| {
        let at = scene.dice.below(2) as usize * 4096;
        scene.spoil(move |mut old| {
            old[at..at + 100].fill(0x5a);
            old
        })
    }),
    state_row("state garbage", |scene| scene.spoil(|old| vec![0x5a; old.len()])),
    state_row("state empty", |scene| scene.spoil(|_| Vec::new())),
    state_row("state older", |scene| scene.put_back_older()),
    state_row("state removed", |scene| scene.remove_state()),
    state_row("disk full", |scene| {
        scene.cluster.members[scene.victim].host.fill_disk();
        let wound = scene.end(Signal::KILL, &[]);
        scene.cluster.start(scene.victim);
        let mut repairs = vec![Repair::Disk(scene.victim)];
        repairs.extend(wound.repairs);
        Wound { repairs, lasts: None }
    }),
    state_row("disk read-only", |scene| scene.read_only()),
    state_row("disk fails", |scene| {
        let victim = scene.victim;
        scene.hurt(victim);
        scene.cluster.members[victim].shim.flush_fails(Errno::IO.raw_os_error());
        let mut repairs = vec![Repair::Shim(victim)];
        // Only a restart makes the node trust its disk again.
        repairs.extend(scene.end(Signal::KILL, &[]).repairs);
        scene.cluster.members[victim].may_refuse = true;
        scene.cluster.start(victim);
        Wound { repairs, lasts: None }
    }),
    state_row("slow disk", |scene| {
        let micros = scene.cluster.timeout_ms * (100 + scene.dice.below(1900));
        for index in 0..scene.cluster.size() {
            scene.cluster.members[index].shim.flush_takes(Duration::from_micros(micros));
        }
        let mut repairs: Vec<Repair> = (0..scene.cluster.size()).map(Repair::Shim).collect();
        repairs.extend(scene.end(Signal::KILL, &[]).repairs);
        Wound { repairs, lasts: None }
    }),
    row("certificate renewed", |scene| scene.certificate(scene.own_name(), |_| {})),
    certificate_row("certificate expired", |scene| {
        let expired = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        scene.certificate(scene.own_name(), expired)
    }),
    certificate_row("certificate of another host", |scene| scene.certificate("10.99.0.1".into(), |_| {})),
    row("descriptors exhausted", |scene| {
        let Some(pid) = scene.cluster.pid(scene.victim) else { return Wound::default() };
        scene.hurt(scene.victim);
        let held = holdings(pid).map_or(0, |held| held.descriptors);
        processes::limit_descriptors(pid, Some(held.saturating_sub(scene.dice.below(3) as usize)));
        // New connections, so that it needs some.
        let reset = scene.lay(Scene::own_links, cut(Cut::Reset)).repairs[0];
        Wound { repairs: vec![reset, Repair::Descriptors(pid)], lasts: None }
    }),
    processor_row("processor quota", |scene| scene.starve()),
    processor_row("processors busy", |scene| {
        (0..scene.cluster.size()).for_each(|index| scene.hurt(index));
        scene.cluster.crowds.push(Crowd::busy(6));
        Wound { repairs: vec![Repair::Crowds], lasts: None }
    }),
    run_row("idle processes and cut leader", |scene| {
        (0..scene.cluster.size()).for_each(|index| scene.hurt(index));
        scene.cluster.crowds.push(Crowd::idle(1500));
        scene.choose_leader();
        let mut repairs = scene.lay(Scene::own_links, cut(Cut::All)).repairs;
        repairs.push(Repair::Crowds);
        Wound { repairs, lasts: Some(1800) }
    }),
    row("stuck log", |scene| {
        scene.cluster.members[scene.victim].log.hang();
        scene.hurt(scene.victim);
        Wound { repairs: vec![Repair::Log(scene.victim)], lasts: None }
    }),
    node_row("stuck logs and kill leader", |scene| {
        (0..scene.cluster.size()).for_each(|index| scene.cluster.members[index].log.hang());
        scene.choose_leader();
        let mut repairs = vec![Repair::AwaitLeader];
        repairs.extend(scene.end(Signal::KILL, &[]).repairs);
        repairs.extend((0..scene.cluster.size()).map(Repair::Log));
        Wound { repairs, lasts: Some(2500) }
    }),
    row("wall clock jumps", |scene| {
        // No certificate of this test has begun or ended then.
        let seconds = [-7200, -1, 1, 3600, 86_400 * 300][scene.dice.below(5) as usize];
        scene.cluster.members[scene.victim].shim.wall_clock_is_off(seconds);
        let reset = scene.lay(Scene::own_links, cut(Cut::Reset)).repairs[0];
        Wound { repairs: vec![reset, Repair::Shim(scene.victim)], lasts: Some(1000) }
    }),
];

fn cut(cut: Cut) -> Layer {
    Layer { cut, ..Layer::default() }
}

impl Scene<'_> {
    fn hurt(&mut self, index: usize) {
        self.cluster.hurt.insert(index);
    }

    fn choose_leader(&mut self) {
        self.victim = self.cluster.leader_index().unwrap_or(self.victim);
    }

    fn own_name(&self) -> String {
        self.cluster.members[self.victim].host.addr.clone()
    }

    /// The victim, and those that come so many after it.
    fn victims(&self, others: &[usize]) -> Vec<usize> {
        let size = self.cluster.size();
        let others = others.iter().map(|after| (self.victim + after) % size);
        [self.victim].into_iter().chain(others).collect()
    }

    fn end(&mut self, signal: Signal, others: &[usize]) -> Wound {
        let victims = self.victims(others);
        for victim in &victims {
            self.hurt(*victim);
            self.cluster.end(*victim, signal);
        }
        Wound { repairs: victims.into_iter().map(Repair::Start).collect(), lasts: None }
    }

    fn time_of_stop(&mut self) -> Option<u64> {
        let steps = [5, 50, 300, 450, 700, 2000, 20_000];
        let steps: Vec<u64> = steps.into_iter().filter(|step| *step <= self.longest_stop).collect();
        Some(steps[self.dice.below(steps.len() as u64) as usize])
    }

    fn stop(&mut self, others: &[usize]) -> Wound {
        let victims = self.victims(others);
        let mut repairs = Vec::new();
        for victim in victims {
            self.hurt(victim);
            self.cluster.signal(victim, Signal::STOP);
            repairs.extend(self.cluster.pid(victim).map(Repair::Continue));
        }
        Wound { repairs, lasts: self.time_of_stop() }
    }

    fn send(&mut self, pid: i32, signal: Signal) -> Wound {
        self.cluster.history.mark(None, format!("process {pid} gets {signal:?}"));
        processes::signal(pid, signal);
        let repairs = if signal == Signal::STOP { vec![Repair::Continue(pid)] } else { Vec::new() };
        Wound { repairs, lasts: self.time_of_stop() }
    }

    fn guarded(&mut self, which: fn((i32, i32)) -> i32, signal: Signal) -> Wound {
        (0..self.cluster.size()).for_each(|index| self.hurt(index));
        match self.cluster.command_and_guard() {
            Some(both) => self.send(which(both), signal),
            None => Wound::default(),
        }
    }

    fn spare(&mut self, signal: Signal) -> Wound {
        (0..self.cluster.size()).for_each(|index| self.hurt(index));
        self.choose_leader();
        let spares = self.cluster.spare_guards(self.victim);
        let Some(spare) = spares.first() else { return Wound::default() };
        let mut wound = self.send(*spare, signal);
        // So that it is needed.
        if let Some((command, _)) = self.cluster.command_and_guard() {
            processes::signal(command, Signal::KILL);
        }
        wound.lasts = Some(1000);
        wound
    }

    fn own_links(&mut self) -> Vec<Link> {
        self.cluster.links_of(self.victim)
    }

    fn outgoing(&mut self) -> Vec<Link> {
        let victim = self.victim;
        self.own_links().into_iter().filter(|(from, _)| *from == victim).collect()
    }

    fn incoming(&mut self) -> Vec<Link> {
        let victim = self.victim;
        self.own_links().into_iter().filter(|(_, to)| *to == victim).collect()
    }

    /// Those of the victim, or all.
    fn some_links(&mut self) -> Vec<Link> {
        if self.dice.below(2) == 0 { self.own_links() } else { self.cluster.all_links() }
    }

    fn not_in_chain(&mut self) -> Vec<Link> {
        self.cluster.all_links().into_iter().filter(|(from, to)| from.abs_diff(*to) != 1).collect()
    }

    fn not_to_hub(&mut self) -> Vec<Link> {
        let hub = self.dice.below(self.cluster.size() as u64) as usize;
        self.cluster.all_links().into_iter().filter(|(from, to)| *from != hub && *to != hub).collect()
    }

    /// Two halves, which one node joins.
    fn not_over_bridge(&mut self) -> Vec<Link> {
        let bridge = self.cluster.size() / 2;
        let apart = |(from, to): &Link| (*from < bridge && *to > bridge) || (*from > bridge && *to < bridge);
        self.cluster.all_links().into_iter().filter(apart).collect()
    }

    fn lay(&mut self, links: fn(&mut Self) -> Vec<Link>, layer: Layer) -> Wound {
        let links = links(self);
        self.cluster.hurt_links.extend(&links);
        let id = self.cluster.network.lay(links.clone(), layer);
        let shown: Vec<String> = links.iter().map(|(from, to)| format!("{}>{}", from + 1, to + 1)).collect();
        self.cluster.history.mark(None, format!("{layer:?} on {}", shown.join(" ")));
        Wound { repairs: vec![Repair::TakeOff(id)], lasts: None }
    }

    fn vote_file(&self) -> std::path::PathBuf {
        let member = &self.cluster.members[self.victim];
        member.host.disk().join(format!("node-{}.vote", member.id))
    }

    /// The node stays down as long as the manual asks for, and then starts on this state or refuses it.
    fn spoil(&mut self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Wound {
        let wound = self.end(Signal::KILL, &[]);
        let old = fs::read(self.vote_file()).unwrap();
        fs::write(self.vote_file(), change(old)).unwrap();
        self.cluster.members[self.victim].may_refuse = true;
        let mut repairs = wound.repairs;
        repairs.insert(0, Repair::Disk(self.victim));
        Wound { repairs, lasts: Some(3 * self.cluster.timeout_ms) }
    }

    fn remove_state(&mut self) -> Wound {
        let wound = self.end(Signal::KILL, &[]);
        fs::remove_file(self.vote_file()).unwrap();
        Wound { lasts: Some(3 * self.cluster.timeout_ms), ..wound }
    }

    /// An older state, as from a backup: the manual forbids it while others may rely on what was forgotten, so it
    /// stays down for as long as promises last.
    fn put_back_older(&mut self) -> Wound {
        let older = fs::read(self.vote_file()).unwrap();
        let wound = self.end(Signal::TERM, &[]);
        fs::write(self.vote_file(), older).unwrap();
        Wound { lasts: Some(3 * self.cluster.timeout_ms), ..wound }
    }

    fn read_only(&mut self) -> Wound {
        let wound = self.end(Signal::KILL, &[]);
        let member = &mut self.cluster.members[self.victim];
        assert!(member.host.remount("ro"), "read-only");
        member.may_refuse = true;
        self.cluster.start(self.victim);
        let mut repairs = vec![Repair::Disk(self.victim)];
        repairs.extend(wound.repairs);
        Wound { repairs, lasts: None }
    }

    fn certificate(&mut self, name: String, change: impl FnOnce(&mut CertificateParams)) -> Wound {
        let victim = self.victim;
        self.hurt(victim);
        renew(&self.cluster.ca, &self.cluster.members[victim].certs, &name, change);
        self.cluster.history.mark(Some(&self.cluster.members[victim].id.clone()), format!("certificate for {name}"));
        let reset = self.lay(Scene::own_links, cut(Cut::Reset)).repairs[0];
        Wound { repairs: vec![reset, Repair::Certificate(victim)], lasts: Some(1500) }
    }

    fn starve(&mut self) -> Wound {
        let victim = self.victim;
        let Some(pid) = self.cluster.pid(victim) else { return Wound::default() };
        self.hurt(victim);
        let percent = 3 + self.dice.below(20);
        let quota = Quota::new(&pid.to_string(), percent * 1000, 100_000).expect("a cgroup of processors");
        quota.take(pid);
        self.cluster.members[victim].quota = Some(quota);
        Wound { repairs: vec![Repair::Processors(victim)], lasts: None }
    }
}

impl Repair {
    pub(crate) fn carry_out(self, cluster: &mut Cluster) {
        match self {
            Repair::Start(index) => cluster.start(index),
            Repair::Continue(pid) => processes::signal(pid, Signal::CONT),
            Repair::TakeOff(id) => cluster.network.take_off(id),
            Repair::Shim(index) => cluster.members[index].shim.reset(),
            Repair::Certificate(index) => {
                let member = &cluster.members[index];
                renew(&cluster.ca, &member.certs, &member.host.addr, |_| {});
            }
            Repair::Descriptors(pid) => processes::limit_descriptors(pid, None),
            Repair::Processors(index) => cluster.members[index].quota = None,
            Repair::Log(index) => cluster.members[index].log.go_on(),
            Repair::Disk(index) => mend_disk(cluster, index),
            Repair::Crowds => cluster.crowds.clear(),
            Repair::AwaitLeader => drop(await_leader(cluster, "while only logs are stuck", boot_nanos())),
        }
        cluster.history.mark(None, format!("mended: {self:?}"));
    }
}

/// As the manual says: a state that no node can read is removed, once the node was down for long enough.
fn mend_disk(cluster: &mut Cluster, index: usize) {
    let host = &cluster.members[index].host;
    host.free_disk();
    host.remount("rw");
    cluster.start(index);
    let refused = super::process::try_for(Duration::from_secs(1), || {
        cluster.bury_if_ended(index);
        cluster.pid(index).is_none().then_some(())
    });
    if refused.is_some() {
        let member = &cluster.members[index];
        let _ = fs::remove_file(member.host.disk().join(format!("node-{}.vote", member.id)));
    }
    cluster.members[index].may_refuse = false;
    cluster.start(index);
}

/// Replaces a certificate in one step by another one for the same key.
fn renew(ca: &Ca, certs: &Certs, name: &str, change: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::from_pem(&fs::read_to_string(&certs.key).expect("a key")).expect("a key");
    let new = ca.sign_key("new", &[name], &key, change);
    fs::rename(new.cert, &certs.cert).expect("renamed");
}
