//! `leadelect status`: asks every node, and shows one table.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use leadelect::Config;
use leadelect::remote::Client;

use super::view::{Verdict, View, json, table};
use super::{ConfigFile, Failure, complain, print};

/// Ask every node what it sees, and show one table
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  exactly one node leads with a valid lease, and a majority of the configured nodes answers and agrees
  1  that is not so
  2  the arguments, the config or the certificates cannot be used

JSON, an array with one object per configured node, in the order of their ids; null where unknown:
  id                string   the node
  addr              string   where it is dialled, host:port
  reachable         bool     whether it has answered
  role              string   follower, candidate or leader
  term              number
  leader            string   the leader it knows of
  token             number   the fencing token, if it holds a valid lease
  lease_ms          number   how long that lease is valid if nobody answers it any more; null if it has no end,
                             in a cluster of one node
  round_trip_ms     number   from the question to its answer
  certificate_days  number   whole days until its certificate ends, negative if it has
  version           string   of leadelect there
  uptime_s          number   how long ago it was started
  error             string   why it has not answered
  peers             array    how it sees the others: id, connected, last_heard_ms, round_trip_ms,
                             certificate_days, last_error, requests, failures

With --watch --json, one such array a line.

With --watch the config and the certificates are read again each time. If they cannot be used any more,
it says so on stderr, once, and goes on with those that could.

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

/// The pause between two looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// To the top left, and away with what was there.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// The exit code after the last look.
static LAST: AtomicU8 = AtomicU8::new(Verdict::NO_LEADER);

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let asker = Asker::read(args)?;
    if args.watch {
        return watch(args, asker);
    }
    asker.look(args, false).map(ExitCode::from)
}

fn watch(args: &Args, mut asker: Asker) -> Result<ExitCode, Failure> {
    // At once, whoever is being waited for.
    ctrlc::set_handler(|| std::process::exit(LAST.load(Ordering::Relaxed).into()))
        .map_err(|error| Failure::of(format!("cannot wait for Ctrl-C: {error}")))?;
    let ticks = crossbeam_channel::tick(WATCH_INTERVAL);
    let redraws = !args.json && stdout().is_terminal();
    // What is said goes with the screen.
    let repeats = redraws && stderr().is_terminal();
    let mut unread = Unread::default();
    loop {
        LAST.store(asker.look(args, redraws)?, Ordering::Relaxed);
        unread.complain(repeats);
        ticks.recv().expect("a ticker ticks for as long as it lives");
        // The config, or a certificate, may have been replaced; or is just being replaced.
        match Asker::read(args) {
            Ok(read) => (asker, unread) = (read, Unread::default()),
            Err(failure) => unread.problem = Some(failure.problem),
        }
    }
}

/// Why the config could not be read again, and whether that was said.
#[derive(Debug, Default)]
struct Unread {
    problem: Option<String>,
    said: bool,
}

impl Unread {
    fn complain(&mut self, repeats: bool) {
        let Some(problem) = self.problem.as_ref().filter(|_| repeats || !self.said) else {
            return;
        };
        complain(&format!("goes on as before: {problem}"));
        self.said = true;
    }
}

/// Whom to ask, and with which certificate.
#[derive(Debug)]
struct Asker {
    config: Config,
    client: Client,
}

impl Asker {
    fn read(args: &Args) -> Result<Asker, Failure> {
        let config = args.config.read()?;
        let client = Client::new(config.clone()).map_err(Failure::of)?;
        Ok(Asker { config, client })
    }

    /// Asks and shows once; returns the exit code.
    fn look(&self, args: &Args, redraws: bool) -> Result<u8, Failure> {
        let view = View::of(&self.config, self.client.status_of_all());
        let verdict = view.verdict();
        let text = match (args.json, redraws) {
            (true, _) => json(&view, !args.watch)?,
            (false, true) => format!("{CLEAR_SCREEN}{}{verdict}\n", table(&view)),
            (false, false) => format!("{}{verdict}\n", table(&view)),
        };
        print(&text)?;
        Ok(verdict.exit_code())
    }
}
