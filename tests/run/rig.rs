//! Supervisors, and what their commands have written down.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::child::boot_nanos;
use super::cluster::{Cluster, free_port};
use super::process::{AMPLE, Process, try_for, wait_for};
use super::relay::Relays;
use super::work;

/// A process that was a command, or one that a command has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: String,
    pub(crate) token: u64,
    pub(crate) pid: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Life {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.pid.try_into().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn is_over(&self) -> bool {
        !PathBuf::from(format!("/proc/{}", self.pid)).exists() || state(self.pid) == Some('Z')
    }

    /// The process that started it: of a command, its guard.
    pub(crate) fn parent(&self) -> u32 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// As `/proc` has it: `T` for a process that is stopped.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Three supervisors, and a folder in which their commands write.
#[derive(Debug)]
pub(crate) struct Rig {
    cluster: Cluster,
    pub(crate) supervisors: BTreeMap<String, Process>,
    traits: String,
    options: Vec<String>,
    relays: Option<Relays>,
}

impl Rig {
    /// Starts three supervisors with `options`, whose commands are of these `traits`.
    pub(crate) fn start(election_timeout_ms: u64, traits: &str, options: &[&str]) -> Rig {
        Rig::of(&["1", "2", "3"], election_timeout_ms, traits, options)
    }

    pub(crate) fn of(ids: &[&str], election_timeout_ms: u64, traits: &str, options: &[&str]) -> Rig {
        Rig::start_all(Cluster::planned(ids, election_timeout_ms), None, traits, options)
    }

    /// Three supervisors that dial each other through relays, so that one can be cut off.
    pub(crate) fn with_relays(heartbeat_interval_ms: u64, election_timeout_ms: u64, traits: &str) -> (Rig, Relays) {
        let mut cluster = Cluster::planned(&["1", "2", "3"], election_timeout_ms);
        cluster.plan.heartbeat_interval_ms = Some(heartbeat_interval_ms);
        let relays = Relays::start(&cluster.plan);
        (Rig::start_all(cluster, Some(relays.clone()), traits, &[]), relays)
    }

    fn start_all(cluster: Cluster, relays: Option<Relays>, traits: &str, options: &[&str]) -> Rig {
        let ids: Vec<String> = cluster.plan.nodes.iter().map(|(id, ..)| id.clone()).collect();
        let mut rig = Rig {
            relays,
            cluster,
            supervisors: BTreeMap::new(),
            traits: traits.into(),
            options: options.iter().map(ToString::to_string).collect(),
        };
        fs::create_dir(rig.work_folder()).unwrap();
        for id in ids {
            rig.join(&id);
        }
        rig
    }

    /// Asks the nodes for something: `leadelect ARGUMENTS`.
    #[track_caller]
    pub(crate) fn ask(&mut self, arguments: &[&str]) {
        let plan = self.cluster.plan.clone();
        let mut command = Command::new(env!("CARGO_BIN_EXE_leadelect"));
        command.args(arguments).arg("--config").arg(self.cluster.write(&plan));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", self.dump());
    }

    fn work_folder(&self) -> PathBuf {
        self.cluster.folder().join("work")
    }

    /// Starts one more supervisor, of the node `id`.
    pub(crate) fn join(&mut self, id: &str) {
        let plan = self.cluster.plan.clone();
        let plan = self.relays.as_ref().map_or(plan.clone(), |relays| relays.plan_of(id, &plan));
        let mut command = run(&self.cluster.write(&plan), id);
        command
            .args(&self.options)
            .arg("--")
            .arg(env::current_exe().unwrap())
            .args(work::ARGUMENTS)
            .env(work::FOLDER, self.work_folder())
            .env(work::TRAITS, &self.traits);
        self.supervisors.insert(id.to_owned(), Process::start(id, command));
    }

    /// Everything that was written down, in the order in which it began.
    pub(crate) fn lives(&self) -> Vec<Life> {
        let mut lives: Vec<Life> = fs::read_dir(self.work_folder())
            .unwrap()
            .filter_map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let [node, token, pid] = name.split('-').collect::<Vec<_>>()[..] else {
                    panic!("a file {name:?}");
                };
                let text = fs::read_to_string(entry.path()).unwrap();
                // The last line may have been cut off.
                let (whole, _) = text.rsplit_once('\n')?;
                Some(Life {
                    node: node.to_owned(),
                    token: token.parse().unwrap(),
                    pid: pid.parse().unwrap(),
                    first: whole.lines().next()?.parse().unwrap(),
                    last: whole.lines().last()?.parse().unwrap(),
                })
            })
            .collect();
        lives.sort_by_key(|life| life.first);
        lives
    }

    /// Waits until every node may vote and lead. A node that came too late to vote for the first leader does neither
    /// for two election timeouts after its start.
    #[track_caller]
    pub(crate) fn wait_until_nobody_is_new(&self) {
        for supervisor in self.supervisors.values() {
            supervisor.wait_until_it_mentions(&["term=0: started"]);
        }
        let doubt = 2 * self.cluster.plan.election_timeout_ms + 500;
        let over = boot_nanos() + doubt * 1_000_000;
        let found = try_for(AMPLE, || self.lives().iter().any(|life| life.last > over).then_some(()));
        assert!(found.is_some(), "no command works:\n{}", self.dump());
    }

    /// Waits for the command of a leader after the one with this `token`, and until it has this many processes.
    #[track_caller]
    pub(crate) fn next_after(&self, token: u64, processes: usize) -> Vec<Life> {
        let found = try_for(AMPLE, || {
            let mut lives = self.lives();
            let newest = lives.iter().map(|life| life.token).max()?;
            lives.retain(|life| life.token == newest);
            (newest > token && lives.len() >= processes).then_some(lives)
        });
        found.unwrap_or_else(|| panic!("no command after token {token}:\n{}", self.dump()))
    }

    /// Waits until every one of these processes is gone.
    #[track_caller]
    pub(crate) fn wait_until_over(&self, lives: &[Life]) {
        if try_for(AMPLE, || lives.iter().all(Life::is_over).then_some(())).is_none() {
            panic!("{lives:?} do not end:\n{}", self.dump());
        }
    }

    /// Stops or continues the process of a supervisor, and waits until that is so.
    pub(crate) fn signal(&self, node: &str, signal: Signal) {
        let supervisor = &self.supervisors[node];
        supervisor.signal(signal);
        if signal == Signal::STOP {
            wait_for("a supervisor that is stopped", || (state(supervisor.id()) == Some('T')).then_some(()));
        }
    }

    pub(crate) fn others(&self, node: &str) -> Vec<String> {
        self.supervisors.keys().filter(|other| *other != node).cloned().collect()
    }

    /// No process of one leader lived when a process of a later one did. Returns how many leaders there were.
    #[track_caller]
    pub(crate) fn judge(&self) -> usize {
        let lives = self.lives();
        for life in &lives {
            for later in lives.iter().filter(|later| later.token > life.token) {
                assert!(
                    life.last < later.first,
                    "two leaders' commands at once:\n  {life:?}\n  {later:?}\n{}",
                    self.dump()
                );
            }
            let same = lives.iter().filter(|other| other.token == life.token);
            let nodes: Vec<_> = same.map(|life| &life.node).collect();
            assert!(nodes.iter().all(|node| **node == life.node), "one token on two nodes");
        }
        let mut tokens: Vec<u64> = lives.iter().map(|life| life.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.len()
    }

    pub(crate) fn dump(&self) -> String {
        self.supervisors.values().map(Process::dump).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A supervisor that is stopped is killed as well, and its guard ends the rest.
        self.supervisors.clear();
        let lives = self.lives();
        let _ = try_for(AMPLE, || lives.iter().all(Life::is_over).then_some(()));
    }
}

/// `leadelect run` for the node `id`.
pub(crate) fn run(config: &std::path::Path, id: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadelect"));
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .args(["--id", id])
        .env("RUST_LOG", "info")
        .env("RUST_BACKTRACE", "0");
    command
}

/// A config of one node, which is a quorum.
pub(crate) fn alone(folder: &std::path::Path) -> PathBuf {
    let path = folder.join("cfg.yaml");
    let yaml = format!("insecure: true\nnodes:\n  1:\n    addr: 127.0.0.1\n    port: {}\n", free_port());
    fs::write(&path, yaml).unwrap();
    path
}
