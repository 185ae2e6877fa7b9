//! Signals to the supervisor: some are for itself, the others it passes on to the command.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use leadelect::Node;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::super::error_output::finish;
use super::lock;

/// What a signal to the supervisor means for the running command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// Stop the command: the first SIGINT or SIGTERM, or a hangup of the terminal.
    Stop,
    /// Kill the command: a further SIGINT or SIGTERM.
    Kill,
    PassOn(i32),
}

#[derive(Debug, Default)]
struct SignalState {
    node: Option<Arc<Node>>,
    /// A command runs. It has to end before the node stops.
    command_runs: bool,
    stop_requested: bool,
}

/// Receives the signals to the supervisor from the start of the program on.
#[derive(Debug)]
pub(super) struct SignalReceiver {
    state: Arc<Mutex<SignalState>>,
    pub(super) requests: Receiver<SignalRequest>,
}

impl SignalReceiver {
    pub(super) fn start() -> io::Result<SignalReceiver> {
        let mut received = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
        // Under `nohup` the command is to survive a hangup.
        if !is_ignored(SIGHUP) {
            received.push(SIGHUP);
        }
        let signals = Signals::new(received)?;
        let (sender, requests) = unbounded();
        let state = Arc::<Mutex<SignalState>>::default();
        let shared = state.clone();
        let hangup = if has_terminal() { Hangup::Stops } else { Hangup::PassedOn };
        thread::Builder::new().name("le-signals".into()).spawn(move || receive(signals, hangup, &shared, &sender))?;
        Ok(SignalReceiver { state, requests })
    }

    /// From now on, a signal to stop shuts down this node while no command runs.
    pub(super) fn set_node(&self, node: &Arc<Node>) {
        lock(&self.state).node = Some(node.clone());
    }

    /// Call this before a command starts. From now on, signals become requests. Returns `false` if a signal to stop has
    /// come: then no command may start any more.
    pub(super) fn command_may_start(&self) -> bool {
        let mut state = lock(&self.state);
        // Drops requests from the time before this command.
        while self.requests.try_recv().is_ok() {}
        state.command_runs = !state.stop_requested;
        state.command_runs
    }

    pub(super) fn command_ended(&self) {
        lock(&self.state).command_runs = false;
    }

    pub(super) fn stop_requested(&self) -> bool {
        lock(&self.state).stop_requested
    }
}

/// Whether this process was started with the signal ignored. `false` if `/proc` cannot be read.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangup {
    /// The terminal is gone: nobody sees this program any more. It ends as at SIGTERM.
    Stops,
    /// Often "read the config again".
    PassedOn,
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

fn receive(mut signals: Signals, hangup: Hangup, state: &Mutex<SignalState>, requests: &Sender<SignalRequest>) {
    for signal in signals.forever() {
        let hung_up = signal == SIGHUP && hangup == Hangup::Stops;
        let is_stop = signal == SIGINT || signal == SIGTERM || hung_up;
        let mut state = lock(state);
        let request = match (is_stop, state.stop_requested) {
            (false, _) => SignalRequest::PassOn(signal),
            (true, false) => SignalRequest::Stop,
            // Kernel and shell both tell of one hangup.
            (true, true) if hung_up => continue,
            (true, true) => SignalRequest::Kill,
        };
        state.stop_requested |= is_stop;
        if state.command_runs {
            // Fails if the supervisor is gone. Then the program ends soon.
            let _ = requests.send(request);
        } else if is_stop {
            let node = state.node.clone();
            drop(state);
            match node {
                Some(node) => node.shutdown(),
                None => {
                    log::info!("stopped before the node started");
                    finish();
                    std::process::exit(0);
                }
            }
        }
    }
}

/// The number of a signal that can stop a command, by its name.
pub(super) fn by_name(name: &str) -> Result<i32, String> {
    let upper = name.to_ascii_uppercase();
    Ok(match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "TERM" => SIGTERM,
        "INT" => SIGINT,
        "QUIT" => SIGQUIT,
        "HUP" => SIGHUP,
        "USR1" => SIGUSR1,
        "USR2" => SIGUSR2,
        "KILL" => SIGKILL,
        _ => return Err("expected TERM, INT, QUIT, HUP, USR1, USR2 or KILL".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_found_by_its_name_with_or_without_sig() {
        assert_eq!(by_name("TERM"), Ok(SIGTERM));
        assert_eq!(by_name("SIGINT"), Ok(SIGINT));
        assert_eq!(by_name("sigusr2"), Ok(SIGUSR2));
        assert!(by_name("STOP").is_err());
    }
}
