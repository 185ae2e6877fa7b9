//! Would the [model check](crate::model) notice? Each mutant that breaks a promise with few departures, it must find;
//! and what it prints must show the same again.
//!
//! `cargo test --release --test election -- mutants_are_found_by_search --nocapture` prints a line for each;
//! `THOROUGH=1` tries all of them.

use super::list::MUTANTS;
use super::patched_copy::Copy;
use super::{in_parallel, number, wanted};

/// The others need more departures than two, or a disk that fails, or no state, or a hand-over that the engine refuses,
/// or break no promise.
const FOUND: &[&str] = &[
    "lease_from_receipt",
    "no_drift_factor",
    "lease_of_one_fewer",
    "lease_from_votes",
    "lapsed_lease_revived",
    "heartbeats_without_lease",
    "leader_never_gives_up",
    "promise_cleared_by_term",
    "promise_while_owed",
    "own_promise_ignored",
    "own_work_ignored",
    "work_forgotten",
    "lower_term_followed",
    "majority_minus_one",
    "vote_of_another_candidacy",
    "votes_twice",
    "vote_in_a_past_term",
    "vote_not_durable",
    "term_not_durable",
    "vote_said_before_saved",
    "cap_not_kept",
    "quarantine_left_out",
    "release_before_work_stopped",
    "pre_vote_postpones",
    "obituary_ends_any_promise",
];

/// A few clocks, two departures.
const BOUNDS: &str = "brief";

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it builds and runs each mutant")]
fn mutants_are_found_by_search() {
    let copy = Copy::build("mutants");
    let only = std::env::var("ONLY").unwrap_or_default();
    let thorough = number("THOROUGH").is_some();
    let tried = MUTANTS.iter().map(|mutant| mutant.name);
    let tried: Vec<&str> = tried.filter(|name| wanted(name, &only) && (thorough || FOUND.contains(name))).collect();
    let missed = std::sync::Mutex::new(Vec::new());
    in_parallel(&tried, |name| {
        let first = copy.search(&[name], BOUNDS);
        let Some(property) = first.property else {
            println!("{name}: the model finds nothing");
            missed.lock().expect("no panic").push(*name);
            return;
        };
        let command = first.command.unwrap_or_default();
        println!("{name}: found by the model: {property}: {command}");
        if !command.is_empty() {
            let again = copy.tell(&[name], &command);
            assert_eq!(again.property, Some(property), "{name}: {}", again.out);
            assert!(again.story == first.story && first.story.lines().count() > 10, "{name}: {command}");
        }
    });
    let missed = missed.into_inner().expect("no panic");
    let wrong: Vec<&&str> = missed.iter().filter(|name| FOUND.contains(name)).collect();
    assert!(wrong.is_empty(), "not found: {wrong:?}");
    assert!(FOUND.iter().all(|name| MUTANTS.iter().any(|mutant| mutant.name == *name)));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it builds and runs each mutant")]
fn mutants_none_of_which_is_switched_on_are_not_found_by_search() {
    let run = Copy::build("mutants").search(&[], BOUNDS);
    assert!(run.property.is_none(), "{}", run.out);
}
