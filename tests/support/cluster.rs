//! A cluster of processes on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use rand::TryRng;
use rand::rngs::SysRng;
use tempfile::TempDir;

use super::certs::{Ca, Certs, THIS_HOST};
use super::child;
use super::lease_log::{Check, Claims, Run, judge};
use super::process::{AMPLE, Process, Record, View, try_for, wait_for};

/// A port on which no process listens. This binary gives it out once.
///
/// Not one that the system would give to an outgoing connection: while a node is down, its port could be taken by a
/// peer that dials it. So the system's choice, for port 0, is of no use here.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32768);
    // If every port is for outgoing connections, one of those has to do.
    let ports = if first_outgoing > 12_000 { 10_000..first_outgoing } else { 10_000..65_000 };
    loop {
        let chance = SysRng.try_next_u32().unwrap();
        let port = ports.start + u16::try_from(chance % u32::from(ports.end - ports.start)).unwrap();
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

/// What a config says.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cluster: String,
    pub(crate) certs: Option<Certs>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) recording_dir: Option<PathBuf>,
    pub(crate) election_timeout_ms: u64,
    /// The default, unless set.
    pub(crate) heartbeat_interval_ms: Option<u64>,
    /// Id, address, port, and more lines of YAML such as `tls_name: n`.
    pub(crate) nodes: Vec<(String, String, u16, String)>,
}

/// Fast enough to fail over within a test.
pub(crate) const SWIFT: u64 = 500;
/// Slow enough that a busy machine does not depose a leader that a test expects to stay.
pub(crate) const CALM: u64 = 3000;

impl Plan {
    pub(crate) fn new(certs: Option<Certs>, ids: &[&str], election_timeout_ms: u64) -> Plan {
        let nodes = ids.iter().map(|id| {
            let (addr, more) = ("127.0.0.1".to_owned(), String::new());
            ((*id).to_owned(), addr, free_port(), more)
        });
        Plan {
            cluster: "test".into(),
            certs,
            state_dir: None,
            recording_dir: None,
            election_timeout_ms,
            heartbeat_interval_ms: None,
            nodes: nodes.collect(),
        }
    }

    pub(crate) fn yaml(&self) -> String {
        let mut yaml = format!("cluster: {}\n", self.cluster);
        match &self.certs {
            Some(Certs { ca, cert, key }) => writeln!(
                yaml,
                "certs:\n  ca: {}\n  server:\n    cert: {}\n    key: {}",
                ca.display(),
                cert.display(),
                key.display()
            ),
            None => writeln!(yaml, "insecure: true"),
        }
        .unwrap();
        if let Some(folder) = &self.state_dir {
            writeln!(yaml, "state_dir: {}", folder.display()).unwrap();
        }
        if let Some(folder) = &self.recording_dir {
            writeln!(yaml, "recording_dir: {}", folder.display()).unwrap();
        }
        writeln!(yaml, "timing:\n  election_timeout: {}ms", self.election_timeout_ms).unwrap();
        if let Some(interval) = self.heartbeat_interval_ms {
            writeln!(yaml, "  heartbeat_interval: {interval}ms").unwrap();
        }
        writeln!(yaml, "nodes:").unwrap();
        for (id, addr, port, more) in &self.nodes {
            writeln!(yaml, "  {id}:\n    addr: {addr}\n    port: {port}\n    {more}").unwrap();
        }
        yaml
    }

    pub(crate) fn node(&mut self, id: &str) -> &mut (String, String, u16, String) {
        self.nodes.iter_mut().find(|(node, ..)| node == id).unwrap()
    }
}

/// What everybody agrees on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) id: String,
    pub(crate) term: u64,
    pub(crate) token: u64,
}

/// Some processes, and a folder for what they need.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) ca: Ca,
    pub(crate) plan: Plan,
    pub(crate) processes: BTreeMap<String, Process>,
    folder: TempDir,
    /// What those have seen that run no more.
    past: Vec<(String, Vec<Check>)>,
    configs: u32,
}

impl Cluster {
    /// A cluster of which no node runs yet, with one shared certificate and with state folders.
    pub(crate) fn planned(ids: &[&str], election_timeout_ms: u64) -> Cluster {
        let ca = Ca::new();
        let folder = tempfile::tempdir().unwrap();
        let mut plan = Plan::new(Some(ca.sign("shared", &THIS_HOST)), ids, election_timeout_ms);
        plan.state_dir = Some(folder.path().join("state"));
        Cluster { ca, plan, processes: BTreeMap::new(), folder, past: Vec::new(), configs: 0 }
    }

