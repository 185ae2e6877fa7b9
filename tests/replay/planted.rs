//! A fault planted in the driver is found by the replay.
//!
//! A copy of the library is built in which faults can be switched on, and a program that runs three nodes on it. What
//! these record is replayed through the engine of this very build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::support::cluster::{Plan, SWIFT};
use super::support::process::{Process, try_for};
use super::timeline::{Summary, replay};

/// An expression that is there once in the driver, what takes its place, and what the replay says to it.
struct Fault {
    name: &'static str,
    original: &'static str,
    broken: &'static str,
    found: &'static str,
}

/// Longer than the program takes.
const PATIENCE: Duration = Duration::from_secs(20);

const FAULTS: &[Fault] = &[
    Fault {
        name: "lateness_not_told",
        original: "self.engine.is_late(now)",
        broken: "false",
        found: "InOrder: Mail::Late",
    },
    Fault {
        name: "program_not_shown",
        original: "self.engine.looks_at_program(now)",
        broken: "false",
        found: "InOrder: Mail::Program",
    },
    Fault {
        name: "vote_not_written",
        original: "output.store(&mut Timed { storage: &mut self.storage, board: &self.board, recorder })",
        broken: "output.store(&mut Storage::Nowhere)",
        found: "SameDone",
    },
    Fault {
        name: "lease_made_longer",
        original: "self.publish(effects.lease, effects.end_reason, now)",
        broken: "{ let longer = |lease: Deadline| Deadline { until: lease.until + std::time::Duration::from_millis(1), \
                 ..lease }; self.publish(effects.lease.map(longer), effects.end_reason, now) }",
        found: "SameDone",
    },
    Fault {
        name: "lease_not_taken_away",
        original: "self.publish(effects.lease, effects.end_reason, now)",
        broken: "{ let kept = self.leadership.lease(now).map(|lease| Deadline { token: lease.token(), until: now + \
                 lease.remaining().at_most(std::time::Duration::MAX) }); \
                 self.publish(effects.lease.or(kept), effects.end_reason, now) }",
        found: "SameDone",
    },
    Fault {
        name: "message_left_out",
        original: "effects.messages",
        broken: "effects.messages.into_iter().skip(1).collect::<Vec<_>>()",
        found: "SameDone",
    },
    Fault {
        name: "longer_promise_asked_on_the_wire",
        original: "self.transport.send(to, request)",
        broken: "{ let asked = match request { Request::Heartbeat { term, seq, promise, succession } => \
                 Request::Heartbeat { term, seq, promise: promise * 2, succession }, other => other }; \
                 self.transport.send(to, asked) }",
        found: "HeardWasSaid",
    },
    Fault {
        name: "longer_promise_said",
        original: "self.reply(reply, asker)",
        broken: "{ let reply = match reply { Reply::Heartbeat { term, seq, granted, eligible } => Reply::Heartbeat { \
                 term, seq, granted: granted * 2, eligible }, other => other }; self.reply(reply, asker) }",
        found: "SameDone",
    },
];

/// Three nodes in one process. One leads, resigns, and keeps its lease. Then all are stopped for a while, and end.
const PROGRAM: &str = r#"
use std::time::Duration;
use leadelect::{Config, Node};

