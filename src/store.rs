//! The vote file: the state that a node must not forget, in a form that a power cut cannot destroy.
//!
//! A node that forgets its vote may vote twice. So a vote is durable before it is said. That makes this write a part of
//! every failover, and the file is made for one thing: **one block overwritten in place, one flush**. To write a new
//! file and rename it would take a flush of the file, a flush of its folder and a journal commit for each. Here the
//! file gets its full size and a first record once. Then two slots take turns: even records go to the first, odd
//! records to the second. A power cut can tear only the slot that is being written. The other slot still holds the
//! state before. A record is shorter than the smallest sector of a disk, 512 bytes, so a torn slot is rare. The
//! checksum shows it.
//!
//! **A state that was read is not yet durable.** A process that is killed between write and flush leaves a record. Its
//! successor can read it, and a power cut can still remove it. A failed flush is worse: Linux marks the lost pages
//! clean, so a second flush succeeds and has not written them ("PostgreSQL's fsync() surprise",
//! lwn.net/Articles/752063). So [`VoteFile::open`] writes the state that it found once more before it returns it. And
//! after the first failed write nothing is written any more.
//!
//! **A damaged slot puts the state of the other slot in doubt.** The damage may be a write that did not end: then no
//! message relies on it. Or it may be the newest state gone bad. Nothing tells these cases apart, so the node has to
//! wait as if it had forgotten a vote ([`HardState::in_doubt`]). The doubt is written with every later state until the
//! node has waited, so that a restart does not cut the wait short. An empty slot where there must have been a record
//! counts as damaged. A new file gets its first record before anything else is done. So an empty file was damaged, or
//! its creation did not end: that is a doubt too.
//!
//! **How long a node has been down** is known only after a reboot. Then the boot id differs, and the node did not run
//! during the uptime of the host. A folder on a network volume may have moved to another host, whose uptime proves
//! nothing: hence the machine id. Inside a container both ids prove nothing: LXC and systemd-nspawn make up a boot id
//! for every start of a container, and the machine id belongs to the image. So only a process in the host's own PID
//! namespace may count the uptime, and only at the first start after a boot. The second start finds the new boot id in
//! the file.
//!
//! If the file is **removed while the node runs**, the next write notices and fails. If its folder is renamed, no harm
//! is done. This file cannot see a disk that confirms a flush and loses the data, a snapshot that is put back, or two
//! hosts that are cloned with one machine id.

mod host;
mod obituary;
mod rehearsal;
mod slot;

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use self::host::Host;
pub(crate) use self::host::boot_id;
use self::obituary::Place;
pub(crate) use self::obituary::{Death, NoObituary};
pub(crate) use self::rehearsal::try_to_create;
use self::slot::{FORMAT, Found, Home, LONGEST_CLUSTER, Owner, Record, SLOT, Unreadable, newest};
use crate::clock;
use crate::election::{HardState, NodeId, Recovery, Store, Term};
use crate::state_lock::StateLock;

/// The state of one node. It is locked while this value lives.
#[derive(Debug)]
pub(crate) struct VoteFile {
    path: PathBuf,
    disk: Box<dyn Disk>,
    owner: Owner,
    host: Host,
    home: Home,
    copied: bool,
    next: u64,
    last: HardState,
    failure: Option<String>,
    /// What the operator should know of the file as it was found.
    warning: Option<String>,
    obituary: Result<Term, NoObituary>,
    lock: StateLock,
}

impl VoteFile {
    /// Opens the file of `node` in `state_dir` and locks it. Creates the file and the folder if they do not exist.
    pub(crate) fn open(state_dir: &Path, node: NodeId, cluster: &str) -> Result<(VoteFile, Recovery), StoreError> {
        Self::open_on(Host::this(), state_dir, node, cluster)
    }

    /// What is wrong with the file, if the node can go on all the same.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The term up to which no earlier process of the node can act any more, or why that is not known.
    pub(crate) fn obituary(&self) -> Result<Term, NoObituary> {
        self.obituary
    }

    pub(crate) fn lock(&self) -> StateLock {
        self.lock.clone()
    }

