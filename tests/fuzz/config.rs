//! A config file.

use std::cell::RefCell;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use leadelect::Config;
use tempfile::TempDir;

thread_local! {
    static FILE: RefCell<Option<(TempDir, PathBuf)>> = const { RefCell::new(None) };
}

/// A config file that a person or a program has written, in any encoding.
pub fn config(bytes: &[u8]) {
    let path = FILE.with_borrow_mut(|file| {
        let (_, path) = file.get_or_insert_with(|| {
            let folder = super::folder();
            let path = folder.path().join("cfg.yaml");
            (folder, path)
        });
        path.clone()
    });
    fs::write(&path, bytes).expect("written");
    match Config::from_yaml_file(&path) {
        Err(error) => {
            let error = error.to_string();
            super::check_error(&error);
            assert!(error.contains("cfg.yaml"), "{error}");
        }
        Ok(config) => {
            let yaml = yaml(&config);
            let again = Config::from_yaml_str(&yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
            assert_eq!(facts(&again), facts(&config), "{yaml}");
        }
    }
}

/// All of a config that can be seen from outside.
fn facts(config: &Config) -> String {
    let nodes: Vec<_> = config.nodes().collect();
    format!("{} {:?} {nodes:?}", config.cluster(), config.timing())
}

/// The same config, as a program would write it.
fn yaml(config: &Config) -> String {
    let timing = config.timing();
    let mut yaml = String::new();
    // The limit of a reply follows from the timing here: it cannot be seen from outside.
    write!(
        yaml,
        "insecure: true\ncluster: {}\ntiming: {{ heartbeat_interval: {}s, election_timeout: {}s, clock_drift: {}ppm, \
         rpc_timeout: {}s }}\nnodes:\n",
        quoted(config.cluster()),
        seconds(timing.heartbeat_interval()),
        seconds(timing.election_timeout()),
        timing.clock_drift_ppm(),
        seconds(timing.heartbeat_interval()),
    )
    .expect("written");
    for (id, member) in config.nodes() {
        let (id, addr) = (quoted(id.as_str()), quoted(&member.addr));
        write!(yaml, "  {id}: {{ addr: {addr}, port: {}, priority: {}", member.port, member.priority).expect("written");
        write!(yaml, ", witness: {}", member.witness).expect("written");
        if let Some(name) = &member.tls_name {
            write!(yaml, ", tls_name: {}", quoted(name)).expect("written");
        }
        if let Some(ip) = member.listen {
            write!(yaml, ", listen: '{ip}'").expect("written");
        }
        yaml += " }\n";
    }
    yaml
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn seconds(time: std::time::Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}
