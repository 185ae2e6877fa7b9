//! What a command does: it writes down that it lives.
//!
//! A line for every beat, in a file of its own named `NODE-TOKEN-PID`: nanoseconds on the clock that all processes of
//! the host share. The clock is read before the line is written: it was alive at that moment, however late the line
//! comes.
//!
//! `LEADELECT_WORK` says what else it does, in words:
//!
//! | word | what |
//! |---|---|
//! | `deaf` | ignores SIGTERM |
//! | `slow` | lives for [`SLOW`] more after SIGTERM, then ends with exit code 0 |
//! | `child` | starts another such process in its own process group, which is deaf |
//! | `stray` | starts another such process, which is deaf, in a session of its own |
//! | `brief` | ends with exit code 0 once its children live |

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::child::boot_nanos;
use super::process::wait_for;

pub(crate) const FOLDER: &str = "LEADELECT_WORK_FOLDER";
pub(crate) const TRAITS: &str = "LEADELECT_WORK";
/// Longer than the leases of the tests.
pub(crate) const SLOW: Duration = Duration::from_millis(1500);

/// The arguments with which this binary is a command.
pub(crate) const ARGUMENTS: [&str; 4] = ["work::run", "--exact", "--ignored", "--nocapture"];

/// Not a test but a program, which the tests start. Without its variables it does nothing.
#[test]
#[ignore = "a program that the other tests start"]
fn run() {
    let (Ok(folder), Ok(traits)) = (env::var(FOLDER), env::var(TRAITS)) else {
        return;
    };
    let is = |word: &str| traits.split(' ').any(|given| given == word);
    let told = Arc::new(AtomicBool::new(false));
    if is("deaf") || is("slow") {
        signal_hook::flag::register(signal_hook::consts::SIGTERM, told.clone()).unwrap();
    }
    if is("fled") {
        rustix::process::setsid().unwrap();
    }
    let mut log = log(&PathBuf::from(&folder), id());
    beat(&mut log);
    for (word, child) in [("child", "deaf"), ("stray", "deaf fled")] {
        if is(word) {
            start(child, &PathBuf::from(&folder));
        }
    }
    if is("brief") {
        std::process::exit(0);
    }
    let mut ends = None;
    while ends.is_none_or(|end| boot_nanos() < end) {
        beat(&mut log);
        if ends.is_none() && is("slow") && told.load(Ordering::Relaxed) {
            ends = Some(boot_nanos() + u64::try_from(SLOW.as_nanos()).unwrap());
        }
        thread::sleep(Duration::from_millis(1));
    }
    std::process::exit(0);
}

fn log(folder: &std::path::Path, id: u32) -> File {
    let path = file(folder, id);
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn file(folder: &std::path::Path, id: u32) -> PathBuf {
    let [node, token, term] =
        ["NODE", "TOKEN", "TERM"].map(|name| env::var(format!("LEADELECT_{name}")).expect("told by its supervisor"));
    assert_eq!(token, term);
    folder.join(format!("{node}-{token}-{id}"))
}

fn beat(log: &mut File) {
    let line = format!("{}\n", boot_nanos());
    log.write_all(line.as_bytes()).unwrap();
}

/// Starts another one, and returns when it lives.
fn start(traits: &str, folder: &std::path::Path) {
    // The process that adopts it waits for it.
    #[allow(clippy::zombie_processes)]
    let child = Command::new(env::current_exe().unwrap())
        .args(ARGUMENTS)
        .env(TRAITS, traits)
        // If it is not killed, the test should fail, and not wait for the end of the output.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = file(folder, child.id());
    wait_for("a child", || path.exists().then_some(()));
}
