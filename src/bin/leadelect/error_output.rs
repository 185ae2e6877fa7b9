//! What goes to the error output, without a wait.
//!
//! A log that nobody reads fills its pipe, and then a write to it does not return. The supervisor and the guard must
//! end the command nevertheless. So a thread of its own writes the lines, and takes them from a queue that has a bound.
//! A line that does not fit is counted. The count is written when there is room again.

use std::env;
use std::io::{IsTerminal, Write, stderr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use env_logger::{Env, Target, WriteStyle};

/// How many lines may wait. A burst at the start of a busy cluster is a few dozen.
const LONGEST_QUEUE: usize = 1024;
/// [`finish`] waits at most twice this time: for a place in the queue, and for the lines before it.
const LAST_WAIT: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum Entry {
    /// One or more whole lines. Written in one piece, because several processes may share the output.
    Lines(Vec<u8>),
    /// Dropped when all that came before it is written.
    End(Sender<()>),
}

static QUEUE: OnceLock<Sender<Entry>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

fn queue() -> &'static Sender<Entry> {
    QUEUE.get_or_init(|| {
        let (queue, entries) = bounded(LONGEST_QUEUE);
        let writer = thread::Builder::new().name("le-log".into());
        if let Err(error) = writer.spawn(move || write(&entries)) {
            // The receiver is gone with the closure. From now on `enqueue` writes by itself.
            let _ = writeln!(stderr(), "leadelect: cannot start a thread for the log: {error}");
        }
        queue
    })
}

fn write(entries: &Receiver<Entry>) {
    for entry in entries {
        match entry {
            Entry::Lines(lines) => {
                // Fails if the error output is closed. Then nobody reads the line.
                let _ = stderr().write_all(&lines);
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let line = format!("leadelect: {lost} log lines are lost: the error output was not read in time\n");
                    let _ = stderr().write_all(line.as_bytes());
                }
            }
            Entry::End(done) => drop(done),
        }
    }
}

fn enqueue(lines: Vec<u8>) {
    match queue().try_send(Entry::Lines(lines)) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Err(TrySendError::Disconnected(Entry::Lines(lines))) => {
            let _ = stderr().write_all(&lines);
        }
        Err(TrySendError::Disconnected(Entry::End(_))) => {}
    }
}

/// Writes a line to the error output. Does not panic if that is closed, so that the exit code stays right.
pub(crate) fn complain(problem: &str) {
    enqueue(format!("leadelect: {problem}\n").into_bytes());
}

/// Waits until every line is written, but not for long. Call it before the process ends.
pub(crate) fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = bounded(0);
    if queue.send_timeout(Entry::End(done), LAST_WAIT).is_ok() {
        // Disconnected when the thread has come that far. Otherwise the lines are lost, because nobody reads them.
        let _ = written.recv_timeout(LAST_WAIT);
    }
}

/// From now on the log goes to the error output. `RUST_LOG` says how much of it, `RUST_LOG_STYLE` whether in colour.
#[cfg(target_os = "linux")]
pub(crate) fn start_logger() {
    let mut logger = env_logger::Builder::from_env(Env::default().default_filter_or("info"));
    logger.format_timestamp_millis().target(Target::Pipe(Box::new(LogTarget)));
    // The logger sees a pipe. A user sees a terminal.
    if env::var_os("RUST_LOG_STYLE").is_none() {
        let coloured = stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
        logger.write_style(if coloured { WriteStyle::Always } else { WriteStyle::Never });
    }
    logger.init();
    // The usual hook writes to the error output by itself, and so may never return.
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        complain(&format!("thread {}: {panic}", thread.name().unwrap_or("without a name")));
    }));
}

/// Gets each log line in one call.
#[derive(Debug)]
struct LogTarget;

impl Write for LogTarget {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        enqueue(lines.to_vec());
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
