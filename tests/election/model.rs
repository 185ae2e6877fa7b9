//! The shipped node, searched to the end within stated bounds, not sampled.
//!
//! # What is searched
//!
//! Three nodes with nothing stored start at one moment. A clock is fast or slow, by as much as the drift bound allows:
//! 9 or 11 ms pass on it in every 10. All eight assignments are searched; in the small bounds at steps of 5 ms only the
//! three with one slow clock. In every situation one thing happens *by default*. First, a program whose lease was taken
//! away gives it back. Then the nodes that are due look at their clocks, in the order of the nodes. Then the oldest
//! letter arrives. Only when nothing is left to do, time passes, by 10 ms, or by 5 in some searches. What else may
//! happen *departs* from that. The bounds say how many departures are allowed:
//!
//! - A letter is late, perhaps for ever, or it arrives and is late once more. It may arrive at any place of the moment
//!   it was sent in, and first or last in any later one.
//! - A node is stalled before its next step, and goes on at any place of that moment, or last in a later one. A stall
//!   lasts 60 ms at most, which is longer than a promise lasts.
//! - A link is cut in one direction or both, or a node is cut off from both others, until it is mended at any time.
//! - A node crashes before its next step, or in the middle of it, when its state is stored and nothing is said yet, or
//!   while it waits. It starts again last in any moment, or never. In the worlds whose names end in `+` it is also
//!   said to both others that it died: once, last in any moment, or never.
//! - The program of a leader hands over, first or last in a moment: to the node that the leader chooses or to another.
//!   Its work ends at once, or last in any moment, or goes on until the lease is over. A call that is refused and
//!   changes nothing is no departure.
//!
//! This is *delay-bounded* search (Emmi, Qadeer and Rakamaric, "Delay-bounded scheduling", 2011): it tries every
//! placement of the departures, each in every situation that the others lead to, until a node enters term 4. Time does
//! not bound it: moments are counted from now, so that a cluster in peace comes back to where it was. It is **not**
//! every interleaving: what takes more departures than are allowed is not seen. Nor are other random waits than one on
//! each node (a stall stands for a longer one), delays that are no multiple of such a step, failing disks, nodes
//! without state, more than three nodes, programs that do more than hold a lease and hand over, orderly stops, nor
//! whether a node leads in the end. All of these are in the simulation.
//!
//! # What is asked
//!
//! The same as in the simulation, by the same code: see [the checker](crate::harness::checker). Above all, no two
//! programs can act at one moment of real time. A call is answered once and truly, and its end is told as soon as the
//! node leads no more. What the checker remembers of the past is part of every situation.
//!
//! # What is the same
//!
//! A situation is known again by 98 bits of a hash of everything in it. Moments are counted from now, and the numbers
//! that tell messages apart are replaced by others. Two nodes that are the same in this sense do the same:
//! [`equivalence`] shows that. The tests beside `Election::canonicalize` and `Engine::canonicalize` show that nothing
//! else is lost.
//!
//! # Why an own search
//!
//! stateright is well kept and would give the search on all cores, shortest courses and a browser for the graph. Given
//! every interleaving of this cluster it came to no end. Of departures it knows nothing: how many are left would have
//! to be part of the situation, and one that is met again with fewer left would be searched again, where here one bit
//! says that it need not be. It also knows situations by 64 bits, and keeps more of each than 16 bytes. What is own is
//! [`search`] and [`visited`], some five hundred lines; the rest would be needed with it as well.
//!
//! # How to run it
//!
//! - `cargo test --release --test election -- model --nocapture`: the small bounds;
//! - `MODEL=large cargo test --release --test election -- model_has_no_course --nocapture`: the large one, in a few GB;
//! - `COURSE=... cargo test --release --test election -- model_has_no_course --nocapture` tells the story of a course.
//!   A violation prints this line.
//!
//! A debug build allows one departure only.

mod cluster;
mod equivalence;
mod fingerprint;
mod moves;
mod names;
mod planted;
mod reached;
mod search;
mod visited;

use std::num::NonZero;
use std::time::{Duration, Instant};

use leadelect::election::{Timing, TimingSpec};

use moves::{Left, World};
use search::{Bounds, Report};

/// As wide as a drift bound may be, so that it matters within one step of time.
const DRIFT_PPM: u32 = 100_000;

