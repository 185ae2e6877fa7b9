//! Processes by their ids: who started whom, what they hold, and how they are starved.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// Fails if it has ended, which is as good.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// `T` for a process that is stopped.
pub(crate) fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// The children of all threads of a process.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()).collect()
}

/// From now on it can open nothing more; or it can again.
pub(crate) fn limit_descriptors(pid: i32, limited: Option<usize>) {
    let usual = getrlimit(Resource::Nofile);
    let current = limited.map_or(usual.current, |most| Some(most as u64));
    // Fails if it has ended.
    let _ = prlimit(Pid::from_raw(pid), Resource::Nofile, Rlimit { current, maximum: usual.maximum });
}

/// Many processes that sleep or burn, in a process namespace that ends with the first of them.
#[derive(Debug)]
pub(crate) struct Crowd(Child);

impl Crowd {
    fn new(script: &str) -> Crowd {
        let mut crowd = Command::new("setpriv");
        crowd.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script]);
        let mut crowd = crowd.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // One line, once all are there.
        let mut line = [0; 6];
        crowd.stdout.take().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"ready\n");
        Crowd(crowd)
    }

    pub(crate) fn idle(count: u64) -> Crowd {
        Crowd::new(&format!("i=0; while [ $i -lt {count} ]; do sleep 120 >&2 & i=$((i+1)); done; echo ready; wait"))
    }

    pub(crate) fn busy(count: u64) -> Crowd {
        Crowd::new(&format!(
            "i=0; while [ $i -lt {count} ]; do (while :; do :; done) >&2 & i=$((i+1)); done; echo ready; wait"
        ))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
