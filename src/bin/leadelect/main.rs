//! The program `leadelect`: shows the state of a cluster and hands leadership over, from a shell.
//!
//! Each subcommand has a file. It returns an exit code or a [`Failure`]. Only this file prints a failure.

mod bury;
mod check;
mod completions;
mod error_output;
mod hand_over;
// Needs Linux: a signal when the parent dies, a new parent for orphans, one clock for all processes.
#[cfg(target_os = "linux")]
mod run;
mod status;
mod view;
mod witness;

use std::fmt;
use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use error_output::complain;
use leadelect::{Config, NodeId, may_be_key};

/// Shows what the nodes of a cluster see, and hands leadership over from one node to another.
///
/// Asks the running nodes over the network. It works on any host that has the config of the cluster and a certificate
/// of the cluster's CA. Any certificate of the CA is enough to read the state. To change something, it must be the
/// certificate of a node.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  leadelect check                 # is the config right, do all nodes answer?
  leadelect status --watch        # who leads?
  leadelect transfer 2            # let node 2 lead
  leadelect run --id 1 -- worker  # run a program only while node 1 leads
  leadelect COMMAND --help        # exit codes, JSON, and more examples")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Status(status::Args),
    Resign(hand_over::ResignArgs),
    Transfer(hand_over::TransferArgs),
    Check(check::Args),
    Witness(witness::Args),
    Bury(bury::Args),
    Completions(completions::Args),
    #[cfg(target_os = "linux")]
    Run(run::Args),
}

/// The option that names the config of the cluster.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config of the cluster. It also names the certificate to show to the nodes
    #[arg(long, value_name = "FILE", default_value = "cfg.yaml")]
    config: PathBuf,
}

impl ConfigFile {
    fn read(&self) -> Result<Config, Failure> {
        Config::from_yaml_file(&self.config).map_err(Failure::of)
    }

    /// The node `id`. Fails if the config has no such node.
    fn node(&self, config: &Config, id: &str) -> Result<NodeId, Failure> {
        let mut known = config.nodes().map(|(id, _)| id);
        known.find(|known| known.as_str() == id).ok_or_else(|| {
            let (path, ids) = (self.config.display(), listed(config.nodes().map(|(id, _)| id)));
            let id = if may_be_key(id) { UNSHOWN.to_owned() } else { format!("{id:?}") };
            Failure::of(format!("found no node {id} in {path}: expected one of {ids}"))
        })
    }
}

fn listed(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

/// Why a subcommand failed: a line for stderr, and the exit code.
#[derive(Debug)]
struct Failure {
    problem: String,
    exit_code: u8,
}

impl Failure {
    /// The arguments, the config or the certificates cannot be used.
    fn of(problem: impl fmt::Display) -> Failure {
        Failure { problem: problem.to_string(), exit_code: UNUSABLE }
    }

    /// The nodes refused, or could not do it.
    fn of_cluster(problem: impl fmt::Display) -> Failure {
        Failure { exit_code: 1, ..Failure::of(problem) }
    }
}

/// Shown in the place of an argument that is a key by mistake.
const UNSHOWN: &str = "an argument that may be a key and is not shown";

/// The exit code if the arguments, the config or the certificates cannot be used.
const UNUSABLE: u8 = 2;

/// The exit code if nobody reads stdout any more, as in `leadelect status | head -1`: that of a program which SIGPIPE
/// has ended.
const UNREAD: u8 = 128 + 13;

fn main() -> ExitCode {
    leadelect::death_witness::become_one_if_asked();
    #[cfg(target_os = "linux")]
    if let Some(done) = run::run_internal() {
        return conclude(done);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let done = match cli.what {
        What::Status(args) => status::run(&args),
        What::Resign(args) => hand_over::resign(&args),
        What::Transfer(args) => hand_over::transfer(&args),
        What::Check(args) => check::run(&args),
        What::Witness(args) => witness::run(&args),
        What::Bury(args) => bury::run(&args),
        What::Completions(args) => completions::run(&args),
        #[cfg(target_os = "linux")]
        What::Run(args) => run::run(&args),
    };
    conclude(done)
}

fn conclude(done: Result<ExitCode, Failure>) -> ExitCode {
    let code = done.unwrap_or_else(|failure| {
        if failure.exit_code != UNREAD {
            complain(&failure.problem);
        }
        ExitCode::from(failure.exit_code)
    });
    error_output::finish();
    code
}

/// Writes to stdout. Unlike `print!`, it does not panic if stdout is closed.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        let failure = Failure::of(format!("cannot write to stdout: {error}"));
        if error.kind() == ErrorKind::BrokenPipe { Failure { exit_code: UNREAD, ..failure } } else { failure }
    })
}

/// Prints the help, or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Fails if stdout is closed. Then nobody reads the help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(_) if may_be_key(&text) => {
            return conclude(Err(Failure::of(format!("found {UNSHOWN}: see `leadelect --help`"))));
        }
        Some(problem) => return conclude(Err(Failure::of(problem.trim_end()))),
        // The help, because there were no arguments at all.
        None => drop(error.print()),
    }
    ExitCode::from(UNUSABLE)
}
