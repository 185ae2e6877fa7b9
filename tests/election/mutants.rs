//! Would the tests notice? Each rule that safety or liveness rests on is broken, and the simulation must see it.
//!
//! A test that cannot fail proves nothing. So a [copy](patched_copy) of the election is built in which every rule of
//! the [list] can be broken at run time: `if mutant::is("name") { broken } else { original }`. Nothing of this is in
//! `src/`. One build with a switch, because sixty builds of some ten seconds would take longer than all searches;
//! textual replacement, because a wrapper around the core can only tamper with what is said, and most rules are about
//! what is remembered and when. Each replacement names a function and a text that occurs in it exactly once: a change
//! of the core that moves a rule fails here with the name of the mutant.
//!
//! Each mutant is a process of its own that runs the usual simulation over disjoint ranges of seeds until it finds
//! something. Each is run twice: as it is, and with *stickiness* made harmless, which is the rule that a voter that
//! hears a leader refuses pre-votes. That rule keeps the peace and no promise, and so it hides errors of those that
//! do. Without it nodes disturb a leader, so then only safety is asked for. Two controls must find nothing: the
//! copy with no rule broken, and the copy with nothing but stickiness made harmless; both also at each seed that shows
//! a mutant.
//!
//! Only in release; a debug build just looks whether every text is still in its place:
//!
//! - `cargo test --release --test election -- mutants --nocapture` prints a line for each, and the table of the manual;
//! - `RANGES=5` takes the mean over so many ranges of seeds;
//! - `WITHIN=3000` gives up after so many seeds, and asks only for those mutants that must be found within;
//! - `ONLY=quarantine,promise` runs the mutants whose names contain one of these;
//! - `THOROUGH=20000` looks for so many seeds also for those that only paper tests must find, and in both
//!   modes.

mod list;
mod patched_copy;
mod searched;

use std::fmt;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

use list::MUTANTS;
use patched_copy::{Copy, Found, Mutant, Run};

/// How many disjoint ranges of seeds are searched, unless `RANGES` says otherwise. The manual's table has more.
const USUAL_RANGES: u64 = 1;
/// In how many the controls find nothing.
const CONTROL_RANGES: u64 = 3;
/// Ranges begin this far apart.
const APART: u64 = 1_000_000;
/// How many seeds the controls run in each range, with nothing found.
const CONTROL_SEEDS: u64 = 1500;
/// The seed that shows a mutant and these after it must show nothing without.
const FEW: u64 = 5;
/// With it nobody is kept from asking while a leader is heard.
const UNSTICKY: &str = "unsticky";

/// One search: a mutant in one mode over one range of seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Search {
    mutant: usize,
    unsticky: bool,
    from: u64,
    seeds: u64,
}

/// What the searches for one mutant came to.
struct Verdict<'a> {
    mutant: &'a Mutant,
    as_it_is: Tally,
    unsticky: Tally,
    papers: Vec<String>,
}

