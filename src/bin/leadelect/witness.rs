//! `leadelect witness`: tells the other nodes when the process of a node has died.

use std::process::ExitCode;

use leadelect::death_witness::DeathWitness;

use super::error_output::start_logger;
use super::{ConfigFile, Failure};

/// Tell the other nodes as soon as the process of a node has died, so that a crash costs milliseconds
///
/// Waits for the lock on the state of the node, which its process holds, also if that is started again and again. When
/// no process holds it any more, nothing of the node can act as leader, and the others need not wait for the end of its
/// lease. This program may be killed at any time: then a crash costs an election timeout, as without it.
///
/// It runs on the host of the node, as the same user. `leadelect run` needs none, and under systemd `leadelect bury` is
/// better. It is no `witness` of the config, which is a node that votes and never leads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It tells nothing, and says why in its log, if the lock proves nothing: if the vote file is a copy, was last written
before this boot, or is not on a local file system.

Exit code:
  2  the arguments, the config, the certificates or the state cannot be used

Example:
  leadelect witness --config cfg.yaml --id 1")]
pub(crate) struct Args {
    #[command(flatten)]
    node: WatchedNode,
}

/// The node whose death is told.
#[derive(Debug, clap::Args)]
pub(super) struct WatchedNode {
    #[command(flatten)]
    config: ConfigFile,
    /// The id of the node in the config
    #[arg(long)]
    id: String,
}

impl WatchedNode {
    pub(super) fn witness(&self) -> Result<DeathWitness, Failure> {
        start_logger();
        let config = self.config.read()?.for_node(&self.id).map_err(Failure::of)?;
        DeathWitness::new(config).map_err(Failure::of)
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args.node.witness()?.watch().map_err(Failure::of)? {}
}