    fn open_on(host: Host, state_dir: &Path, node: NodeId, cluster: &str) -> Result<(VoteFile, Recovery), StoreError> {
        let (path, owner) = place(state_dir, node, cluster)?;
        let (file, locked, created) = open_locked(&path)?;
        let found = read(&file, &path, &owner)?;
        match found {
            None => fill(&file, &path).map_err(StoreError::io("create", &path))?,
            // The slot that is overwritten next may be the only durable one. So first make the other one durable.
            Some(_) => file.sync_data().map_err(StoreError::io("flush", &path))?,
        }
        // A file that existed and is empty may have had records: then nobody knows what is lost.
        let in_doubt = found.is_none() && !created;
        let new = HardState { in_doubt, ..HardState::default() };
        let state = found.map_or(new, |found| found.record.state);
        let place = Place::of(&file, &path)?;
        let obituary = obituary::obituary(place, &host, found.as_ref());
        let lock = StateLock::of(locked);
        let mut vote_file = VoteFile {
            warning: warning(&path, found.as_ref(), state),
            path,
            disk: Box::new(file),
            owner,
            host,
            home: place.home,
            copied: obituary == Err(NoObituary::Copied),
            obituary,
            lock,
            next: found.map_or(0, |found| found.record.number + 1),
            last: state,
            failure: None,
        };
        vote_file.write(state)?;
        if state == HardState::default() {
            return Ok((vote_file, Recovery::Fresh));
        }
        let down_for = found.map_or(Duration::ZERO, |found| host.certain_downtime(&found.record));
        Ok((vote_file, Recovery::Restored { state, down_for }))
    }

    fn write(&mut self, state: HardState) -> Result<(), StoreError> {
        let path = self.path.display();
        if let Some(first) = &self.failure {
            return Err(StoreError::unusable(format!(
                "{path} is not written any more, because a write failed ({first}): repair the disk and restart"
            )));
        }
        let (Host { machine, boot, .. }, home) = (self.host, Some(self.home));
        let record = Record { number: self.next, state, machine, boot, home, copied: self.copied };
        let slot = record.encode(&self.owner);
        if let Err(error) = self.disk.write_durably(&slot, record.offset()) {
            if error.kind() != ErrorKind::NotFound {
                self.failure = Some(error.to_string());
                return Err(StoreError::io("write", &self.path)(error));
            }
            self.failure = Some("the file was removed".into());
            return Err(StoreError::unusable(format!(
                "{path} was removed or replaced while the node runs, and with it what the node may have voted: stop \
                 the node for at least two election timeouts, put the file back if you can, and start the node again"
            )));
        }
        self.next += 1;
        self.last = state;
        Ok(())
    }
}

/// The cluster of a node in a later term soon has no terms left. No cluster gets there by elections.
const LAST_USABLE_TERM: Term = Term(Term::LAST.0 - Term::LARGEST_JUMP);

impl Store for VoteFile {
    type Error = StoreError;

    fn save(&mut self, state: &HardState) -> Result<(), StoreError> {
        let last = self.last;
        let same_vote = state.term == last.term && state.voted_for == last.voted_for;
        let may_vote = state.term > last.term || last.voted_for.is_none();
        assert!(state.term >= last.term, "TermDurable: {state:?} after {last:?}");
        assert!(same_vote || may_vote, "VoteOnce: {state:?} after {last:?}");

        self.write(*state)
    }
}

