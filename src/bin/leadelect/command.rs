//! `leadelect resign` and `leadelect transfer`: have the leader hand over.

use std::process::ExitCode;

use super::{ConfigFile, Failure};

/// Have the leader give leadership up, so that another node leads
#[derive(Debug, clap::Args)]
pub(crate) struct ResignArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// Have the leader hand leadership over to another node
#[derive(Debug, clap::Args)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The node that is to lead
    id: String,
}

pub(crate) fn resign(args: &ResignArgs) -> Result<ExitCode, Failure> {
    args.config.read()?;
    Err(Failure("not there yet".into()))
}

pub(crate) fn transfer(args: &TransferArgs) -> Result<ExitCode, Failure> {
    args.config.read()?;
    Err(Failure(format!("not there yet: {}", args.id)))
}
