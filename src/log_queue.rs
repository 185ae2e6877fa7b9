//! The lines of a node's log, on their way to the program's logger.
//!
//! A logger may wait: for a terminal, a full pipe, a disk, or a lock of the program. No thread of a node waits with it.
//! A thread puts its line into a bounded queue and goes on. One thread per node takes the lines out, and is the only
//! one that calls the logger. A line that finds no room is lost, and counted.
//!
//! A [`LogQueue`] is a [`log::Log`], so the macros of `log` write to it with `logger:`. They compare the level of the
//! line with [`log::max_level`], which is an atomic, before they format it. Whether the program's logger wants the line
//! is asked on that one thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};
use log::{Level, Log, Metadata, Record};

use crate::clock;
use crate::election::{Instant, NodeId};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A node writes some lines a minute, or thousands a second at the level `trace`. Lines have about 100 bytes.
const MOST_LINES: usize = 1024;

/// Room that only warnings and errors use, so that no flood of other lines hides them.
const ROOM_FOR_WARNINGS: usize = 256;

/// A line takes a logger some microseconds. One that takes this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// How long a process that aborts waits for its last lines. Work that has to end at once runs on meanwhile.
const FLUSH_LIMIT: Duration = Duration::from_millis(5);

/// How long a node that has stopped waits for its last lines.
const END_LIMIT: Duration = Duration::from_millis(250);

/// Lost lines are told again after this time while there is no end of other lines.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// The way to the program's logger. Never waits, except in `flush` and [`LogQueue::end`], which have a limit.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue {
    entries: Sender<Entry>,
    state: Arc<LoggerState>,
}

/// What can be seen of the program's logger.
#[derive(Debug, Default)]
pub(crate) struct LoggerState {
    lost: AtomicU64,
    /// Since when the logger has been busy with one line, in nanoseconds; zero if it is not.
    busy_since: AtomicU64,
}

#[derive(Debug)]
enum Entry {
    Line(Line),
    /// Flush the logger. What is dropped then tells that it is done.
    Flush(Sender<()>),
    /// The same, and nothing comes after it.
    End(Sender<()>),
}

/// A record that waits.
#[derive(Debug)]
struct Line {
    level: Level,
    target: String,
    module: Option<&'static str>,
    file: Option<&'static str>,
    line: Option<u32>,
    text: String,
}

impl LogQueue {
    /// Starts the thread. It ends by [`LogQueue::end`], or when nobody can write any more.
    pub(crate) fn start(id: NodeId) -> io::Result<LogQueue> {
        let (entries, waiting) = crossbeam_channel::bounded(MOST_LINES);
        let state = Arc::new(LoggerState::default());
        let caller = LoggerCaller { id, state: state.clone(), told: 0, told_at: Instant::ZERO };
        // The logger is the program's code, and gets a stack of the usual size.
        thread::Builder::new().name(format!("le{id}-log")).spawn(move || caller.run(&waiting))?;
        Ok(LogQueue { entries, state })
    }

    pub(crate) fn state(&self) -> &Arc<LoggerState> {
        &self.state
    }

    /// The node has stopped: has the rest written, and waits for that no longer than 250 ms. A stuck logger keeps its
    /// thread.
    pub(crate) fn end(&self) {
        self.wait_for(END_LIMIT, Entry::End);
    }

    fn wait_for(&self, limit: Duration, entry: fn(Sender<()>) -> Entry) {
        let until = clock::now() + limit;
        let (done, is_done) = crossbeam_channel::bounded(0);
        match self.entries.send_timeout(entry(done), limit) {
            // Nothing is ever sent on it: its end is the answer.
            Ok(()) => drop(is_done.recv_timeout(until.since(clock::now()))),
            Err(SendTimeoutError::Timeout(_) | SendTimeoutError::Disconnected(_)) => {}
        }
    }

    fn has_room_for(&self, level: Level) -> bool {
        level <= Level::Warn || self.entries.len() < MOST_LINES - ROOM_FOR_WARNINGS
    }
}

impl Log for LogQueue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.has_room_for(record.level()) {
            self.state.lose(1);
            return;
        }
        match self.entries.try_send(Entry::Line(Line::of(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.state.lose(1),
            // The node has stopped, and its logger was not stuck. Only threads of the program are left to come here.
            Err(TrySendError::Disconnected(_)) => log::logger().log(record),
        }
    }

    /// Waits until the program's logger has every line, but no longer than 5 ms.
    fn flush(&self) {
        self.wait_for(FLUSH_LIMIT, Entry::Flush);
    }
}

impl LoggerState {
    /// How many lines were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How long the logger has been busy with one line, if that is so long that it counts as stuck.
    pub(crate) fn stuck(&self, now: Instant) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed);
        let busy = now.since(Instant::from_nanos(since));
        (since != 0 && busy >= STUCK_AFTER).then_some(busy)
    }

    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Line {
    fn of(record: &Record<'_>) -> Line {
        Line {
            level: record.level(),
            target: record.target().to_owned(),
            module: record.module_path_static(),
            file: record.file_static(),
            line: record.line(),
            text: record.args().to_string(),
        }
    }

    fn write(&self) {
        log::logger().log(
            &Record::builder()
                .level(self.level)
                .target(&self.target)
                .module_path_static(self.module)
                .file_static(self.file)
                .line(self.line)
                .args(format_args!("{}", self.text))
                .build(),
        );
    }
}

/// The one thread that calls the logger.
struct LoggerCaller {
    id: NodeId,
    state: Arc<LoggerState>,
    /// How many of the lost lines were told, and when the last were.
    told: u64,
    told_at: Instant,
}

impl LoggerCaller {
    fn run(mut self, waiting: &Receiver<Entry>) {
        while let Ok(entry) = waiting.recv() {
            match entry {
                Entry::Line(line) => self.call(|| line.write()),
                Entry::Flush(_done) => self.call(|| log::logger().flush()),
                Entry::End(_done) => {
                    // What came at the same moment.
                    while let Ok(Entry::Line(line)) = waiting.try_recv() {
                        self.call(|| line.write());
                    }
                    self.tell_of_lost_lines();
                    return self.call(|| log::logger().flush());
                }
            }
            if waiting.is_empty() || clock::now().since(self.told_at) >= TELL_AGAIN {
                self.tell_of_lost_lines();
            }
        }
    }

    fn tell_of_lost_lines(&mut self) {
        let lost = self.state.lost();
        let news = lost - self.told;
        if news > 0 {
            (self.told, self.told_at) = (lost, clock::now());
            let id = self.id;
            self.call(|| {
                let why = "because the program's logger was too slow or has panicked";
                log::warn!("node {id}: {news} lines of the log were lost, {why}");
            });
        }
    }

    /// Calls the logger. The line is lost if it panics.
    fn call(&self, logger: impl FnOnce()) {
        self.state.busy_since.store(clock::now().as_nanos(), Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(logger)).is_err() {
            self.state.lose(1);
        }
        self.state.busy_since.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