/// Where a slot is written. A trait, so that a test can make it fail.
trait Disk: fmt::Debug + Send {
    fn write_durably(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl Disk for File {
    fn write_durably(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // A file without a name is gone with the process. So no promise may rely on what is written to it.
        if self.metadata()?.nlink() == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        self.write_all_at(bytes, offset)?;
        self.sync_data()
    }
}

/// The warning for a file that held `found`, of which `state` was made.
fn warning(path: &Path, found: Option<&Found>, state: HardState) -> Option<String> {
    let path = path.display();
    match found {
        None if state.in_doubt => Some(format!(
            "{path} was there and is empty: if it ever held a record, what this node has voted is lost. It waits \
             longer before it votes; check the disk"
        )),
        Some(found) if found.damaged => Some(format!(
            "one of the two records in {path} is damaged: the node goes on with the other, and waits longer before \
             it votes; check the disk"
        )),
        Some(_) if state.in_doubt => {
            Some(format!("by {path} an earlier state of this node may be lost: it waits longer before it votes"))
        }
        Some(_) | None => None,
    }
}

/// The path of a node's file, and what the file has to say of its owner.
fn place(state_dir: &Path, node: NodeId, cluster: &str) -> Result<(PathBuf, Owner), StoreError> {
    let path = state_dir.join(file_stem(node) + ".vote");
    if cluster.len() > LONGEST_CLUSTER {
        let (found, path) = (cluster.len(), path.display());
        return Err(StoreError::unusable(format!(
            "the name of the cluster has {found} bytes, at most {LONGEST_CLUSTER} fit into {path}: shorten it on every \
             node"
        )));
    }
    Ok((path, Owner { node, cluster: cluster.to_owned() }))
}

/// The newest state in the file, if there is one.
fn read(file: &File, path: &Path, owner: &Owner) -> Result<Option<Found>, StoreError> {
    let mut bytes = Vec::with_capacity(2 * SLOT);
    file.take(2 * SLOT as u64).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    let found = newest(&bytes, owner).map_err(|why| StoreError::unreadable(path, &why))?;
    match found.map(|found| found.record.state.term) {
        Some(term) if term > LAST_USABLE_TERM => Err(StoreError::used_up(path, term)),
        Some(_) | None => Ok(found),
    }
}

/// The file, the lock, and whether the file is a new one. The lock is on the vote file itself, which is never replaced.
/// The lock ends with the process, in whatever way that ends. It is a file of its own, which may be handed to other
/// processes: nobody can write votes through it.
fn open_locked(path: &Path) -> Result<(File, File, bool), StoreError> {
    let (file, created) = match open_existing(path)? {
        Some(file) => (file, false),
        None => {
            create_folder(path)?;
            let made = new_file_options().create(true).truncate(false).open(path);
            (made.map_err(StoreError::io("create", path))?, true)
        }
    };
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32);
    let locked = options.open(path).map_err(StoreError::io("open", path))?;
    lock(&locked, path)?;
    if Place::of(&locked, path)? != Place::of(&file, path)? {
        let shown = path.display();
        let text = format!("{shown} was replaced just now: stop whatever does that, and start the node again");
        return Err(StoreError::unusable(text));
    }
    Ok((file, locked, created))
}

pub(crate) fn create_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(StoreError::io("create the folder of", path))
}

pub(crate) fn new_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A pipe or a device must not make the open wait, before it can be refused. A link would let another, who may write
    // to the folder, choose the file that is overwritten.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    options.read(true).write(true).mode(0o600).custom_flags(flags);
    options
}

/// The file at `path`, if there is anything.
fn open_existing(path: &Path) -> Result<Option<File>, StoreError> {
    let file = match new_file_options().open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            let shown = path.display();
            return Err(StoreError::unusable(format!(
                "{shown} is a symbolic link, expected a file: put the file itself there, or correct the state folder"
            )));
        }
        opened => opened.map_err(StoreError::io("open", path))?,
    };
    if file.metadata().map_err(StoreError::io("look at", path))?.is_file() {
        return Ok(Some(file));
    }
    let shown = path.display();
    Err(StoreError::unusable(format!(
        "{shown} is a pipe, a device or the like, expected a file: move it away, or correct the state folder"
    )))
}

/// A process that dies, or one that waits for that, may hold the lock for a moment.
const LOCKED_FOR_A_MOMENT: Duration = Duration::from_millis(300);

