//! Three nodes on this machine: who leads when leaders die?
//!
//! ```text
//! cargo run --example demo
//! ```
//!
//! It needs no preparation. It makes throw-away certificates and state in a temporary folder, starts three processes on
//! free loopback ports, and shows the role of each. Then it kills the leader (SIGKILL) and starts it again. It stops
//! the next leader in order (SIGTERM), starts that again too, and prints how long there was no leader. All the time
//! every node checks each millisecond whether it may act as leader. At the end it is checked that no two could act at
//! once.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `--rounds N` | 1 | kill a leader and stop one in order, N times each |
//! | `--pause N` | 0 | then pause the leader (SIGSTOP) for 5 s, N times: it must not believe that it still leads |
//! | `--heartbeat TIME` | `100ms` | how often a leader renews its lease |
//! | `--timeout TIME` | `500ms` | the election timeout |
//!
//! The exit code is 0 if all went well, 1 if a step failed or a promise was broken, 2 if the options are wrong, 130
//! after Ctrl-C. The processes and the folder are removed in every case.
//!
//! Read on in `node.rs`, a program that uses the library. `cluster.rs` runs and watches the processes; `setup.rs`,
//! `report.rs`, `leases.rs` and `screen.rs` help it.

mod cluster;
mod leases;
mod node;
mod report;
mod screen;
mod setup;

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::process::Signal;

use cluster::{Cluster, Failure};

const USAGE: &str = "usage: demo [--rounds N] [--pause N] [--heartbeat TIME] [--timeout TIME]

  --rounds N        kill a leader and stop one in order, N times each (default: 1)
  --pause N         then pause the leader for 5 s, N times (default: 0)
  --heartbeat TIME  how often a leader renews its lease (default: 100ms)
  --timeout TIME    the election timeout (default: 500ms)

Three nodes on this machine, and what becomes of leadership when leaders die. Needs nothing prepared and leaves nothing
behind. Exits with 0 if all went well, 1 if a step failed or a promise was broken, 2 if the options are wrong.";

const PAUSE: Duration = Duration::from_secs(5);

/// Longer than a heartbeat interval, so that the measured times do not follow the heartbeat.
const LONGEST_PHASE_MICROS: u64 = 120_000;

#[derive(Debug)]
struct Options {
    rounds: u32,
    pauses: u32,
    heartbeat: Duration,
    timeout: Duration,
}

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    // How this program starts itself, once for each node. A path may be of any bytes.
    if let [node, id, config, path] = given.as_slice()
        && node == "--node"
        && config == "--config"
    {
        return node::main(&id.to_string_lossy(), Path::new(path));
    }
    let given: Vec<_> = given.iter().map(|argument| argument.to_string_lossy()).collect();
    let given: Vec<&str> = given.iter().map(AsRef::as_ref).collect();
    if let ["--help" | "-h", ..] = given.as_slice() {
        // Fails if nobody reads it.
        let _ = writeln!(stdout(), "{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match options(&given) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match Cluster::start(options.heartbeat, options.timeout).and_then(|c| c.play(|c| story(c, &options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(Failure::Because(reason)) => {
            eprintln!("demo: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn options(given: &[&str]) -> Result<Options, String> {
    let (mut rounds, mut pauses) = (1, 0);
    let (mut heartbeat, mut timeout) = (Duration::from_millis(100), Duration::from_millis(500));
    for pair in given.chunks(2) {
        match *pair {
            ["--rounds", n] => rounds = number(n)?,
            ["--pause", n] => pauses = number(n)?,
            ["--heartbeat", text] => heartbeat = time(text)?,
            ["--timeout", text] => timeout = time(text)?,
            [option @ ("--rounds" | "--pause" | "--heartbeat" | "--timeout")] => {
                return Err(format!("expected a value after {option}"));
            }
            _ => return Err(format!("found {:?}, expected an option", pair[0])),
        }
    }
    Ok(Options { rounds, pauses, heartbeat, timeout })
}

fn number(text: &str) -> Result<u32, String> {
    u32::from_str(text).map_err(|_| format!("found {text:?}, expected a whole number"))
}

fn time(text: &str) -> Result<Duration, String> {
    let seconds = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().map(|millis: f64| millis / 1000.0).ok(),
        (None, Some(seconds)) => seconds.parse().ok(),
        (None, None) => None,
    };
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| format!("found {text:?}, expected a time such as 100ms or 1.5s"))
}

