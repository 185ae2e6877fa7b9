//! The program of README.md. A test compares them, and another one runs it: `cargo run --example readme`.

use leadelect::{Config, Node};
use std::{error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::start(Config::from_yaml_file("cfg.yaml")?.for_node("1")?)?;
    node.lead(|leading| {
        // once per term won, until the node stops
        while leading.wait(Duration::from_secs(1)).is_ok() {
            // ends at once when leadership must
            println!("on this node only, with token {}", leading.token());
        } // only now another node may lead
    });
    Ok(())
}
