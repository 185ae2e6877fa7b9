//! Every field of a situation is told anew, or is not looked at any more.

use std::time::Duration;

use super::*;
use crate::election::{Election, NodeId, Recovery, Setup, Timing, Voter};

const NOW: Instant = Instant::from_nanos(5_000_000_000);
const ORIGIN: Instant = Instant::from_nanos(2_000_000_000);
const MS: Duration = Duration::from_millis(1);

/// No number has another name.
struct AsTheyAre;

impl Names for AsTheyAre {
    fn candidacy(&mut self, candidacy: u64) -> u64 {
        candidacy
    }

    fn heartbeat(&self, _: Term, seq: u64) -> u64 {
        seq
    }

    fn is_answerable(&self, _: Term, _: u64) -> bool {
        true
    }

    fn seed(&self) -> Option<u64> {
        None
    }
}

fn id(number: u16) -> NodeId {
    NodeId::from(number)
}

/// A node with something in every field but that of a stop, at `now`.
fn busy(now: Instant) -> Engine<u8> {
    let voters = [1, 2, 3].map(|n| (id(n), Voter::default())).into();
    let setup = Setup { me: id(1), voters, timing: Timing::default() };
    let election = Election::new(setup, Recovery::Fresh, now.before(MS * 20), 7);
    let health = Health { good_until: now + MS * 40, hold_off: MS };
    let work = Work {
        term: Term(3),
        until: now + MS * 50,
        silent_at: now + MS * 60,
        told_to_stop: false,
        acts_on_overrun: false,
        hold_off: MS,
    };
    Engine {
        program: Program {
            ineligible: true,
            absent: true,
            hold_off_until: now + MS * 30,
            health: Some(health),
            work: Some(work),
            kept: Some(Term(2)),
        },
        hold_off_until: now + MS * 70,
        turn: Turn::default(),
        leases: BTreeMap::from([
            (Term(2), Guarded { until: now.before(MS * 10), ended: true }),
            (Term(3), Guarded { until: now + MS * 80, ended: false }),
        ]),
        overran: Term(1),
        kept: Term(1),
        waiting: vec![5],
        releases: [id(2)].into(),
        heard: BTreeMap::from([(id(2), now.before(MS * 5))]),
        reported: BTreeMap::from([(id(3), Term(2))]),
        too_far: BTreeMap::from([(id(2), now.before(MS * 5))]),
        promised: BTreeMap::from([(id(2), MS * 500)]),
        late_for: now.before(MS * 15),
        ..Engine::new(election, MS * 200)
    }
}

fn seen(mut node: Engine<u8>, now: Instant) -> Engine<u8> {
    node.canonicalize(now, ORIGIN, &mut AsTheyAre);
    node
}

type Change = fn(&mut Engine<u8>);

fn changed(change: Change) -> Engine<u8> {
    let mut node = busy(NOW);
    change(&mut node);
    seen(node, NOW)
}

#[test]
fn situations_that_differ_only_in_time_become_equal() {
    let later = NOW + Duration::from_secs(3600);
    assert_eq!(seen(busy(NOW), NOW), seen(busy(later), later));
}

#[test]
fn a_situation_that_was_told_anew_stays_as_it_is() {
    let anew = seen(busy(NOW), NOW);
    assert_eq!(seen(anew.clone(), ORIGIN), anew);
}

#[test]
fn what_only_the_log_and_a_stop_ask_for_makes_no_difference() {
    let changes: [(&str, Change); 9] = [
        ("a lease that the program keeps", |node| node.program.kept = None),
        ("a lease that was looked at", |node| node.kept = Term(2)),
        ("the end of a lease that has ended", |node| lease(node, 2).until = NOW),
        ("releases", |node| node.releases.clear()),
        ("heard", |node| node.heard.clear()),
        ("reported", |node| node.reported.clear()),
        ("promised", |node| node.promised.clear()),
        ("late_for", |node| node.late_for = NOW),
        ("late_for never", |node| node.late_for = Instant::NEVER),
    ];
    for (name, change) in changes {
        assert_eq!(changed(change), seen(busy(NOW), NOW), "{name}");
    }
}

