//! A process that a test has started, and all that it has said.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::lease_log::Check;

/// Longer than anything takes on a busy machine. What has not come by then does not come.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// Waits until `found` finds something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    try_for(AMPLE, &mut found).unwrap_or_else(|| panic!("not seen within {AMPLE:?}: {what}"))
}

/// As [`wait_for`], but gives up without a panic.
pub(crate) fn try_for<T>(limit: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let late = start.elapsed() > limit;
        if let Some(found) = found() {
            return Some(found);
        }
        if late {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<String>,
    pub(crate) token: Option<u64>,
}

/// All that a process has said.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    pub(crate) checks: Vec<Check>,
    /// Whether the held lease was valid, and a moment before it was asked.
    pub(crate) held: Vec<(u64, bool)>,
    pub(crate) view: Option<View>,
    /// Everything else on stdout.
    pub(crate) said: Vec<String>,
    /// Stderr: the log.
    pub(crate) log: Vec<String>,
}

impl Record {
    fn take(&mut self, line: String) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "check" => self.checks.extend(Check::parse(rest)),
            "held" => {
                let words: Vec<&str> = rest.split(' ').collect();
                self.held.push((words[0].parse().unwrap(), words[2] == "1"));
            }
            "view" => {
                let words: Vec<&str> = rest.split(' ').collect();
                self.view = Some(View {
                    role: words[0].to_owned(),
                    term: words[1].parse().unwrap(),
                    leader: Some(words[2].to_owned()).filter(|id| id != "-"),
                    token: words[3].parse().ok(),
                });
                self.said.push(line);
            }
            _ => self.said.push(line),
        }
    }

    /// Whether some line, on stdout or in the log, has all of `parts`.
    pub(crate) fn mentions(&self, parts: &[&str]) -> bool {
        let mut lines = self.said.iter().chain(&self.log);
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    }

    fn tail(lines: &[String]) -> String {
        lines[lines.len().saturating_sub(40)..].join("\n  ")
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    record: Arc<Mutex<Record>>,
    readers: Vec<thread::JoinHandle<()>>,
    log_unread: Arc<AtomicBool>,
}

impl Process {
    pub(crate) fn start(name: &str, mut command: Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let record = Arc::new(Mutex::new(Record::default()));
        let log_unread = Arc::new(AtomicBool::new(false));
        let out = lines(child.stdout.take().unwrap(), record.clone(), Arc::default(), Record::take);
        let err = lines(child.stderr.take().unwrap(), record.clone(), log_unread.clone(), |record, line| {
            record.log.push(line);
        });
        Process { name: name.to_owned(), child, record, readers: vec![out, err], log_unread }
    }

    /// Reads no more of its stderr until it has ended: what it writes there fills the pipe.
    pub(crate) fn leave_log_unread(&self) {
        self.log_unread.store(true, Ordering::SeqCst);
    }

    /// What `look` makes of all that was said so far.
    pub(crate) fn see<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn view(&self) -> Option<View> {
        self.see(|record| record.view.clone())
    }

    pub(crate) fn command(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap();
    }

    /// Waits until a line has all of `parts`.
    #[track_caller]
    pub(crate) fn wait_until_it_mentions(&self, parts: &[&str]) {
        if try_for(AMPLE, || self.see(|record| record.mentions(parts)).then_some(())).is_none() {
            panic!("{parts:?} did not come in\n{}", self.dump());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process ends by itself, and until all that it said was read.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let status = try_for(AMPLE, || self.child.try_wait().unwrap());
        let Some(status) = status else {
            panic!("does not end: {}", self.dump());
        };
        self.read_all();
        status
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.read_all();
    }

    fn read_all(&mut self) {
        self.log_unread.store(false, Ordering::SeqCst);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }

    pub(crate) fn dump(&self) -> String {
        self.see(|record| {
            format!(
                "--- {}\n said:\n  {}\n log:\n  {}\n",
                self.name,
                Record::tail(&record.said),
                Record::tail(&record.log)
            )
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(
    from: impl Read + Send + 'static,
    record: Arc<Mutex<Record>>,
    unread: Arc<AtomicBool>,
    take: fn(&mut Record, String),
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            while unread.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            take(&mut record.lock().unwrap_or_else(PoisonError::into_inner), line);
        }
    })
}
