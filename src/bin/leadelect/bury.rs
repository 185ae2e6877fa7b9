//! `leadelect bury`: tells the other nodes now that the process of a node has died.

use std::process::ExitCode;

use leadelect::death_witness::Death;

use super::witness::WatchedNode;
use super::{Failure, print};

/// Tell the other nodes that the process of a node has died, so that they need not wait for the end of its lease
///
/// Does so only if no process of the node is left: none holds the lock on its state. It is for whoever knows that a
/// process has just ended, such as systemd.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  all other nodes that can be reached were told, or there was nothing to tell
  1  the lock proves nothing: the vote file is a copy, was last written before
     this boot, or is not on a local file system; or no other node was told
  2  a process of the node runs; or the arguments, the config, the certificates
     or the state cannot be used

In the unit of a service that runs a node:
  ExecStopPost=-/usr/bin/leadelect bury --config /etc/leadelect.yaml --id 1")]
pub(crate) struct Args {
    #[command(flatten)]
    node: WatchedNode,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let witness = args.node.witness()?;
    let term = match witness.look().map_err(Failure::of)? {
        Death::Proved(term) => term,
        Death::Unproved(why) => return Err(Failure::of_cluster(format!("nobody was told: {why}"))),
        Death::NoState => {
            print("the node has no state: nothing to tell\n")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let told = witness.tell(term).map_err(Failure::of)?;
    for (peer, outcome) in &told {
        match outcome {
            Ok(()) => print(&format!("node {peer}: told\n"))?,
            Err(why) => print(&format!("node {peer}: not told: {why}\n"))?,
        }
    }
    if !told.is_empty() && told.values().all(Result::is_err) {
        return Err(Failure::of_cluster("no other node was told"));
    }
    Ok(ExitCode::SUCCESS)
}
