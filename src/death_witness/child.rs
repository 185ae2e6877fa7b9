//! The witness as a child of the program that it watches over.
//!
//! The child finds in its environment that it is one. On its input comes the config of the node, and a line of three
//! dots after that. Then a byte comes for each time that the election thread was seen to turn, if the child is to kill
//! a program that hangs.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio, exit};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use super::DeathWitness;
use crate::clock;
use crate::config::{Config, NodeConfig, WitnessProgram};
use crate::status::Board;
use crate::sync::lock;
use crate::transport;

/// Its value: the process id of the program, and after how many milliseconds without a turn it is killed, or 0.
const VARIABLE: &str = "LEADELECT_DEATH_WITNESS";

/// What the child says when it waits for the death of its program.
const READY: &[u8; 8] = b"witness\n";

/// A program that is not ready after this time is none that becomes a witness.
const START_LIMIT: Duration = Duration::from_secs(5);

/// The line after the config.
const END_OF_CONFIG: &str = "...";

/// A child that watches over this process. It is killed with this value.
#[derive(Debug)]
pub(crate) struct WitnessChild {
    child: Mutex<Child>,
    /// Its process, so that no other one is killed if the program has reaped it. Not on old kernels.
    process: Option<OwnedFd>,
}

impl WitnessChild {
    /// Starts it. If `kill_after` is given, it kills this process when the election thread has not turned for so long.
    pub(crate) fn start(
        config: &NodeConfig,
        program: &WitnessProgram,
        kill_after: Option<Duration>,
        board: &Arc<Board>,
    ) -> io::Result<WitnessChild> {
        let limit = kill_after.map_or(0, |limit| limit.as_millis().min(u128::from(u64::MAX)));
        let mut command = Command::new(program.path());
        command.env(VARIABLE, format!("{} {limit}", std::process::id())).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What a terminal sends to this program is not for the witness.
        command.process_group(0);
        if let (WitnessProgram::This, Some(name)) = (program, env::args_os().next()) {
            command.arg0(name);
        }
        let mut child = command.spawn().map_err(|error| {
            let path = program.path().display();
            io::Error::new(error.kind(), format!("cannot start {path} as a witness of the death of this node: {error}"))
        })?;
        let mut input = child.stdin.take().expect("it was asked for");
        let mut output = child.stdout.take().expect("it was asked for");
        // Killed from now on, if it is not what it should be.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        let child = WitnessChild { child: Mutex::new(child), process };
        let (tell, is_ready) = crossbeam_channel::bounded(1);
        let yaml = config.to_yaml()?;
        let greeting = format!("{}\n{yaml}\n{END_OF_CONFIG}\n", config.id());
        transport::spawn(&format!("le{}-ready", config.id()), move || {
            let mut said = [0; READY.len()];
            let ready = input.write_all(greeting.as_bytes()).and_then(|()| output.read_exact(&mut said));
            // The other side may have given up.
            let _ = tell.send((ready.is_ok() && said == *READY).then_some(input));
        })?;
        let Ok(Some(input)) = is_ready.recv_timeout(START_LIMIT) else {
            return Err(io::Error::other(format!(
                "{} did not become a witness: expected a program that calls \
                 leadelect::death_witness::become_one_if_asked() before anything else, and that can read the config \
                 and the state",
                program.path().display()
            )));
        };
        if let Some(limit) = kill_after {
            let board = Arc::downgrade(board);
            transport::spawn(&format!("le{}-beat", config.id()), move || tell_turns(input, limit / 4, &board))?;
        }
        Ok(child)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        lock(&self.child).id()
    }
}

impl Drop for WitnessChild {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // It may have ended already.
        let _ = match &self.process {
            Some(process) => pidfd_send_signal(process, Signal::KILL).map_err(io::Error::from),
            None => child.kill(),
        };
        let _ = child.wait();
    }
}

/// Tells the witness each time that the election thread has turned, until the node or the witness is gone.
fn tell_turns(mut input: ChildStdin, pause: Duration, board: &Weak<Board>) {
    let mut last = None;
    while let Some(turns) = board.upgrade().and_then(|board| board.turns()) {
        if last.replace(turns) != Some(turns) && input.write_all(b".").is_err() {
            return;
        }
        thread::park_timeout(pause);
    }
}

