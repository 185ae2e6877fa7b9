//! Which machine is this, and which run of its kernel?

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{PROC_SUPER_MAGIC, statfs};

use super::slot::Record;
use crate::clock;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    pub(super) machine: Option<u128>,
    pub(super) boot: Option<u128>,
    /// The boot id is the kernel's own. A container may have another one mounted over it.
    pub(super) boot_is_true: bool,
    pub(super) uptime: Option<Duration>,
}

impl Host {
    /// The number that the kernel gives its first PID namespace (`PID_NS_INIT_INO` in linux/nsfs.h).
    const OWN_PID_NAMESPACE: &str = "pid:[4026531836]";

    pub(super) fn this() -> Host {
        let namespace = fs::read_link("/proc/self/ns/pid");
        let bare = namespace.is_ok_and(|name| name == Path::new(Self::OWN_PID_NAMESPACE));
        Host {
            machine: if bare { read_id("/etc/machine-id") } else { None },
            boot: boot_id(),
            boot_is_true: statfs(BOOT_ID).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC),
            uptime: clock::uptime(),
        }
    }

    /// How long the node that wrote `record` has certainly not been running. See the essay of the module above.
    pub(super) fn certain_downtime(&self, record: &Record) -> Duration {
        let same_machine = self.machine.is_some() && self.machine == record.machine;
        let rebooted = self.boot.is_some() && record.boot.is_some() && self.boot != record.boot;
        match self.uptime {
            Some(uptime) if same_machine && rebooted => uptime,
            Some(_) | None => Duration::ZERO,
        }
    }
}

/// Tells one run of a host's kernel from every other.
pub(crate) fn boot_id() -> Option<u128> {
    read_id(BOOT_ID)
}

/// 32 hexadecimal digits, with or without dashes. `None` if the file is missing or not yet filled.
fn read_id(path: &str) -> Option<u128> {
    let digits = fs::read_to_string(path).ok()?.trim().replace('-', "");
    let id = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32 && id != 0).then_some(id)
}
