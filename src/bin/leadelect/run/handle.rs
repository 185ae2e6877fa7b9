//! The supervisor's end of a guard.

use std::io::stdin;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, shutdown};
use rustix::process::Pid;

use super::Job;
use super::guard::{GUARD, OWN_NAME, OWN_PROGRAM};
use super::orders::{Heard, Order, Report, hear, pair, say, say_with};

/// A guard that runs a command, or waits for the order to. Dropped, it kills its command and ends.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) id: Pid,
    socket: OwnedFd,
    process: Arc<Mutex<Child>>,
    deaf: AtomicBool,
    /// What it reports last. Disconnected once the guard has ended and was reaped.
    pub(super) reports: Receiver<Report>,
}

impl Guard {
    /// Starts a guard, which waits.
    pub(super) fn spawn(job: &Job) -> std::io::Result<Guard> {
        let (ours, theirs) = pair()?;
        let (drain, margin, patience) = job.in_nanos();
        let child = Command::new(OWN_PROGRAM)
            .arg0(OWN_NAME)
            .arg(GUARD)
            .args(["--node", &job.node])
            .args(["--drain", &drain.to_string()])
            .args(["--margin", &margin.to_string()])
            .args(["--patience", &patience.to_string()])
            .args(["--signal", &job.stop_signal.to_string(), "--"])
            .args(&job.command)
            .stdin(Stdio::from(theirs))
            // A Ctrl-C of the terminal is for the supervisor alone.
            .process_group(0)
            .spawn()?;
        let id = Pid::from_child(&child);
        let (report, reports) = bounded(1);
        let guard =
            Guard { id, socket: ours, process: Arc::new(Mutex::new(child)), deaf: AtomicBool::new(false), reports };
        let (socket, process) = (guard.socket.try_clone()?, guard.process.clone());
        thread::Builder::new()
            .name(format!("le{}-guard", job.node))
            .spawn(move || listen(&socket, &process, &report))?;
        say_with(&guard.socket, &Order::Input, stdin().as_fd())?;
        Ok(guard)
    }

    /// Gives an order. If it cannot be given the guard is stopped or gone: it will not renew a deadline that it does
    /// not hear of, and its end is noticed elsewhere.
    pub(super) fn order(&self, order: Order) {
        if let Err(error) = say(&self.socket, &order) {
            if error == Errno::AGAIN {
                self.deaf.store(true, Ordering::Relaxed);
            }
            log::debug!("the guard does not hear {order}: {error}");
        }
    }

    /// Whether it has left so many orders unread that there is no room for another: it is stopped.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Kills the guard, and with it the command. What that has started is adopted by this process.
    pub(super) fn kill(&self) {
        // Not by its id, which may be another's once it was reaped.
        if let Err(error) = lock(&self.process).kill() {
            log::error!("cannot kill the guard: {error}");
        }
    }

    /// Whether it waits for its order.
    pub(super) fn is_ready(&self) -> bool {
        self.reports.try_recv() == Err(crossbeam_channel::TryRecvError::Empty)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both ends hear it, the guard and the thread that listens to it.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

fn lock(process: &Mutex<Child>) -> MutexGuard<'_, Child> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(socket: &OwnedFd, guard: &Mutex<Child>, report: &Sender<Report>) {
    while let Heard::Message(text, _) = hear(socket, RecvFlags::empty()) {
        match Report::parse(&text) {
            // Told already, or nobody waits for it.
            Some(said) => drop(report.try_send(said)),
            None => log::warn!("the guard says what is no report: {text:?}"),
        }
    }
    if let Err(error) = lock(guard).wait() {
        log::warn!("cannot wait for the guard: {error}");
    }
}
