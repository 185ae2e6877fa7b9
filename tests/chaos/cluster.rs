//! A cluster of which each node has a host of its own.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::actor;
use super::certs::{Ca, Certs};
use super::child::{self, boot_nanos};
use super::dice::Dice;
use super::disk::{SHIM, Shim, library};
use super::history::History;
use super::host::{Host, addr};
use super::logs::LogPipe;
use super::network::{Link, Network};
use super::process::{Process, try_for};
use super::processes::{self, Crowd};
use super::quota::Quota;
use super::resource::{Act, Resource};
use super::support::cluster::Plan;
use super::work;

const PORT: u16 = 7000;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `leadelect run`, with a command of these traits.
    Run(&'static str),
    Library,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) host: Host,
    pub(crate) process: Option<Process>,
    pub(crate) log: LogPipe,
    pub(crate) shim: Shim,
    pub(crate) certs: Certs,
    pub(crate) quota: Option<Quota>,
    config: PathBuf,
    /// A start that may fail, because its state was spoilt.
    pub(crate) may_refuse: bool,
    /// The process that runs was started so. With a log that nobody reads it may take until later to say so and end.
    was_spoilt: bool,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) kind: Kind,
    pub(crate) members: Vec<Member>,
    pub(crate) network: Network,
    pub(crate) resource: Resource,
    pub(crate) history: History,
    pub(crate) ca: Ca,
    pub(crate) crowds: Vec<Crowd>,
    /// Those that a fault has touched, and the links.
    pub(crate) hurt: BTreeSet<usize>,
    pub(crate) hurt_links: BTreeSet<Link>,
    pub(crate) timeout_ms: u64,
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn new(size: usize, kind: Kind, timeout_ms: u64, dice: &Dice) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new();
        let ids: Vec<String> = (1..=size).map(|id| id.to_string()).collect();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut plan = Plan::new(None, &names, timeout_ms);
        for (index, node) in plan.nodes.iter_mut().enumerate() {
            (node.1, node.2) = (addr(index), PORT);
        }
        let (mut members, mut cables) = (Vec::new(), Vec::new());
        for (index, id) in ids.iter().enumerate() {
            let file = |name: &str| folder.path().join(format!("{name}-{id}"));
            let disk = file("disk");
            fs::create_dir(&disk).unwrap();
            let (host, cable) = Host::new(index, &disk);
            let certs = ca.sign(id, &[&host.addr]);
            plan.certs = Some(certs.clone());
            plan.state_dir = Some(disk);
            plan.recording_dir = Some(folder.path().join("recordings"));
            let config = file("config");
            fs::write(&config, plan.yaml()).unwrap();
            let (log, shim) = (LogPipe::new(file("log")), Shim::new(file("shim")));
            let (id, process, quota) = (id.clone(), None, None);
            members.push(Member {
                id,
                host,
                process,
                log,
                shim,
                certs,
                quota,
                config,
                may_refuse: false,
                was_spoilt: false,
            });
            cables.push(cable);
        }
        Cluster {
            kind,
            members,
            network: Network::new(cables, dice.clone()),
            resource: Resource::new(folder.path()),
            history: History::new(ids),
            ca,
            crowds: Vec::new(),
            hurt: BTreeSet::new(),
            hurt_links: BTreeSet::new(),
            timeout_ms,
            folder,
        }
    }

    /// Where all nodes record what they do.
    pub(crate) fn recordings(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn start(&mut self, index: usize) {
        self.bury_if_ended(index);
        let member = &mut self.members[index];
        if member.process.is_some() {
            return;
        }
        let mut node = Command::new("sh");
        node.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(&member.log.path);
        let test = env::current_exe().unwrap();
        match self.kind {
            Kind::Run(traits) => {
                node.args([env!("CARGO_BIN_EXE_leadelect"), "run", "--config"]).arg(&member.config);
                node.args(["--id", &member.id, "--stop-time", "300ms", "--hold-off", "1s", "--"]).arg(test);
                node.args(work::ARGUMENTS).env(work::TRAITS, traits);
            }
            Kind::Library => {
                node.arg(test).args(["support::child::run", "--exact", "--ignored", "--nocapture"]);
                node.env(child::CONFIG, &member.config).env(child::ID, &member.id);
            }
        }
        node.env("RUST_LOG", "info")
            .env("RUST_BACKTRACE", "0")
            .env("LD_PRELOAD", library())
            .env(SHIM, &member.shim.path)
            .env(actor::RESOURCE, &self.resource.path)
            .env(actor::ACTOR, &member.id);
        member.was_spoilt = member.may_refuse;
        member.process = Some(Process::start(&member.id, member.host.wrap(&node)));
        let (id, pid) = (member.id.clone(), self.pid(index).unwrap());
        self.history.mark(Some(&id), format!("starts, process {pid}"));
    }

    pub(crate) fn pid(&self, index: usize) -> Option<i32> {
        Some(self.members[index].process.as_ref()?.id().try_into().unwrap())
    }

    pub(crate) fn signal(&mut self, index: usize, signal: Signal) {
        if let Some(pid) = self.pid(index) {
            processes::signal(pid, signal);
            let id = self.members[index].id.clone();
            self.history.mark(Some(&id), format!("gets {signal:?}"));
        }
    }

    /// Ends a node and remembers what it said. `Signal::TERM` asks for it first.
    pub(crate) fn end(&mut self, index: usize, signal: Signal) {
        self.bury_if_ended(index);
        let Some(pid) = self.pid(index) else { return };
        self.signal(index, signal);
        // As a service manager does: a process that another fault has stopped sees no signal before it goes on.
        processes::signal(pid, Signal::CONT);
        let id = self.members[index].id.clone();
        let process = self.members[index].process.as_mut().unwrap();
        let asked = Instant::now();
        // Long, because a process that has no more share of its processor takes its time to die, and all others that
        // fork or end wait for it when somebody moves a process between control groups just then.
        if try_for(Duration::from_secs(120), || (!process.is_running()).then_some(())).is_none() {
            self.history.wrong.push(format!("node {id} does not end by {signal:?}: state {:?}", processes::state(pid)));
        }
        if asked.elapsed() > Duration::from_secs(15) {
            println!("node {id} took {:.1?} to end by {signal:?}", asked.elapsed());
        }
        self.bury(index);
        self.history.mark(Some(&id), "has ended");
    }

    fn bury(&mut self, index: usize) {
        let Some(mut process) = self.members[index].process.take() else { return };
        process.kill();
        let checks = process.see(|record| record.checks.clone());
        self.history.checks.push((process.name.clone(), checks));
    }

    /// No node may end unless it was told to, or was started on a spoilt state.
    pub(crate) fn bury_if_ended(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(process) = &mut member.process else { return };
        if process.is_running() {
            return;
        }
        let id = member.id.clone();
        if !member.was_spoilt {
            self.history.wrong.push(format!("node {id} ended by itself"));
        }
        self.history.mark(Some(&id), "ended by itself");
        self.bury(index);
    }

    /// The last act, if it is not long ago.
    pub(crate) fn leader(&self) -> Option<Act> {
        let since = boot_nanos().saturating_sub(150_000_000);
        self.resource.last().filter(|act| act.received >= since && !act.refused)
    }

    pub(crate) fn leader_index(&self) -> Option<usize> {
        let leader = self.leader()?;
        self.members.iter().position(|member| member.id == leader.node)
    }

    /// The command that leads, and its guard.
    pub(crate) fn command_and_guard(&self) -> Option<(i32, i32)> {
        let leader = self.leader()?;
        let supervisor = self.pid(self.leader_index()?)?;
        let actors = self.resource.actors(leader.token);
        actors.into_iter().find_map(|command| {
            let guard = processes::parent(command)?;
            (processes::parent(guard) == Some(supervisor)).then_some((command, guard))
        })
    }

    /// The guards of a node that wait for the next term, and its death witness.
    pub(crate) fn spare_guards(&self, index: usize) -> Vec<i32> {
        let busy = self.command_and_guard().map(|(_, guard)| guard);
        let children = self.pid(index).map(processes::children).unwrap_or_default();
        children.into_iter().filter(|child| Some(*child) != busy).collect()
    }

    /// All links between these and the others, in both directions.
    pub(crate) fn links_of(&self, index: usize) -> Vec<Link> {
        (0..self.size()).filter(|other| *other != index).flat_map(|other| [(index, other), (other, index)]).collect()
    }

    pub(crate) fn all_links(&self) -> Vec<Link> {
        (0..self.size()).flat_map(|from| (0..self.size()).map(move |to| (from, to))).filter(|(a, b)| a != b).collect()
    }

    /// Whether this leader and its links to a majority were never touched.
    pub(crate) fn is_untouched(&self, leader: usize) -> bool {
        let well = |other: &usize| {
            let touched = self.hurt_links.contains(&(leader, *other)) || self.hurt_links.contains(&(*other, leader));
            *other == leader || (!self.hurt.contains(other) && !touched)
        };
        !self.hurt.contains(&leader) && (0..self.size()).filter(well).count() > self.size() / 2
    }
}
