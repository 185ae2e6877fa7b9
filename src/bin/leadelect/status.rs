//! `leadelect status`: asks every node, and shows one table.

use std::process::ExitCode;

use super::{ConfigFile, Failure};

/// Ask every node what it sees, and show one table
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.config.read()?;
    Err(Failure(format!(
        "not there yet: {} {}",
        args.watch, args.json
    )))
}
