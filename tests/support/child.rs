//! What a child process does: it runs one node, and writes down what can be seen of it, a line each.
//!
//! | line | meaning |
//! |---|---|
//! | `starts T` | the process is about to start its node |
//! | `ready` | the node runs |
//! | `event TEXT` | an event of the node |
//! | `view ROLE TERM LEADER TOKEN` | its status, whenever that has changed; `-` for none |
//! | `error PEER TEXT` | what is wrong with a peer, whenever that has changed |
//! | `check T0 T1 VALID TOKEN LEFT` | asked for its lease between T0 and T1 (nanoseconds since boot) it said so |
//! | `held T0 T1 VALID` | so did a lease that is held since the command `hold` |
//! | `done WHAT` | a command was carried out |
//!
//! | `logger stuck` | the status shows that the logger is stuck |
//!
//! Commands come on stdin, a line each: `hold`, `drop`, `resign`, `shutdown`, which SIGTERM does, too. After `work` the
//! node does the work of a leader, which stops when it is told to. After `jam` the
//! logger waits for ever, as behind a lock that nobody gives up. After `fill` stderr is a pipe without room, unless
//! somebody reads it. The end of stdin ends the process, so that no child outlives its test.

use std::env;
use std::io::{BufRead, Write, stderr, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Duration;

use leadelect::death_witness::WitnessProgram;
use leadelect::{Config, Lease, Node};
use rustix::time::{ClockId, clock_gettime};

use super::actor::Actor;

pub(crate) const CONFIG: &str = "LEADELECT_CHILD_CONFIG";
pub(crate) const ID: &str = "LEADELECT_CHILD_ID";
/// The time between two checks in milliseconds, where one would be too much for the processor.
pub(crate) const CHECK_INTERVAL: &str = "LEADELECT_CHILD_CHECK_INTERVAL";

/// The program that is started as the witness of the death of this process.
pub(crate) const WITNESS: &str = "LEADELECT_CHILD_WITNESS";

/// After how many milliseconds without a turn of the election thread the witness kills this process.
pub(crate) const KILL_WHEN_STUCK: &str = "LEADELECT_CHILD_KILL_WHEN_STUCK";

/// What the work takes to stop once it is told to.
const TIME_TO_STOP: Duration = Duration::from_millis(5);

/// A check that comes this long after the last one is always written down: the process may have been stopped.
const GAP_NANOS: u64 = 20_000_000;
/// Of the other checks, one in this many is written down.
const EVERY: u64 = 16;

/// Nanoseconds on a clock that all processes of this host share.
pub(crate) fn boot_nanos() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

fn say(line: &str) {
    let mut out = stdout().lock();
    // The parent has gone. The end of stdin will end this process.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Not a test but a program, which the tests start.
#[test]
#[ignore = "a program that the other tests start"]
fn run() {
    run_node();
}

/// The whole of that program. Without its variables it does nothing.
pub(crate) fn run_node() {
    let (Ok(config), Ok(id)) = (env::var(CONFIG), env::var(ID)) else {
        return;
    };
    // The harness has begun a line.
    say("");
    set_logger();
    let config = Config::from_yaml_file(config).and_then(|config| config.for_node(&id));
    let config = config.map(|config| match env::var_os(WITNESS) {
        Some(program) => config.death_witness(WitnessProgram::At(program.into())),
        None => config,
    });
    let config = config.map(|config| match env::var(KILL_WHEN_STUCK) {
        Ok(millis) => config.kill_when_stuck(Duration::from_millis(millis.parse().unwrap())),
        Err(_) => config,
    });
    say(&format!("starts {}", boot_nanos()));
    let node = match config.map(Node::start) {
        Ok(Ok(node)) => Arc::new(node),
        Ok(Err(error)) => fail(&error),
        Err(error) => fail(&error),
    };
    say("ready");
    let events = node.events();
    thread::spawn(move || {
        for event in events {
            say(&format!("event {event}"));
        }
        say("done events");
    });
    watch(&node);
    node.shutdown();
    say("done shutdown");
    std::process::exit(0);
}

/// Whether the logger waits for ever.
static JAMMED: AtomicBool = AtomicBool::new(false);

/// Makes the logger of this process wait for ever.
pub(crate) fn jam() {
    JAMMED.store(true, Ordering::SeqCst);
}

/// Sets a logger that writes to stderr until it is [jammed](jam).
pub(crate) fn set_logger() {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    let logger = builder.format_timestamp_millis().target(env_logger::Target::Stderr).build();
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(Jamming(logger))).unwrap();
}

struct Jamming(env_logger::Logger);

fn wait_while_jammed() {
    while JAMMED.load(Ordering::SeqCst) {
        thread::park();
    }
}

impl log::Log for Jamming {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        wait_while_jammed();
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        wait_while_jammed();
        self.0.log(record);
    }

    fn flush(&self) {
        wait_while_jammed();
        self.0.flush();
    }
}

fn fail(error: &dyn std::error::Error) -> ! {
    eprintln!("cannot start: {error}");
    std::process::exit(1);
}

