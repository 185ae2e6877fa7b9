//! The files of a recording, and the one thread that writes them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, Sender};

use crate::election::NodeId;
use crate::log_queue::LogQueue;
use crate::store::{self, StoreError, create_folder, file_stem, new_file_options};

/// How many steps may wait for the disk. A node has some thirty a second, and thousands in a flood.
const MOST_BATCHES: usize = 1024;

/// How large a recording gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The bytes of a part, beside its last step.
    pub(super) part: usize,
    /// The bytes of all parts of a node.
    pub(super) all: u64,
    /// How many files a node has: one that is started again and again makes small ones.
    pub(super) files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { part: 1 << 20, all: 8 << 20, files: 64 }
    }
}

/// What the thread is given.
#[derive(Debug)]
pub(super) enum Batch {
    /// Begin a new file with this.
    Part(Vec<u8>),
    Frames(Vec<u8>),
    /// Nothing comes after it. What is dropped then tells that it is done.
    End(Sender<()>),
}

/// The files of one node in a folder: `node-<id>-<number>.recording`.
#[derive(Debug)]
pub(super) struct Files {
    limits: Limits,
    folder: PathBuf,
    stem: String,
    /// The file that is being written.
    current: Option<(PathBuf, File)>,
}

impl Files {
    pub(super) fn new(limits: Limits, folder: &Path, node: NodeId) -> Files {
        Files { limits, folder: folder.to_owned(), stem: file_stem(node) + "-", current: None }
    }

    pub(super) fn rehearse(folder: &Path, node: NodeId) -> Result<(), StoreError> {
        store::try_to_create(&folder.join(file_stem(node) + "-0.recording"))
    }

    /// Writes all that comes.
    fn write(&mut self, waiting: &Receiver<Batch>) -> Result<(), StoreError> {
        while let Ok(batch) = waiting.recv() {
            match batch {
                Batch::Part(bytes) => {
                    self.begin_part()?;
                    self.append(&bytes)?;
                }
                Batch::Frames(bytes) => self.append(&bytes)?,
                Batch::End(_done) => break,
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, file) = self.current.as_mut().expect("a recording begins with a part");
        file.write_all(bytes).map_err(StoreError::io("write", path))
    }

    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.current = None;
        create_folder(&self.folder.join("a file"))?;
        self.remove_oldest().map_err(StoreError::io("make room in", &self.folder))?;
        let created = create_next(&self.folder, &self.stem);
        self.current = Some(created.map_err(StoreError::io("create a recording in", &self.folder))?);
        Ok(())
    }

    /// Makes room for one more part.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut parts = Vec::new();
        for (number, path) in parts_in(&self.folder, &self.stem)? {
            // Gone, if somebody has removed it just now.
            let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            parts.push((number, length, path));
        }
        parts.sort();
        let mut bytes: u64 = parts.iter().map(|(_, bytes, _)| bytes).sum::<u64>() + self.limits.part as u64;
        let mut count = parts.len() + 1;
        for (_, length, path) in parts {
            if bytes <= self.limits.all && count <= self.limits.files {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (bytes, count) = (bytes - length, count - 1),
            }
        }
        Ok(())
    }
}

/// Creates the file with the next number.
fn create_next(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    let mut number = parts_in(folder, stem)?.into_iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    loop {
        let path = folder.join(format!("{stem}{number}.recording"));
        match new_file_options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            created => return Ok((path, created?)),
        }
    }
}

fn parts_in(folder: &Path, stem: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(stem)?.strip_suffix(".recording")?.parse().ok());
        parts.extend(number.map(|number| (number, entry.path())));
    }
    Ok(parts)
}

/// Starts the thread. It ends at [`Batch::End`], when nobody can write any more, or when a file cannot be written.
pub(super) fn spawn(mut files: Files, node: NodeId, log: LogQueue) -> io::Result<Sender<Batch>> {
    let (batches, waiting) = crossbeam_channel::bounded(MOST_BATCHES);
    let run = move || {
        if let Err(error) = files.write(&waiting) {
            log::warn!(logger: log, "node {node}: nothing is recorded until the next start: {error}");
        }
    };
    thread::Builder::new().name(format!("le{node}-recorder")).spawn(run)?;
    Ok(batches)
}
