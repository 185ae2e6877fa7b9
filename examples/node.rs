//! One node of a cluster, until SIGINT or SIGTERM.
//!
//! `cargo run --example node -- 1`, and `2` and `3` in other terminals. With `--config FILE` another file than
//! `cfg.yaml`; with `RUST_LOG=debug` more words.
//!
//! Logs every change of role, and the status every 10 seconds. A leader that is stopped hands over first.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use leadelect::{Config, Node};

const USAGE: &str = "usage: node ID [--config FILE]

  ID              this node, one of those in the config: 1
  --config FILE   the cluster's config (default: cfg.yaml)";

const STATUS_INTERVAL: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .init();
    let (id, config) = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
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

/// The node's id and the path of the config.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<(String, String), String> {
    let (mut id, mut config) = (None, None);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--config" if config.is_none() => {
                config = Some(given.next().ok_or("expected a file after --config")?)
            }
            option if option.starts_with('-') => {
                return Err(format!("found {option:?}, expected --config or an id"));
            }
            _ if id.is_none() => id = Some(argument),
            _ => return Err(format!("found {argument:?}, expected one node id")),
        }
    }
    let id = id.ok_or("expected a node id, found none")?;
    Ok((id, config.unwrap_or_else(|| "cfg.yaml".to_owned())))
}

fn run(id: &str, config: &str) -> Result<(), Box<dyn Error>> {
    // The library installs no signal handler: that is the program's to do, and before the node starts.
    let (stop, stopped) = crossbeam_channel::bounded(1);
    ctrlc::set_handler(move || {
        // A second signal changes nothing.
        let _ = stop.try_send(());
    })?;
    let node = Node::start(Config::from_yaml_file(config)?.for_node(id)?)?;
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
