//! Whether a random failure can be repeated.

use std::env;
use std::process::Command;

use super::dice::Dice;

/// Not a test but a program, which the test starts.
#[test]
#[ignore = "a program that another test starts"]
fn run() {
    let mut dice = Dice::new(Dice::seed(), 7);
    let drawn: Vec<u64> = (0..20).map(|_| dice.below(1000)).collect();
    eprintln!("drawn {drawn:?} {:?}", dice.micros_below(1000));
}

/// What it says, with these variables, in lines: the seed with its command, and what was drawn.
fn drawing(variables: &[(&str, &str)]) -> [String; 2] {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args(["drawing::run", "--exact", "--ignored", "--nocapture"]);
    command.env_remove("SEED").env_remove("HANDOVERS").env_remove("LEADELECT_FAULTS");
    let output = command.envs(variables.iter().copied()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = |begin: &str| said.lines().find(|line| line.starts_with(begin)).expect(&said).to_owned();
    [line("seed "), line("drawn ")]
}

#[test]
fn the_seed_that_is_printed_draws_the_same_again_and_another_seed_does_not() {
    let [first, drawn] = drawing(&[]);
    let seed = first.split([' ', ':']).nth(1).expect("a seed");
    assert_eq!(drawing(&[("SEED", seed)]), [first.clone(), drawn.clone()]);
    let [next, other] = drawing(&[]);
    assert!(next != first && other != drawn, "{first}: {drawn}");
}

#[test]
fn the_command_that_is_printed_names_program_test_and_length() {
    let [line, _] = drawing(&[("SEED", "8"), ("LEADELECT_FAULTS", "300")]);
    let command = "LEADELECT_FAULTS=300 SEED=8 cargo test --all-features --test support -- --nocapture drawing::run";
    assert_eq!(line, format!("seed 8: {command}"));
}
