//! Every input in `corpus` once, as an ordinary test. The targets look for more: see CONTRIBUTING.md.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)] // reads a clock

#[allow(unreachable_pub)] // the fuzz targets see it as a library
mod entry;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far longer than an input takes on a busy machine. A fuzz target is far stricter.
const LONGEST: Duration = Duration::from_secs(10);

fn feed(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut inputs: Vec<_> =
        fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no input in {}", folder.display());
    for input in inputs {
        let bytes = fs::read(&input).expect("an input");
        println!("{}", input.display());
        let start = Instant::now();
        check(&bytes);
        let took = start.elapsed();
        assert!(took < LONGEST, "{}: {took:?}", input.display());
    }
}

#[test]
fn what_a_peer_sends_is_a_frame_or_an_error() {
    feed("frame", entry::frame);
}

#[test]
fn what_is_in_a_vote_file_is_a_state_or_an_error() {
    feed("vote_file", entry::vote_file);
}

#[test]
fn what_is_in_a_config_file_is_a_config_or_an_error() {
    feed("config", entry::config);
}

#[test]
fn what_is_in_a_certificate_or_key_file_is_used_or_an_error_without_a_byte_of_a_key() {
    feed("certificates", entry::certificates);
}

#[test]
fn what_comes_from_the_other_end_of_the_guard_is_a_message_or_nothing() {
    feed("guard", entry::guard);
}
