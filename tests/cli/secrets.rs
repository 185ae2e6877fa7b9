//! No byte of a key is in any output, in whatever form it was put into the config or its files.

use std::fs;
use std::path::Path;

use super::certs::{Ca, THIS_HOST};
use super::cluster::{CALM, Cluster};
use super::program::{Said, leadelect, with_config};

/// Every command that reads the config.
const COMMANDS: [&[&str]; 6] = [
    &["status"],
    &["check"],
    &["check", "--offline", "--id", "1"],
    &["resign"],
    &["transfer", "2"],
    &["run", "--id", "1"],
];

#[track_caller]
fn hides(text: &str, key: &str) {
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    for run in lines.flat_map(|line| line.as_bytes().windows(8)) {
        let run = std::str::from_utf8(run).unwrap();
        assert!(!text.contains(run), "{run:?} is shown: {text}");
    }
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The key as env files, JSON, editors and hasty hands leave it.
fn mangled(key: &str) -> Vec<Vec<u8>> {
    let line = key.trim_end();
    let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let texts = [
        line.replace('\n', "\\n"),
        line.replace('\n', " "),
        line.replace('\n', ""),
        format!("KEY='{}'", line.replace('\n', "\\n")),
        format!("{{\"key\": \"{}\"}}", line.replace('\n', "\\n")),
        format!("\"{line}\""),
        key.replace('\n', "\n  "),
        key.replacen("-----\n", "-----", 1),
        key.replace("-----END", "----END"),
        key.replace("\n-----END", "-----END"),
        key.replace("KEY-----\nM", "KEY-----\n*M"),
        key.replace("KEY-----\nMI", "KEY-----\nMJ"),
        key.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
        key.replace("PRIVATE KEY", "CERTIFICATE"),
        format!("{}{}", &key[..key.len() / 2], &key[..key.len() / 2]),
        body.clone(),
        format!("-----BEGIN {body}-----"),
        format!("-----BEGIN PRIVATE KEY-----{body}-----END PRIVATE KEY-----"),
    ];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push([&[0xff, 0xfe][..], &wide(key)].concat());
    all.push([&[0xef, 0xbb, 0xbf][..], line.replace('\n', "\\n").as_bytes()].concat());
    all
}

fn refused(config: &Path, arguments: &[&str]) -> Said {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--config", config.to_str().unwrap()]);
    if arguments[0] == "run" {
        arguments.extend(["--", "true"]);
    }
    let said = leadelect(&arguments);
    assert_ne!(said.code, 0, "{said:?}");
    said
}

#[test]
fn no_command_shows_a_byte_of_a_mangled_key_file() {
    let mut cluster = Cluster::planned(&["1", "2", "3"], CALM);
    let certs = cluster.plan.certs.clone().unwrap();
    let key = fs::read_to_string(&certs.key).unwrap();
    let plan = cluster.plan.clone();
    let config = cluster.write(&plan);
    for (at, bytes) in mangled(&key).into_iter().enumerate() {
        fs::write(&certs.key, &bytes).unwrap();
        // The way to the file is the same in every command: each form takes one of them, and the first takes all.
        let commands = if at == 0 { &COMMANDS[..] } else { std::slice::from_ref(&COMMANDS[at % COMMANDS.len()]) };
        for command in commands {
            let said = refused(&config, command);
            said.says(&["certs.server.key: "]);
            hides(&format!("{said:?}"), &key);
        }
    }
}

#[test]
fn no_command_shows_a_byte_of_a_key_that_was_pasted_into_the_config_or_the_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let key = fs::read_to_string(Ca::new().sign("one", &THIS_HOST).key).unwrap();
    let config = folder.path().join("cfg.yaml");
    let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let literal = key.trim_end().replace('\n', "\\n");
    let block = format!("|\n      {}", key.replace('\n', "\n      "));
    for (at, value) in [&body, &literal, &block, &format!("\"{literal}\"")].into_iter().enumerate() {
        let nodes = "nodes:\n  1: { addr: 127.0.0.1, port: 21001 }\n";
        let yaml = format!("certs:\n  ca: a\n  server:\n    cert: b\n    key: {value}\n{nodes}");
        for yaml in [yaml, format!("insecure: true\ncluster: {value}\n{nodes}")] {
            fs::write(&config, yaml).unwrap();
            let said = refused(&config, COMMANDS[at]);
            hides(&format!("{said:?}"), &key);
        }
    }
    fs::write(&config, "insecure: true\nnodes:\n  1: { addr: 127.0.0.1, port: 21001 }\n").unwrap();
    for value in [&key, &body, &literal] {
        for command in
            [&["status", value][..], &["transfer", value], &["check", "--id", value], &["resign", "--for", value]]
        {
            let said = with_config(&config, command);
            assert_ne!(said.code, 0, "{said:?}");
            hides(&format!("{said:?}"), &key);
        }
        hides(&format!("{:?}", leadelect(&["status", "--config", value])), &key);
    }
}

/// The node keeps its old key and says so, in its own words.
#[test]
fn a_node_that_runs_shows_no_byte_of_a_mangled_key_file() {
    let mut cluster = Cluster::started(&["1", "2", "3"], CALM);
    cluster.leader();
    let certs = cluster.plan.certs.clone().unwrap();
    let key = fs::read_to_string(&certs.key).unwrap();
    // A client needs credentials of its own.
    let operator = cluster.ca.sign("operator", &["operator.example"]);
    let mut plan = cluster.plan.clone();
    plan.certs = Some(operator);
    let config = cluster.write(&plan);
    for bytes in mangled(&key) {
        fs::write(&certs.key, bytes).unwrap();
        // Each connection makes the nodes read the files again.
        let said = with_config(&config, &["status"]);
        hides(&format!("{said:?}"), &key);
    }
    for process in cluster.processes.values() {
        process.wait_until_it_mentions(&["keeps its old certificates", "shared.key"]);
        process.wait_until_it_mentions(&["the two characters `\\n`"]);
    }
    hides(&cluster.dump(), &key);
}
