//! The flight recorder: what reached a node, and what it did, in files.
//!
//! A node is a loop around a value, the [`Engine`]. So everything that it decides follows from where the engine began,
//! and from what was stepped at which moment. A recording holds just that: the engine as it was, and then each step
//! with its moment, its mail, and a digest of what the driver did about it. A test steps the shipped engine again with
//! the same mail. It must do the same, and the driver must have done what the engine wanted. The recordings of all
//! nodes of one host, on the one clock that they share, show what a cluster did.
//!
//! **It costs the node nothing that matters.** The election thread encodes a step, some 42 bytes, and puts it into
//! a bounded queue. One thread opens and writes the files. If the disk is too slow, steps are lost, and the next part
//! begins with the engine as it is then. If a file cannot be written, there is no recording, or it ends: the log has a
//! warning, and the node goes on.
//!
//! **It is bounded.** A recording has parts, each a file of about 1 MiB that begins with an engine, so that each can be
//! replayed alone. The oldest parts are removed, and all parts of a node together stay below 8 MiB.
//!
//! **It survives the process.** Each step is written at once and nothing is flushed: a process that is killed loses
//! what waited in the queue, and a host that loses its power some seconds. A frame that was half written is seen by its
//! checksum, and ends the part there.
//!
//! There is no secret in it: ids of nodes, terms, times, and the text of an error of the disk.

#[cfg_attr(not(feature = "checkers"), allow(unreachable_pub))] // tests read what is there
mod entry;
mod file;
#[cfg(feature = "checkers")]
mod read;

use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender, TrySendError};
use serde::Serialize;

pub(crate) use self::entry::Reading;
use self::entry::{Digest, Entry, Header, put_frame};
use self::file::{Batch, Files, Limits};
use crate::clock;
use crate::election::{HardState, Instant, NodeId};
use crate::engine::{Engine, Mail};
use crate::log_queue::LogQueue;
use crate::store::{self, StoreError};

#[cfg(feature = "checkers")]
pub use self::{
    entry::{Entry as RecordedEntry, Reading as RecordedReading},
    read::{Done, Recording, read},
};

/// How long a node that has stopped waits for its last steps to be written.
const END_LIMIT: Duration = Duration::from_millis(250);

/// Notes what is stepped and what is done. Without a folder it notes nothing.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Option<Running>);

#[derive(Debug)]
struct Running {
    batches: Sender<Batch>,
    node: NodeId,
    /// Tells the processes of a node apart.
    process: u64,
    boot: Option<u128>,
    /// The most bytes of a part, beside its last step.
    most: usize,
    /// How many bytes this part has; nothing before the first part and after a loss.
    part: Option<usize>,
    /// The thread has ended, because a file could not be written. It has said why.
    ended: bool,
    /// The step that is under way.
    frames: Vec<u8>,
    digest: Digest,
    /// A write of this step has failed.
    failed: bool,
}

impl Recorder {
    /// Starts the thread that writes. It says so in the log if `folder` cannot be used.
    pub(crate) fn start(folder: &Path, node: NodeId, process: u64, log: &LogQueue) -> io::Result<Recorder> {
        Recorder::start_with(Limits::default(), folder, node, process, log)
    }

    fn start_with(limits: Limits, folder: &Path, node: NodeId, process: u64, log: &LogQueue) -> io::Result<Recorder> {
        let batches = file::spawn(Files::new(limits, folder, node), node, log.clone())?;
        Ok(Recorder(Some(Running::new(batches, node, process, limits.part))))
    }

    /// Fails if the folder cannot be used, and leaves nothing behind.
    pub(crate) fn rehearse(folder: &Path, node: NodeId) -> Result<(), StoreError> {
        Files::rehearse(folder, node)
    }

    /// `mail` is about to be stepped.
    pub(crate) fn steps<C: Clone + Serialize>(
        &mut self,
        engine: &Engine<C>,
        at: Instant,
        reading: Reading,
        mail: &Mail<C>,
    ) {
        let Some(running) = &mut self.0 else { return };
        if running.part.is_none_or(|bytes| bytes >= running.most) {
            running.begin_part(engine);
        }
        if running.part.is_some() {
            put_frame(&mut running.frames, &Entry::Steps { at, reading, mail });
        }
    }

    /// Something was done about the step.
    pub(crate) fn did(&mut self, what: &impl Hash) {
        if let Some(running) = &mut self.0 {
            what.hash(&mut running.digest);
        }
    }

    /// A state was written, or could not be.
    pub(crate) fn wrote(&mut self, state: &HardState, durably: bool) {
        self.did(&(state, durably));
        if let Some(running) = &mut self.0 {
            running.failed |= !durably;
        }
    }

    /// Hands over what is known of the step under way. For a process that is about to end.
    pub(crate) fn hand_over(&mut self) {
        if let Some(running) = &mut self.0 {
            running.write();
        }
    }

    /// Everything was done about the step.
    pub(crate) fn done(&mut self) {
        let Some(running) = &mut self.0 else { return };
        let digest = std::mem::take(&mut running.digest).number();
        if !running.frames.is_empty() {
            let failed = std::mem::take(&mut running.failed);
            put_frame(&mut running.frames, &Entry::<&()>::Done { digest, failed });
            running.write();
        }
        self.0.take_if(|running| running.ended);
    }

    /// The node has stopped: has the rest written, and waits for that no longer than 250 ms.
    pub(crate) fn end(&mut self) {
        let Some(mut running) = self.0.take() else { return };
        if running.part.is_some() {
            put_frame(&mut running.frames, &Entry::<&()>::Stopped);
            running.write();
        }
        let until = clock::now() + END_LIMIT;
        let (done, is_done) = crossbeam_channel::bounded(0);
        match running.batches.send_timeout(Batch::End(done), END_LIMIT) {
            // Nothing is ever sent on it: its end is the answer.
            Ok(()) => drop(is_done.recv_timeout(until.since(clock::now()))),
            Err(SendTimeoutError::Timeout(_) | SendTimeoutError::Disconnected(_)) => {}
        }
    }
}

impl Running {
    fn new(batches: Sender<Batch>, node: NodeId, process: u64, most: usize) -> Running {
        Running {
            batches,
            node,
            process,
            boot: store::boot_id(),
            most,
            part: None,
            ended: false,
            frames: Vec::new(),
            digest: Digest::default(),
            failed: false,
        }
    }

    fn begin_part<C: Clone + Serialize>(&mut self, engine: &Engine<C>) {
        let header = Header {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node,
            process: self.process,
            boot: self.boot,
            continues: self.part.is_some(),
            engine,
        };
        let bytes = header.encode();
        self.part = Some(bytes.len());
        self.put(Batch::Part(bytes));
    }

    fn write(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.frames);
        self.part = self.part.map(|bytes| bytes + frames.len());
        self.put(Batch::Frames(frames));
    }

    /// What finds no room is lost. Then there is no part until there is room for one.
    fn put(&mut self, batch: Batch) {
        match self.batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.part = None,
            Err(TrySendError::Disconnected(_)) => self.ended = true,
        }
    }
}

/// The election thread panics: the step under way is the one that matters.
impl Drop for Running {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests;
