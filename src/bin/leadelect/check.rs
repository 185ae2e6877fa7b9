//! `leadelect check`: what is wrong with a config, its certificates, and the way to the nodes?

use std::process::ExitCode;

use super::{ConfigFile, Failure};

/// Check a config, its certificates, and whether every node answers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.config.read()?;
    Err(Failure("not there yet".into()))
}