fn lock(file: &File, path: &Path) -> Result<(), StoreError> {
    let give_up_at = clock::now() + LOCKED_FOR_A_MOMENT;
    let mut locked = flock(file, FlockOperation::NonBlockingLockExclusive);
    while locked == Err(Errno::WOULDBLOCK) && clock::now() < give_up_at {
        thread::park_timeout(Duration::from_millis(1));
        locked = flock(file, FlockOperation::NonBlockingLockExclusive);
    }
    match locked.map_err(io::Error::from) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let shown = path.display();
            let text = format!(
                "another process uses this state: {shown}: if it is another node, stop it or correct the config; if \
                 this node has just ended, end what its program has started, and drop every `Lease` of the last node \
                 in a program that starts its node again"
            );
            Err(StoreError { problem: StateProblem::Locked, text, source: None })
        }
        locked => locked.map_err(StoreError::io("lock", path)),
    }
}

/// Gives a new file its size. Zeros are written instead of a hole, so that the first vote does not wait for an
/// allocation or find the disk full. The file is durable only if its entry in the folder is, and so on upwards.
fn fill(file: &File, path: &Path) -> io::Result<()> {
    file.write_all_at(&[0; 2 * SLOT], 0)?;
    file.sync_all()?;
    let path = fs::canonicalize(path)?;
    for (height, folder) in path.ancestors().skip(1).enumerate() {
        let flushed = File::open(folder).and_then(|folder| folder.sync_all());
        // This process did not make a folder above that it may not open.
        if height == 0 {
            flushed?;
        }
    }
    Ok(())
}

/// `node-<id>`, with which the names of a node's files begin. A byte that some file system refuses is written as `%`
/// and two digits.
pub(crate) fn file_stem(node: NodeId) -> String {
    let mut name = String::from("node-");
    for (at, byte) in node.as_str().bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (byte == b'.' && at > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// What is wrong with the state of a node that does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateProblem {
    /// Another process uses it.
    Locked,
    /// It is damaged beyond use.
    Damaged,
    /// It belongs to another node or another cluster.
    Foreign,
    /// A newer program wrote it.
    NewerFormat,
    /// The disk is full.
    Full,
    /// The folder or the file cannot be used: see the text.
    Unusable,
}

/// Why a node's state cannot be read or made durable, and what to do.
#[derive(Debug)]
pub(crate) struct StoreError {
    pub(crate) problem: StateProblem,
    text: String,
    source: Option<io::Error>,
}

impl StoreError {
    fn unusable(text: String) -> StoreError {
        StoreError { problem: StateProblem::Unusable, text, source: None }
    }

    /// `doing` says what was being done to the file.
    pub(crate) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let failed = format!("cannot {doing} {}", path.display());
        move |error| {
            let (problem, advice) = match error.kind() {
                ErrorKind::StorageFull => (StateProblem::Full, "free some space and start the node again"),
                _ => (StateProblem::Unusable, "the node needs a folder it may write to, on a disk that works"),
            };
            StoreError { problem, text: format!("{failed}: {error}: {advice}"), source: Some(error) }
        }
    }

    fn used_up(path: &Path, term: Term) -> StoreError {
        let path = path.display();
        let text = format!(
            "{path} holds term {term}, and the terms up to {} are used up: no number of elections leads there, so the \
             file was damaged or a member did not follow the protocol. Keep the node stopped for at least two election \
             timeouts, remove the file and start the node again; if the others have such a term too, do this on all \
             nodes at once, and expect tokens to begin anew",
            Term::LAST
        );
        StoreError { problem: StateProblem::Damaged, text, source: None }
    }

    fn unreadable(path: &Path, why: &Unreadable) -> StoreError {
        let path = path.display();
        let (problem, text) = match why {
            Unreadable::Damaged => (
                StateProblem::Damaged,
                format!(
                    "{path} is damaged: neither of its two records is whole. If this node's state is really lost, \
                     keep the node stopped for at least two election timeouts, remove the file and start the node again"
                ),
            ),
            Unreadable::Foreign { found, expected } => (
                StateProblem::Foreign,
                format!("{path} is the state of {found}, expected {expected}: correct the config or the state folder"),
            ),
            Unreadable::NewerFormat { found } => (
                StateProblem::NewerFormat,
                format!(
                    "{path} has format {found}, this program knows formats up to {FORMAT}: run the newer program again"
                ),
            ),
        };
        StoreError { problem, text, source: None }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref()?)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
