//! House rules that a compiler does not know, as a test: who may import whom, where clocks are read, how long a file is.
//!
//! The source is read as tokens, without comments, literals and test code, so that a rule is neither broken by a word in
//! a doc comment nor kept by a strange line break. It is not resolved: a name that was renamed with `as` on the way
//! escapes. The rules are for mistakes, not for malice.

mod imports;
mod manual;
mod planted;
mod rules;
mod source;
mod tokens;

use rules::{Finding, Rule, findings_in};
use source::sources;

/// Who may import whom. The row of a file is the one with the longest name that its module path begins with.
struct Row {
    module: &'static str,
    /// The other modules of this crate, by their name at the top.
    uses: &'static [&'static str],
    /// Packages besides `std`.
    packages: &'static [&'static str],
}

const fn row(module: &'static str, uses: &'static [&'static str], packages: &'static [&'static str]) -> Row {
    Row { module, uses, packages }
}

/// Imports point inward, to the election, which knows nobody.
const ROWS: [Row; 20] = [
    row("election", &[], &["serde", "rand"]),
    row("clock", &["election"], &["log", "rustix"]),
    row("error", &["election"], &[]),
    row("members", &["election", "error"], &[]),
    row("inbox", &["election", "error"], &["crossbeam_channel"]),
    row("leadership", &["clock", "election", "error", "inbox"], &["crossbeam_channel", "log"]),
    row("status", &["clock", "election", "leadership"], &["rustix", "serde"]),
    row("status::prometheus", &["election"], &["prometheus_client"]),
    // How long the host has been up is a matter of the state: it shortens the quarantine.
    row("store", &["clock", "election"], &["crc32fast", "log", "rustix"]),
    row("tls", &["clock", "election"], &["rustls", "rustls_pemfile"]),
    // A certificate that does not fit its node is an error of the config.
    row("config", &["election", "members", "tls"], &[]),
    row("config::yaml", &["tls"], &["serde", "serde_yaml"]),
    row("transport", LINKS, &["crossbeam_channel", "log"]),
    row("transport::wire", &["election", "leadership", "status"], &["bincode", "serde"]),
    // A client knows the frames that are for clients, and how to dial.
    row("remote", &["clock", "config", "election", "leadership", "status", "transport"], &["serde"]),
    row("driver", PARTS, &["crossbeam_channel", "log"]),
    row("node", WHOLE, &["crossbeam_channel", "log", "rand"]),
    row("manual", &[], &[]),
    row("lib", EVERYTHING, &[]),
    // A program of its own, which sees what every program sees.
    row(
        "bin",
        &[],
        &[
            "clap",
            "clap_complete",
            "crossbeam_channel",
            "ctrlc",
            "env_logger",
            "log",
            "rustix",
            "serde",
            "serde_json",
            "signal_hook",
        ],
    ),
];

const LINKS: &[&str] = &["clock", "election", "inbox", "leadership", "members", "status", "tls"];
const PARTS: &[&str] = &["clock", "election", "error", "inbox", "leadership", "status", "store", "transport"];
const WHOLE: &[&str] = &[
    "clock",
    "config",
    "driver",
    "election",
    "error",
    "inbox",
    "leadership",
    "members",
    "status",
    "store",
    "transport",
];
const EVERYTHING: &[&str] = &[
    "clock",
    "config",
    "driver",
    "election",
    "error",
    "inbox",
    "manual",
    "members",
    "node",
    "leadership",
    "remote",
    "status",
    "store",
    "tls",
    "transport",
];

/// Longer than this, and a file no longer fits a sitting.
const LONGEST_FILE: usize = 700;
/// Longer than this, and a line no longer fits beside another file.
const LONGEST_LINE: usize = 120;
/// Names that say nothing, and so invite everything.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

#[test]
fn imports_point_inward() {
    assert_kept(Rule::Imports);
}

#[test]
fn only_clock_rs_reads_a_clock() {
    assert_kept(Rule::Clock);
}

#[test]
fn nothing_unwraps_outside_tests() {
    assert_kept(Rule::Unwrap);
}

#[test]
fn a_file_fits_a_sitting() {
    assert_kept(Rule::Size);
}

#[test]
fn no_module_is_named_after_nothing() {
    assert_kept(Rule::Name);
}

#[test]
fn the_election_is_where_the_rules_look_for_it() {
    let sources = sources();
    let read = |path| sources.iter().any(|source| source.path == path);
    assert!(read("src/election.rs"), "src/election.rs is missing");
    assert!(read("src/lib.rs"), "src/lib.rs is missing");
}

fn lines(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn assert_kept(rule: Rule) {
    let mut broken = findings();
    broken.retain(|finding| finding.rule == rule);
    assert!(broken.is_empty(), "\n{}\n", lines(&broken));
}

fn findings() -> Vec<Finding> {
    sources().iter().flat_map(findings_in).collect()
}
