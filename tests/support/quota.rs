//! A share of one processor.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// A control group that gives its processes a part of one processor. Dropping it lets them have all again.
#[derive(Debug)]
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// `quota` of each `period`, both in microseconds.
    ///
    /// # Errors
    ///
    /// Fails if this host has no control groups of processors that the test may make. Root may.
    pub(crate) fn new(name: &str, quota: u64, period: u64) -> io::Result<Quota> {
        let name = format!("leadelect-test-{}-{name}", std::process::id());
        let unified = Path::new("/sys/fs/cgroup");
        let (root, limits) = if unified.join("cgroup.controllers").exists() {
            fs::write(unified.join("cgroup.subtree_control"), "+cpu")?;
            (unified.to_owned(), vec![("cpu.max", format!("{quota} {period}"))])
        } else {
            let limits = [("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
            (unified.join("cpu"), limits.into())
        };
        let made = Quota(root.join(name));
        fs::create_dir(&made.0)?;
        for (file, value) in limits {
            fs::write(made.0.join(file), value)?;
        }
        Ok(made)
    }

    /// The process gets no more from now on. No effect if it has ended.
    pub(crate) fn take(&self, pid: impl fmt::Display) {
        let _ = fs::write(self.0.join("cgroup.procs"), pid.to_string());
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let Some(root) = self.0.parent() else { return };
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            // It may have ended.
            let _ = fs::write(root.join("cgroup.procs"), pid);
        }
        // Its processes may still be leaving.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
