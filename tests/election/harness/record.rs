//! What happened in a run, as data, for those who want to see it: a picture is drawn from this alone.
//!
//! What the nodes do is noted when they do it. What is done to them is not: before time goes on, the world is looked
//! at, and what differs from the last look is a mark. So a new kind of fault is seen without a word here, if it
//! changes a host, its disk or a link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Reply, Request, Role, Setup, Term};
use leadelect::engine::Call;

use super::clock::{Real, nanos};
use super::disk::Mood;
use super::network::Link;

#[derive(Debug, Default)]
pub(crate) struct Record {
    /// In the order of time.
    pub(crate) marks: Vec<(Real, Mark)>,
    /// Each node with what is to be known of its settings.
    pub(crate) nodes: BTreeMap<NodeId, String>,
    /// The longest election timeout of any node.
    pub(crate) timeout: Duration,
    /// Up to where it tells: no further than the first violation.
    pub(crate) end: Real,
    hosts: BTreeMap<NodeId, Host>,
    links: BTreeMap<(NodeId, NodeId), Link>,
}

#[derive(Debug, Clone)]
pub(crate) enum Mark {
    Role {
        node: NodeId,
        role: Role,
        term: Term,
        leader: Option<NodeId>,
        text: String,
    },
    Process {
        node: NodeId,
        process: Process,
    },
    /// The program of `node` may act from now on, strictly before `until`.
    Lease {
        node: NodeId,
        token: Term,
        until: Real,
        /// It was told to stop, and finishes what it has begun.
        ending: bool,
    },
    Message {
        from: NodeId,
        to: NodeId,
        said: Said,
        /// One for each copy; lost if there is none.
        arrives: Vec<Real>,
    },
    /// Done to a node, or asked of it.
    Fault {
        node: NodeId,
        text: String,
    },
    /// Done to links.
    Network {
        change: String,
        /// All that is wrong with links from now on.
        state: String,
    },
    Violation(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Runs,
    Paused,
    Down,
}

#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Heartbeat,
    PreVote,
    Vote,
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Asks,
    Grants,
    Refuses,
}

impl Said {
    /// An obituary ends promises, as a release does.
    pub(crate) fn obituary(text: String) -> Self {
        Said { kind: Kind::Release, stage: Stage::Asks, text }
    }
}

impl From<&Request> for Said {
    fn from(request: &Request) -> Self {
        let kind = match request {
            Request::PreVote { .. } => Kind::PreVote,
            Request::Vote { .. } => Kind::Vote,
            Request::Heartbeat { .. } => Kind::Heartbeat,
            Request::Release { .. } => Kind::Release,
        };
        Said { kind, stage: Stage::Asks, text: request.to_string() }
    }
}

impl From<&Reply> for Said {
    fn from(reply: &Reply) -> Self {
        let (kind, granted) = match reply {
            Reply::PreVote { verdict, .. } => (Kind::PreVote, verdict.is_ok()),
            Reply::Vote { verdict, .. } => (Kind::Vote, verdict.is_ok()),
            Reply::Heartbeat { granted, .. } => (Kind::Heartbeat, !granted.is_zero()),
            Reply::Release { .. } => (Kind::Release, true),
        };
        Said {
            kind,
            stage: match granted {
                true => Stage::Grants,
                false => Stage::Refuses,
            },
            text: reply.to_string(),
        }
    }
}

/// A host, as a look at it from outside shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) process: Process,
    /// Counts the starts of the process.
    pub(crate) life: u64,
    /// When its clock was set.
    pub(crate) booted: Real,
    pub(crate) ppm: i64,
    pub(crate) mood: Mood,
    pub(crate) torn: bool,
    /// There is something on its disk.
    pub(crate) stored: bool,
    pub(crate) stateless: bool,
}

impl Record {
    pub(crate) fn note(&mut self, now: Real, mark: Mark) {
        if !self.is_closed() {
            self.marks.push((now, mark));
            self.end = now;
        }
    }

    /// Nothing is told after a violation: the run stops there.
    fn is_closed(&self) -> bool {
        matches!(self.marks.last(), Some((_, Mark::Violation(_))))
    }

    pub(crate) fn see_time(&mut self, now: Real, violation: Option<&str>) {
        if let Some(text) = violation {
            self.note(now, Mark::Violation(text.to_owned()));
        } else if !self.is_closed() {
            self.end = now;
        }
    }

    pub(crate) fn see_host(&mut self, now: Real, setup: &Setup, host: Host) {
        let node = setup.me;
        let text = match self.hosts.insert(node, host) {
            Some(old) if old == host => return,
            Some(old) => difference(old, host),
            None => {
                let timeout = setup.timing.election_timeout();
                self.timeout = self.timeout.max(timeout);
                self.nodes.insert(node, settings(setup, host));
                String::new()
            }
        };
        if !text.is_empty() {
            self.note(now, Mark::Fault { node, text });
        }
        let process = host.process;
        self.note(now, Mark::Process { node, process });
    }

    /// What a program or an operator asks of a node.
    pub(crate) fn call(&mut self, now: Real, node: NodeId, call: &Call) {
        let text = match call {
            Call::HandOver { successor: Some(to), .. } => format!("hand over to {to}"),
            Call::HandOver { successor: None, .. } => "hand over".to_owned(),
            Call::WorkEnds { term, .. } => format!("the work of term {term} ends"),
        };
        self.note(now, Mark::Fault { node, text });
    }

