//! `leadelect status`: asks every node and shows one table.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use leadelect::Config;
use leadelect::remote::Client;

use super::view::{View, json, table};
use super::{ConfigFile, Failure, complain, print};

/// Ask every node what it sees and show one table
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  exactly one node leads with a valid lease, and a majority of the configured nodes answers and agrees
  1  otherwise
  2  the arguments, the config or the certificates cannot be used

JSON, an array with one object per configured node, in the order of their ids. What is not known is null:
  id                string   the node
  addr              string   where it is dialled, host:port
  reachable         bool     whether it has answered
  role              string   follower, candidate or leader
  term              number
  leader            string   the leader it knows of
  token             number   the fencing token, if it holds a valid lease
  lease_ms          number   how long that lease is valid if no peer answers any more; null if it has no end,
                             in a cluster of one node
  round_trip_ms     number   from the request to its answer
  certificate_days  number   whole days until its certificate ends, negative if it has ended
  version           string   the version of leadelect there
  uptime_s          number   how long ago it was started
  logger_stuck_ms   number   how long the logger of its program has been stuck in one line, if it is
  lines_lost        number   how many lines of its log were lost
  error             string   why it has not answered
  peers             array    how it sees the others: id, addr, connected, last_heard_ms, round_trip_ms,
                             certificate_days, last_error, requests, failures

With --watch --json each line is such an array.

With --watch the config and the certificates are read again each time. If they cannot be used any more,
one line on stderr says so, and the last good ones stay in use.

Examples:
  leadelect status
  leadelect status --config /etc/leadelect/cfg.yaml --watch
  leadelect status --json | jq -r '.[] | select(.token) | .addr'   # where is the leader?")]
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

const WATCH_INTERVAL: Duration = Duration::from_secs(1);

const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

const NO_LEADER: u8 = 1;

/// The exit code after the last look.
static LAST: AtomicU8 = AtomicU8::new(NO_LEADER);

impl Args {
    fn clears_screen(&self) -> bool {
        self.watch && !self.json && stdout().is_terminal()
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (config, client) = read(args)?;
    if args.watch {
        return watch(args, config, client);
    }
    look(args, &config, &client).map(ExitCode::from)
}

fn read(args: &Args) -> Result<(Config, Client), Failure> {
    let config = args.config.read()?;
    let client = Client::new(config.clone()).map_err(Failure::of)?;
    Ok((config, client))
}

fn watch(args: &Args, mut config: Config, mut client: Client) -> Result<ExitCode, Failure> {
    // Exits at once: a call to a node may be waiting.
    ctrlc::set_handler(|| std::process::exit(LAST.load(Ordering::Relaxed).into()))
        .map_err(|error| Failure::of(format!("cannot wait for Ctrl-C: {error}")))?;
    let ticks = crossbeam_channel::tick(WATCH_INTERVAL);
    // Clearing the screen removes the line on stderr, too.
    let repeats = args.clears_screen() && stderr().is_terminal();
    let mut unread: Option<String> = None;
    let mut said = false;
    loop {
        LAST.store(look(args, &config, &client)?, Ordering::Relaxed);
        if let Some(problem) = unread.as_ref().filter(|_| repeats || !said) {
            complain(&format!("goes on as before: {problem}"));
            said = true;
        }
        ticks.recv().expect("a ticker never ends");
        // The config or a certificate may have been replaced, or only half replaced yet.
        match read(args) {
            Ok(read) => ((config, client), unread, said) = (read, None, false),
            Err(failure) => unread = Some(failure.problem),
        }
    }
}

/// Asks and shows once. Returns the exit code.
fn look(args: &Args, config: &Config, client: &Client) -> Result<u8, Failure> {
    let view = View::of(config, client.status_of_all());
    let (verdict, exit_code) = match view.verdict() {
        Ok(text) => (text, 0),
        Err(text) => (text, NO_LEADER),
    };
    let text = if args.json { json(&view, !args.watch)? } else { table(&view) + &verdict + "\n" };
    let clear = if args.clears_screen() { CLEAR_SCREEN } else { "" };
    print(&format!("{clear}{text}"))?;
    Ok(exit_code)
}
