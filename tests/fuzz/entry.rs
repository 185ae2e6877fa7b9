//! What must hold for every input. Each target feeds one of these functions. So does `cargo test`, with the inputs in
//! `corpus`.

#[path = "certificates.rs"]
mod certificates;
#[path = "config.rs"]
mod config;
#[path = "guard.rs"]
mod guard;

use std::fs;
use std::path::Path;

use leadelect::election::{NodeId, Recovery};

pub use certificates::certificates;
pub use config::config;
pub use guard::guard;

/// Longer than any error needs to be.
const LONGEST_ERROR: usize = 2000;

/// The guard's protocol says on stderr what it does not understand.
fn complain(_problem: &str) {}

/// A folder in memory where there is one: an input takes microseconds there.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a folder")
}

/// An error is for a person at a terminal: short, and nothing in it moves the cursor.
fn check_error(error: &str) {
    assert!(error.len() <= LONGEST_ERROR, "{} bytes: {error:?}", error.len());
    assert!(!error.contains(|sign: char| sign.is_control() || sign == '\u{202e}'), "{error:?}");
}

/// What a peer sends after the TLS handshake.
pub fn frame(bytes: &[u8]) {
    leadelect::fuzz::read_frames(bytes);
}

/// Two slots of the vote file, and what makes a checksum right.
const SLOT: usize = 4096;
const CHECKSUM: std::ops::Range<usize> = 12..16;

/// What a node finds in its state folder. The first byte says whether the checksums are put right: no mutation does.
pub fn vote_file(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let bytes = if mode % 2 == 0 { bytes.to_vec() } else { with_checksums(bytes) };
    let (folder, node) = (folder(), NodeId::from(1));
    let path = folder.path().join("node-1.vote");
    fs::write(&path, &bytes).expect("written");
    let open = || leadelect::fuzz::open_vote_file(folder.path(), node, "east");
    match open() {
        Err(error) => {
            check_error(&error);
            assert!(error.contains("node-1.vote"), "{error}");
            assert!(fs::read(&path).expect("read") == bytes, "a file that is refused is kept as it is");
        }
        Ok(first) => {
            // What was read is written again, and is read in the same way at the next start.
            let again = open().expect("a file that the node itself has written");
            let state = |recovery| match recovery {
                Recovery::Restored { state, .. } => Some(state),
                Recovery::Fresh | Recovery::Stateless { .. } => None,
            };
            assert_eq!(state(again), state(first));
        }
    }
}

/// The input holds two halves. Each is the beginning of a slot, and zeros follow it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let slot = |half: &[u8]| {
        let mut slot = half[..half.len().min(SLOT)].to_vec();
        slot.resize(SLOT, 0);
        if !half.is_empty() {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&slot[..CHECKSUM.start]);
            hasher.update(&slot[CHECKSUM.end..]);
            slot[CHECKSUM].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        slot
    };
    [slot(first), slot(second)].concat()
}
