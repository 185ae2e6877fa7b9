//! One node of a cluster, until SIGINT or SIGTERM.
//!
//! `cargo run --example node -- 1`, and `2` and `3` in other terminals. `--config FILE` reads another file than
//! `cfg.yaml`. `RUST_LOG=debug` logs more.
//!
//! Logs every change of role, and the status every 10 seconds. A leader that is stopped hands over first.

use std::error::Error;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use leadelect::death_witness::WitnessProgram;
use leadelect::{Config, Node};

const USAGE: &str = "usage: node ID [--config FILE]

  ID              this node, one of those in the config: 1
  --config FILE   the cluster's config (default: cfg.yaml)
  -h, --help      this text";

const STATUS_INTERVAL: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    // The node starts this program once more, to tell the other nodes when it has died.
    leadelect::death_witness::become_one_if_asked();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();
    let (id, config) = match arguments(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Fails if nobody reads it.
            let _ = writeln!(stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&id, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot start node {id}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The node's id and the path of the config, or `None` if only help is wanted. A path may be of any bytes.
fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<Option<(String, PathBuf)>, String> {
    let (mut id, mut config) = (None, None);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--config") if config.is_some() => {
                return Err("found --config twice, expected it once".into());
            }
            Some("--config") => config = Some(given.next().ok_or("expected a file after --config")?),
            Some(option) if option.starts_with('-') => {
                return Err(format!("found {option:?}, expected --config or an id"));
            }
            Some(text) if id.is_none() => id = Some(text.to_owned()),
            Some(_) | None => return Err(format!("found {argument:?}, expected one node id")),
        }
    }
    let id = id.ok_or("expected a node id, found none")?;
    let config = config.map_or_else(|| "cfg.yaml".into(), PathBuf::from);
    Ok(Some((id, config)))
}

type Failure = Box<dyn Error + Send + Sync>;

fn run(id: &str, config: &Path) -> Result<(), Failure> {
    // The library installs no signal handler. The program does it, before the node starts.
    let (stop, stopped) = crossbeam_channel::bounded(1);
    ctrlc::set_handler(move || {
        // A second signal changes nothing.
        let _ = stop.try_send(());
    })?;
    // On a thread of its own, so that a signal need not wait for a disk or a name server that hangs.
    let (start, started) = crossbeam_channel::bounded(1);
    let (own_id, own_config) = (id.to_owned(), config.to_owned());
    thread::spawn(move || {
        // Stopped meanwhile: nobody wants it.
        let _ = start.send(start_node(&own_id, &own_config));
    });
    let node = crossbeam_channel::select! {
        recv(started) -> node => node??,
        recv(stopped) -> _ => {
            log::info!("node {id}: stopped before it had started");
            return Ok(());
        }
    };
    let status = crossbeam_channel::tick(STATUS_INTERVAL);
    loop {
        crossbeam_channel::select! {
            recv(status) -> _ => log::info!("node {id}: {}", node.status()),
            recv(stopped) -> _ => break,
        }
    }
    node.shutdown();
    Ok(())
}

fn start_node(id: &str, config: &Path) -> Result<Node, Failure> {
    let mut config = Config::from_yaml_file(config)?.for_node(id)?;
    if config.state_dir().is_some() {
        config = config.death_witness(WitnessProgram::This);
    }
    Ok(Node::start(config)?)
}
