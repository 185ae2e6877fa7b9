//! The log of a node: a pipe with a reader that can hang.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::time::Timespec;

use super::process::wait_for;

/// What the test itself puts into the pipe.
const FILLER: &[u8] = b"~\n";

#[derive(Debug)]
pub(crate) struct LogPipe {
    pub(crate) path: PathBuf,
    text: Arc<Mutex<Vec<u8>>>,
    hangs: Arc<AtomicBool>,
    /// The reader has seen that it is to hang.
    idle: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl LogPipe {
    pub(crate) fn new(path: PathBuf) -> LogPipe {
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success(), "mkfifo");
        // Open for both, so that it is not at its end when no node runs.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let text = Arc::new(Mutex::new(Vec::new()));
        let [hangs, idle, over] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
        let reader = thread::spawn({
            let (text, hangs, idle, over) = (text.clone(), hangs.clone(), idle.clone(), over.clone());
            move || {
                let mut bytes = [0; 65536];
                while !over.load(Ordering::Relaxed) {
                    if hangs.load(Ordering::SeqCst) {
                        idle.store(true, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(5));
                    } else if is_readable(&pipe) {
                        let length = pipe.read(&mut bytes).unwrap();
                        text.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..length]);
                    }
                }
            }
        });
        LogPipe { path, text, hangs, idle, over, reader: Some(reader) }
    }

    /// From now on nobody reads, and the pipe is full.
    pub(crate) fn hang(&self) {
        self.idle.store(false, Ordering::SeqCst);
        self.hangs.store(true, Ordering::SeqCst);
        wait_for("the reader to hang", || self.idle.load(Ordering::SeqCst).then_some(()));
        fill(&self.path);
    }

    pub(crate) fn go_on(&self) {
        self.hangs.store(false, Ordering::SeqCst);
    }

    pub(crate) fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().filter(|line| *line != "~").map(|line| format!("{line}\n")).collect()
    }
}

fn fill(path: &Path) {
    let at_once = OFlags::NONBLOCK.bits() as i32;
    let mut end = OpenOptions::new().write(true).custom_flags(at_once).open(path).unwrap();
    // Whole pages first, and then what is left.
    for piece in [FILLER.repeat(2048), FILLER.to_vec(), b"\n".to_vec()] {
        while end.write(&piece).is_ok() {}
    }
}

fn is_readable(pipe: &File) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&wait)).is_ok_and(|ready| ready > 0)
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}
