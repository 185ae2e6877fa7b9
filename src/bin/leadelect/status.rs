//! `leadelect status`: asks every node and shows one table.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use leadelect::Config;
use leadelect::remote::Client;
use rustix::termios::tcgetwinsize;

use super::view::{View, json, table};
use super::{ConfigFile, Failure, complain, print};

/// Ask every node what it sees and show one table
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code:
  0  exactly one node leads with a valid lease, and a majority of the
     configured nodes answers and agrees
  1  otherwise
  2  the arguments, the config or the certificates cannot be used
  141  nobody reads the output any more, as in `leadelect status | head -1`

JSON, an array with one object per configured node, in the order of their ids. \
What is not known is null:
  id                string   the node
  addr              string   where it is dialled, host:port
  reachable         bool     whether it has answered
  role              string   follower, candidate or leader
  term              number
  leader            string   the leader it knows of
  token             number   the fencing token, if it holds a valid lease
  lease_ms          number   how long that lease is valid if no peer answers
                             any more; null if it has no end, in a cluster of
                             one node
  round_trip_ms     number   from the request to its answer
  certificate_days  number   whole days until the first certificate ends that
                             it shows, negative if it has ended
  ends_first        string   the intermediate certificate that ends first, if
                             that is not the node's own
  version           string   the version of leadelect there
  uptime_s          number   how long ago it was started
  logger_stuck_ms   number   how long the logger of its program has been stuck
                             in one line, if it is
  lines_lost        number   how many lines of its log were lost
  error             string   why it has not answered
  peers             array    how it sees the others: id, addr, connected,
                             last_heard_ms, round_trip_ms, certificate_days,
                             last_error, requests, failures

With --watch --json each line is such an array.

With --watch the config and the certificates are read again each time. If they cannot be used any more, one line on \
stderr says so, and the last good ones stay in use. On a terminal, what does not fit is cut off.

Examples:
  leadelect status
  leadelect status --config /etc/leadelect/cfg.yaml --watch
  # where is the leader?
  leadelect status --json | jq -r '.[] | select(.token) | .addr'")]
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

/// What is cut off ends so.
const CUT: char = '…';

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
    look(args, &config, &client, None).map(ExitCode::from)
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
        let problem =
            unread.as_ref().filter(|_| repeats || !said).map(|problem| format!("goes on as before: {problem}"));
        LAST.store(look(args, &config, &client, problem.as_deref().filter(|_| repeats))?, Ordering::Relaxed);
        if let Some(problem) = problem {
            complain(&problem);
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

/// Asks and shows once. On a terminal there is room left for the line `below`. Returns the exit code.
fn look(args: &Args, config: &Config, client: &Client, below: Option<&str>) -> Result<u8, Failure> {
    let view = View::of(config, client.status_of_all());
    let (verdict, exit_code) = match view.verdict() {
        Ok(text) => (text, 0),
        Err(text) => (text, NO_LEADER),
    };
    let text = if args.json { json(&view, !args.watch)? } else { table(&view) + &verdict + "\n" };
    if !args.clears_screen() {
        print(&text)?;
        return Ok(exit_code);
    }
    // A terminal that does not know its size says 0.
    let size = tcgetwinsize(stdout()).map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
    let (columns, rows) = if size.0 == 0 || size.1 == 0 { (usize::MAX, usize::MAX) } else { size };
    let below = below.map_or(0, |line| ("leadelect: ".len() + line.chars().count()).div_ceil(columns));
    // The cursor is in the row below the text.
    print(&format!("{CLEAR_SCREEN}{}", fitted(&text, columns, rows.saturating_sub(1 + below))))?;
    Ok(exit_code)
}

/// The text in a terminal of this size. Of too many rows the first and the last are shown: the head and the verdict are
/// among them.
fn fitted(text: &str, columns: usize, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let rows = rows.max(1);
    let cut = |line: &str| match line.char_indices().nth(columns) {
        Some(_) => line.chars().take(columns - 1).chain([CUT]).collect(),
        None => line.to_owned(),
    };
    let mut shown: Vec<String> = match lines.split_last() {
        Some((last, rest)) if lines.len() > rows => {
            let first = rest.iter().take(rows.saturating_sub(2)).map(|line| cut(line));
            let hidden = lines.len() + 1 - rows;
            let told = (rows > 1).then(|| cut(&format!("{CUT} {hidden} more")));
            first.chain(told).chain([cut(last)]).collect()
        }
        Some(_) | None => lines.iter().map(|line| cut(line)).collect(),
    };
    shown.push(String::new());
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_to_the_size_of_the_terminal_and_keeps_the_verdict() {
        let table = "ID  ADDR\n1   one\n2   two\n3   three\nnode 1 leads\n";
        assert_eq!(fitted(table, 80, 5), table);
        assert_eq!(fitted(table, 8, 5), "ID  ADDR\n1   one\n2   two\n3   thr…\nnode 1 …\n");
        assert_eq!(fitted(table, 80, 4), "ID  ADDR\n1   one\n… 2 more\nnode 1 leads\n");
        assert_eq!(fitted(table, 80, 2), "… 4 more\nnode 1 leads\n");
        assert_eq!(fitted(table, 80, 1), "node 1 leads\n");
        assert_eq!(fitted(table, 1, 0), "…\n");
        assert_eq!(fitted("", 80, 24), "");
        for (columns, rows) in (1..30).flat_map(|columns| (1..10).map(move |rows| (columns, rows))) {
            let fitted = fitted(table, columns, rows);
            assert!(fitted.lines().count() <= rows, "{columns}x{rows}: {fitted}");
            assert!(fitted.lines().all(|line| line.chars().count() <= columns), "{columns}x{rows}: {fitted}");
        }
    }
}
