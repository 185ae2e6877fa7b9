//! House rules that a compiler does not know: who may import whom, where clocks are read, how long a file is.
//!
//! The source is read as tokens, without comments, literals and test code. So a word in a doc comment breaks no rule,
//! and a strange line break hides nothing. Names are not resolved: one that was renamed with `as` escapes. The rules
//! are for mistakes, not for malice.

mod examples;
mod imports;
mod manual;
mod planted;
mod rules;
mod source;
mod table;
mod tokens;

use std::sync::OnceLock;

use rules::{Finding, Rule, findings_in, missing_modules, unused_rights};
use source::{sources, test_sources};
use table::{LAYERS, ROWS};

#[test]
fn imports_point_inward() {
    assert_kept(Rule::Imports);
}

#[test]
fn no_import_points_up_or_to_the_same_layer_so_there_is_no_circle() {
    assert_kept(Rule::Layers);
}

#[test]
fn every_module_of_the_table_is_there_and_every_right_is_used() {
    assert_kept(Rule::Rights);
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
fn no_thread_of_a_node_calls_the_logger_of_the_program() {
    assert_kept(Rule::Logger);
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

fn lines(findings: &[&Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn assert_kept(rule: Rule) {
    let broken = findings().iter().filter(|finding| finding.rule == rule);
    let broken: Vec<&Finding> = broken.collect();
    assert!(broken.is_empty(), "\n{}\n", lines(&broken));
}

fn findings() -> &'static [Finding] {
    static FOUND: OnceLock<Vec<Finding>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let (sources, tests) = (sources(), test_sources());
        let mut found: Vec<Finding> = sources.iter().chain(&tests).flat_map(findings_in).collect();
        found.extend(unused_rights(&ROWS, &sources));
        found.extend(missing_modules(LAYERS, &sources));
        found
    })
}
