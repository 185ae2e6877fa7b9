//! A control group (cgroup v2) for the processes of one command.
//!
//! With one write the kernel kills every process in it: also those that are forked meanwhile, and those that have
//! become another user. That takes microseconds, however many processes the host has, but it may have to wait for
//! others: see [`worker`](super::worker). So it comes beside the walk over the descendants, and never before it. The
//! group is made below the group of `leadelect run`. That needs root, or a group that was handed to the user, as
//! systemd does with `Delegate=yes`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, access};
use rustix::process::Pid;

use super::worker::Worker;

/// A group that exists, or did.
#[derive(Debug, Clone)]
pub(super) struct Cgroup {
    folder: PathBuf,
    /// The worker was asked to kill it, and has not done so yet.
    dies_soon: Arc<AtomicBool>,
    /// The kernel would not kill it.
    immortal: Arc<AtomicBool>,
}

impl Cgroup {
    pub(super) fn at(folder: impl Into<PathBuf>) -> Cgroup {
        Cgroup { folder: folder.into(), dies_soon: Arc::default(), immortal: Arc::default() }
    }

    /// Makes the group, below the one of this process.
    pub(super) fn make(name: &str) -> Result<Cgroup, String> {
        let own = own_folder()?;
        // The kernel asks for this right when a process is moved from one group to another below.
        let procs = own.join("cgroup.procs");
        access(&procs, Access::WRITE_OK).map_err(|error| format!("cannot write {}: {error}", procs.display()))?;
        let folder = own.join(name);
        fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let group = Cgroup::at(folder);
        if let Err(error) = access(group.folder.join("cgroup.kill"), Access::WRITE_OK) {
            group.remove();
            return Err(format!("cannot write {}/cgroup.kill: {error}", group.folder.display()));
        }
        Ok(group)
    }

    /// The groups below the one of this process whose names begin like this.
    pub(super) fn find(beginning: &str) -> Vec<Cgroup> {
        let Ok(own) = own_folder() else { return Vec::new() };
        let folders = fs::read_dir(own).into_iter().flatten().flatten();
        let found = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning));
        found.map(|entry| Cgroup::at(entry.path())).collect()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a process into the group. All that it starts from now on is in it, too.
    pub(super) fn add(&self, process: Pid) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), process.as_raw_nonzero().to_string())
    }

    /// Kills every process in the group and in the groups below.
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1")
    }

    /// Has the worker kill it, if that is not under way.
    pub(super) fn kill_soon(&self, worker: &Worker) {
        if self.dies_soon.swap(true, Ordering::Relaxed) {
            return;
        }
        let group = self.clone();
        let asked = worker.ask(move || {
            group.immortal.store(group.kill().is_err(), Ordering::Relaxed);
            group.dies_soon.store(false, Ordering::Relaxed);
        });
        if !asked {
            self.dies_soon.store(false, Ordering::Relaxed);
        }
    }

    /// Whether the kernel kills this process with the group, now or when it can.
    pub(super) fn kills(&self, process: Pid) -> bool {
        !self.immortal.load(Ordering::Relaxed) && self.members().contains(&process)
    }

    /// The processes in the group and in the groups below.
    pub(super) fn members(&self) -> Vec<Pid> {
        let mut members = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let ids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            members.extend(ids.lines().filter_map(|id| Pid::from_raw(id.parse().ok()?)));
            folders.extend(below(&folder));
        }
        members
    }

    /// Removes the group and the groups below, if no process is in them. The next start removes what is left.
    pub(super) fn remove(&self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    for folder in below(folder) {
        remove(&folder);
    }
    // Fails if a process of it is not quite dead.
    let _ = fs::remove_dir(folder);
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// The folder of the group that this process is in.
fn own_folder() -> Result<PathBuf, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"));
    let groups = read("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let mounts = read("/proc/self/mountinfo")?;
    mounts
        .lines()
        .find_map(|line| folder_in(line, own?))
        .ok_or_else(|| "found no mounted cgroup v2 with the group of this process in it".into())
}

/// The folder of the group `own`, if this line of `/proc/self/mountinfo` is of a cgroup v2 file system that shows it.
fn folder_in(mount: &str, own: &str) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(own).strip_prefix(root).ok()?;
    // A blank in the name of the mount point is written as `\040`. Nobody does that to a cgroup.
    Some(Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_group_is_below_the_mount_point() {
        let mount = "36 25 0:31 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw";
        assert_eq!(folder_in(mount, "/a.slice/b"), Some("/sys/fs/cgroup/unified/a.slice/b".into()));
        let part = "36 25 0:31 /a.slice /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw";
        assert_eq!(folder_in(part, "/a.slice/b"), Some("/sys/fs/cgroup/b".into()));
        assert_eq!(folder_in(part, "/c"), None);
        assert_eq!(folder_in("36 25 0:31 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu", "/c"), None);
    }
}
