//! The guard that waits for the next term, so that its command starts without delay.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::CommandSpec;
use super::cgroup::Cgroup;
use super::guard_handle::GuardHandle;
use super::leftovers::RunId;
use super::supervisor::Groups;
use super::worker::Workers;

/// Why there is no guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoGuard {
    /// It is still being made: the host is busy.
    NotYet,
    /// It cannot be made. The log says why.
    Impossible,
}

/// A guard that waits, or that a worker is making. The supervisor does not wait for the kernel to make one: it has a
/// command to renew and to stop.
#[derive(Debug)]
pub(super) struct Spare {
    spec: CommandSpec,
    run: RunId,
    groups: Groups,
    /// How many groups this process has made.
    group_count: u32,
    workers: Workers,
    /// Where it comes, or waits. Nothing comes if it cannot be made.
    coming: Option<Receiver<Option<GuardHandle>>>,
}

impl Spare {
    pub(super) fn new(spec: CommandSpec, run: RunId, groups: Groups, workers: Workers) -> Spare {
        Spare { spec, run, groups, group_count: 0, workers, coming: None }
    }

    /// Has one made, unless there is one or will be.
    pub(super) fn prepare(&mut self) {
        if self.coming.is_some() {
            return;
        }
        let group = (self.groups == Groups::Made).then(|| {
            self.group_count += 1;
            self.run.cgroup_name(self.group_count)
        });
        let (made, coming) = bounded(1);
        let (spec, run, workers) = (self.spec.clone(), self.run.value(), self.workers.clone());
        self.workers.makes.ask(move || {
            // Fails if it is not wanted any more.
            let _ = made.send(make(&spec, &run, group, workers));
        });
        self.coming = Some(coming);
    }

    /// Takes it, and waits for it no longer than that.
    pub(super) fn take(&mut self, limit: Duration) -> Result<GuardHandle, NoGuard> {
        let is_older = self.coming.is_some();
        self.prepare();
        let Some(coming) = &self.coming else { return Err(NoGuard::Impossible) };
        let made = match coming.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => return Err(NoGuard::NotYet),
            Err(RecvTimeoutError::Disconnected) => None,
            Ok(made) => made,
        };
        self.coming = None;
        match made {
            Some(guard) => Ok(guard),
            // What failed some time ago may go well now.
            None if is_older => {
                self.prepare();
                Err(NoGuard::NotYet)
            }
            None => Err(NoGuard::Impossible),
        }
    }
}

fn make(spec: &CommandSpec, run: &str, group: Option<String>, workers: Workers) -> Option<GuardHandle> {
    let node = &spec.node;
    let group = group.and_then(|name| {
        let made = Cgroup::make(&name);
        made.inspect_err(|error| log::warn!("node {node}: no control group for the command: {error}")).ok()
    });
    let log = |error: &std::io::Error| log::error!("node {node}: cannot start a guard: {error}");
    GuardHandle::spawn(spec, run, group, workers).inspect_err(log).ok()
}
