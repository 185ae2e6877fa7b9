//! Three processes, watched.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use leadelect::Config;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::leases::Leases;
use crate::report::{Line, Seen, now, or_dash};
use crate::screen::Screen;
use crate::setup::{self, NODES};

/// Only if something is wrong does anything take this long.
const LIMIT: Duration = Duration::from_secs(30);
const FRAME: Duration = Duration::from_millis(100);
/// How many of the last log lines of each node are shown if something is wrong.
const MOST_LOG_LINES: usize = 8;

#[derive(Debug)]
pub(crate) enum Failure {
    Interrupted,
    Because(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Because(error.to_string())
    }
}

/// What the demo waits for.
enum Note {
    Line(usize, Line),
    Log(usize, String),
    Ended(usize),
    Interrupted,
}

#[derive(PartialEq)]
enum State {
    Running,
    Paused,
    /// It was sent a signal that ends the process.
    Ending(&'static str),
    Ended(&'static str),
}

struct Process {
    child: Child,
    state: State,
    started: Duration,
    seen: Option<Seen>,
    /// The last check: when it began, when it ended, what it found.
    check: Option<(Duration, Option<u64>)>,
    log: VecDeque<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Dropping it ends the processes and removes the folder, in this order.
pub(crate) struct Cluster {
    processes: Vec<Process>,
    leases: Leases,
    screen: Screen,
    timeout: Duration,
    notes: Receiver<Note>,
    sender: Sender<Note>,
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn start(heartbeat: Duration, timeout: Duration) -> Result<Cluster, Failure> {
        let (sender, notes) = crossbeam_channel::unbounded();
        let interrupted = sender.clone();
        // The demo waits only for notes, so it sees this at once.
        ctrlc::set_handler(move || drop(interrupted.send(Note::Interrupted)))
            .map_err(|error| Failure::Because(format!("cannot handle signals: {error}")))?;
        let folder = setup::prepare(heartbeat, timeout)
            .map_err(|error| Failure::Because(format!("cannot prepare the folder: {error}")))?;
        Config::from_yaml_file(setup::config_file(folder.path(), 1))
            .map_err(|error| Failure::Because(error.to_string()))?;
        let mut cluster = Cluster {
            processes: Vec::new(),
            leases: Leases::default(),
            screen: Screen::new(),
            timeout,
            notes,
            sender,
            folder,
        };
        for id in 1..=NODES {
            let process = cluster.spawn(id)?;
            cluster.processes.push(process);
        }
        cluster.say(&format!(
            "three nodes with certificates of their own; configs, keys and votes in {}",
            cluster.folder.path().display()
        ))?;
        Ok(cluster)
    }

    /// Runs the story. If it fails, shows what the nodes last logged.
    pub(crate) fn play(mut self, story: impl FnOnce(&mut Cluster) -> Result<(), Failure>) -> Result<(), Failure> {
        let result = story(&mut self);
        if let Err(Failure::Because(_)) = &result {
            for (id, process) in (1..).zip(&self.processes) {
                eprintln!("node {id}, {}, last logged:", process.state());
                process.log.iter().for_each(|line| eprintln!("  {line}"));
            }
        }
        result
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Says something that stays on the screen.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.screen.say(text)?)
    }

    /// The leader and its token, if all nodes run and vote, are connected to each other, and know this leader.
    pub(crate) fn agreed(&self) -> Option<(usize, u64)> {
        let ready: Vec<&Seen> = self
            .processes
            .iter()
            .filter(|process| process.state == State::Running && now() > process.started + self.quarantine())
            .filter_map(|process| process.seen.as_ref())
            .collect();
        let leading = ready.iter().find(|seen| seen.leads())?;
        let agree = |seen: &&Seen| (seen.leader, seen.term, seen.peers_up) == (leading.leader, leading.term, NODES - 1);
        let agreed = ready.len() == NODES && ready.iter().all(agree);
        leading.leader.zip(leading.token).filter(|_| agreed)
    }

    /// A node that has restarted does not vote until its old promises are over: one election timeout, and a bit for the
    /// clocks.
    fn quarantine(&self) -> Duration {
        self.timeout * 11 / 10
    }

    /// What the node found at its first check of the lease after this moment.
    #[allow(clippy::option_option)]
    pub(crate) fn first_check(&self, id: usize, after: Duration) -> Option<Option<u64>> {
        self.processes[id - 1].check.filter(|(at, _)| *at >= after).map(|(_, token)| token)
    }

    /// Sends a signal, and returns the moment just before.
    pub(crate) fn signal(&mut self, id: usize, signal: Signal) -> Result<Duration, Failure> {
        let process = &mut self.processes[id - 1];
        let (state, name) = match signal {
            Signal::KILL => (State::Ending("killed"), "SIGKILL"),
            Signal::TERM => (State::Ending("stopped"), "SIGTERM"),
            Signal::STOP => (State::Paused, "SIGSTOP"),
            _ => (State::Running, "SIGCONT"),
        };
        process.state = state;
        let at = now();
        kill_process(Pid::from_child(&process.child), signal).map_err(io::Error::from)?;
        self.screen.event(&format!("node {id}: {name}"))?;
        Ok(at)
    }

    /// Starts a node again when it has ended.
    pub(crate) fn bring_back(&mut self, id: usize) -> Result<(), Failure> {
        self.wait_until("the old process ends", |cluster| {
            matches!(cluster.processes[id - 1].state, State::Ended(_)).then_some(())
        })?;
        self.processes[id - 1] = self.spawn(id)?;
        self.screen.event(&format!("node {id}: started again"))?;
        Ok(())
    }

    /// Watches until there is an answer.
    pub(crate) fn wait_until<T>(&mut self, what: &str, answer: impl Fn(&Cluster) -> Option<T>) -> Result<T, Failure> {
        let limit = now() + LIMIT;
        loop {
            if let Some(answer) = answer(self) {
                return Ok(answer);
            }
            if now() >= limit {
                return Err(Failure::Because(format!("expected within {LIMIT:?} that {what}")));
            }
            self.watch(FRAME)?;
        }
    }

    /// Watches for this time.
    pub(crate) fn rest(&mut self, span: Duration) -> Result<(), Failure> {
        let until = now() + span;
        while now() < until {
            self.watch(until.saturating_sub(now()).min(FRAME))?;
        }
        Ok(())
    }

    /// Takes the next note, if there is one in this time.
    fn watch(&mut self, span: Duration) -> Result<(), Failure> {
        match self.notes.recv_timeout(span) {
            Ok(note) => self.take(note)?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        let heading = "node  role       term  leader  token  lease left  peers up".to_owned();
        let rows = (1..).zip(&self.processes).map(|(id, process)| process.row(id));
        Ok(self.screen.draw(std::iter::once(heading).chain(rows))?)
    }

    fn take(&mut self, note: Note) -> Result<(), Failure> {
        match note {
            Note::Line(id, Line::Check { before, after, token }) => {
                if let Some(token) = token {
                    self.leases.add(id, token, before, after);
                }
                // After a pause in the middle of a check, it is not known when in that time the lease was valid.
                let at = if token.is_some() { before } else { after };
                self.processes[id - 1].check = Some((at, token));
            }
            Note::Line(id, Line::Status(seen)) => self.processes[id - 1].seen = Some(seen),
            Note::Line(id, Line::Event(text)) => self.screen.event(&format!("node {id}: {text}"))?,
            Note::Log(id, line) => {
                let log = &mut self.processes[id - 1].log;
                log.push_back(line);
                if log.len() > MOST_LOG_LINES {
                    log.pop_front();
                }
            }
            Note::Ended(id) => {
                let process = &mut self.processes[id - 1];
                let State::Ending(how) = process.state else {
                    process.state = State::Ended("dead");
                    return Err(Failure::Because(format!("node {id} ended by itself")));
                };
                process.state = State::Ended(how);
            }
            Note::Interrupted => return Err(Failure::Interrupted),
        }
        Ok(())
    }

    fn spawn(&self, id: usize) -> Result<Process, Failure> {
        let config = setup::config_file(self.folder.path(), id);
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--node", &id.to_string(), "--config"])
            .arg(config)
            // Ctrl-C is for the demo alone. If the demo dies while a node is paused, the system wakes that node up.
            .process_group(0)
            // It closes when the demo ends, also by a crash. Then the node ends, too.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, log) = (child.stdout.take(), child.stderr.take());
        let process =
            Process { child, state: State::Running, started: now(), seen: None, check: None, log: VecDeque::new() };
        self.read(log, move |line| Some(Note::Log(id, line)), None);
        self.read(lines, move |line| Line::read(&line).map(|line| Note::Line(id, line)), Some(Note::Ended(id)));
        Ok(process)
    }

    /// Makes a note of each line in a pipe, and a last one at its end.
    fn read(
        &self,
        pipe: Option<impl Read + Send + 'static>,
        note: impl Fn(String) -> Option<Note> + Send + 'static,
        last: Option<Note>,
    ) {
        let sender = self.sender.clone();
        let pipe = BufReader::new(pipe.expect("this pipe was asked for"));
        thread::spawn(move || {
            let notes = pipe.lines().map_while(Result::ok).filter_map(note).chain(last);
            // The demo is over: nobody takes notes any more.
            notes.map_while(|note| sender.send(note).ok()).for_each(drop);
        });
    }
}

impl Process {
    fn state(&self) -> &'static str {
        match self.state {
            State::Running => "running",
            State::Paused => "paused",
            State::Ending(how) | State::Ended(how) => how,
        }
    }

    fn row(&self, id: usize) -> String {
        let Some(seen) = self.seen.as_ref().filter(|_| self.state == State::Running) else {
            let state = if self.state == State::Running { "starting" } else { self.state() };
            return format!("{id:<4}  {state}");
        };
        let (leader, token) = (or_dash(seen.leader), or_dash(seen.token));
        let lease = or_dash(seen.token.map(|_| format!("{} ms", seen.lease.as_millis())));
        let (role, term, up, of) = (&seen.role, seen.term, seen.peers_up, NODES - 1);
        let row = format!("{id:<4}  {role:<9}  {term:<4}  {leader:<6}  {token:<5}  {lease:<10}  {up} of {of}");
        if seen.leads() { format!("\x1b[1m{row}\x1b[0m") } else { row }
    }
}
