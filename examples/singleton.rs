//! A periodic job that must run on one node of the cluster only.
//!
//! `cargo run --example singleton -- 1`, and `2` and `3` in other terminals: one of them runs the job every second.
//! Stop that one with Ctrl-C or kill -9, and another goes on. Arguments: the node's id; the config (default
//! `cfg.yaml`); the milliseconds between two jobs (default 1000).

use std::error::Error;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use leadelect::{Config, LeadOptions, Leading, Node, OnOverrun};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    // A path may be of any bytes. An id and a number may not.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(id) = arguments.first().and_then(|id| id.to_str()) else {
        eprintln!("expected a node id, found {:?}\n\nusage: singleton ID [CONFIG] [MILLISECONDS]", arguments.first());
        return ExitCode::from(2);
    };
    let config = arguments.get(1).map_or(Path::new("cfg.yaml"), Path::new);
    let every = arguments.get(2).map_or(Ok(1000), |millis| millis.to_string_lossy().parse());
    let led = match every {
        Ok(millis) => run(id, config, Duration::from_millis(millis)),
        Err(error) => Err(format!("expected milliseconds, found {:?}: {error}", arguments[2]).into()),
    };
    match led {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node {id}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(id: &str, config: &Path, every: Duration) -> Result<(), Box<dyn Error>> {
    let node = Arc::new(Node::start(Config::from_yaml_file(config)?.for_node(id)?)?);
    // A signal stops the node. The node tells the job to stop, and then hands over.
    let stopped = node.clone();
    ctrlc::set_handler(move || stopped.shutdown())?;

    let options = LeadOptions::default()
        // A job that is silent for this long is stuck, and another node runs it.
        .max_silence(every + Duration::from_secs(10))
        // Better no process than two that run the job at once.
        .on_overrun(OnOverrun::Abort);
    // Runs the closure whenever this node leads, and returns when the node has stopped.
    node.lead_with(&options, |leading| {
        while leading.wait(every).is_ok() {
            leading.alive();
            job(node.id().as_str(), leading)?;
        }
        Ok::<_, Box<dyn Error>>(())
    })
}

/// The job that no two nodes may do at once. Here it only prints a line.
fn job(id: &str, leading: &Leading<'_>) -> Result<(), Box<dyn Error>> {
    for step in 1..=3 {
        // The job can stop between two steps. It should send the token along with each change elsewhere, so that a step
        // that comes too late is refused there.
        leading.check()?;
        // Unlike `println!`, it does not panic if nobody reads.
        writeln!(stdout(), "job step={step} node={id} token={}", leading.token())?;
    }
    Ok(())
}
