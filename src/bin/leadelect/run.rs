//! `leadelect run`: a command that runs only while this node leads.

mod backoff;
mod cgroup;
mod descendants;
mod exec;
mod guard;
mod guard_handle;
mod guard_protocol;
mod host;
mod leftovers;
mod schedule;
mod scheduling;
mod signals;
mod spare;
mod supervisor;
mod worker;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use leadelect::config::NodeConfig;
use leadelect::death_witness::WitnessProgram;
use leadelect::election::Timing;
use leadelect::{Node, StartError, time_from_str};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{getpid, set_child_subreaper};

use super::error_output::{complain, start_logger};
use super::{ConfigFile, Failure};
use leftovers::RunId;
use signals::SignalReceiver;
use supervisor::Supervisor;
use worker::Workers;

/// Run a command while this node leads, and only then
///
/// Joins the election as the node ID. When this node wins, it starts the command. Before it loses leadership, it tells
/// the command to stop and kills what does not stop. Only then does it let another node lead. When the command ends by
/// itself, the node steps down within milliseconds.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The id of this node in the config
    #[arg(long)]
    id: String,
    /// What to do after the command ended by itself
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Restart::Always)]
    restart: Restart,
    /// For this long after a failure of the command, lead only if no other node can [default: ten election timeouts]
    #[arg(long, value_name = "TIME", value_parser = time_from_str)]
    hold_off: Option<Duration>,
    /// The signal that tells the command to stop: TERM, INT, QUIT, HUP, USR1, USR2 or KILL
    #[arg(long, value_name = "SIGNAL", value_parser = signals::by_name, default_value = "TERM")]
    stop_signal: i32,
    /// Tell the command to stop this long before the lease ends, unless the lease is renewed [default: a fifth of the
    /// election timeout]
    #[arg(long, value_name = "TIME", value_parser = time_from_str)]
    drain_time: Option<Duration>,
    /// The longest time that the command may take for an orderly stop. If the command ends by itself, the processes
    /// that it left behind may take as long. The lease is renewed meanwhile
    #[arg(long, value_name = "TIME", value_parser = time_from_str, default_value = "10s")]
    stop_time: Duration,
    /// Give leadership up if a signal such as SIGSTOP or SIGTTOU has stopped the command for this long [default: only
    /// a line in the log]
    #[arg(long, value_name = "TIME", value_parser = time_from_str)]
    max_silence: Option<Duration>,
    /// The longest pause before a command starts again that ends at once. The pause is an election timeout after the
    /// second end in a row, and doubles with each. It ends when the command has run for as long as `--hold-off`
    #[arg(long, value_name = "TIME", value_parser = time_from_str, default_value = "60s")]
    longest_pause: Duration,
    /// Let set-user-ID programs such as sudo and su gain privileges. A process of another user may not be killed by
    /// this program. Then it can act beside the next leader
    #[arg(long)]
    allow_privilege_gain: bool,
    /// Start no process that tells the other nodes when this program has been killed. The next leader then waits until
    /// the lease has run out
    #[arg(long)]
    no_witness: bool,
    /// The command and its arguments, after `--`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const HELP: &str = "\
Environment variables of the command:
  LEADELECT_TOKEN  the fencing token, which grows from leader to leader. Send
                   it with every change of a shared resource, and let the
                   resource refuse a lower one
  LEADELECT_TERM   the term in which this node won; the same number
  LEADELECT_NODE   the id of this node
  LEADELECT_RUN    by which the next `leadelect run` of this node finds
                   processes that this one could not end

The command runs in a process group of its own. It has the input, output and error output of `leadelect run`. \
It can write to a terminal, but not read from it. `leadelect run` logs to its error output: RUST_LOG=warn for \
less, RUST_LOG=debug for more.

If the lease is not renewed, the command gets the stop signal `--drain-time` before the lease ends, and \
SIGKILL a tenth of the election timeout before it ends. If `leadelect resign` or `leadelect transfer` takes \
leadership away, the command gets the stop signal at once, and has the rest of the lease to stop.

