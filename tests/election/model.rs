//! The shipped election, explored by stateright: every order of what may happen, within stated bounds.
//!
//! Time passes in steps. The election timeout is four steps on a fast clock, exactly, so that a fast voter is free in
//! the very step in which a slow leader's lease has just ended. Every message arrives in the step of time in which it
//! was sent, or is lost, or is one of the few that may be late, for however long; pre-votes are never late. Chance is
//! fixed: every wait that is drawn is the one that the same seed gives.

use std::time::{Duration, Instant};

use leadelect::election::Timing;
use stateright::{Checker, HasDiscoveries, Model};

mod cluster;
mod names;
mod search;

use cluster::{Finds, Left};
use search::Bounds;

const SLOW: i64 = -100_000;
const FAST: i64 = 100_000;

fn bounds() -> Bounds {
    Bounds {
        timing: Timing::new(
            Duration::from_millis(11),
            Duration::from_millis(44),
            100_000,
        )
        .unwrap(),
        unit: Duration::from_millis(10),
        clocks: vec![vec![SLOW, FAST, FAST]],
        terms: 2,
        late: 0,
        left: Left {
            crashes: 0,
            twice: 0,
            relinquishes: 0,
            stalls: 0,
        },
        finds: Finds::All,
    }
}

/// Searches all there is, or until something is wrong, which it returns.
#[allow(clippy::disallowed_methods)]
fn search(bounds: Bounds, limit: Option<Duration>) -> Option<String> {
    let began = Instant::now();
    println!("{bounds:?}");
    let mut search = bounds
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(limit) = limit {
        search = search.timeout(limit);
    }
    let search = search.spawn_bfs().join();
    println!(
        "{} situations, {} ways into them, depth {}, {:.1?}, all seen: {}",
        search.unique_state_count(),
        search.state_count(),
        search.max_depth(),
        began.elapsed(),
        search.is_done()
    );
    for (name, path) in search.discoveries() {
        println!(
            "{name}: after {} actions",
            path.clone().into_actions().len()
        );
    }
    let path = search.discovery("safe")?;
    let violation = path.last_state().checker.violation.clone()?;
    let mut story = vec![violation];
    story.extend(
        path.into_actions()
            .iter()
            .map(|action| format!("  {action}")),
    );
    Some(story.join("\n"))
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let number = |name: &str, or: u64| {
        let value = std::env::var(name).ok();
        value.map_or(or, |value| value.parse().expect("a number"))
    };
    let mut bounds = bounds();
    bounds.terms = number("TERMS", 2);
    bounds.late = number("LATE", 0) as usize;
    bounds.left.crashes = number("CRASHES", 0) as u8;
    bounds.left.twice = number("TWICE", 0) as u8;
    bounds.left.relinquishes = number("RELINQUISHES", 0) as u8;
    let limit = Duration::from_secs(number("LIMIT", 60));
    let wrong = search(bounds, Some(limit));
    assert!(wrong.is_none(), "\n{}\n", wrong.unwrap_or_default());
}
