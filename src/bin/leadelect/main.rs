//! The program `leadelect`: looks at a cluster, and hands leadership over, from a shell.
//!
//! One file per subcommand. Each returns the exit code, or a [`Failure`], which is printed here and nowhere else.

mod check;
mod command;
mod completions;
#[cfg(target_os = "linux")]
// what kills its command: parent-death signals, subreapers, one clock for all processes
mod run;
mod status;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leadelect::Config;

/// Looks at the nodes of a cluster that elect a leader, and hands leadership over.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
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
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guard(run::guard::Args),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    GuardExec(run::guard::ExecArgs),
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
}

/// Why a subcommand could not do what it was asked for: a line for stderr, and exit code 2.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn of(error: impl fmt::Display) -> Failure {
        Failure(error.to_string())
    }
}

/// The exit code of a [`Failure`], and of arguments that are not understood.
const FAILED: u8 = 2;

fn main() -> ExitCode {
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
        #[cfg(target_os = "linux")]
        What::Guard(args) => run::guard::run(args),
        #[cfg(target_os = "linux")]
        What::GuardExec(args) => run::guard::become_command(&args),
    };
    done.unwrap_or_else(|Failure(problem)| {
        eprintln!("leadelect: {problem}");
        ExitCode::from(FAILED)
    })
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
        Some(problem) => eprint!("leadelect: {problem}"),
        None => eprint!("{text}"),
    }
    ExitCode::from(FAILED)
}
