//! `leadelect run`: a command that runs only while this node leads.

mod descendants;
mod guard;
mod handle;
mod orders;
mod signals;
mod supervisor;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use leadelect::election::Timing;
use leadelect::{Node, time_from_str};
use rustix::process::{getpid, set_child_subreaper};

use super::{ConfigFile, Failure, complain};
use signals::Reception;
use supervisor::Supervisor;

/// Run a command while this node leads, and only then
///
/// Joins the election as the node ID. When it wins, it starts the command; when it is about to lose leadership, it has
/// the command end, kills what does not, and only then lets another node lead. When the command ends by itself, its
/// node gives leadership up within milliseconds.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// This node, one of those in the config
    #[arg(long)]
    id: String,
    /// What to do when the command has ended by itself
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Restart::Always)]
    restart: Restart,
    /// After a failure of the command, for so long lead only if no other node can [default: ten election timeouts]
    #[arg(long, value_name = "TIME", value_parser = time_from_str)]
    hold_off: Option<Duration>,
    /// The signal that has the command end: TERM, INT, QUIT, HUP, USR1, USR2 or KILL
    #[arg(long, value_name = "SIGNAL", value_parser = signals::by_name, default_value = "TERM")]
    stop_signal: i32,
    /// Tell the command to end so long before the lease does, if that is not renewed [default: a fifth of the election
    /// timeout]
    #[arg(long, value_name = "TIME", value_parser = time_from_str)]
    drain_time: Option<Duration>,
    /// The most that the command gets to end in an orderly stop, and that its leftovers get when it has ended by
    /// itself. The lease is renewed meanwhile
    #[arg(long, value_name = "TIME", value_parser = time_from_str, default_value = "10s")]
    stop_time: Duration,
    /// The command and its arguments, after `--`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const HELP: &str = "\
The command finds in its environment:
  LEADELECT_TOKEN  the fencing token, which grows from leader to leader: send it along with
                   every change of a shared resource, and let the resource refuse a lower one
  LEADELECT_TERM   the term in which leadership was won, which is the same number
  LEADELECT_NODE   the id of this node

It runs in a process group of its own, with the input, output and error output of `leadelect run`. \
So it can write to a terminal, but not read from it. `leadelect run` logs to its error output: \
RUST_LOG=warn for less, RUST_LOG=debug for more.

When the lease is not renewed, the command gets the stop signal `--drain-time` before the end of \
the lease, and SIGKILL a tenth of the election timeout before it. When leadership is taken away, by \
`leadelect resign` or `transfer`, it gets the stop signal at once, and has what is left of the \
lease. Signals go to its whole process group, and what has left the group is killed, too. All of it \
is gone before another node leads, also while `leadelect run` is stopped and when it is killed: a \
process of its own sees to that. If both processes are stopped or killed, or if the host is paused, \
only the token helps.

When the command ends by itself, what is left of its process group gets the stop signal and, after \
`--stop-time`, SIGKILL. Then leadership is given up. What comes next is said by --restart:
  always      contend again: the next to lead starts the command, here or on another node
  on-failure  the same after a failure, which is a signal or an exit code other than 0;
              end if the exit code is 0
  never       end
A command that was told to end has not ended by itself.

SIGINT and SIGTERM end the command and then `leadelect run`, in order: the command gets \
`--stop-time` while this node still leads, then another node leads. A second one kills the command. \
SIGHUP (unless it was ignored at the start, as by nohup), SIGUSR1 and SIGUSR2 are passed on to the \
command's process group.

Exit codes:
  0         ended by SIGINT or SIGTERM; or the command ended with 0 (on-failure, never)
  N         the command ended with N (never)
  128+N     the command was killed by signal N (never)
  126, 127  the command cannot be executed; the command is not found (never)
  2         the arguments or the config cannot be used, or the node cannot be started
  125       the node has stopped by itself: see the log

Example, on three hosts: one runs the importer, and if that host dies another one within a second
  leadelect run --config cfg.yaml --id 1 -- /usr/local/bin/importer --all";

/// What to do when the command has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Restart {
    /// End
    Never,
    /// End if its exit code is 0, otherwise contend again
    OnFailure,
    /// Contend again
    Always,
}

/// The exit code when the node has stopped by itself.
const NODE_STOPPED: u8 = 125;

/// What a guard has to know.
#[derive(Debug)]
struct Job {
    node: String,
    command: Vec<OsString>,
    stop_signal: i32,
    drain_time: Duration,
    margin: Duration,
    stop_time: Duration,
}

impl Job {
    /// # Errors
    ///
    /// When the drain time leaves the command no time to end, or leaves no time to work.
    fn new(args: &Args, node: String, timing: Timing) -> Result<Job, Failure> {
        let margin = timing.election_timeout() / 10;
        // As of `LeadOptions::drain_time`: one heartbeat may be lost before the command is told to end.
        let lease = timing.lease(timing.election_timeout());
        let longest = lease.saturating_sub(timing.heartbeat_interval() * 5 / 2);
        let default = (timing.election_timeout() / 5).min(longest);
        let drain_time = args.drain_time.unwrap_or(default);
        if drain_time <= margin || drain_time > longest {
            return Err(Failure::of(format!(
                "--drain-time {drain_time:?} does not fit the election timeout {:?}: use more than {margin:?}, at \
                 which the command is killed, and at most {longest:?}",
                timing.election_timeout()
            )));
        }
        Ok(Job {
            node,
            command: args.command.clone(),
            stop_signal: args.stop_signal,
            drain_time,
            margin,
            stop_time: args.stop_time,
        })
    }

    fn in_nanos(&self) -> (u64, u64, u64) {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        (nanos(self.drain_time), nanos(self.margin), nanos(self.stop_time))
    }
}

/// What this program is when it was started by itself. No subcommands: nobody else is to call them.
#[derive(Debug, clap::Parser)]
enum Part {
    Guard(guard::Args),
    GuardExec(guard::ExecArgs),
}

/// Does what a guard does, if this process was started as one.
pub(crate) fn as_part() -> Option<Result<ExitCode, Failure>> {
    let name = std::env::args_os().nth(1)?;
    if name != guard::GUARD && name != guard::EXEC {
        return None;
    }
    Some(match Part::try_parse() {
        Ok(Part::Guard(args)) => guard::run(args),
        Ok(Part::GuardExec(args)) => guard::become_command(&args),
        Err(error) => Err(Failure::of(error)),
    })
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();
    let config = args.config.read()?;
    let config = config.for_node(&args.id).map_err(Failure::of)?;
    let timing = config.timing();
    let job = Job::new(args, config.id().to_string(), timing)?;
    let hold_off = args.hold_off.unwrap_or(timing.election_timeout() * 10);
    // Whatever a guard that was killed has left behind comes to this process.
    set_child_subreaper(Some(getpid())).map_err(Failure::of)?;
    let reception = Reception::open().map_err(Failure::of)?;
    let node = Arc::new(Node::start(config).map_err(Failure::of)?);
    reception.serve(&node);
    let mut supervisor = Supervisor::new(&node, timing, job, args.restart, hold_off, &reception);
    supervisor.run();
    node.shutdown();
    match (supervisor.exit_code(), reception.was_asked_to_leave()) {
        (Some(code), _) => Ok(ExitCode::from(code)),
        (None, true) => Ok(ExitCode::SUCCESS),
        (None, false) => {
            complain("the node has stopped by itself: see the log");
            Ok(ExitCode::from(NODE_STOPPED))
        }
    }
}
