//! A cluster of two versions: upgraded node by node, and back, while leaders change.
//!
//! The other version is this one, built once more: it also speaks the next protocol, which does not exist yet. There,
//! every frame has one field more. So a node that is wrong about the protocol of a connection understands nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use leadelect::Config;
use leadelect::remote::Client;

use super::cluster::{CALM, Cluster, example_of};
use super::lease_log::Claims;
use super::process::{AMPLE, Process, try_for};

const THREE: [&str; 3] = ["1", "2", "3"];
const TIMEOUT_MS: u64 = 1000;
/// If it is set, the other version no longer speaks the protocol of this one.
const ONLY_NEXT: &str = "LEADELECT_ONLY_NEXT_PROTOCOL";

/// The two versions, by the highest protocol that they speak.
const THIS: u32 = 2;
const NEXT: u32 = 3;

/// Runs a node as the tests do. With an argument it is a client: it asks the nodes in that config.
const PROGRAM: &str = r#"#![allow(warnings)]
#[path = "ROOT/tests/support/actor.rs"]
mod actor;
#[path = "ROOT/tests/support/child.rs"]
mod child;

fn main() {
    let Some(config) = std::env::args().nth(1) else {
        return child::run_node();
    };
    let config = leadelect::Config::from_yaml_file(config).unwrap();
    for (id, status) in leadelect::remote::Client::new(config).unwrap().status_of_all() {
        match status {
            Ok(status) => println!("{id}: {}", status.role),
            Err(error) => println!("{id}: {error}"),
        }
    }
}
"#;

const BUILD_SCRIPT: &str = r#"//! Makes it the other version.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=leadelect_next_protocol");
}
"#;

/// The program of the other version. Its package has the same manifest and the same sources. So all that the library
/// depends on is built already.
fn next() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = env!("CARGO_MANIFEST_DIR");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("next");
        fs::create_dir_all(&folder).unwrap();
        let read = |file: &str| fs::read_to_string(Path::new(root).join(file)).unwrap();
        write(&folder.join("Cargo.toml"), &manifest(root, &read("Cargo.toml")));
        write(&folder.join("Cargo.lock"), &read("Cargo.lock"));
        write(&folder.join("build.rs"), BUILD_SCRIPT);
        write(&folder.join("next.rs"), &PROGRAM.replace("ROOT", root));
        let features: &[&str] = if cfg!(feature = "cli") { &["--all-features"] } else { &[] };
        example_of(&folder, "next", features)
    })
}

/// What has not changed is not written, so that it is not built again.
fn write(path: &Path, text: &str) {
    if !fs::read_to_string(path).is_ok_and(|old| old == text) {
        fs::write(path, text).unwrap();
    }
}

fn manifest(root: &str, whole: &str) -> String {
    let package = "[package]\nbuild = \"build.rs\"\n";
    let sections = whole.split("\n[").filter(|section| !section.starts_with("[bin]") && !section.starts_with("[test]"));
    let kept = sections.collect::<Vec<_>>().join("\n[").replacen("[package]\n", package, 1);
    format!(
        "{kept}\n[lib]\npath = \"{root}/src/lib.rs\"\n\n[[example]]\nname = \"next\"\npath = \"next.rs\"\n\n\
         [profile.dev.package.leadelect]\ndebug = 0\n\n[workspace]\n"
    )
}

/// Three nodes, and the highest protocol that each of them speaks.
struct Mixed {
    cluster: Cluster,
    highest: BTreeMap<&'static str, u32>,
}

impl Mixed {
    fn start(&mut self, id: &'static str, version: u32) {
        let plan = self.cluster.plan.clone();
        let command = self.cluster.command(id, &plan);
        let command = if version == NEXT { as_next(&command) } else { command };
        self.cluster.run(id, command);
        assert!(self.cluster.is_ready(id), "{}", self.cluster.dump());
        self.highest.insert(id, version);
    }

    /// Stops a node, and starts the other version in its place. Waits until it leads or follows, has its connections,
    /// and gives votes again.
    fn replace(&mut self, id: &'static str, version: u32) {
        let dialled = |cluster: &Cluster, from: &str| protocols(&cluster.processes[from], id).len();
        let before = THREE.map(|from| dialled(&self.cluster, from));
        self.cluster.stop(id);
        self.start(id, version);
        self.cluster.leader();
        let anew = || {
            let mut others = THREE.iter().zip(before).filter(|(from, _)| **from != id);
            others.all(|(from, before)| dialled(&self.cluster, from) > before).then_some(())
        };
        assert!(try_for(AMPLE, anew).is_some(), "not dialled again: {}", self.cluster.dump());
        thread::sleep(Duration::from_millis(TIMEOUT_MS + 50));
    }