fn watch(node: &Arc<Node>) {
    let (commands, commanded) = channel();
    let terminate = commands.clone();
    // A second signal changes nothing.
    ctrlc::set_handler(move || drop(terminate.send("shutdown".to_owned()))).unwrap();
    let (hang_up, hung_up) = channel::<()>();
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { break };
            if commands.send(line).is_err() {
                break;
            }
        }
        drop(hang_up);
    });
    let mut held: Option<Lease> = None;
    let mut log = CheckLog { actor: Actor::from_env(), ..CheckLog::default() };
    let mut views = ViewLog::default();
    let interval = env::var(CHECK_INTERVAL).map_or(1, |millis| millis.parse().unwrap());
    for count in 0_u64.. {
        match commanded.try_recv() {
            Ok(command) => match command.as_str() {
                "hold" => {
                    held = node.lease();
                    say(&format!("done hold {}", held.is_some()));
                }
                "drop" => {
                    held = None;
                    say("done drop");
                }
                "resign" => {
                    let node = node.clone();
                    // It waits for the guard, which only this thread can drop.
                    thread::spawn(move || say(&format!("done resign {}", node.resign().is_ok())));
                }
                "work" => {
                    let node = node.clone();
                    thread::spawn(move || {
                        node.lead(|leading| {
                            while leading.wait(Duration::from_secs(60)).is_ok() {}
                            thread::sleep(TIME_TO_STOP);
                        });
                    });
                    say("done work");
                }
                "jam" => {
                    jam();
                    say("done jam");
                }
                "fill" => {
                    // Stderr stays locked as long as this waits.
                    thread::spawn(|| drop(stderr().write_all(&[b'\n'; 1 << 20])));
                    say("done fill");
                }
                "shutdown" => {
                    log.finish();
                    return;
                }
                other => panic!("no such command: {other:?}"),
            },
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if hung_up.try_recv() == Err(TryRecvError::Disconnected) {
            std::process::exit(3);
        }
        log.check(node, held.as_ref());
        if count % 8 == 0 {
            views.look(node);
        }
        thread::sleep(Duration::from_millis(interval));
    }
}

/// The last check, and whether it was written down.
#[derive(Default)]
struct CheckLog {
    count: u64,
    last: Option<(u64, (bool, u64), String)>,
    unsaid: bool,
    last_held: Option<bool>,
    /// If there is a resource, every valid check is followed by an act.
    actor: Option<Actor>,
}

impl CheckLog {
    /// The last check before the end.
    fn finish(&mut self) {
        if let Some((.., last)) = self.last.take().filter(|_| self.unsaid) {
            say(&last);
        }
    }

    fn check(&mut self, node: &Node, held: Option<&Lease>) {
        let before = boot_nanos();
        let lease = node.lease();
        let valid = lease.as_ref().is_some_and(Lease::is_valid);
        let after = boot_nanos();
        // Read later than `after`, and so a lower bound of what was left at `before`.
        let left = lease.as_ref().map_or(Duration::ZERO, |lease| lease.remaining().at_most(Duration::MAX));
        let token = lease.as_ref().map_or(0, |lease| lease.token().0);
        if let (Some(actor), true) = (&self.actor, valid) {
            actor.act(token, before, before.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)));
        }
        drop(lease);
        let line = format!("check {before} {after} {} {token} {}", u8::from(valid), left.as_nanos());
        let now = (valid, token);
        let news = match &self.last {
            None => true,
            Some((at, then, _)) => *then != now || before - at > GAP_NANOS,
        };
        if news {
            // The run of checks before ends with its last.
            if let Some((.., last)) = self.last.take().filter(|_| self.unsaid) {
                say(&last);
            }
        }
        self.count += 1;
        let said = news || self.count % EVERY == 0;
        if said {
            say(&line);
        }
        self.unsaid = !said;
        self.last = Some((before, now, line));

        let before = boot_nanos();
        let held = held.map(Lease::is_valid);
        if held != self.last_held {
            if let Some(valid) = held {
                say(&format!("held {before} {} {}", boot_nanos(), u8::from(valid)));
            }
            self.last_held = held;
        }
    }
}

#[derive(Default)]
struct ViewLog {
    view: String,
    errors: Vec<Option<String>>,
    stuck: bool,
}

impl ViewLog {
    fn look(&mut self, node: &Node) {
        let status = node.status();
        let leader = status.leader.map_or("-".to_owned(), |id| id.to_string());
        let token = status.token.map_or("-".to_owned(), |token| token.to_string());
        let view = format!("view {} {} {leader} {token}", status.role, status.term);
        if view != self.view {
            say(&view);
            self.view = view;
        }
        if status.logger_stuck.is_some() != self.stuck {
            self.stuck = !self.stuck;
            say(if self.stuck { "logger stuck" } else { "logger free" });
        }
        self.errors.resize(status.peers.len(), None);
        for (peer, known) in status.peers.iter().zip(&mut self.errors) {
            if peer.last_error != *known {
                if let Some(error) = &peer.last_error {
                    say(&format!("error {} {error}", peer.id));
                }
                known.clone_from(&peer.last_error);
            }
        }
    }
}
