//! What the manual says of the tests is true: each that it names is there, and the properties are the checker's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::source::read_folder;

/// Fewer names than this, and the page is not as this test reads it.
const LEAST_TESTS: usize = 60;
const LEAST_PROPERTIES: usize = 12;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    let path = root().join("src/manual").join(name);
    fs::read_to_string(path).expect("a page")
}

/// What stands in backquotes and reads like the sentence that a test is named by.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let letters = |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    quoted.filter(letters).filter(|name| name.matches('_').count() >= 2).collect()
}

/// The functions below `#[test]` in some source, ignored ones included.
fn tests_in(text: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" {
            marked = true;
        } else if let (true, Some(rest)) = (marked, line.strip_prefix("fn ")) {
            tests.extend(rest.split('(').next());
            marked = false;
        }
    }
    tests
}

/// The names before the first colon of what a check fails with: the first text after `fail(`.
fn properties_in(text: &str) -> BTreeSet<&str> {
    let calls = text.split(".fail(").skip(1);
    let names = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    names.collect()
}

/// The first column of the rows below this headline, without the star.
fn listed_properties(page: &str) -> BTreeSet<&str> {
    let after = page.split("\n# Properties\n").nth(1).unwrap_or_default();
    let section = after.split("\n# ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" |").next());
    cells
        .map(|cell| cell.trim_end_matches(" *"))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
        .collect()
}

fn texts(folder: &str) -> Vec<String> {
    let mut sources = Vec::new();
    read_folder(&root().join(folder), folder, &mut sources);
    sources.into_iter().map(|source| source.text).collect()
}

#[test]
fn every_test_that_the_manual_names_is_there() {
    let (page, texts) = (page("safety.md"), [texts("src"), texts("tests")].concat());
    let named = named_tests(&page);
    assert!(named.len() >= LEAST_TESTS, "only {} names read", named.len());
    let known: BTreeSet<&str> = texts.iter().flat_map(|text| tests_in(text)).collect();
    let lost: Vec<_> = named.difference(&known).collect();
    assert!(lost.is_empty(), "safety.md names what is no test: {lost:?}");
}

#[test]
fn the_properties_of_the_manual_are_those_of_the_checker() {
    let page = page("safety.md");
    // A picture is tried with a violation that is none.
    let texts = ["harness", "model", "simulation"].map(|part| texts(&format!("tests/election/{part}")));
    let simulation = fs::read_to_string(root().join("tests/election/simulation.rs"));
    let texts = [texts.concat(), vec![simulation.expect("UTF-8")]].concat();
    let listed = listed_properties(&page);
    assert!(listed.len() >= LEAST_PROPERTIES, "only {} rows read", listed.len());
    let checked: BTreeSet<&str> = texts.iter().flat_map(|text| properties_in(text)).collect();
    assert_eq!(listed, checked, "left: safety.md, right: the checker");
}

#[test]
fn every_property_is_violated_by_a_mutant_of_the_manual() {
    let (safety, mutants) = (page("safety.md"), page("mutants.md"));
    let rows = mutants.lines().filter(|line| line.starts_with("| `"));
    let violated: BTreeSet<&str> =
        rows.filter_map(|row| row.split('|').nth(5)).flat_map(|cell| cell.split(',').map(str::trim)).collect();
    let listed = listed_properties(&safety);
    let spared: Vec<_> = listed.difference(&violated).collect();
    assert!(spared.is_empty(), "no mutant violates {spared:?}");
}

#[test]
fn names_are_read_from_a_page_and_from_source() {
    let page = "\n# Properties\n\n| property | x |\n|---|---|\n| VoteOnce * | `a_vote_is_one` |\n\n# B\n| No | |";
    assert_eq!(listed_properties(page), BTreeSet::from(["VoteOnce"]));
    assert_eq!(named_tests("`a_vote_is_one`, `clock_drift` and `Lease::is_valid`"), BTreeSet::from(["a_vote_is_one"]));
    let source = "fn a_help_er() {}\n#[test]\n#[ignore]\nfn it_is_so() {\n x.fail(\n  \"VoteOnce\", y)";
    assert_eq!(tests_in(source), BTreeSet::from(["it_is_so"]));
    assert_eq!(properties_in(source), BTreeSet::from(["VoteOnce"]));
}
