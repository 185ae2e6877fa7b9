//! The guard that waits for the next term, so that its command starts without delay.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::process::Pid;

use super::CommandSpec;
use super::cgroup::Cgroup;
use super::guard_handle::GuardHandle;
use super::leftovers::RunId;
use super::supervisor::Groups;
use super::worker::Worker;

/// Why there is no guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoGuard {
    /// It is still being made: the host is busy.
    NotYet,
    /// It cannot be made. The log says why.
    Impossible,
}

/// A guard that waits, or that the worker is making. The supervisor does not wait for the kernel to make one: it has a
/// command to renew and to stop.
#[derive(Debug)]
pub(super) struct Spare {
    spec: CommandSpec,
    run: RunId,
    groups: Groups,
    /// How many groups this process has made.
    group_count: u32,
    worker: Worker,
    coming: Option<Receiver<Option<GuardHandle>>>,
    here: Option<GuardHandle>,
}

impl Spare {
    pub(super) fn new(spec: CommandSpec, run: RunId, groups: Groups, worker: Worker) -> Spare {
        Spare { spec, run, groups, group_count: 0, worker, coming: None, here: None }
    }

    /// Has one made, unless there is one, or will be.
    pub(super) fn prepare(&mut self) {
        if self.coming.is_some() || self.here.is_some() {
            return;
        }
        let group = (self.groups == Groups::Made).then(|| {
            self.group_count += 1;
            self.run.cgroup_name(self.group_count)
        });
        let (made, coming) = bounded(1);
        let (spec, run, worker) = (self.spec.clone(), self.run.value(), self.worker.clone());
        self.worker.ask(move || {
            // Fails if it is not wanted any more.
            let _ = made.send(make(&spec, &run, group, worker));
        });
        self.coming = Some(coming);
    }

    /// The id of its process, if there is one already.
    pub(super) fn id(&mut self) -> Option<Pid> {
        if let Some(Ok(guard)) = self.coming.as_ref().map(Receiver::try_recv) {
            (self.coming, self.here) = (None, guard);
        }
        self.here.as_ref().map(|guard| guard.id)
    }

    /// Takes it, and waits for it no longer than that.
    pub(super) fn take(&mut self, limit: Duration) -> Result<GuardHandle, NoGuard> {
        self.prepare();
        if let Some(guard) = self.here.take() {
            return Ok(guard);
        }
        let coming = self.coming.as_ref().ok_or(NoGuard::Impossible)?;
        let made = match coming.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => return Err(NoGuard::NotYet),
            Err(RecvTimeoutError::Disconnected) => None,
            Ok(made) => made,
        };
        self.coming = None;
        made.ok_or(NoGuard::Impossible)
    }
}

fn make(spec: &CommandSpec, run: &str, group: Option<String>, worker: Worker) -> Option<GuardHandle> {
    let node = &spec.node;
    let group = group.and_then(|name| {
        let made = Cgroup::make(&name);
        made.inspect_err(|error| log::warn!("node {node}: no control group for the command: {error}")).ok()
    });
    let log = |error: &std::io::Error| log::error!("node {node}: cannot start a guard: {error}");
    GuardHandle::spawn(spec, run, group, worker).inspect_err(log).ok()
}
