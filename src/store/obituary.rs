//! May this process say that no earlier process of the node lives? See rule 15 of the [protocol](crate::manual::protocol).
//!
//! The lock on the vote file is the proof: a process of the node holds it for as long as it can act. Whoever gets it
//! knows that none lives that used *this file*. So the file must be the one that all processes of the node used:
//!
//! - **Written in this very boot.** The kernel makes up a boot id at each boot, and a lock does not reach from one
//!   kernel to another. Containers may be shown a boot id that is made up, but not by a file of the kernel itself.
//! - **The same file.** A record names the device and the inode of its file. A copy finds those of the original. It may
//!   have been made while the original was in use, so a copy says no obituary, ever.
//! - **On a local file system.** On a network file system a lock may be a matter of one host, or may be lost.
//! - **Not in doubt.** The term in the file must be the highest one in which an earlier process was elected.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, fstatfs};
use rustix::io::{Errno, retry_on_intr};

use super::slot::{Found, Home, Record};
use super::{Host, StoreError, VoteFile, file_stem, lock, open_existing, place, read};
use crate::election::{NodeId, Term};

/// Where a lock on a file is a lock for the whole host, and for no other: (`f_type` of statfs, name). An overlay is
/// missing, because its files can be reached around it.
const LOCAL: [u64; 11] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x72b6,      // jffs2
    0x2405_1905, // ubifs
    0x3434,      // nilfs2
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
];

/// Why nothing can be said of the earlier processes of a node. They may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoObituary {
    New,
    BootUnknown,
    OtherBoot,
    Copied,
    NotLocal { kind: u64 },
    InDoubt,
}

impl fmt::Display for NoObituary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoObituary::New => f.write_str("the vote file holds no vote yet, or a version before 0.2 has written it"),
            NoObituary::BootUnknown => f.write_str(
                "the kernel does not tell which boot this is: expected its own /proc/sys/kernel/random/boot_id, which \
                 some containers replace",
            ),
            NoObituary::OtherBoot => f.write_str("the vote file was last written before this boot"),
            NoObituary::Copied => f.write_str(
                "the vote file is a copy, and the original may be in use: to begin anew, keep the node stopped for at \
                 least two election timeouts, remove the file and start the node",
            ),
            NoObituary::NotLocal { kind } => write!(
                f,
                "the state folder is on a file system of type {kind:#x}, where a lock may not hold for every process: \
                 expected a local one, such as ext4, xfs, btrfs, f2fs, ubifs or tmpfs"
            ),
            NoObituary::InDoubt => f.write_str("a later state of this node may be lost"),
        }
    }
}

/// Whether `found`, in a file of which this process has the lock, proves that no earlier process can act: in no term up
/// to the one that is returned.
pub(super) fn obituary(file: &File, host: &Host, found: Option<&Found>, own: Home) -> Result<Term, NoObituary> {
    let Some(record) = found.map(|found| found.record) else {
        return Err(NoObituary::New);
    };
    let home = record.home.ok_or(NoObituary::New)?;
    if record.copied || is_copy(&record, home, own, host) {
        return Err(NoObituary::Copied);
    }
    match (host.boot.filter(|_| host.boot_is_true), record.boot) {
        (None, _) => return Err(NoObituary::BootUnknown),
        (Some(now), then) if then != Some(now) => return Err(NoObituary::OtherBoot),
        (Some(_), _) => {}
    }
    let kind = fstatfs(file).map_or(0, |found| found.f_type as u64 & 0xffff_ffff);
    if !LOCAL.contains(&kind) {
        return Err(NoObituary::NotLocal { kind });
    }
    if record.state.in_doubt {
        return Err(NoObituary::InDoubt);
    }
    Ok(record.state.term)
}

/// Whether the record was written to another file than the one in which it was found. A device may have another number
/// after a boot, an inode has not.
fn is_copy(record: &Record, home: Home, own: Home, host: &Host) -> bool {
    let same_boot = host.boot.is_some() && record.boot == host.boot;
    let other_machine = host.machine.is_some() && record.machine.is_some() && record.machine != host.machine;
    home.inode != own.inode || (same_boot && home.device != own.device) || other_machine
}

pub(super) fn home(file: &File) -> std::io::Result<Home> {
    let metadata = file.metadata()?;
    Ok(Home { device: metadata.dev(), inode: metadata.ino() })
}

/// What a process that waits in the lock of a node has found when it got it.
#[derive(Debug)]
pub(crate) enum Death {
    /// No earlier process of the node can act in this term or an earlier one.
    Proved(Term),
    /// The lock was free, and proves nothing.
    Unproved(NoObituary),
    /// There is no vote file, or it is another one now.
    NoFile,
}

impl VoteFile {
    /// Whether a process holds the lock of the node. Does not wait.
    pub(crate) fn is_locked(state_dir: &Path, node: NodeId) -> bool {
        let Ok(Some(file)) = open_existing(&state_dir.join(file_stem(node) + ".vote")) else {
            return false;
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    }

    /// As [`wait_for_death`](VoteFile::wait_for_death), but fails if a process still holds the lock.
    pub(crate) fn look_for_death(state_dir: &Path, node: NodeId, cluster: &str) -> Result<Death, StoreError> {
        Self::death_on(&Host::this(), state_dir, node, cluster, lock)
    }

    /// Waits until no process holds the lock of the node, and tells what that proves. The lock is given back at once,
    /// so that the node can start. What was found stays true: a later process is elected only in higher terms.
    pub(crate) fn wait_for_death(state_dir: &Path, node: NodeId, cluster: &str) -> Result<Death, StoreError> {
        Self::death_on(&Host::this(), state_dir, node, cluster, |file, path| {
            let locked = retry_on_intr(|| flock(file, FlockOperation::LockExclusive));
            locked.map_err(|error| StoreError::io("lock", path)(error.into()))
        })
    }

    pub(super) fn death_on(
        host: &Host,
        state_dir: &Path,
        node: NodeId,
        cluster: &str,
        lock: impl FnOnce(&File, &Path) -> Result<(), StoreError>,
    ) -> Result<Death, StoreError> {
        let (path, owner) = place(state_dir, node, cluster)?;
        let Some(file) = open_existing(&path)? else {
            return Ok(Death::NoFile);
        };
        lock(&file, &path)?;
        let own = home(&file).map_err(StoreError::io("look at", &path))?;
        let now = path.symlink_metadata().map(|now| Home { device: now.dev(), inode: now.ino() });
        if now.ok() != Some(own) {
            return Ok(Death::NoFile);
        }
        let found = read(&file, &path, &owner)?;
        Ok(match obituary(&file, host, found.as_ref(), own) {
            Ok(term) => Death::Proved(term),
            Err(why) => Death::Unproved(why),
        })
    }
}