    /// A cluster of which every node runs.
    pub(crate) fn started(ids: &[&str], election_timeout_ms: u64) -> Cluster {
        let mut cluster = Cluster::planned(ids, election_timeout_ms);
        cluster.start_all();
        cluster
    }

    /// Starts every node, on other ports if somebody has taken one.
    pub(crate) fn start_all(&mut self) {
        for _ in 0..5 {
            let ids: Vec<String> = self.plan.nodes.iter().map(|(id, ..)| id.clone()).collect();
            for id in &ids {
                self.start(id);
            }
            let ports_were_free = ids.iter().all(|id| self.is_ready(id));
            if ports_were_free {
                return;
            }
            for id in ids {
                self.end(&id);
                self.plan.node(&id).2 = free_port();
            }
        }
        panic!("no free ports: {}", self.dump());
    }

    /// Starts the node `id` with the config of all.
    pub(crate) fn start(&mut self, id: &str) {
        let plan = self.plan.clone();
        self.start_as(id, id, &plan);
    }

    /// Starts a process called `name` that runs the node `id` with a config of its own.
    pub(crate) fn start_as(&mut self, name: &str, id: &str, plan: &Plan) {
        let command = self.command(id, plan);
        self.run(name, command);
    }

    /// Runs `command` as the process called `name`.
    pub(crate) fn run(&mut self, name: &str, command: Command) {
        let process = Process::start(name, command);
        let old = self.processes.insert(name.to_owned(), process);
        assert!(old.is_none(), "{name} runs already");
    }

    /// The command that runs the node `id`.
    pub(crate) fn command(&mut self, id: &str, plan: &Plan) -> Command {
        let config = self.write(plan);
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["support::child::run", "--exact", "--ignored", "--nocapture"])
            .env(child::CONFIG, config)
            .env(child::ID, id)
            .env("RUST_LOG", "debug")
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Writes a config.
    pub(crate) fn write(&mut self, plan: &Plan) -> PathBuf {
        self.configs += 1;
        let path = self.folder.path().join(format!("cfg-{}.yaml", self.configs));
        fs::write(&path, plan.yaml()).unwrap();
        path
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the process runs its node; false if its port was taken.
    pub(crate) fn is_ready(&mut self, name: &str) -> bool {
        let dump = self.dump();
        let process = self.processes.get_mut(name).unwrap();
        let ready = try_for(AMPLE, || {
            if process.see(|record| record.mentions(&["ready"])) {
                return Some(true);
            }
            (!process.is_running()).then_some(false)
        });
        let port_taken = || process.see(|record| record.mentions(&["another process does"]));
        match ready {
            Some(true) => true,
            Some(false) if port_taken() => false,
            Some(false) | None => panic!("{name} does not start: {dump}{}", process.dump()),
        }
    }

    pub(crate) fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, name: &str) {
        let killed_at = child::boot_nanos();
        self.process(name).kill();
        self.bury_killed(name, killed_at);
    }

    /// Of a process that was killed then. It claims nothing any more.
    pub(crate) fn bury_killed(&mut self, name: &str, killed_at: u64) {
        self.bury(name);
        for check in self.past.last_mut().into_iter().flat_map(|(_, checks)| checks) {
            check.left = check.left.min(killed_at.saturating_sub(check.before));
        }
    }

    /// An orderly end.
    pub(crate) fn stop(&mut self, name: &str) {
        self.process(name).command("shutdown");
        let status = self.process(name).wait_for_end();
        assert!(status.success(), "{status}: {}", self.dump());
        self.bury(name);
    }

    fn end(&mut self, name: &str) {
        self.processes.remove(name);
    }

    pub(crate) fn bury(&mut self, name: &str) {
        let process = self.processes.remove(name).unwrap();
        let (checks, log) = process.see(|record| (record.checks.clone(), record.log.clone()));
        assert_no_panic(&process.name, &log);
        self.past.push((process.name.clone(), checks));
    }

    /// What the running processes agree on, if they do: one leader, which is one of them and may act.
    pub(crate) fn agreed(&self) -> Option<Leader> {
        let names: Vec<&str> = self.processes.keys().map(String::as_str).collect();
        self.agreed_by(&names)
    }

    pub(crate) fn agreed_by(&self, names: &[&str]) -> Option<Leader> {
        let views: Option<Vec<View>> = names.iter().map(|name| self.processes[*name].view()).collect();
        let views = views?;
        let leader = views.iter().find(|view| view.role == "leader")?;
        let agreed = Leader { id: leader.leader.clone()?, term: leader.term, token: leader.token? };
        let same = |view: &View| view.term == agreed.term && view.leader.as_ref() == Some(&agreed.id);
        let leaders = views.iter().filter(|view| view.role == "leader").count();
        (leaders == 1 && views.iter().all(same) && names.contains(&agreed.id.as_str())).then_some(agreed)
    }

