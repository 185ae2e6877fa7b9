//! An error output that nobody reads.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::process::wait_for;
use super::rig;

/// Both ends of a connection that takes no byte more.
fn full() -> (UnixStream, UnixStream) {
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let refused = loop {
        if let Err(error) = (&writer).write(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    writer.set_nonblocking(false).unwrap();
    (reader, writer)
}

/// Killed when dropped.
struct Stuck {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stuck {
    /// `leadelect run OPTIONS -- sh -c SCRIPT`, which logs to `output`.
    fn start(output: UnixStream, options: &[&str], script: &str) -> Stuck {
        let folder = tempfile::tempdir().unwrap();
        let mut run = rig::run(&rig::alone(folder.path()), "1");
        run.args(options).args(["--", "sh", "-c", script]).env("RUST_LOG", "trace");
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(OwnedFd::from(output));
        Stuck { child: run.spawn().unwrap(), _folder: folder }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    fn says(&mut self) -> String {
        let mut bytes = [0; 256];
        let read = self.child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    fn end(&mut self) -> Option<i32> {
        wait_for("the end", || self.child.try_wait().unwrap()).code()
    }
}

#[test]
fn with_an_error_output_that_nobody_reads_the_command_starts_and_sigterm_ends_everything() {
    let (_reader, writer) = full();
    let mut stuck =
        Stuck::start(writer, &["--stop-time", "300ms"], "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(stuck.says(), "ready\n");
    kill_process(stuck.pid(), Signal::TERM).unwrap();
    assert_eq!(stuck.end(), Some(0));
}

#[test]
fn with_an_error_output_that_nobody_reads_a_command_that_is_not_found_still_gives_127() {
    let (_reader, writer) = full();
    let mut stuck = Stuck::start(writer, &["--restart", "never"], "exec /nowhere/at-all 2>/dev/null");
    assert_eq!(stuck.end(), Some(127));
    let folder = tempfile::tempdir().unwrap();
    let (_reader, writer) = full();
    let mut run: Command = rig::run(&rig::alone(folder.path()), "1");
    run.args(["--restart", "never", "--", "/nowhere/at-all"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = run.stderr(OwnedFd::from(writer)).spawn().unwrap();
    assert_eq!(Stuck { child, _folder: folder }.end(), Some(127));
}

/// The guard has to kill it: nobody tells it that the lease goes on.
#[test]
fn with_an_error_output_that_nobody_reads_the_guard_of_a_stopped_supervisor_kills_the_command() {
    let (_reader, writer) = full();
    let script = "trap '' TERM; (setsid sh -c 'echo $$; exec sleep 900') & echo $$; while :; do sleep 0.05; done";
    let mut stuck = Stuck::start(writer, &[], script);
    let mut said = String::new();
    while said.lines().count() < 2 {
        said += &stuck.says();
    }
    kill_process(stuck.pid(), Signal::KILL).unwrap();
    for pid in said.lines() {
        wait_for("its end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
}

#[test]
fn lines_that_are_lost_are_counted_once_there_is_a_reader_again() {
    let (mut reader, writer) = full();
    // Each stop and each continuation is a line of the log.
    let script = "p=$$; (i=0; while [ $i -lt 1500 ]; do kill -STOP $p; sleep 0.001; kill -CONT $p; sleep 0.001; \
                  i=$((i+1)); done; echo enough; exec sleep 900) & wait";
    let mut stuck = Stuck::start(writer, &[], script);
    assert_eq!(stuck.says(), "enough\n");
    let mut log = Vec::new();
    let mut bytes = [0; 65536];
    reader.set_read_timeout(Some(super::process::AMPLE)).unwrap();
    while !String::from_utf8_lossy(&log).contains("log lines are lost") {
        let read = reader.read(&mut bytes).expect("more to read");
        assert!(read > 0, "the output was closed");
        log.extend(&bytes[..read]);
    }
}