#[test]
fn moments_that_have_passed_have_passed_however_long_ago() {
    let changes: [fn(&mut Engine<u8>, Instant); 6] = [
        |node, at| node.hold_off_until = at,
        |node, at| node.program.hold_off_until = at,
        |node, at| health(node).good_until = at,
        |node, at| work(node).until = at,
        |node, at| work(node).silent_at = at,
        |node, at| lease(node, 3).until = at,
    ];
    for change in changes {
        let over = |span: Duration| {
            let mut node = busy(NOW);
            change(&mut node, NOW.before(span));
            seen(node, NOW)
        };
        assert_eq!(over(Duration::ZERO), over(MS * 500));
        let mut nearly = busy(NOW);
        change(&mut nearly, NOW + Duration::from_nanos(1));
        assert_ne!(over(Duration::ZERO), seen(nearly, NOW));
    }
}

#[test]
fn what_never_comes_never_comes_and_a_node_that_holds_off_no_more_does_not() {
    let node = changed(|node| {
        node.hold_off_until = Instant::NEVER;
        work(node).silent_at = Instant::NEVER;
    });
    assert_eq!(node.hold_off_until, Instant::NEVER);
    assert_eq!(node.program.work.map(|work| work.silent_at), Some(Instant::NEVER));
    assert_eq!(changed(|node| node.hold_off_until = Instant::ZERO).hold_off_until, Instant::ZERO);
}

#[test]
fn situations_that_differ_in_anything_else_stay_different() {
    let changes: [(&str, Change); 25] = [
        ("last words", |node| node.last_words = MS),
        ("eligible", |node| node.eligible = false),
        ("healthy", |node| node.healthy = false),
        ("ineligible", |node| node.program.ineligible = false),
        ("absent", |node| node.program.absent = false),
        ("the program holds off", |node| node.program.hold_off_until = NOW + MS),
        ("no health", |node| node.program.health = None),
        ("good until", |node| health(node).good_until = NOW + MS),
        ("hold off of health", |node| health(node).hold_off = MS * 2),
        ("no work", |node| node.program.work = None),
        ("term of work", |node| work(node).term = Term(2)),
        ("work until", |node| work(node).until = NOW + MS),
        ("silent at", |node| work(node).silent_at = NOW + MS),
        ("told to stop", |node| work(node).told_to_stop = true),
        ("acts on an overrun", |node| work(node).acts_on_overrun = true),
        ("hold off of work", |node| work(node).hold_off = MS * 2),
        ("hold off", |node| node.hold_off_until = NOW + MS),
        ("no hold off", |node| node.hold_off_until = Instant::ZERO),
        ("no lease that ended", |node| node.leases.retain(|term, _| *term != Term(2))),
        ("no lease", |node| node.leases.retain(|term, _| *term != Term(3))),
        ("lease until", |node| lease(node, 3).until = NOW + MS),
        ("lease ended", |node| lease(node, 3).ended = true),
        ("overran", |node| node.overran = Term(2)),
        ("nobody waits", |node| node.waiting.clear()),
        ("somebody else waits", |node| node.waiting = vec![6]),
    ];
    for (name, change) in changes {
        assert_ne!(changed(change), seen(busy(NOW), NOW), "{name}");
    }
    let mut other = busy(NOW);
    let _ = other.election.step(NOW, crate::election::Input::Tick);
    assert_ne!(seen(other, NOW), seen(busy(NOW), NOW), "the election");
}

#[test]
#[should_panic(expected = "no node is stopped")]
fn a_node_that_is_told_to_stop_is_not_told_anew() {
    changed(|node| node.stop_by = Some(NOW));
}

#[test]
#[should_panic(expected = "no node is late")]
fn a_node_that_was_late_is_not_told_anew() {
    changed(|node| node.give_turn(NOW));
}

fn health(node: &mut Engine<u8>) -> &mut Health {
    node.program.health.as_mut().expect("its health is checked")
}

fn work(node: &mut Engine<u8>) -> &mut Work {
    node.program.work.as_mut().expect("it works")
}

fn lease(node: &mut Engine<u8>, term: u64) -> &mut Guarded {
    node.leases.get_mut(&Term(term)).expect("a lease")
}
