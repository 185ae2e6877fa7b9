//! `leadelect resign` and `leadelect transfer`: tell the leader to hand leadership over.

use std::process::ExitCode;
use std::time::Duration;

use leadelect::remote::{Client, RemoteError, Transfer};
use leadelect::{Config, NodeId, Term, time_from_str};

use super::view::View;
use super::{ConfigFile, Failure, complain, print};

/// Tell the leader to step down, so that another node leads
///
/// Finds the leader and asks it to resign. The leader tells its work to stop, waits until the work has ended, and only
/// then lets another node lead. This command ends when another node leads. The certificate in the config must be the
/// certificate of a node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  another node leads
  1  no node leads, the leader refused or did not answer, or no other node
     leads after it
  2  the arguments, the config or the certificates cannot be used

A leader that did not answer may still resign, even later. The error says so. Then run \
`leadelect status` to see who leads before you ask again.

Examples:
  leadelect resign
  leadelect resign --for 10s    # lead again within 10 s only if no other can")]
pub(crate) struct ResignArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// For this long, the old leader leads again only if no other node can: 30s, 1.5s, 500ms
    #[arg(long = "for", value_name = "TIME", default_value = "0s", value_parser = time_from_str)]
    hold_off: Duration,
}

/// Tell the leader to hand leadership over to a certain node
///
/// Like `leadelect resign`, but the next leader is that node. If that node cannot lead, the leader refuses and nothing
/// changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  that node leads
  1  no node leads, the leader refused or did not answer, or another node leads
     in the end
  2  the arguments, the config or the certificates cannot be used

A leader that did not answer may still hand over, even later. The error says so. Then run \
`leadelect status` to see who leads before you ask again.

Example:
  leadelect transfer 2")]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The node that becomes the leader
    id: String,
}

pub(crate) fn resign(args: &ResignArgs) -> Result<ExitCode, Failure> {
    let config = args.config.read()?;
    let hand_over = HandOver::begin(&config)?;
    let asked = hand_over.client.resign(hand_over.leader, args.hold_off);
    let next = hand_over.end(asked)?;
    if next == hand_over.leader {
        return Err(Failure::of_cluster(format!(
            "node {next} has stepped down, and leads again: no other node could lead"
        )));
    }
    Ok(done(&format!("node {} has handed over to node {next}\n", hand_over.leader)))
}

pub(crate) fn transfer(args: &TransferArgs) -> Result<ExitCode, Failure> {
    let config = args.config.read()?;
    let to = args.config.node(&config, &args.id)?;
    let hand_over = HandOver::begin(&config)?;
    if to == hand_over.leader {
        return Ok(done(&format!("node {to} leads already\n")));
    }
    let asked = hand_over.client.transfer(Transfer { leader: hand_over.leader, to });
    let next = hand_over.end(asked)?;
    if next != to {
        let from = hand_over.leader;
        return Err(Failure::of_cluster(format!(
            "node {from} has handed over, but node {next} leads instead of node {to}"
        )));
    }
    Ok(done(&format!("node {} has handed over to node {to}\n", hand_over.leader)))
}

/// What was asked for is done, whether or not stdout takes the line that says so.
fn done(line: &str) -> ExitCode {
    if let Err(failure) = print(line) {
        complain(&failure.problem);
    }
    ExitCode::SUCCESS
}

/// A leader that is asked to hand over, and the search for the next one.
#[derive(Debug)]
struct HandOver<'a> {
    config: &'a Config,
    client: Client,
    leader: NodeId,
    token: Term,
}

/// The pause between two searches for the next leader.
const SEARCH_INTERVAL: Duration = Duration::from_millis(20);

/// The longest search, in election timeouts. If there is a majority, a new leader is found sooner.
const SEARCH_TIMEOUTS: u32 = 4;

impl<'a> HandOver<'a> {
    fn begin(config: &'a Config) -> Result<Self, Failure> {
        let client = Client::new(config.clone()).map_err(Failure::of)?;
        let view = View::of(config, client.status_of_all());
        match view.leaders().as_slice() {
            [leader] => {
                let (leader, token) = (leader.id, leader.token.unwrap_or_default());
                Ok(HandOver { config, client, leader, token })
            }
            _ => Err(Failure::of_cluster(view.verdict().unwrap_or_else(|text| text))),
        }
    }

    /// Waits until there is a new leader, and returns it. `asked` is what the old leader answered.
    fn end(&self, asked: Result<(), RemoteError>) -> Result<NodeId, Failure> {
        let from = self.leader;
        asked.map_err(|error| Failure::of_cluster(format!("node {from}: {error}")))?;
        let limit = crossbeam_channel::after(self.config.timing().election_timeout() * SEARCH_TIMEOUTS);
        let ticks = crossbeam_channel::tick(SEARCH_INTERVAL);
        loop {
            let view = View::of(self.config, self.client.status_of_all());
            let later = |token: Option<Term>| token.is_some_and(|token| token > self.token);
            if let Some(next) = view.leaders().iter().find(|node| later(node.token)) {
                return Ok(next.id);
            }
            if limit.try_recv().is_ok() {
                let verdict = view.verdict().unwrap_or_else(|text| text);
                return Err(Failure::of_cluster(format!(
                    "node {from} has stepped down, and no node has taken over yet: {verdict}"
                )));
            }
            ticks.recv().expect("a ticker ticks for as long as it lives");
        }
    }
}
