//! The queue before a logger that waits when a test says so. It is the logger of this whole process, and keeps what
//! these tests write.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, Once, PoisonError};

use super::*;
use crate::sync::lock;

/// Waits at a line "wait for WORD" until the word was given, and panics at a line "panic".
#[derive(Debug, Default)]
struct Patient {
    kept: Mutex<Vec<(String, Level, String)>>,
    given: Mutex<BTreeSet<String>>,
    changed: Condvar,
}

static LOGGER: Patient =
    Patient { kept: Mutex::new(Vec::new()), given: Mutex::new(BTreeSet::new()), changed: Condvar::new() };

impl Log for Patient {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if !record.target().contains("log_queue") {
            return;
        }
        let text = record.args().to_string();
        assert!(text != "panic", "on purpose");
        if let Some(word) = text.strip_prefix("wait for ") {
            let given = lock(&self.given);
            drop(self.changed.wait_while(given, |given| !given.contains(word)).unwrap_or_else(PoisonError::into_inner));
        }
        lock(&self.kept).push((record.target().to_owned(), record.level(), text));
    }

    fn flush(&self) {}
}

impl Patient {
    fn give(&self, word: &str) {
        lock(&self.given).insert(word.to_owned());
        self.changed.notify_all();
    }

    /// The lines with this word in them.
    fn kept(&self, word: &str) -> Vec<(Level, String)> {
        let kept = lock(&self.kept);
        let found = kept.iter().filter(|(_, _, text)| text.contains(word));
        found.map(|(_, level, text)| (*level, text.clone())).collect()
    }
}

fn queue(id: &str) -> LogQueue {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&LOGGER).expect("the only one in these tests");
        log::set_max_level(log::LevelFilter::Info);
    });
    LogQueue::start(id.parse().expect("an id")).expect("a thread")
}

/// A queue whose logger is in the middle of a line that does not end before [`Patient::give`].
fn stuck(id: &str) -> LogQueue {
    let queue = queue(id);
    log::info!(logger: queue, "wait for {id}");
    while queue.state.busy_since.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    queue
}

#[test]
fn lines_reach_the_logger_in_order_and_as_they_were() {
    let queue = queue("order");
    log::info!(logger: queue, "order {}", 1);
    log::debug!(logger: queue, "order: above the level");
    log::error!(logger: queue, "order {}", 2);
    queue.end();
    let expected = [(Level::Info, "order 1".to_owned()), (Level::Error, "order 2".to_owned())];
    assert_eq!(LOGGER.kept("order"), expected);
    let kept = lock(&LOGGER.kept);
    let target = kept.iter().find(|(_, _, text)| text == "order 1").map(|(target, _, _)| target.as_str());
    assert_eq!(target, Some(module_path!()), "filters know it");
}

#[test]
fn what_finds_no_room_is_counted_and_told_later_and_leaves_room_for_warnings() {
    let queue = stuck("room");
    for _ in 0..2 * MOST_LINES {
        log::info!(logger: queue, "room for a line");
    }
    assert!(queue.entries.len() <= MOST_LINES - ROOM_FOR_WARNINGS);
    let lost = queue.state.lost();
    assert_eq!(lost, (2 * MOST_LINES - queue.entries.len()) as u64);
    log::warn!(logger: queue, "room for a warning");
    for _ in 0..MOST_LINES {
        log::error!(logger: queue, "room for an error");
    }
    assert_eq!(queue.entries.len(), MOST_LINES);
    let lost = queue.state.lost();
    LOGGER.give("room");
    queue.end();
    assert_eq!(LOGGER.kept("room for a warning").len(), 1);
    let told = LOGGER.kept("node room: ");
    let text = format!(
        "node room: {lost} lines of the log were lost, because the program's logger was too slow or has panicked"
    );
    assert_eq!(told, [(Level::Warn, text)]);
}

#[test]
fn a_stuck_logger_is_seen_and_keeps_neither_a_flush_nor_the_end_of_a_node() {
    let queue = stuck("stuck");
    let since = Instant::from_nanos(queue.state.busy_since.load(Ordering::Relaxed));
    assert_eq!(queue.state.stuck(since + (STUCK_AFTER - Duration::from_nanos(1))), None);
    assert_eq!(queue.state.stuck(since + STUCK_AFTER), Some(STUCK_AFTER));
    for _ in 0..2 * MOST_LINES {
        log::error!(logger: queue, "stuck behind others");
    }
    queue.flush();
    queue.end();
    assert!(LOGGER.kept("stuck").is_empty(), "it was to be stuck");
    LOGGER.give("stuck");
    drop(queue);
    while LOGGER.kept("stuck behind others").len() < MOST_LINES {
        thread::yield_now();
    }
}

#[test]
fn a_logger_that_panics_loses_that_line_only() {
    let queue = queue("sick");
    log::info!(logger: queue, "panic");
    log::info!(logger: queue, "the sick one goes on");
    queue.flush();
    queue.end();
    assert_eq!(LOGGER.kept("the sick one goes on").len(), 1);
    assert_eq!(queue.state.lost(), 1);
}

#[test]
fn after_the_end_the_program_writes_by_itself() {
    let queue = queue("late");
    queue.end();
    // The thread drops its end of the queue after it has answered.
    while queue.entries.try_send(Entry::Flush(crossbeam_channel::bounded(0).0)).is_ok() {
        thread::yield_now();
    }
    log::info!(logger: queue, "too late for the queue");
    assert_eq!(LOGGER.kept("too late for the queue").len(), 1);
}
