//! The program `leadelect`: looks at a cluster, and hands leadership over, from a shell.
//!
//! One file per subcommand. Each returns the exit code, or a [`Failure`], which is printed here and nowhere else.

mod check;
mod command;
mod completions;
// Of Linux: signals when a parent dies, adoption of orphans, one clock for all processes.
#[cfg(target_os = "linux")]
mod run;
mod status;
mod view;

use std::fmt;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leadelect::{Config, NodeId};

/// Looks at the nodes of a cluster that elect a leader, and hands leadership over.
///
/// Asks running nodes over the network, as one of the hosts in the config or any other: what it needs is the cluster's
/// config, and a certificate of the cluster's CA. Any certificate of the CA may look; whoever changes something must
/// show the certificate of a node.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  leadelect check                 # is the config right, and does everybody answer?
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
    Resign(command::ResignArgs),
    Transfer(command::TransferArgs),
    Check(check::Args),
    Completions(completions::Args),
    #[cfg(target_os = "linux")]
    Run(run::Args),
}

/// Where the cluster is described.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The cluster's config, with the certificate to show to the nodes
    #[arg(long, value_name = "FILE", default_value = "cfg.yaml")]
    config: PathBuf,
}

impl ConfigFile {
    fn read(&self) -> Result<Config, Failure> {
        Config::from_yaml_file(&self.config).map_err(Failure::of)
    }

    /// The node `id`, if there is one.
    fn node(&self, config: &Config, id: &str) -> Result<NodeId, Failure> {
        let known: Vec<NodeId> = config.nodes().map(|(id, _)| id).collect();
        let node = known.iter().find(|known| known.as_str() == id);
        node.copied().ok_or_else(|| {
            let path = self.config.display();
            let ids: Vec<String> = known.iter().map(ToString::to_string).collect();
            let ids = ids.join(", ");
            Failure::of(format!("found no node {id:?} in {path}: expected one of {ids}"))
        })
    }
}

/// Why a subcommand could not do what it was asked for: a line for stderr, and the exit code.
#[derive(Debug)]
struct Failure {
    problem: String,
    exit_code: u8,
}

impl Failure {
    /// What was given cannot be used.
    fn of(problem: impl fmt::Display) -> Failure {
        Failure { problem: problem.to_string(), exit_code: UNUSABLE }
    }

    /// The nodes cannot do it, or will not.
    fn of_cluster(problem: impl fmt::Display) -> Failure {
        Failure { exit_code: REFUSED, ..Failure::of(problem) }
    }
}

/// The exit code if the nodes do not do what they are asked for.
const REFUSED: u8 = 1;
/// The exit code if the arguments, the config or the certificates cannot be used.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(done) = run::as_part() {
        return conclude(done);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let done = match cli.what {
        What::Status(args) => status::run(&args),
        What::Resign(args) => command::resign(&args),
        What::Transfer(args) => command::transfer(&args),
        What::Check(args) => check::run(&args),
        What::Completions(args) => completions::run(&args),
        #[cfg(target_os = "linux")]
        What::Run(args) => run::run(&args),
    };
    conclude(done)
}

fn conclude(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|failure| {
        complain(&failure.problem);
        ExitCode::from(failure.exit_code)
    })
}

/// Writes to stdout. Unlike `print!` it survives that nobody reads.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::of(format!("cannot write to stdout: {error}")))
}

/// A line for stderr, written in one piece: several processes may share it. Unlike `eprintln!` it survives that nobody
/// reads, so that the exit code still says what has happened.
fn complain(problem: &str) {
    let line = format!("leadelect: {problem}\n");
    // Nobody has to be told, then.
    let _ = stderr().write_all(line.as_bytes());
}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody reads it: then nobody has to be told.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(problem) => complain(problem.trim_end()),
        // The help, because there were no arguments at all. Nobody reads it: as above.
        None => drop(error.print()),
    }
    ExitCode::from(UNUSABLE)
}
