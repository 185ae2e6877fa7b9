//! The process that becomes the command.
//!
//! The guard starts it before the node wins an election, so that a new leader only has to wait for one `execve`. The
//! process waits for the message to start. It asks the kernel to kill it when the guard ends (`PR_SET_PDEATHSIG`). That
//! stays in force when it becomes the command.

use std::ffi::OsString;
use std::io::{ErrorKind, stdin};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use leadelect::lease_clock_nanos;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::set_no_new_privs;

use super::super::Failure;
use super::super::error_output::complain;
use super::guard_protocol::{Received, ToGuard, receive};
use super::scheduling::make_ordinary;

const PRIVILEGES_STAY: bool = true;

/// Wait for the guard, which is the parent process and the other end of stdin. Then become the command
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `LEADELECT_NODE`
    #[arg(long)]
    node: String,
    #[arg(long, value_name = "PID")]
    guard: i32,
    /// The nice value of `leadelect run`
    #[arg(long, allow_hyphen_values = true)]
    nice: i32,
    #[arg(long)]
    allow_privilege_gain: bool,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Returns only if this process does not become the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::of)?;
    make_ordinary(args.nice).map_err(Failure::of)?;
    let mut input = None;
    let (token, until) = loop {
        let Received::Message(message, file) = receive(stdin(), RecvFlags::empty()) else {
            // The guard has ended, or does not need this process.
            return Ok(ExitCode::SUCCESS);
        };
        input = file.or(input);
        if let ToGuard::Start { token, until } = message {
            break (token, until);
        }
    };
    // If the guard ended before the call above, the kernel does not kill this process.
    let guarded = getppid().map(Pid::as_raw_pid) == Some(args.guard);
    if !guarded || lease_clock_nanos() >= until {
        return Err(Failure::of("too late to start the command"));
    }
    if !args.allow_privilege_gain {
        // Otherwise a set-user-ID program could become a process that the guard may not kill.
        set_no_new_privs(PRIVILEGES_STAY).map_err(Failure::of)?;
    }
    let (program, arguments) = args.command.split_first().expect("clap asks for one");
    let error = Command::new(program)
        .args(arguments)
        .env("LEADELECT_TOKEN", token.to_string())
        .env("LEADELECT_TERM", token.to_string())
        .env("LEADELECT_NODE", &args.node)
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .exec();
    complain(&format!("cannot run {program:?}: {error}"));
    // The same codes as a shell's.
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
}