fn story(cluster: &mut Cluster, options: &Options) -> Result<(), Failure> {
    let (mut kills, mut stops, mut pauses) = (Changes::default(), Changes::default(), Changes::default());
    for round in 1..=options.rounds {
        let of = format!("{round}/{}", options.rounds);
        for (signal, name, changes) in [(Signal::KILL, "kill", &mut kills), (Signal::TERM, "stop", &mut stops)] {
            let change = depose(cluster, signal, &format!("{name} {of}"))?;
            cluster.bring_back(change.leader)?;
            changes.0.push(change);
        }
    }
    for round in 1..=options.pauses {
        pauses.0.push(pause(cluster, &format!("pause {round}/{}", options.pauses))?);
    }
    let (leader, _) = settled(cluster)?;
    cluster.say(&format!("all three nodes agree: node {leader} leads"))?;

    cluster.say("\nnobody led, from the signal to the next leader's first valid lease:")?;
    for (name, changes) in [("killed", kills), ("stopped", stops), ("paused", pauses)] {
        if let Some(summary) = changes.summary() {
            cluster.say(&format!("  {name:<8} {summary}"))?;
        }
    }
    let verdict = cluster.leases().verdict().map_err(Failure::Because)?;
    cluster.say(&verdict)
}

/// Waits until all nodes agree, and then for a while, so that the next thing happens at any phase of the heartbeat.
fn settled(cluster: &mut Cluster) -> Result<(usize, u64), Failure> {
    loop {
        let agreed = cluster.wait_until("three nodes are connected and agree on a leader", Cluster::agreed)?;
        let chance = SysRng.try_next_u64().map_err(|error| Failure::Because(error.to_string()))?;
        cluster.rest(Duration::from_micros(chance % LONGEST_PHASE_MICROS))?;
        if cluster.agreed() == Some(agreed) {
            return Ok(agreed);
        }
    }
}

/// A change of leadership.
struct Change {
    /// Who led, and with which token.
    leader: usize,
    token: u64,
    /// How long there was no leader.
    leaderless: Duration,
    /// How many terms it took: each is an election.
    terms: u64,
}

/// Sends the leader a signal, and waits until another node acts.
fn depose(cluster: &mut Cluster, signal: Signal, step: &str) -> Result<Change, Failure> {
    let (leader, token) = settled(cluster)?;
    let sent = cluster.signal(leader, signal)?;
    let next = cluster.wait_until("another node wins the lease", |cluster| cluster.leases().first_after(token))?;
    let leaderless = next.at.saturating_sub(sent);
    cluster.say(&format!(
        "{step}: node {leader} led with token {token}; {leaderless:.1?} later node {} leads with token {}",
        next.node, next.token
    ))?;
    Ok(Change { leader, token, leaderless, terms: next.token - token })
}

/// Pauses the leader for longer than its lease. It must not believe that it still leads when it wakes up.
fn pause(cluster: &mut Cluster, step: &str) -> Result<Change, Failure> {
    let change = depose(cluster, Signal::STOP, step)?;
    let leader = change.leader;
    cluster.rest(PAUSE.saturating_sub(change.leaderless))?;
    let woken = cluster.signal(leader, Signal::CONT)?;
    let found = cluster.wait_until("the paused node checks its lease", |cluster| cluster.first_check(leader, woken))?;
    if found == Some(change.token) {
        return Err(Failure::Because(format!(
            "PROMISE BROKEN: node {leader} was paused, another led, and then its own lease was still valid"
        )));
    }
    cluster.say(&format!("{step}: node {leader} runs again, and its first check finds its lease invalid"))?;
    Ok(change)
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn summary(mut self) -> Option<String> {
        self.0.sort_by_key(|change| change.leaderless);
        let (shortest, longest) = (self.0.first()?.leaderless, self.0.last()?.leaderless);
        let n = self.0.len();
        let median = (self.0[(n - 1) / 2].leaderless + self.0[n / 2].leaderless) / 2;
        let repeated = self.0.iter().filter(|change| change.terms > 1).count();
        Some(format!(
            "n={n} median={median:.1?} min={shortest:.1?} max={longest:.1?}, more than one election: {repeated}"
        ))
    }
}