/// The world in which time passes in steps of so many milliseconds: 10, or 5 to see more of what comes between.
fn world(step: u64) -> World {
    let millis = Duration::from_millis;
    World {
        // A little less than a number of steps on a fast clock: a fast voter is free in the very step before which a
        // slow leader's lease has just ended.
        timing: Timing::new(TimingSpec {
            heartbeat_interval: millis(11),
            election_timeout: millis(42),
            clock_drift_ppm: DRIFT_PPM,
        })
        .unwrap(),
        unit: millis(step),
        longest_stall: u8::try_from(60 / step).unwrap(),
        terms: 3,
        fault: None,
        obituaries: false,
    }
}

/// The same world, and that a process has died may be said.
fn telling(step: u64) -> World {
    World { obituaries: true, ..world(step) }
}

/// The world of this name: how long a step of time is, and whether deaths are told.
fn named(name: &str) -> World {
    let step = |text: &str| text.parse().expect("milliseconds");
    name.strip_suffix('+').map_or_else(|| world(step(name)), |text| telling(step(text)))
}

fn up_to(crashes: u8, orders: u8, others: u8, together: u8) -> Left {
    Left { crashes, orders, others, together }
}

/// Whose clocks are fast, one bit for each node.
type Clocks = &'static [u8];

const ALL_CLOCKS: Clocks = &[0, 1, 2, 3, 4, 5, 6, 7];
/// One of three is slow, whose lease lasts long by the clocks of the others.
const ONE_SLOW: Clocks = &[0b011, 0b101, 0b110];

/// What to search, by the name of its world, with which clocks, and what that is too little for.
fn bounds(which: &str) -> (Vec<(&'static str, Left, Clocks)>, &'static [&'static str]) {
    let all = ALL_CLOCKS;
    match which {
        // For the mutants.
        "brief" => (vec![("10", up_to(2, 1, 2, 2), &[0b011, 0b110]), ("10+", up_to(1, 0, 1, 2), &[0b011])], &[]),
        "tiny" => (vec![("10+", up_to(1, 1, 1, 1), all)], reached::BEYOND_ONE_DEPARTURE),
        "small" => {
            let one_slow = [("10+", up_to(1, 0, 1, 2), ONE_SLOW), ("5", up_to(2, 1, 1, 2), ONE_SLOW)];
            let all = [("10", up_to(2, 1, 2, 2), all), ("10", up_to(2, 1, 0, 3), all)];
            ([one_slow, all].concat(), &[])
        }
        "large" => (vec![("10+", up_to(2, 1, 1, 3), ONE_SLOW)], &[]),
        other => panic!("MODEL={other}: expected small or large"),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[test]
#[allow(clippy::disallowed_methods)] // how long it took is told, and nothing depends on it
fn model_has_no_course_that_breaks_a_promise() {
    if let Ok(course) = std::env::var("COURSE") {
        let (name, course) = course.split_once('/').expect("world/course");
        let world = named(name);
        let (story, wrong) = world.replay(&course.parse().expect("a course"));
        print!("{story}");
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        return;
    }
    let usual = if cfg!(debug_assertions) { "tiny" } else { "small" };
    let which = std::env::var("MODEL").unwrap_or(usual.to_owned());
    let (all, too_little_for) = bounds(&which);
    let mut whole = Report::default();
    let began = Instant::now();
    for (name, left, clocks) in all {
        println!("up to {left}, in steps of {name} ms:");
        for fast in clocks.iter().copied() {
            let began = Instant::now();
            let bounds = Bounds { world: named(name), left, clocks: vec![fast] };
            let report = bounds.search(threads());
            println!("  {}: {report}, {:.1?}", moves::rates(fast), began.elapsed());
            if let Some((wrong, course)) = &report.wrong {
                let (story, _) = named(name).replay(course);
                let command = "cargo test --release --test election -- model_has_no_course --nocapture";
                print!("{story}");
                panic!("{wrong}\nCOURSE={name}/{course} {command}\n");
            }
            whole.add(report);
        }
    }
    print!("{}", whole.reached);
    println!("{which}: {whole}, 0 violations, {:.1?}", began.elapsed());
    assert_eq!(whole.reached.missing(), too_little_for, "never reached");
}
