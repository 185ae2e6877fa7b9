//! The supervisor's end of a guard.

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, shutdown};
use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::guard_protocol::{FromGuard, Received, ToGuard, receive, send, send_with_files, socket_pair};
use super::leftovers::VARIABLE;
use super::worker::{Worker, Workers};
use super::{CommandSpec, GUARD, lock, own_program};

/// How many reports may wait for the supervisor. It reads them as they come.
const LONGEST_QUEUE: usize = 16;

/// A guard process that runs a command, or waits for [`ToGuard::Start`]. When the handle is dropped, the guard kills
/// its command and ends.
#[derive(Debug)]
pub(super) struct GuardHandle {
    pub(super) id: Pid,
    socket: OwnedFd,
    process: Arc<Mutex<Child>>,
    deaf: AtomicBool,
    /// The group of its command, where one could be made.
    group: Option<Cgroup>,
    workers: Workers,
    /// Receives the reports of the guard. Disconnected once the guard has ended and was reaped.
    pub(super) reports: Receiver<FromGuard>,
}

impl GuardHandle {
    /// Starts a guard, which waits for [`ToGuard::Start`]. Its command is in the group, if there is one.
    pub(super) fn spawn(
        spec: &CommandSpec,
        run: &str,
        group: Option<Cgroup>,
        workers: Workers,
    ) -> std::io::Result<GuardHandle> {
        let (ours, theirs) = socket_pair()?;
        let mut program = own_program(GUARD);
        if let Some(group) = &group {
            program.arg("--cgroup").arg(group.folder());
        }
        if spec.allow_privilege_gain {
            program.arg("--allow-privilege-gain");
        }
        let child = program
            .env(VARIABLE, run)
            .args(["--node", &spec.node])
            .args(["--drain-time", &spec.drain_time.to_string()])
            .args(["--margin", &spec.margin.to_string()])
            .args(["--stop-time", &spec.stop_time.to_string()])
            .args(["--stop-signal", &spec.stop_signal.to_string(), "--"])
            .args(&spec.command)
            .stdin(Stdio::from(theirs))
            // Ctrl-C in the terminal is for the supervisor alone.
            .process_group(0)
            .spawn()?;
        let id = Pid::from_child(&child);
        let (report, reports) = bounded(LONGEST_QUEUE);
        let process = Arc::new(Mutex::new(child));
        let deaf = AtomicBool::new(false);
        let guard = GuardHandle { id, socket: ours, process, deaf, group, workers, reports };
        let (socket, process) = (guard.socket.try_clone()?, guard.process.clone());
        thread::Builder::new()
            .name(format!("le{}-guard", spec.node))
            .spawn(move || listen(&socket, &process, &report))?;
        send_with_files(&guard.socket, &ToGuard::Input, &[stdin().as_fd()])?;
        Ok(guard)
    }

    /// Sends a message to the guard. Does not report a failure: then the guard is stopped or gone. A guard that does
    /// not get a message keeps the old end of the lease. The caller notices in other ways that a guard has ended.
    pub(super) fn tell(&self, message: ToGuard) {
        if let Err(error) = send(&self.socket, &message) {
            if error == Errno::AGAIN {
                self.deaf.store(true, Ordering::Relaxed);
            }
            log::debug!("cannot send {message:?} to the guard: {error}");
        }
    }

    /// Whether the guard left messages unread until the buffer was full: it is stopped.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Kills the guard, and with it the command. This process becomes the parent of what the command has started.
    pub(super) fn kill(&self) {
        // Not by its id: once the guard was reaped, another process may have the same id.
        if let Err(error) = lock(&self.process).kill() {
            log::error!("cannot kill the guard: {error}");
        }
    }

    pub(super) fn group(&self) -> Option<(&Cgroup, &Worker)> {
        Some((self.group.as_ref()?, &self.workers.kills))
    }

    /// Whether the guard still waits for [`ToGuard::Start`].
    pub(super) fn is_ready(&self) -> bool {
        self.reports.try_recv() == Err(crossbeam_channel::TryRecvError::Empty)
    }
}

impl Drop for GuardHandle {
    fn drop(&mut self) {
        // The guard and the thread that listens to it both see the end of the connection.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if let Some(group) = self.group.take() {
            self.workers.makes.ask(move || group.remove());
        }
    }
}

fn listen(socket: &OwnedFd, guard: &Mutex<Child>, reports: &Sender<FromGuard>) {
    while let Received::Message(report, _) = receive(socket, RecvFlags::empty()) {
        // Fails if the handle is gone.
        let _ = reports.send(report);
    }
    if let Err(error) = lock(guard).wait() {
        // The supervisor has killed and reaped all its children.
        log::debug!("cannot wait for the guard: {error}");
    }
}