    /// Each connection has the highest protocol that both of its ends speak, and nobody has misunderstood anything.
    fn speaks_as_it_should(&self) {
        for (from, ours) in &self.highest {
            for (to, theirs) in self.highest.iter().filter(|(to, _)| *to != from) {
                let spoken = || protocols(&self.cluster.processes[*from], to);
                let expected = *ours.min(theirs);
                let found = try_for(AMPLE, || (spoken().last() == Some(&expected)).then_some(()));
                assert!(found.is_some(), "{from} to {to}: {expected} expected: {:?}", spoken());
            }
        }
        for process in self.cluster.processes.values() {
            let wrong = ["expected", "common protocol"];
            let misunderstood = process.see(|record| wrong.iter().any(|word| record.mentions(&[word])));
            assert!(!misunderstood, "{}", process.dump());
        }
    }
}

/// The protocols of the connections that a process has dialled to a node so far.
fn protocols(process: &Process, to: &str) -> Vec<u32> {
    let connected = format!(": connected to {to}, protocol ");
    let protocol = |line: &String| line.split_once(&connected)?.1.parse().ok();
    process.see(|record| record.log.iter().filter_map(protocol).collect())
}

/// The same command for the other version.
fn as_next(command: &Command) -> Command {
    let mut other = Command::new(next());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// What a client of each version is told by each node, a line each.
fn asked(cluster: &mut Cluster, next_alone: bool) -> [Vec<String>; 2] {
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    let client = Client::new(Config::from_yaml_file(&config).unwrap()).unwrap();
    let this = client.status_of_all().into_iter().map(|(id, status)| match status {
        Ok(status) => format!("{id}: {}", status.role),
        Err(error) => format!("{id}: {error}"),
    });
    let mut command = Command::new(next());
    command.arg(config).envs(next_alone.then_some((ONLY_NEXT, "1")));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    [this.collect(), String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()]
}

#[test]
fn a_cluster_is_upgraded_node_by_node_and_back_and_somebody_leads_after_each_step() {
    next();
    let mut mixed = Mixed { cluster: Cluster::planned(&THREE, TIMEOUT_MS), highest: BTreeMap::new() };
    for id in THREE {
        mixed.start(id, THIS);
    }
    mixed.cluster.settled();
    let mut leaders_replaced = 0;
    for version in [NEXT, THIS] {
        let leader = mixed.cluster.leader();
        let mut order = THREE;
        order.sort_by_key(|id| *id != leader.id);
        for id in order {
            leaders_replaced += usize::from(mixed.cluster.leader().id == id);
            mixed.replace(id, version);
            let leader = mixed.cluster.leader();
            mixed.cluster.process(&leader.id).command("resign");
            mixed.cluster.leader_after(&leader);
            mixed.speaks_as_it_should();
            for told in asked(&mut mixed.cluster, false) {
                let of_role = |role: &str| told.iter().filter(|line| line.ends_with(role)).count();
                assert_eq!((told.len(), of_role(": leader"), of_role(": follower")), (3, 1, 2), "{told:?}");
            }
        }
    }
    let leaderships = mixed.cluster.judge(Claims::MayBeReleased).len();
    eprintln!("{leaderships} leaderships, {leaders_replaced} leaders replaced");
    assert!(leaderships > 6 && leaders_replaced >= 2, "a leader goes first, and one change follows each step");
}

#[test]
fn versions_without_a_common_protocol_refuse_each_other_and_both_say_the_numbers() {
    let mut cluster = Cluster::planned(&THREE, CALM);
    cluster.start("1");
    cluster.start("2");
    assert!(cluster.is_ready("1") && cluster.is_ready("2"));
    let leader = cluster.leader();
    let plan = cluster.plan.clone();
    let mut command = as_next(&cluster.command("3", &plan));
    command.env(ONLY_NEXT, "1");

    cluster.run("3", command);

    assert!(cluster.is_ready("3"));
    let (here_this, here_next) = ("no common protocol: here 2, there 3;", "no common protocol: here 3, there 2;");
    for id in ["1", "2"] {
        cluster.processes[id].wait_until_it_mentions(&["WARN", "refused 127.0.0.1", here_this]);
        cluster.processes[id].wait_until_it_mentions(&["WARN", "peer 3: refused by 3", here_next]);
        let by = format!("refused by {id}");
        cluster.processes["3"].wait_until_it_mentions(&["WARN", &by, here_this]);
    }
    cluster.processes["3"].wait_until_it_mentions(&["WARN", "refused 127.0.0.1", here_next]);
    let [this, next] = asked(&mut cluster, true);
    let refused = |line: &str, numbers| line.contains("refused by the node") && line.contains(numbers);
    assert!(refused(&this[2], here_next), "{this:?}");
    assert!(refused(&next[0], here_this) && refused(&next[1], here_this), "{next:?}");
    assert!([&this[..2], &next[2..]].concat().iter().all(|line| !line.contains("protocol")), "{this:?}, {next:?}");
    cluster.kill("3");
    cluster.stays(&leader, 0);
    cluster.judge(Claims::Stand);
}
