//! One node: a program that uses the library, and writes lines by which the demo watches it.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use leadelect::{Cause, Config, Lease, Node};

use crate::report::{Line, Seen, now};
use crate::setup;

const CHECK_INTERVAL: Duration = Duration::from_millis(1);
const STATUS_INTERVAL: Duration = Duration::from_millis(50);

#[derive(PartialEq)]
enum End {
    Signal,
    /// The demo is gone without having stopped this process.
    Orphaned,
}

pub(crate) fn main(id: &str, config: &Path) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();
    match run(id, config) {
        Ok(End::Signal) => ExitCode::SUCCESS,
        Ok(End::Orphaned) => {
            // The demo cannot clean up any more. The last of the three nodes removes everything.
            let _ = setup::folder_of(config).map(fs::remove_dir_all);
            ExitCode::FAILURE
        }
        Err(error) => {
            log::error!("cannot start node {id}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(id: &str, config: &Path) -> Result<End, Box<dyn Error>> {
    let (stop, stopped) = crossbeam_channel::bounded(1);
    let orphaned = stop.clone();
    ctrlc::set_handler(move || drop(stop.try_send(End::Signal)))?;
    thread::spawn(move || {
        // The demo never writes to it. It ends when the demo does.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = orphaned.try_send(End::Orphaned);
    });

    let node = Node::start(Config::from_yaml_file(config)?.for_node(id)?)?;
    let end = thread::scope(|scope| {
        scope.spawn(|| tell(&node));
        let end = work(&node, &stopped);
        node.shutdown();
        end
    });
    Ok(end)
}

/// Writes every change, until the node stops.
fn tell(node: &Node) {
    for event in node.events() {
        say(&Line::Event(event.to_string()));
        if event.cause == Cause::LeaseWon {
            check(|| node.lease());
        }
    }
}

/// The work of this leader is only to check, very often, whether it still leads. It holds the lease all the time,
/// because a hand-over waits for that guard.
fn work(node: &Node, stopped: &Receiver<End>) -> End {
    let mut held: Option<Lease> = None;
    let mut status_at = now();
    loop {
        held = match held {
            Some(lease) => check(|| Some(lease).filter(Lease::is_valid)),
            None => node.lease(),
        };
        if now() >= status_at {
            say(&Line::Status(Seen::from(&node.status())));
            status_at = now() + STATUS_INTERVAL;
        }
        match stopped.recv_timeout(CHECK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(end) => return end,
            Err(RecvTimeoutError::Disconnected) => return End::Orphaned,
        }
    }
}

fn check(look: impl FnOnce() -> Option<Lease>) -> Option<Lease> {
    let before = now();
    let lease = look();
    let after = now();
    let token = lease.as_ref().map(Lease::token);
    say(&Line::Check { before, after, token: token.map(|token| token.0) });
    lease
}

fn say(line: &Line) {
    // If the demo does not listen any more, it has also closed the other pipe. That ends this process.
    let _ = writeln!(io::stdout(), "{line}");
}
