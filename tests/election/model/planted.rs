//! Would the search notice? What the proof rests on is taken away: no host, store, clock or driver may do any of this,
//! and the search finds what comes of it, with few departures. Without it the same search finds nothing: it is part of
//! the small bounds. That rules broken in the election itself are found, too, [the mutants](crate::mutants) show.

use leadelect::election::{Timing, TimingSpec};

use super::cluster::Fault;
use super::moves::{Left, World};
use super::search::Bounds;
use super::{DRIFT_PPM, threads, up_to, world};

/// Searches in `world`, and finds a violation of this name that can be told again.
fn finds(world: World, left: Left, property: &str) {
    let bounds = Bounds { world: world.clone(), left, clocks: (0..8).collect() };
    let report = bounds.search(threads());
    let (wrong, course) = report.wrong.expect("found");
    println!("{property} within {} situations, course {course}", report.situations);
    assert!(wrong.starts_with(property), "{wrong}");
    let told = world.replay(&course.to_string().parse().expect("a course"));
    assert_eq!(told.1.as_ref(), Some(&wrong));
    assert_eq!(world.replay(&course), told);
}

fn with(fault: Fault) -> World {
    World { fault: Some(fault), ..world(10) }
}

#[test]
fn model_finds_clocks_that_are_further_off_than_the_nodes_believe() {
    let timing = world(10).timing;
    let believes = Timing::new(TimingSpec {
        heartbeat_interval: timing.heartbeat_interval(),
        election_timeout: timing.election_timeout(),
        clock_drift_ppm: DRIFT_PPM / 2,
    });
    let world = World { timing: believes.unwrap(), ..world(10) };
    finds(world, up_to(0, 0, 1, 1), "LeaseExclusion");
}

#[test]
fn model_finds_a_clock_that_stands_while_its_host_sleeps() {
    finds(with(Fault::ClockStands), up_to(0, 0, 1, 1), "LeaseExclusion");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: two departures")]
fn model_finds_a_store_that_forgets_a_vote() {
    finds(with(Fault::StoreForgets), up_to(1, 0, 1, 2), "VoteOnce");
}

#[test]
fn model_finds_a_vote_that_is_said_before_it_is_stored() {
    finds(with(Fault::SaidBeforeStored), up_to(1, 0, 0, 1), "TermDurable");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "in release only: two departures")]
fn model_finds_a_restart_without_quarantine() {
    finds(with(Fault::HostLies), up_to(1, 0, 1, 2), "PromiseMonotone");
}

#[test]
fn model_finds_a_release_while_work_goes_on() {
    finds(with(Fault::WorkGoesOn), up_to(0, 1, 0, 1), "LeaseExclusion");
}
