//! Processes by their ids: who started whom, what they hold, and how they are starved.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, id};

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

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    pub(crate) resident_kib: u64,
}

pub(crate) fn holdings(pid: i32) -> Option<Holdings> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(Holdings {
        threads: fs::read_dir(format!("/proc/{pid}/task")).ok()?.count(),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
        resident_kib: resident.split_whitespace().next()?.parse().ok()?,
    })
}

/// From now on it can open nothing more; or it can again.
pub(crate) fn limit_descriptors(pid: i32, limited: Option<usize>) {
    let usual = getrlimit(Resource::Nofile);
    let current = limited.map_or(usual.current, |most| Some(most as u64));
    // Fails if it has ended.
    let _ = prlimit(Pid::from_raw(pid), Resource::Nofile, Rlimit { current, maximum: usual.maximum });
}

/// A group of processes that get a share of one processor only. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// # Errors
    ///
    /// Fails if this host has no cgroup of processors where root may make one.
    pub(crate) fn new(name: &str, percent: u64) -> io::Result<Quota> {
        let name = format!("leadelect-chaos-{}-{name}", id());
        let old = PathBuf::from("/sys/fs/cgroup/cpu").join(&name);
        if old.parent().is_some_and(|root| root.join("cpu.cfs_quota_us").exists() || root.join("tasks").exists()) {
            fs::create_dir(&old)?;
            let quota = Quota(old);
            fs::write(quota.0.join("cpu.cfs_period_us"), "100000")?;
            fs::write(quota.0.join("cpu.cfs_quota_us"), (percent * 1000).to_string())?;
            return Ok(quota);
        }
        let new = PathBuf::from("/sys/fs/cgroup").join(&name);
        fs::create_dir(&new)?;
        let quota = Quota(new);
        fs::write(quota.0.join("cpu.max"), format!("{} 100000", percent * 1000))?;
        Ok(quota)
    }

    pub(crate) fn take(&self, pid: i32) {
        let _ = fs::write(self.0.join("cgroup.procs"), pid.to_string());
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let root = self.0.parent().unwrap();
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(root.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
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
