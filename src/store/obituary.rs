//! May this process say that no earlier process of the node lives? See rule 15 of the
//! [protocol](crate::manual::protocol).
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

impl NoObituary {
    /// How loud it is said at the start of a node: what stays so has to be known, and what is usual has not.
    pub(crate) fn level(self) -> log::Level {
        match self {
            NoObituary::New | NoObituary::OtherBoot => log::Level::Debug,
            NoObituary::BootUnknown | NoObituary::NotLocal { .. } | NoObituary::InDoubt => log::Level::Info,
            NoObituary::Copied => log::Level::Warn,
        }
    }
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

/// Where a vote file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) home: Home,
    /// The type of its file system: `f_type` of statfs.
    pub(super) kind: u64,
}

impl Place {
    pub(super) fn of(file: &File, path: &Path) -> Result<Place, StoreError> {
        let failed = StoreError::io("look at", path);
        let place = file.metadata().and_then(|metadata| {
            let home = Home { device: metadata.dev(), inode: metadata.ino() };
            // A negative number on some processors.
            Ok(Place { home, kind: fstatfs(file)?.f_type as u64 & 0xffff_ffff })
        });
        place.map_err(failed)
    }
}

/// Whether `found`, in a file of which this process has the lock, proves that no earlier process can act: in no term up
/// to the one that is returned.
pub(super) fn obituary(place: Place, host: &Host, found: Option<&Found>) -> Result<Term, NoObituary> {
    let Some(record) = found.map(|found| found.record) else {
        return Err(NoObituary::New);
    };
    let home = record.home.ok_or(NoObituary::New)?;
    if !LOCAL.contains(&place.kind) {
        return Err(NoObituary::NotLocal { kind: place.kind });
    }
    if record.copied || is_copy(&record, home, place.home, host) {
        return Err(NoObituary::Copied);
    }
    if !host.boot_is_true || host.boot.is_none() {
        return Err(NoObituary::BootUnknown);
    }
    if record.boot != host.boot {
        return Err(NoObituary::OtherBoot);
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
    home.inode != own.inode || (same_boot && home.device != own.device)
}

/// What a process that waits in the lock of a node has found when it got it.
#[derive(Debug, PartialEq, Eq)]
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
        let place = Place::of(&file, &path)?;
        let now = path.symlink_metadata().map(|now| Home { device: now.dev(), inode: now.ino() });
        if now.ok() != Some(place.home) {
            return Ok(Death::NoFile);
        }
        let found = read(&file, &path, &owner)?;
        Ok(match obituary(place, host, found.as_ref()) {
            Ok(term) => Death::Proved(term),
            Err(why) => Death::Unproved(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::election::{HardState, Store};
    use crate::store::SLOT;

    const HOST: Host = Host { machine: Some(1), boot: Some(1), boot_is_true: true, uptime: None };
    const HOME: Home = Home { device: 3, inode: 4 };
    const PLACE: Place = Place { home: HOME, kind: 0xef53 };

    fn found(change: impl FnOnce(&mut Record)) -> Found {
        let state = HardState { term: Term(7), ..HardState::default() };
        let (machine, boot, home) = (Some(1), Some(1), Some(HOME));
        let mut record = Record { number: 2, state, machine, boot, home, copied: false };
        change(&mut record);
        Found { record, damaged: false }
    }

    fn says(place: Place, host: Host, change: impl FnOnce(&mut Record)) -> Result<Term, NoObituary> {
        obituary(place, &host, Some(&found(change)))
    }

    #[test]
    fn the_lock_proves_a_death_if_the_file_was_written_here_and_in_this_boot() {
        assert_eq!(says(PLACE, HOST, |_| {}), Ok(Term(7)));
        assert_eq!(says(PLACE, Host { machine: None, ..HOST }, |_| {}), Ok(Term(7)), "in a container");
    }

    #[test]
    fn a_file_without_a_record_of_its_place_proves_nothing() {
        assert_eq!(obituary(PLACE, &HOST, None), Err(NoObituary::New));
        assert_eq!(says(PLACE, HOST, |record| record.home = None), Err(NoObituary::New));
    }

    #[test]
    fn a_file_that_was_last_written_before_this_boot_proves_nothing() {
        assert_eq!(says(PLACE, HOST, |record| record.boot = Some(2)), Err(NoObituary::OtherBoot));
        assert_eq!(says(PLACE, HOST, |record| record.boot = None), Err(NoObituary::OtherBoot));
    }

    #[test]
    fn a_boot_id_that_the_kernel_did_not_make_proves_nothing() {
        assert_eq!(says(PLACE, Host { boot_is_true: false, ..HOST }, |_| {}), Err(NoObituary::BootUnknown));
        let unknown = Host { boot: None, ..HOST };
        assert_eq!(says(PLACE, unknown, |record| record.boot = None), Err(NoObituary::BootUnknown));
    }

    #[test]
    fn a_copy_proves_nothing_wherever_and_whenever_it_is_found() {
        for home in [Home { inode: 5, ..HOME }, Home { device: 5, ..HOME }] {
            assert_eq!(says(Place { home, ..PLACE }, HOST, |_| {}), Err(NoObituary::Copied));
        }
        let rebooted = Host { boot: Some(2), ..HOST };
        let inode = Place { home: Home { inode: 5, ..HOME }, ..PLACE };
        assert_eq!(says(inode, rebooted, |_| {}), Err(NoObituary::Copied));
        let device = Place { home: Home { device: 5, ..HOME }, ..PLACE };
        assert_eq!(says(device, rebooted, |_| {}), Err(NoObituary::OtherBoot), "a device may change its number");
        assert_eq!(says(PLACE, HOST, |record| record.copied = true), Err(NoObituary::Copied));
    }

    #[test]
    fn a_lock_on_a_file_system_of_several_hosts_proves_nothing() {
        // NFS, CIFS, SMB2, 9p, FUSE, Ceph, an overlay
        for kind in [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x794c_7630] {
            assert_eq!(says(Place { kind, ..PLACE }, HOST, |_| {}), Err(NoObituary::NotLocal { kind }));
        }
    }

    #[test]
    fn a_state_in_doubt_proves_nothing() {
        assert_eq!(says(PLACE, HOST, |record| record.state.in_doubt = true), Err(NoObituary::InDoubt));
    }

    /// On a file system of a known type: others would hide what is tested.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let kind = fstatfs(File::open(folder.path()).expect("opened")).expect("a file system").f_type as u64;
        if LOCAL.contains(&(kind & 0xffff_ffff)) {
            return folder;
        }
        tempfile::tempdir_in("/dev/shm").expect("a folder in memory")
    }

    fn open(folder: &Path) -> VoteFile {
        VoteFile::open_on(HOST, folder, 1.into(), "east").expect("opened").0
    }

    fn death(folder: &Path) -> Death {
        VoteFile::death_on(&HOST, folder, 1.into(), "east", lock).expect("read")
    }

    fn vote(file: &mut VoteFile, term: u64) {
        file.save(&HardState { term: Term(term), ..HardState::default() }).expect("saved");
    }

    #[test]
    fn a_process_that_starts_says_the_term_that_it_found_under_the_lock() {
        let folder = folder();
        let mut file = open(folder.path());
        assert_eq!(file.obituary(), Err(NoObituary::New));
        vote(&mut file, 5);
        drop(file);
        let mut file = open(folder.path());
        vote(&mut file, 6);
        assert_eq!(file.obituary(), Ok(Term(5)));
        drop(file);
        assert_eq!(death(folder.path()), Death::Proved(Term(6)));
    }

    #[test]
    fn nobody_is_dead_while_anybody_holds_the_lock() {
        let folder = folder();
        let mut file = open(folder.path());
        vote(&mut file, 5);
        let held = file.lock();
        drop(file);
        assert!(VoteFile::is_locked(folder.path(), 1.into()));
        let error = VoteFile::death_on(&HOST, folder.path(), 1.into(), "east", lock).expect_err("locked");
        assert!(error.to_string().contains("another process uses this state"), "{error}");
        let (found, is_found) = channel();
        let path = folder.path().to_owned();
        let waits = thread::spawn(move || found.send(VoteFile::wait_for_death(&path, 1.into(), "east").map(|_| ())));
        assert!(is_found.recv_timeout(Duration::from_millis(100)).is_err(), "it waits");
        drop(held);
        is_found.recv_timeout(Duration::from_secs(30)).expect("in time").expect("read");
        waits.join().expect("no panic").expect("received");
        assert!(!VoteFile::is_locked(folder.path(), 1.into()));
    }

    #[test]
    fn a_copied_file_says_no_obituary_even_after_it_was_written() {
        let (original, copied) = (folder(), folder());
        vote(&mut open(original.path()), 5);
        fs::copy(original.path().join("node-1.vote"), copied.path().join("node-1.vote")).expect("copied");
        for term in 6..10 {
            let mut file = open(copied.path());
            assert_eq!(file.obituary(), Err(NoObituary::Copied), "term {term}");
            vote(&mut file, term);
        }
        assert_eq!(death(copied.path()), Death::Unproved(NoObituary::Copied));
        assert_eq!(death(original.path()), Death::Proved(Term(5)));
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_proves_nothing() {
        let folder = folder();
        assert_eq!(death(folder.path()), Death::NoFile);
        vote(&mut open(folder.path()), 5);
        let path = folder.path().join("node-1.vote");
        let replaced = VoteFile::death_on(&HOST, folder.path(), 1.into(), "east", |_, _| {
            fs::rename(&path, folder.path().join("aside")).map_err(StoreError::io("move", &path))?;
            vote(&mut open(folder.path()), 6);
            Ok(())
        });
        assert_eq!(replaced.expect("read"), Death::NoFile);
    }

    #[test]
    fn a_file_of_the_first_format_is_read_and_says_no_obituary_once() {
        let folder = folder();
        let mut file = open(folder.path());
        vote(&mut file, 5);
        drop(file);
        let path = folder.path().join("node-1.vote");
        let bytes = fs::read(&path).expect("read");
        let first: Vec<u8> = bytes.chunks(SLOT).flat_map(crate::store::slot::as_first_format).collect();
        fs::write(&path, first).expect("written");
        assert_eq!(open(folder.path()).obituary(), Err(NoObituary::New));
        assert_eq!(open(folder.path()).obituary(), Ok(Term(5)));
    }
}