/// The searches of one mutant in one mode.
#[derive(Default)]
struct Tally {
    /// How many seeds were clean before the one that showed it, in each range that did.
    after: Vec<u64>,
    /// The length of each range in which nothing was found.
    clean: Vec<u64>,
    /// What was violated.
    properties: Vec<String>,
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it builds and runs each mutant")]
fn mutants_are_found() {
    let copy = Copy::build("mutants");
    let ranges = number("RANGES").unwrap_or(USUAL_RANGES);
    assert!(ranges > 0, "RANGES=0 looks for nothing");
    let only = std::env::var("ONLY").unwrap_or_default();
    let searches = searches(ranges, &only);
    let findings = Mutex::new(Vec::new());
    in_parallel(&searches, |search| {
        let run = copy.simulate(&chosen(search), search.from, search.seeds);
        println!("{}", search.tell(&run));
        if let Some(seed) = run.seed {
            // What the whole election does as well says nothing about the mutant.
            let whole = copy.simulate(&chosen(search)[1..], seed, FEW);
            assert!(whole.violation.is_none(), "not the mutant's fault: {}", whole.out);
        }
        findings.lock().expect("no panic").push((*search, run));
    });
    let findings = findings.into_inner().expect("no panic");
    let mut wrong = Vec::new();
    println!("{}", Verdict::HEADLINE);
    for (place, mutant) in MUTANTS.iter().enumerate() {
        if !wanted(mutant.name, &only) {
            continue;
        }
        let of = |unsticky| {
            let mine = |search: &Search| search.mutant == place && search.unsticky == unsticky;
            Tally::of(findings.iter().filter(|(search, _)| mine(search)))
        };
        let verdict =
            Verdict { mutant, as_it_is: of(false), unsticky: of(true), papers: copy.failing_papers(mutant.name) };
        println!("{verdict}");
        wrong.extend(verdict.trouble());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it builds and runs each mutant")]
fn mutants_none_of_which_is_switched_on_are_harmless() {
    let copy = Copy::build("mutants");
    let none: &[&str] = &[];
    let searches: Vec<(&[&str], u64)> =
        (0..CONTROL_RANGES).flat_map(|range| [(none, range * APART), (&[UNSTICKY], range * APART)]).collect();
    in_parallel(&searches, |(names, from)| {
        let run = copy.simulate(names, *from, CONTROL_SEEDS);
        println!("control {names:?}: {CONTROL_SEEDS} seeds from {from}: {}", run.summary());
        assert!(run.violation.is_none(), "control {names:?}: {}", run.out);
    });
    assert_eq!(copy.failing_papers(""), Vec::<String>::new());
}

/// A violation prints one seed and one command, and this command shows the same again, to the last byte.
#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: it builds and runs each mutant")]
fn mutants_replay_to_the_same_story() {
    let copy = Copy::build("mutants");
    for name in ["release_before_work_stopped", "own_work_ignored", "quarantine_left_out"] {
        let first = copy.simulate(&[name], 0, 2000);
        let (seed, violation) = (first.seed.expect("a seed"), first.violation.clone());
        let command = first.command.clone().expect("a command");
        assert_eq!(command, format!("SEED={seed} cargo test --release --test election -- simulation --nocapture"));
        assert!(first.story.lines().count() > 10, "{}", first.out);
        for _ in 0..2 {
            let again = copy.obey(&[name], &command);
            assert_eq!(again.story, first.story);
            assert_eq!((again.seed, &again.violation), (Some(seed), &violation));
        }
        println!("{name}: seed {seed} replayed twice by `{command}`: {} equal bytes", first.story.len());
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn wanted(name: &str, only: &str) -> bool {
    only.split(',').any(|part| name.contains(part))
}

fn searches(ranges: u64, only: &str) -> Vec<Search> {
    let thorough = number("THOROUGH");
    let mut searches = Vec::new();
    for (mutant, what) in MUTANTS.iter().enumerate() {
        let modes = match what.found {
            Found::Safety(within) => vec![(false, within), (true, within)],
            Found::Liveness(within) => vec![(false, within)],
            Found::Paper(_) => vec![],
        };
        let modes = match (thorough, what.found) {
            (None, _) => modes,
            (Some(seeds), Found::Liveness(_)) => vec![(false, seeds)],
            (Some(seeds), _) => vec![(false, seeds), (true, seeds)],
        };
        let most = number("WITHIN").unwrap_or(u64::MAX);
        for (unsticky, seeds) in modes.into_iter().filter(|_| wanted(what.name, only)) {
            let seeds = seeds.min(most);
            searches.extend((0..ranges).map(|range| Search { mutant, unsticky, from: range * APART, seeds }));
        }
    }
    // The long ones first, so that no core is left alone with one of them at the end.
    searches.sort_by_key(|search| std::cmp::Reverse(search.seeds));
    searches
}

fn chosen(search: &Search) -> Vec<&'static str> {
    let stickiness = search.unsticky.then_some(UNSTICKY);
    std::iter::once(MUTANTS[search.mutant].name).chain(stickiness).collect()
}

impl Search {
    fn tell(&self, run: &Run) -> String {
        let name = MUTANTS[self.mutant].name;
        let mode = if self.unsticky { ", unsticky" } else { "" };
        let found = match (run.seed, run.property()) {
            (Some(seed), Some(what)) => format!("found after {} seeds: {what}", seed - self.from),
            _ => format!("not found in {} seeds", self.seeds),
        };
        format!("{name}: {found} (from {}{mode})", self.from)
    }
}

/// As many at once as there are cores.
fn in_parallel<T: Sync>(jobs: &[T], work: impl Fn(&T) + Sync) {
    let left = Mutex::new(jobs.iter());
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let job = left.lock().expect("no panic").next();
                    let Some(job) = job else { break };
                    work(job);
                }
            });
        }
    });
}

impl Tally {
    fn of<'a>(findings: impl Iterator<Item = &'a (Search, Run)>) -> Self {
        let mut tally = Tally::default();
        for (search, run) in findings {
            match run.seed {
                Some(seed) => tally.after.push(seed - search.from),
                None => tally.clean.push(search.seeds),
            }
            tally.properties.extend(run.property());
        }
        tally.properties.sort();
        tally.properties.dedup();
        tally
    }

    fn mean(&self) -> u64 {
        self.after.iter().sum::<u64>() / self.after.len().max(1) as u64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.after.len() + self.clean.len();
        match (self.after.is_empty(), self.clean.first()) {
            (true, None) => f.write_str("-"),
            (true, Some(seeds)) => write!(f, "none in {}", *seeds * ranges as u64),
            (false, None) => write!(f, "{}", self.mean()),
            (false, Some(_)) => write!(f, "{} in {} of {ranges}", self.mean(), self.after.len()),
        }
    }
}

impl Verdict<'_> {
    const HEADLINE: &'static str = "| mutant | what is broken | seeds to find | unsticky | violated | paper tests |\n\
                                    |---|---|---|---|---|---|";

    /// What the mutant promises in the list and does not keep.
    fn trouble(&self) -> Option<String> {
        let name = self.mutant.name;
        let missed = |tally: &Tally| tally.after.is_empty() || !tally.clean.is_empty();
        match self.mutant.found {
            Found::Safety(within) | Found::Liveness(within) if missed(&self.as_it_is) => {
                // Not found so soon, and not promised so soon.
                let looked_enough = number("WITHIN").is_none_or(|most| within <= most);
                looked_enough.then(|| format!("{name}: not found within {within} seeds in each range"))
            }
            Found::Paper(_) if self.papers.is_empty() => Some(format!("{name}: no paper test finds it")),
            Found::Safety(_) | Found::Liveness(_) | Found::Paper(_) => None,
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { name, breaks, found, .. } = self.mutant;
        let mut properties = [&self.as_it_is.properties[..], &self.unsticky.properties[..]].concat();
        properties.sort();
        properties.dedup();
        let violated = match found {
            Found::Paper(why) if properties.is_empty() => (*why).to_owned(),
            _ => properties.join(", "),
        };
        let (as_it_is, unsticky, papers) = (&self.as_it_is, &self.unsticky, self.papers.len());
        write!(f, "| {name} | {breaks} | {as_it_is} | {unsticky} | {violated} | {papers} |")
    }
}