Stop signal and SIGKILL go to the whole process group of the command, and to all processes that left the group. All \
of them are gone before another node leads. A separate process, the guard, makes sure of that: also if `leadelect run` \
is stopped or killed. If both are stopped or killed, or if the host is paused, only the token protects the resource. \
The next start of this node ends what is then left.

The command cannot gain privileges by set-user-ID programs such as sudo, unless --allow-privilege-gain is given. \
Otherwise a process could become another user that `leadelect run` may not signal. If it may not kill a process, it \
says so as an ERROR, tries for seconds, and goes on. In a control group of its own (as root, or with systemd's \
Delegate=yes) the kernel kills such a process as well.

The command has no real-time policy and no negative nice value, also if `leadelect run` has.

If this program is killed and the config has a `state_dir`, another process tells the other nodes as soon as nothing \
of the command is left, and the next leader starts within milliseconds. All processes of the command inherit the lock \
on the state of the node, by which that is known.

If the command ends by itself, what it left behind gets the stop signal, and SIGKILL after `--stop-time`. \
Then the node steps down. What comes next depends on --restart:
  always      contend again: the next leader starts the command, on this host
              or on another
  on-failure  end if the exit code is 0. After a failure, which is a signal or
              another exit code, contend again
  never       end
A command that was told to stop does not count as ended by itself.

SIGINT or SIGTERM stops first the command and then `leadelect run`. The command gets `--stop-time` to stop while \
this node still leads. Then another node leads. A second SIGINT or SIGTERM kills the command. SIGHUP, SIGUSR1 and \
SIGUSR2 are passed on to the process group of the command. With a controlling terminal SIGHUP means that the \
terminal is gone: it acts as SIGTERM. SIGHUP is ignored if it was ignored at the start, as under nohup.

Exit codes:
  0         ended by SIGINT or SIGTERM; or the command ended with 0
            (on-failure, never)
  N         the command ended with N (never)
  128+N     signal N killed the command (never)
  126, 127  the command cannot be executed; the command is not found (never)
  2         the arguments or the config cannot be used, the node cannot start,
            or this host does not let `leadelect run` keep its promise
  125       the node stopped by itself: see the log

Example, on three hosts. One of them runs the importer. If that host dies, another one runs it within a second:
  leadelect run --config cfg.yaml --id 1 -- /usr/local/bin/importer --all";

/// What to do after the command ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Restart {
    /// End
    Never,
    /// End if the exit code is 0, otherwise contend again
    OnFailure,
    /// Contend again
    Always,
}

const NODE_STOPPED: u8 = 125;

