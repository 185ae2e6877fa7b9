//! A thread for what may have to wait for the whole host.
//!
//! To make, kill or remove a control group, to put a process into one, and to fork, the kernel takes locks that all
//! processes of the host share. Somebody who moves a process from one group to another holds them, and waits for every
//! fork and exit that is under way; and a process whose share of the processor is used up may take its time there. So
//! one write to `cgroup.kill` can take seconds on a host on which others are busy with groups. What the lease depends
//! on does not wait for that: it goes on, and this thread waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
        let work = move || {
            for job in asked {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    log::error!("a job of this thread has panicked, which is an error of leadelect");
                }
            }
        };
        thread::Builder::new().name(name).spawn(work)?;
        Ok(Worker(ask))
    }

    /// Does this when everything before it is done. Never waits: without room it drops the job and returns `false`.
    pub(super) fn ask(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.0.try_send(Box::new(job)).is_ok()
    }
}

/// The threads of a supervisor. A kill does not wait behind a start.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    /// Makes control groups and guards, and removes groups.
    pub(super) makes: Worker,
    /// Kills control groups.
    pub(super) kills: Worker,
}

impl Workers {
    pub(super) fn start(node: &str) -> io::Result<Workers> {
        let (makes, kills) = (Worker::start(format!("le{node}-guards"))?, Worker::start(format!("le{node}-group"))?);
        Ok(Workers { makes, kills })
    }
}