    pub(crate) fn see_links(&mut self, now: Real, links: &BTreeMap<(NodeId, NodeId), Link>) {
        if *links == self.links {
            return;
        }
        let good = |way: &(NodeId, NodeId)| self.links.get(way).copied().unwrap_or(Link::GOOD);
        let ways = |which: &dyn Fn(Link, Link) -> bool| -> BTreeSet<(NodeId, NodeId)> {
            let chosen = links.iter().filter(|(way, new)| which(good(way), **new));
            chosen.map(|(way, _)| *way).collect()
        };
        let mut changes = Vec::new();
        let mut say = |what: &str, ways: BTreeSet<(NodeId, NodeId)>| {
            if !ways.is_empty() {
                changes.push(format!("{what} {}", grouped(ways)));
            }
        };
        let uncut = |link: Link| Link { cut: false, ..link };
        say("cut", ways(&|old, new| !old.cut && new.cut));
        say("bad", ways(&|old, new| uncut(old) != uncut(new) && uncut(new) != Link::GOOD));
        say("mended", ways(&|old, new| old.cut && !new.cut));
        say("good", ways(&|old, new| uncut(old) != uncut(new) && new == Link::GOOD && !old.cut));
        let mut state = Vec::new();
        let cut = ways(&|_, new| new.cut);
        if !cut.is_empty() {
            state.push(format!("cut {}", grouped(cut)));
        }
        let bad = links
            .iter()
            .filter(|(_, link)| uncut(**link) != Link::GOOD)
            .map(|((from, to), link)| format!("{from} → {to}: {}", quality(link)));
        state.extend(bad);
        if state.is_empty() {
            changes = vec!["all links good".to_owned()];
        }
        let was_good = self.links.values().all(|link| *link == Link::GOOD);
        self.links.clone_from(links);
        if was_good && state.is_empty() {
            return; // the first look, or nothing that shows
        }
        let (change, state) = (changes.join("; "), state.join("\n"));
        self.note(now, Mark::Network { change, state });
    }
}

fn settings(setup: &Setup, host: Host) -> String {
    let timing = &setup.timing;
    let mut text = format!("{:?} / {:?}, {:+} ppm", timing.election_timeout(), timing.heartbeat_interval(), host.ppm);
    if setup.voters[&setup.me].witness {
        text += ", witness";
    }
    if host.stateless {
        text += ", stateless";
    }
    text
}

/// What was done to a host between two looks at it.
fn difference(old: Host, new: Host) -> String {
    let mut done = Vec::new();
    if old.stored && !new.stored {
        done.push("disk lost".to_owned());
    }
    if !old.torn && new.torn {
        done.push("state damaged".to_owned());
    }
    if old.mood != new.mood {
        done.push(match new.mood {
            Mood::Works => "disk works".to_owned(),
            Mood::Slow(span) => format!("disk slow {:.0}ms", span.as_secs_f64() * 1e3),
            Mood::Fails => "disk fails".to_owned(),
        });
    }
    if old.booted != new.booted {
        done.push("reboot".to_owned());
    }
    if old.ppm != new.ppm {
        done.push(format!("clock {:+} ppm", new.ppm));
    }
    let ended = (old.life != new.life && old.process != Process::Down) || new.process == Process::Down;
    if ended && old.process != Process::Down && old.booted == new.booted {
        done.push("crash".to_owned());
    }
    if old.life != new.life {
        done.push("start".to_owned());
    }
    match (old.process, new.process) {
        (_, Process::Paused) if old.process != Process::Paused => done.push("pause".to_owned()),
        (Process::Paused, Process::Runs) if old.life == new.life => done.push("goes on".to_owned()),
        (Process::Runs | Process::Paused | Process::Down, _) => {}
    }
    done.join(", ")
}

/// Few words for many ways: `1 – 2 3` is cut both ways, `2 → 1` one way.
fn grouped(ways: BTreeSet<(NodeId, NodeId)>) -> String {
    let (both, mut one_way): (BTreeSet<_>, BTreeSet<_>) =
        ways.iter().partition(|(from, to)| ways.contains(&(*to, *from)));
    let mut both = both;
    let mut groups = Vec::new();
    for (left, arrow) in [(&mut both, '–'), (&mut one_way, '→')] {
        while !left.is_empty() {
            let mut count: BTreeMap<NodeId, usize> = BTreeMap::new();
            for (from, _) in left.iter() {
                *count.entry(*from).or_default() += 1;
            }
            // The lowest of those that most ways go out from.
            let most = count.iter().rev().max_by_key(|(_, ways)| **ways);
            let Some((&hub, _)) = most else { break };
            let ends = left.iter().filter(|(from, _)| *from == hub);
            let ends: Vec<String> = ends.map(|(_, to)| to.to_string()).collect();
            groups.push(format!("{hub} {arrow} {}", ends.join(" ")));
            left.retain(|(from, to)| *from != hub && (arrow == '→' || *to != hub));
        }
    }
    groups.join(", ")
}

fn quality(link: &Link) -> String {
    let millis = |span: Duration| nanos(span) as f64 / 1e6;
    let least = millis(link.delay);
    let mut text = format!("{least:.1} to {:.1} ms", least + millis(link.jitter));
    for (per_mille, what) in [(link.lost_per_mille, "lost"), (link.twice_per_mille, "twice")] {
        if per_mille > 0 {
            text += &format!(", {:.1} % {what}", per_mille as f64 / 10.0);
        }
    }
    text
}