/// The command, and how it is stopped. These are the arguments of a guard. The times are in nanoseconds.
#[derive(Debug, Clone, clap::Args)]
struct CommandSpec {
    /// The id of the node, for `LEADELECT_NODE`
    #[arg(long)]
    node: String,
    #[arg(long)]
    drain_time: u64,
    /// The command is killed this long before the lease ends
    #[arg(long)]
    margin: u64,
    #[arg(long)]
    stop_time: u64,
    #[arg(long)]
    stop_signal: i32,
    #[arg(long)]
    allow_privilege_gain: bool,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl CommandSpec {
    /// # Errors
    ///
    /// Fails if the drain time leaves the command no time to stop, or no time to work.
    fn new(args: &Args, node: String, timing: Timing) -> Result<CommandSpec, Failure> {
        let margin = timing.election_timeout() / 10;
        // The same limit as in `LeadOptions::drain_time`: one lost heartbeat does not stop the command.
        let lease = timing.lease(timing.election_timeout());
        let longest = lease.saturating_sub(timing.heartbeat_interval() * 5 / 2);
        let default = (timing.election_timeout() / 5).min(longest);
        let drain_time = args.drain_time.unwrap_or(default);
        if drain_time <= margin || drain_time > longest {
            return Err(Failure::of(format!(
                "--drain-time {drain_time:?} does not fit the election timeout {:?}: use more than {margin:?}, because \
                 the command is killed that long before the lease ends, and at most {longest:?}",
                timing.election_timeout()
            )));
        }
        Ok(CommandSpec {
            node,
            drain_time: nanos(drain_time),
            margin: nanos(margin),
            stop_time: nanos(args.stop_time),
            stop_signal: args.stop_signal,
            allow_privilege_gain: args.allow_privilege_gain,
            command: args.command.clone(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

const GUARD: &str = "guard";
const EXEC: &str = "guard-exec";

/// What only this program starts. These are not in the list of subcommands, because no user calls them.
#[derive(Debug, clap::Parser)]
enum Internal {
    /// Run a command for the supervisor, which is the other end of stdin
    Guard(guard::Args),
    GuardExec(exec::Args),
}

/// Does the work of a guard, or becomes a command, if this process was started for that. Otherwise returns `None`.
pub(crate) fn run_internal() -> Option<Result<ExitCode, Failure>> {
    let name = std::env::args_os().nth(1)?;
    if name != GUARD && name != EXEC {
        return None;
    }
    Some(match Internal::try_parse() {
        Ok(Internal::Guard(args)) => guard::run(args),
        Ok(Internal::GuardExec(args)) => exec::run(&args),
        Err(error) => Err(Failure::of(error)),
    })
}

/// This program again, with this first argument. `ps` shows it as `leadelect`.
fn own_program(argument: &str) -> Command {
    // This link leads to the very same file, even after an upgrade has replaced it.
    let mut program = Command::new("/proc/self/exe");
    program.arg0("leadelect").arg(argument);
    program
}

/// Without a witness if none can be started: a crash of this program then costs an election timeout.
fn start_node(config: NodeConfig, watched: bool) -> Result<Node, StartError> {
    if !watched {
        return Node::start(config);
    }
    match Node::start(config.clone().death_witness(WitnessProgram::This)) {
        Err(StartError::DeathWitness(error)) => {
            log::warn!("node {}: runs without a death witness: {error}", config.id());
            Node::start(config)
        }
        started => started,
    }
}

/// The lock on the state of the node, which every process inherits that is started from now on: the guards, the command
/// and what that starts. While one of them has it, nobody takes this node for dead.
fn inheritable_lock(node: &Node) -> std::io::Result<Option<OwnedFd>> {
    let Some(lock) = node.state_lock() else {
        return Ok(None);
    };
    let lock = lock.as_fd().try_clone_to_owned()?;
    fcntl_setfd(&lock, FdFlags::empty())?;
    Ok(Some(lock))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    start_logger();
    let config = args.config.read()?;
    let run = run_id(&config, &args.id);
    let config = config.for_node(&args.id).map_err(Failure::of)?;
    let timing = config.timing();
    let spec = CommandSpec::new(args, config.id().to_string(), timing)?;
    // If a guard is killed, this process becomes the parent of the processes that the guard left behind.
    set_child_subreaper(Some(getpid())).map_err(Failure::of)?;
    let groups = host::check(&run).map_err(Failure::of)?;
    let signals = SignalReceiver::start().map_err(Failure::of)?;
    // Before the node votes: it may have to do so for a leader that what is left would act beside.
    run.end_leftovers(Duration::from_nanos(spec.drain_time - spec.margin)).map_err(Failure::of)?;
    let workers = Workers::start(config.id().as_str()).map_err(Failure::of)?;
    let watched = config.state_dir().is_some() && !args.no_witness;
    let node = Arc::new(start_node(config, watched).map_err(Failure::of)?);
    let lock = inheritable_lock(&node).map_err(Failure::of)?;
    scheduling::report(&spec.node);
    signals.set_node(&node);
    let exit_code = Supervisor::new(args, &node, timing, spec, (run.clone(), groups), workers, &signals).run();
    node.shutdown();
    drop(lock);
    run.remove_cgroups();
    match (exit_code, signals.stop_requested()) {
        (Some(code), _) => Ok(ExitCode::from(code)),
        (None, true) => Ok(ExitCode::SUCCESS),
        (None, false) => {
            complain("the node stopped by itself: see the log");
            Ok(ExitCode::from(NODE_STOPPED))
        }
    }
}

fn run_id(config: &leadelect::Config, id: &str) -> RunId {
    let node = config.nodes().find(|(node, _)| node.as_str() == id).map(|(_, node)| node);
    // `for_node` refuses a node that the config does not have.
    let (addr, port) = node.map_or(("", 0), |node| (node.addr.as_str(), node.port));
    RunId::of_this_process(config.cluster(), id, addr, port)
}
