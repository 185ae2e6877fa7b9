//! Signals to the supervisor: which are for it, and which are passed on to the command.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use leadelect::Node;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// A signal that the command is to hear of, in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// End in order.
    Leave,
    /// Asked for the second time.
    LeaveAtOnce,
    /// Pass this on.
    Pass(i32),
}

#[derive(Debug, Default)]
struct State {
    node: Option<Arc<Node>>,
    /// A command runs: it is the one to end first.
    working: bool,
    leave: bool,
}

/// Takes every signal from the start of the program on.
#[derive(Debug)]
pub(super) struct Reception {
    state: Arc<Mutex<State>>,
    pub(super) calls: Receiver<Call>,
}

impl Reception {
    pub(super) fn open() -> io::Result<Reception> {
        let mut taken = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
        // Whoever starts this by `nohup` wants the command to outlive a hangup.
        if !is_ignored(SIGHUP) {
            taken.push(SIGHUP);
        }
        let signals = Signals::new(taken)?;
        let (call, calls) = unbounded();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        thread::Builder::new().name("le-signals".into()).spawn(move || receive(signals, &shared, &call))?;
        Ok(Reception { state, calls })
    }

    /// From now on the node leaves before the program does.
    pub(super) fn serve(&self, node: &Arc<Node>) {
        lock(&self.state).node = Some(node.clone());
    }

    /// Says that a command is about to run, and so is the one to hear the calls from now on; false if there is to be
    /// none any more.
    pub(super) fn begin_work(&self) -> bool {
        let mut state = lock(&self.state);
        // Of a time when no command ran.
        while self.calls.try_recv().is_ok() {}
        state.working = !state.leave;
        state.working
    }

    pub(super) fn end_work(&self) {
        lock(&self.state).working = false;
    }

    pub(super) fn was_asked_to_leave(&self) -> bool {
        lock(&self.state).leave
    }
}

/// Whether this process was started with the signal ignored. Without /proc it counts as not.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive(mut signals: Signals, state: &Mutex<State>, call: &Sender<Call>) {
    for signal in signals.forever() {
        let is_to_leave = signal == SIGINT || signal == SIGTERM;
        let mut state = lock(state);
        let what = match (is_to_leave, state.leave) {
            (false, _) => Call::Pass(signal),
            (true, false) => Call::Leave,
            (true, true) => Call::LeaveAtOnce,
        };
        state.leave |= is_to_leave;
        if state.working {
            // The supervisor has gone: then this thread soon will.
            let _ = call.send(what);
        } else if is_to_leave {
            let node = state.node.clone();
            drop(state);
            match node {
                Some(node) => node.shutdown(),
                None => {
                    log::info!("stopped before the node had started");
                    std::process::exit(0);
                }
            }
        }
    }
}

/// The number of a signal that may have a command end.
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
    fn a_signal_is_known_by_its_name_with_or_without_sig() {
        assert_eq!(by_name("TERM"), Ok(SIGTERM));
        assert_eq!(by_name("SIGINT"), Ok(SIGINT));
        assert_eq!(by_name("sigusr2"), Ok(SIGUSR2));
        assert!(by_name("STOP").is_err());
    }
}