    /// Waits until all running processes agree on a leader.
    #[track_caller]
    pub(crate) fn leader(&self) -> Leader {
        let names: Vec<&str> = self.processes.keys().map(String::as_str).collect();
        self.leader_of(&names)
    }

    /// Waits until these processes agree on a leader.
    #[track_caller]
    pub(crate) fn leader_of(&self, names: &[&str]) -> Leader {
        match try_for(AMPLE, || self.agreed_by(names)) {
            Some(leader) => leader,
            None => panic!("{names:?} agree on no leader within {AMPLE:?}:\n{}", self.dump()),
        }
    }

    /// Waits until all running processes agree on a leader, and each of them backs it: a new node that came too late to
    /// vote promises nothing for two election timeouts. Until then each of the others counts.
    #[track_caller]
    pub(crate) fn settled(&self) -> Leader {
        let leader = self.leader();
        self.stays(&leader, 2 * self.plan.election_timeout_ms + 500);
        leader
    }

    /// Waits until all running processes agree on a leader that came after `last`.
    #[track_caller]
    pub(crate) fn leader_after(&self, last: &Leader) -> Leader {
        let after = || self.agreed().filter(|leader| leader.token > last.token);
        match try_for(AMPLE, after) {
            Some(leader) => leader,
            None => panic!("nobody leads after {last:?} within {AMPLE:?}:\n{}", self.dump()),
        }
    }

    /// The processes that are not `name`.
    pub(crate) fn others(&self, name: &str) -> Vec<String> {
        self.processes.keys().filter(|other| *other != name).cloned().collect()
    }

    /// Waits until `leader` has gone on for some time, and says whether it stayed. Its checks are the clock.
    #[track_caller]
    pub(crate) fn stays(&self, leader: &Leader, millis: u64) {
        let start = child::boot_nanos();
        let process = &self.processes[&leader.id];
        wait_for("checks of the leader", || {
            process.see(|record| {
                let last = record.checks.last()?;
                (last.before > start + millis * 1_000_000).then_some(())
            })
        });
        assert_eq!(self.agreed().as_ref(), Some(leader), "{}", self.dump());
        let lost = process.see(|record| record.checks.iter().any(|check| check.before > start && !check.valid));
        assert!(!lost, "the leader was interrupted: {}", self.dump());
    }

    /// Judges everything that the processes have seen, and ends them.
    #[track_caller]
    pub(crate) fn judge(mut self, claims: Claims) -> Vec<Run> {
        for name in self.others("") {
            self.kill(&name);
        }
        judge(&self.past, claims).unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub(crate) fn dump(&self) -> String {
        self.processes.values().map(Process::dump).collect()
    }

    /// Fails if a thread of a node has panicked.
    #[track_caller]
    pub(crate) fn nobody_panicked(&self) {
        for process in self.processes.values() {
            process.see(|record: &Record| assert_no_panic(&process.name, &record.log));
        }
    }
}

#[track_caller]
fn assert_no_panic(name: &str, log: &[String]) {
    if let Some(at) = log.iter().position(|line| line.contains("panicked")) {
        panic!("{name} panicked:\n{}", log[at..].join("\n"));
    }
}

/// The program `examples/node.rs`, built if it is not up to date.
pub(crate) fn example() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built_example("node"))
}

/// A program of `examples`, built if it is not up to date.
pub(crate) fn built_example(name: &str) -> PathBuf {
    example_of(Path::new(env!("CARGO_MANIFEST_DIR")), name, &[])
}

/// An example of the package in a folder, built like this very program, with `more` arguments for cargo.
pub(crate) fn example_of(package: &Path, name: &str, more: &[&str]) -> PathBuf {
    // target/<profile>/deps/node-<hash>
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name);
    // `cargo test --test node` builds no example. Without cargo, the one that is there must do.
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build
            .current_dir(package)
            .args(["build", "--quiet", "--offline", "--example", name])
            .args(more)
            .arg("--target-dir")
            .arg(profile.parent().unwrap());
        // The variables that cargo sets for a test would make a build script of a dependency run again.
        for (name, _) in env::vars_os() {
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
            if of_package.iter().any(|begin| name.to_string_lossy().starts_with(begin)) {
                build.env_remove(name);
            }
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{build:?}");
    }
    assert!(program.exists(), "build it first: cargo build --example {name}");
    program
}
