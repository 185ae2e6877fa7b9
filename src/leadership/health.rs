//! The thread that checks the health of a program, while somebody attends to lead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::lead::NodeHandle;
use super::options::HealthCheck;
use crate::clock;
use crate::election::Instant;
use crate::engine::Health;

/// Checks the health of the program as long as this value lives.
pub(super) struct Watch<'a> {
    handle: &'a NodeHandle,
    // Its end is the thread's.
    _stop: Sender<()>,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(handle: &'a NodeHandle, check: &HealthCheck, hold_off: Duration) -> Self {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        handle.leadership.set_health(Some(Health { good_until: clock::now() + check.timeout, hold_off }));
        let (id, leadership, check) = (handle.id, handle.leadership.clone(), check.clone());
        let log = handle.log.clone();
        let body = move || {
            let mut good = true;
            while let Some(problem) = ask(&check, &stopped) {
                let good_until = problem.is_none().then(|| clock::now() + check.every + check.timeout);
                leadership.set_health(Some(Health { good_until: good_until.unwrap_or(Instant::ZERO), hold_off }));
                match (good, &problem) {
                    (true, Some(problem)) => {
                        log::warn!(logger: log, "node {id}: the health check was not passed: {problem}");
                    }
                    (false, None) => log::info!(logger: log, "node {id}: the health check is passed again"),
                    (true, None) | (false, Some(_)) => {}
                }
                good = problem.is_none();
                if stopped.recv_timeout(check.every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        // The user's code gets a stack of the usual size.
        let name = format!("le{id}-health");
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            let what = "cannot start a thread for the health check, which counts as not passed";
            log::error!(logger: handle.log, "node {id}: {what}: {error}");
            handle.leadership.set_health(Some(Health { good_until: Instant::ZERO, hold_off }));
        }
        Watch { handle, _stop: stop }
    }
}

/// Asks once, and returns what is wrong, if something is. Nothing at all if nobody wants to know any more.
fn ask(check: &HealthCheck, stopped: &Receiver<()>) -> Option<Option<String>> {
    let begun = clock::now();
    let answer = catch_unwind(AssertUnwindSafe(|| (check.check)()));
    let took = clock::now().since(begun);
    if stopped.try_recv() == Err(TryRecvError::Disconnected) {
        return None;
    }
    Some(match answer {
        Ok(Ok(())) if took > check.timeout => Some(format!("took {took:.1?}")),
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some("panicked".to_owned()),
    })
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.handle.leadership.set_health(None);
    }
}
