//! A thread for what may have to wait for the whole host.
//!
//! To make, kill or remove a control group, to put a process into one, and to fork, the kernel takes locks that all
//! processes of the host share. Somebody who moves a process from one group to another holds them, and waits for every
//! fork and exit that is under way; and a process whose share of the processor is used up may take its time there. So
//! one write to `cgroup.kill` can take seconds on a host on which others are busy with groups. What the lease depends
//! on does not wait for that: it goes on, and this thread waits.

use std::io;
use std::thread;

use crossbeam_channel::{Sender, bounded};

/// More than ever wait at once, unless the thread is stuck.
const MOST_JOBS: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the thread. It ends when nobody can ask it any more.
#[derive(Debug, Clone)]
pub(super) struct Worker(Sender<Job>);

impl Worker {
    pub(super) fn start(name: String) -> io::Result<Worker> {
        let (ask, asked) = bounded::<Job>(MOST_JOBS);
        thread::Builder::new().name(name).spawn(move || asked.iter().for_each(|job| job()))?;
        Ok(Worker(ask))
    }

    /// Does this when everything before it is done. Never waits; what finds no room is dropped.
    pub(super) fn ask(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.0.try_send(Box::new(job));
    }
}
