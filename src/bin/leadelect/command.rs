//! `leadelect resign` and `leadelect transfer`: have the leader hand over.

use std::process::ExitCode;
use std::time::Duration;

use leadelect::remote::{Client, RemoteError, Transfer};
use leadelect::{Config, NodeId, Term, time_from_str};

use super::view::View;
use super::{ConfigFile, Failure, print};

/// Have the leader give leadership up, so that another node leads
///
/// Finds the leader, and asks it. It tells its work to stop, waits until it has, and only then lets another node lead.
/// Ends when another node leads. The certificate in the config must be that of a node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  another node leads
  1  nobody leads, the leader has refused or has not answered, or nobody else has come after it
  2  the arguments, the config or the certificates cannot be used

A leader that was asked and has not answered may still do it, also later. The error says so: see who
leads, by `leadelect status`, before you ask again.

Examples:
  leadelect resign
  leadelect resign --for 10s    # and for ten seconds lead only if nobody else can")]
pub(crate) struct ResignArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// For how long it is to lead again only if nobody else can: 30s, 1.5s, 500ms
    #[arg(long = "for", value_name = "TIME", default_value = "0s", value_parser = time_from_str)]
    hold_off: Duration,
}

/// Have the leader hand leadership over to another node
///
/// As `leadelect resign`, but to that node. Refused, and nothing changes, if that node cannot lead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  that node leads
  1  nobody leads, the leader has refused or has not answered, or that node does not lead in the end
  2  the arguments, the config or the certificates cannot be used

A leader that was asked and has not answered may still do it, also later. The error says so: see who
leads, by `leadelect status`, before you ask again.

Example:
  leadelect transfer 2")]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The node that is to lead
    id: String,
}

pub(crate) fn resign(args: &ResignArgs) -> Result<ExitCode, Failure> {
    let config = args.config.read()?;
    let hand_over = HandOver::begin(&config)?;
    let asked = hand_over.client.resign(hand_over.leader, args.hold_off);
    let next = hand_over.end(asked)?;
    if next == hand_over.leader {
        return Err(Failure::of_cluster(format!(
            "node {next} has given leadership up, and leads again: no other node was able to"
        )));
    }
    print(&format!("node {} has handed over to node {next}\n", hand_over.leader))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn transfer(args: &TransferArgs) -> Result<ExitCode, Failure> {
    let config = args.config.read()?;
    let to = args.config.node(&config, &args.id)?;
    let hand_over = HandOver::begin(&config)?;
    if to == hand_over.leader {
        print(&format!("node {to} leads already\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let asked = hand_over.client.transfer(Transfer { leader: hand_over.leader, to });
    let next = hand_over.end(asked)?;
    if next != to {
        let from = hand_over.leader;
        return Err(Failure::of_cluster(format!(
            "node {from} has handed over, and node {next} leads in place of node {to}"
        )));
    }
    print(&format!("node {} has handed over to node {to}\n", hand_over.leader))?;
    Ok(ExitCode::SUCCESS)
}

/// From one leader to the next.
#[derive(Debug)]
struct HandOver<'a> {
    config: &'a Config,
    client: Client,
    leader: NodeId,
    token: Term,
}

/// The pause between two looks for the next leader.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// So many election timeouts are enough for a leader to follow, unless there is no majority.
const PATIENCE: u32 = 4;

impl<'a> HandOver<'a> {
    fn begin(config: &'a Config) -> Result<Self, Failure> {
        let client = Client::new(config.clone()).map_err(Failure::of)?;
        let view = View::of(config, client.status_of_all());
        match view.leaders().as_slice() {
            [leader] => {
                let (leader, token) = (leader.id, leader.token.unwrap_or_default());
                Ok(HandOver { config, client, leader, token })
            }
            _ => Err(Failure::of_cluster(view.verdict())),
        }
    }

    /// Waits for the leader that follows.
    fn end(&self, asked: Result<(), RemoteError>) -> Result<NodeId, Failure> {
        let from = self.leader;
        asked.map_err(|error| Failure::of_cluster(format!("node {from}: {error}")))?;
        let limit = crossbeam_channel::after(self.config.timing().election_timeout() * PATIENCE);
        let looks = crossbeam_channel::tick(LOOK_INTERVAL);
        loop {
            let view = View::of(self.config, self.client.status_of_all());
            let later = |token: Option<Term>| token.is_some_and(|token| token > self.token);
            if let Some(next) = view.leaders().iter().find(|node| later(node.token)) {
                return Ok(next.id);
            }
            if limit.try_recv().is_ok() {
                let verdict = view.verdict();
                return Err(Failure::of_cluster(format!(
                    "node {from} has given leadership up, and nobody has come after it yet: {verdict}"
                )));
            }
            looks.recv().expect("a ticker ticks for as long as it lives");
        }
    }
}
