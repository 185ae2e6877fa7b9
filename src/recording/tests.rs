//! Recordings on disks that are small, slow or broken. Whether they can be replayed, `tests/replay` shows.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::*;
use crate::election::{Election, Recovery, Setup, Timing, Voter};

const SMALL: Limits = Limits { part: 2000, all: 10_000, files: 64 };

fn engine() -> Engine<u64> {
    let voters: BTreeMap<NodeId, Voter> = (1_u16..=3).map(|id| (NodeId::from(id), Voter::default())).collect();
    let setup = Setup { me: NodeId::from(1), voters, timing: Timing::default() };
    Engine::new(Election::new(setup, Recovery::Fresh, Instant::ZERO, 7), Duration::from_millis(250))
}

/// Records that many steps, one a millisecond.
fn record(recorder: &mut Recorder, engine: &mut Engine<u64>, from: u64, steps: u64) {
    for step in from..from + steps {
        let at = Instant::ZERO + Duration::from_millis(step);
        recorder.steps(engine, at, Reading::First, &Mail::Wake);
        let _ = engine.step(at, Mail::Wake);
        recorder.did(&step);
        recorder.done();
    }
}

/// The parts in `folder`, in their order.
fn parts(folder: &Path) -> Vec<Recording> {
    let mut files: Vec<(u64, Recording)> = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        let number = stem.strip_prefix("node-1-").and_then(|number| number.parse().ok()).expect("a number");
        files.push((number, read(&fs::read(path).expect("a file")).expect("a recording")));
    }
    files.sort_by_key(|(number, _)| *number);
    files.into_iter().map(|(_, part)| part).collect()
}

fn start(limits: Limits, folder: &Path) -> Recorder {
    let log = LogQueue::start(NodeId::from(1)).expect("a thread");
    Recorder::start_with(limits, folder, NodeId::from(1), 42, &log).expect("a recorder")
}

#[test]
fn a_recording_is_bounded_and_each_part_can_be_replayed_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recorder = start(SMALL, folder.path());
    let mut engine = engine();
    // In small portions, so that the queue always has room.
    for portion in 0..20 {
        record(&mut recorder, &mut engine, portion * 50, 50);
        let Some(running) = &recorder.0 else { panic!("it has ended") };
        while !running.batches.is_empty() {
            std::thread::yield_now();
        }
    }
    recorder.end();
    let sizes = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").metadata());
    let bytes: u64 = sizes.map(|metadata| metadata.expect("metadata").len()).sum();
    assert!((5000..=SMALL.all).contains(&bytes), "{bytes} bytes");
    let parts = parts(folder.path());
    assert!(parts.len() > 2);
    for pair in parts.windows(2) {
        let [part, next] = pair else { unreachable!("two") };
        assert!(next.continues && !part.torn);
        let mut engine = part.engine.clone();
        for entry in &part.entries {
            if let Entry::Steps { at, mail, .. } = entry {
                let _ = engine.step(*at, mail.clone());
            }
        }
        assert_eq!(engine, next.engine);
    }
    assert_eq!(parts.last().and_then(|part| part.entries.last()), Some(&Entry::Stopped));
}

#[test]
fn a_node_that_starts_again_and_again_keeps_few_files() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..10 {
        let mut recorder = start(Limits { files: 4, ..SMALL }, folder.path());
        record(&mut recorder, &mut engine(), 0, 1);
        recorder.end();
    }
    assert_eq!(parts(folder.path()).len(), 4);
    // One that did not get as far as its first step leaves nothing.
    start(SMALL, folder.path()).end();
    assert_eq!(parts(folder.path()).len(), 4);
}

#[test]
fn a_recording_that_was_cut_anywhere_is_read_up_to_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recorder = start(Limits::default(), folder.path());
    record(&mut recorder, &mut engine(), 0, 10);
    recorder.end();
    let file = fs::read_dir(folder.path()).expect("a folder").next().expect("a file").expect("an entry");
    let bytes = fs::read(file.path()).expect("a file");
    let whole = read(&bytes).expect("whole").entries;
    assert_eq!(whole.len(), 21);
    for length in 0..bytes.len() {
        let Ok(part) = read(&bytes[..length]) else { continue };
        assert_eq!(part.entries, whole[..part.entries.len()]);
        assert!(part.torn || read(&bytes[..=length]).is_ok_and(|longer| longer.torn));
    }
    let mut damaged = bytes.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    assert!(read(&damaged).is_ok_and(|part| part.torn && part.entries == whole[..20]));
    damaged[6] = 9;
    assert!(read(&damaged).is_err_and(|fault| fault.contains("of format 9: expected 1")));
    assert!(read(b"LE").is_err_and(|fault| fault.contains("no recording")));
}

#[test]
fn steps_that_find_no_room_are_lost_and_the_next_part_begins_anew() {
    let (batches, waiting) = crossbeam_channel::bounded(3);
    let running = Running::new(batches, NodeId::from(1), 42, 1 << 20);
    let (mut recorder, mut engine) = (Recorder(Some(running)), engine());
    record(&mut recorder, &mut engine, 0, 5);
    let kinds = |waiting: &crossbeam_channel::Receiver<Batch>| -> Vec<bool> {
        waiting.try_iter().map(|batch| matches!(batch, Batch::Part(_))).collect()
    };
    assert_eq!(kinds(&waiting), [true, false, false]);
    record(&mut recorder, &mut engine, 5, 1);
    assert_eq!(kinds(&waiting), [true, false]);
}

#[test]
fn a_disk_that_cannot_be_written_ends_the_recording_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("recordings");
    let mut recorder = start(SMALL, &inside);
    let mut engine = engine();
    record(&mut recorder, &mut engine, 0, 1);
    while fs::read_dir(&inside).map_or(0, Iterator::count) == 0 {
        std::thread::yield_now();
    }
    fs::remove_dir_all(&inside).expect("removed");
    fs::write(&inside, "no folder any more").expect("a file");
    let mut step = 1;
    while recorder.0.is_some() {
        record(&mut recorder, &mut engine, step, 1);
        step += 1;
    }
    record(&mut recorder, &mut engine, step, 1);
    recorder.end();
}

#[test]
fn parts_that_somebody_removes_do_not_end_the_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut recorder = start(Limits { files: 2, ..SMALL }, folder.path());
    let mut engine = engine();
    for portion in 0..20 {
        record(&mut recorder, &mut engine, portion * 50, 50);
        for entry in fs::read_dir(folder.path()).expect("a folder") {
            // The thread may have removed it just now.
            let _ = fs::remove_file(entry.expect("an entry").path());
        }
    }
    assert!(recorder.0.is_some());
    recorder.end();
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = Recorder::rehearse(&file.join("inside"), NodeId::from(1)).expect_err("no folder").to_string();
    assert!(error.contains("file/inside") && error.contains("the node needs a folder"), "{error}");
    let new = folder.path().join("new");
    Recorder::rehearse(&new, NodeId::from(1)).expect("it could be made");
    assert!(!new.exists());
}

/// Digests are compared across machines. This one is the CRC-32 of the numbers in little-endian order, a length and a
/// variant with eight bytes each, and a text with a byte 255 at its end.
#[test]
fn a_digest_is_the_same_everywhere() {
    let mut digest = Digest::default();
    (1_u8, 2_u16, 3_u32, 4_u64, 5_usize, "six", Some(NodeId::from(7))).hash(&mut digest);
    assert_eq!(digest.number(), 299_118_135);
}