/// Becomes the witness of the program that has started this process, if that was the reason to start it. Then it does
/// not return. Call it first in `main`, before any thread is started.
///
/// ```no_run
/// leadelect::death_witness::become_one_if_asked();
/// // the program itself
/// ```
pub fn become_one_if_asked() {
    let Ok(asked) = env::var(VARIABLE) else {
        return;
    };
    match serve(&asked) {
        Ok(()) => exit(0),
        Err(error) => {
            // Nobody may read it. There is nothing else to do then.
            let _ = writeln!(io::stderr(), "leadelect: witness: {error}");
            exit(1)
        }
    }
}

fn serve(asked: &str) -> Result<(), Box<dyn std::error::Error>> {
    let unexpected = || format!("found {VARIABLE}={asked:?}: expected a process id and milliseconds");
    let (parent, limit) = asked.split_once(' ').ok_or_else(unexpected)?;
    let parent: i32 = parent.parse().map_err(|_| unexpected())?;
    let limit = Duration::from_millis(limit.parse().map_err(|_| unexpected())?);
    let program = if limit.is_zero() { None } else { program_to_kill(parent)? };
    let mut input = BufReader::new(io::stdin());
    let (mut id, mut text, mut line) = (String::new(), String::new(), String::new());
    input.read_line(&mut id)?;
    while input.read_line(&mut line)? > 0 && line.trim_end() != END_OF_CONFIG {
        text.push_str(&line);
        line.clear();
    }
    let witness = DeathWitness::new(Config::from_yaml_str(&text)?.for_node(id.trim_end())?)?;
    io::stdout().write_all(READY).and_then(|()| io::stdout().flush())?;
    // Whoever reads what the program says must see its end, and not wait for this process. But a kill must be told.
    let nothing = OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(&nothing)?;
    if program.is_none() {
        dup2_stderr(&nothing)?;
    }
    if let Some(program) = program {
        thread::Builder::new().name("beat".into()).spawn(move || kill_when_stuck(input, &program, limit))?;
    }
    Ok(witness.watch_once()?)
}

/// The process with this id, if it is the parent of this one. Otherwise it has died, and the id may be another's by
/// now.
fn program_to_kill(id: i32) -> io::Result<Option<OwnedFd>> {
    let Some(id) = Pid::from_raw(id) else {
        return Ok(None);
    };
    let process = pidfd_open(id, PidfdFlags::empty())?;
    Ok((getppid() == Some(id)).then_some(process))
}

/// Kills the program when no turn of its election thread is told for so long.
fn kill_when_stuck(mut input: impl Read + Send + 'static, program: &OwnedFd, limit: Duration) {
    let (turns, told) = crossbeam_channel::bounded(1);
    let listen = move || {
        let mut bytes = [0; 64];
        while matches!(input.read(&mut bytes), Ok(1..)) {
            // If there is one already, that says the same.
            let _ = turns.try_send(());
        }
    };
    // Without this thread nothing would be heard, and a program that is well would be killed.
    if thread::Builder::new().name("listen".into()).spawn(listen).is_err() {
        return;
    }
    // In two parts: a witness that was stopped itself, or got no processor, has heard nothing of a program that is
    // well.
    let part = limit / 2;
    let mut silent_parts = 0;
    loop {
        let began = clock::now();
        match told.recv_timeout(part) {
            Ok(()) => silent_parts = 0,
            // The program has ended, or its node has.
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if clock::now().since(began) > part * 3 / 2 => silent_parts = 0,
            Err(RecvTimeoutError::Timeout) => silent_parts += 1,
        }
        if silent_parts == 2 {
            // Nobody may read it, and then there is nothing else to say it to.
            let _ = writeln!(
                io::stderr(),
                "leadelect: the election thread of this program has not taken a turn for {limit:?}: kills the program"
            );
            // It may have died meanwhile.
            let _ = pidfd_send_signal(program, Signal::KILL);
            return;
        }
    }
}