fn main() {
    let path = std::env::args().nth(1).expect("a config");
    let start = |id: &str| Node::start(Config::from_yaml_file(&path).unwrap().for_node(id).unwrap()).unwrap();
    let nodes = ["1", "2", "3"].map(start);
    let leader = |after: u64| loop {
        let leads = |node: &&Node| node.lease().is_some_and(|lease| lease.token().0 > after);
        if let Some(node) = nodes.iter().find(leads) {
            break node;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let token = |node: &Node| node.lease().map_or(0, |lease| lease.token().0);
    let first = leader(0);
    let held = token(first);
    std::thread::sleep(Duration::from_millis(1500));
    // A lease that is kept for too long: the node looks whether it is, and does not campaign meanwhile.
    let kept = first.lease();
    let _ = first.resign();
    leader(held);
    std::thread::sleep(Duration::from_millis(1500));
    drop(kept);
    println!("stop");
    // In this time the process is stopped, and goes on.
    std::thread::sleep(Duration::from_millis(1500));
    leader(0);
    std::thread::sleep(Duration::from_millis(1000));
    nodes.iter().for_each(Node::shutdown);
    println!("end");
}
"#;

/// The copy, built: the path of its program.
fn build() -> PathBuf {
    let (root, folder) =
        (Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted"));
    let _ = fs::remove_dir_all(folder.join("src"));
    copy(&root.join("src"), &folder.join("src"));
    fs::remove_dir_all(folder.join("src/bin")).unwrap();
    for file in ["cfg.yaml", "Cargo.lock"] {
        fs::copy(root.join(file), folder.join(file)).unwrap();
    }
    fs::write(folder.join("program.rs"), PROGRAM).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest(&fs::read_to_string(root.join("Cargo.toml")).unwrap())).unwrap();
    let switch = "#![allow(warnings)]\n/// Whether this fault is on.\npub(crate) fn planted(name: &str) -> bool {\n    \
                  std::env::var(\"PLANTED\").is_ok_and(|on| on == name)\n}\n";
    let lib = folder.join("src/lib.rs");
    let text = fs::read_to_string(&lib).unwrap();
    let docs_end = text.find("\n\nmod ").unwrap();
    fs::write(&lib, format!("{}\n{switch}{}", &text[..docs_end], &text[docs_end..])).unwrap();
    let driver = folder.join("src/driver.rs");
    fs::write(&driver, planted(&fs::read_to_string(&driver).unwrap())).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet"]).current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
    // Nobody debugs it, and so it is built in half the time.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
    folder.join("target/debug/planted")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The library alone, with what it depends on, and the program.
fn manifest(whole: &str) -> String {
    let whole = format!("\n{whole}");
    let table = |name: &str| {
        let start = whole.find(&format!("\n[{name}]\n")).unwrap();
        let rest = &whole[start + 1..];
        rest.find("\n[").map_or(rest, |end| &rest[..=end])
    };
    let needed = table("dependencies").lines().filter(|line| !line.contains("optional = true"));
    let needed: Vec<&str> = needed.collect();
    let package = table("package").lines().take_while(|line| !line.starts_with("description"));
    let package: Vec<&str> = package.collect();
    format!(
        "{}\n\n{}\n\n[[bin]]\nname = \"planted\"\npath = \"program.rs\"\n\n[workspace]\n",
        package.join("\n"),
        needed.join("\n")
    )
}

/// The driver, with a switch around each expression that a fault replaces.
fn planted(driver: &str) -> String {
    let mut text = driver.to_owned();
    let originals: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.original).collect();
    for original in originals {
        assert_eq!(text.matches(original).count(), 1, "`{original}` in src/driver.rs");
        let faults = FAULTS.iter().filter(|fault| fault.original == original);
        let arm = |Fault { name, broken, .. }: &Fault| format!("if crate::planted(\"{name}\") {{ {broken} }} else ");
        let arms: String = faults.map(arm).collect();
        text = text.replace(original, &format!("({arms}{{ {original} }})"));
    }
    text
}

/// What comes of the recordings of the program with this fault; with none, if it has no name.
fn judged(program: &Path, fault: &str) -> Result<Summary, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = Plan::new(None, &["1", "2", "3"], SWIFT);
    plan.state_dir = Some(folder.path().join("state"));
    plan.recording_dir = Some(folder.path().join("recordings"));
    let config = folder.path().join("cfg.yaml");
    fs::write(&config, plan.yaml()).unwrap();
    let mut command = Command::new(program);
    command.arg(&config).env("PLANTED", fault);
    let mut process = Process::start(fault, command);
    let said = |process: &Process, word| process.see(|record| record.mentions(&[word]));
    // With a fault it may come to no end.
    if try_for(PATIENCE, || said(&process, "stop").then_some(())).is_some() {
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        thread::sleep(Duration::from_millis(300));
        kill_process(pid, Signal::CONT).unwrap();
        try_for(PATIENCE, || (!process.is_running()).then_some(()));
    }
    process.kill();
    assert!(!fault.is_empty() || said(&process, "end"), "{}", process.dump());
    replay(&folder.path().join("recordings"))
}

#[test]
fn a_fault_planted_in_the_driver_is_found_by_the_replay() {
    let program = build();
    let sound = judged(&program, "").unwrap_or_else(|fault| panic!("nothing is planted: {fault}"));
    println!("nothing planted: {sound:?}");
    assert!(sound.steps > 100 && sound.leases_won >= 2 && sound.stopped == 3, "{sound:?}");
    assert_eq!((sound.gaps, sound.skipped), (0, 0), "{sound:?}");
    thread::scope(|scope| {
        for Fault { name, found, .. } in FAULTS {
            let program = &program;
            scope.spawn(move || match judged(program, name) {
                Err(fault) if fault.starts_with(found) => {
                    println!("{name}: {}", fault.lines().next().unwrap_or_default());
                }
                other => panic!("{name}: expected {found}, found {other:?}"),
            });
        }
    });
}
