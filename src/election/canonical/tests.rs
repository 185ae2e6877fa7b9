//! Every field of a situation is told anew, or is not looked at any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::election::{NodeId, Recovery, Setup, Timing, Voter};

const NOW: Instant = Instant::from_nanos(5_000_000_000);
const ORIGIN: Instant = Instant::from_nanos(2_000_000_000);
const MS: Duration = Duration::from_millis(1);

/// Every candidacy has the same name, every seed is the same, and heartbeats are numbered from 1 on.
struct Same;

impl Names for Same {
    fn candidacy(&mut self, _: u64) -> u64 {
        0
    }

    fn heartbeat(&self, _: Term, seq: u64) -> u64 {
        seq - 40
    }

    fn is_answerable(&self, _: Term, seq: u64) -> bool {
        seq != 41
    }

    fn seed(&self) -> Option<u64> {
        Some(0)
    }
}

fn id(number: u16) -> NodeId {
    NodeId::from(number)
}

/// A node with something in every field, at `now`.
fn busy(now: Instant, state: State) -> Election {
    let setup =
        Setup { me: id(1), voters: [1, 2, 3].map(|n| (id(n), Voter::default())).into(), timing: Timing::default() };
    let mut node = Election::new(setup, Recovery::Fresh, now.before(MS * 20), 7);
    node.hard.term = Term(4);
    node.state = state;
    node.promise = Some(Promise { holder: id(2), term: Term(3), seq: 44, until: now + MS * 30 });
    node.heard = Some(Heard { leader: id(2), term: Term(3), seq: 45, at: now.before(MS * 10), released: false });
    node.voting_from = now + MS * 40;
    node.work = Some(Deadline { token: Term(2), until: now + MS * 50 });
    node.hold_off_until = now + MS * 60;
    node.takeovers.young = Some(Takeover { leader: id(2), settled_at: now + MS * 150 });
    node.takeovers.short.insert(id(2), 1);
    node.succession = vec![id(3), id(1)];
    node
}

fn follower(now: Instant) -> State {
    State::Follower(Follower { leader: Some(id(2)), suspect_at: now + MS * 70, hint: hint(now) })
}

fn pre_candidate(now: Instant) -> State {
    State::PreCandidate(PreCandidate {
        candidacy: now.as_nanos(),
        asked: now.before(MS * 4),
        round_trip: MS,
        grants: BTreeMap::from([(id(3), now + MS * 80)]),
        patience: MS * 25,
        round_ends: now + MS * 90,
        hint: hint(now),
    })
}

fn candidate(now: Instant) -> State {
    State::Candidate(Candidate {
        asked: BTreeMap::from([(now.as_nanos(), now.before(MS * 5))]),
        ends_at: now + MS * 100,
        votes: BTreeSet::from([id(1)]),
        lease_won_by: Instant::NEVER,
        refusals: BTreeSet::from([id(2)]),
        ask_at: BTreeMap::from([(id(3), now + MS * 110)]),
        repeat: MS * 100,
        handover_retry: Some(MS),
    })
}

fn leader(now: Instant) -> State {
    State::Leader(Leader {
        until: None,
        patience_ends: now + MS * 120,
        seq: 43,
        sent: BTreeMap::from([(41, now.before(MS * 30)), (43, now.before(MS * 3))]),
        backers: BTreeMap::from([(id(3), Backer { until: now + MS * 130, eligible: true })]),
        next_heartbeat: now + MS * 97,
        stepping_down: Some(SteppingDown { successor: Some(id(3)), hold_off: MS }),
        preferred: Some(Preferred { id: id(3), due: now + MS * 140 }),
    })
}

fn hint(now: Instant) -> Option<FreshHint> {
    Some(FreshHint { leader: id(3), until: now + MS * 75 })
}

fn seen(mut node: Election, now: Instant) -> Election {
    node.canonicalize(now, ORIGIN, &mut Same);
    node
}

#[test]
fn situations_that_differ_only_in_time_and_numbers_become_equal() {
    for state in [follower, pre_candidate, candidate, leader] {
        let later = NOW + Duration::from_secs(3600);
        let mut twin = busy(later, state(later));
        twin.dice = Dice::new(8);
        if let State::Leader(leader) = &mut twin.state {
            leader.sent.remove(&41);
        }
        assert_eq!(seen(busy(NOW, state(NOW)), NOW), seen(twin, later));
    }
}

#[test]
fn waits_that_are_over_are_over_however_long() {
    let over = |span: Duration| {
        let mut node = busy(NOW, follower(NOW));
        let end = NOW.before(span);
        node.voting_from = end;
        node.hold_off_until = end;
        node.promise.as_mut().expect("promised").until = end;
        node.work.as_mut().expect("worked").until = end;
        seen(node, NOW)
    };
    assert_eq!(over(Duration::ZERO), over(MS * 500));
    let nearly = {
        let mut node = busy(NOW, follower(NOW));
        node.voting_from = NOW + MS;
        seen(node, NOW)
    };
    assert_ne!(over(Duration::ZERO), nearly);
}

#[test]
fn the_start_of_a_new_node_matters_until_it_cannot_have_forgotten_anything() {
    let started = |fresh, ago| {
        let mut node = busy(NOW, follower(NOW));
        node.is_new = fresh;
        node.started = NOW.before(ago);
        seen(node, NOW)
    };
    let long = busy(NOW, follower(NOW)).setup.timing.election_timeout() * 2;
    assert_ne!(started(true, long - MS), started(true, long * 2));
    assert_eq!(started(true, long), started(true, long * 2));
    assert_eq!(started(false, MS), started(false, long * 2));
}

#[test]
fn a_wait_that_has_ended_matters_while_patience_is_counted_from_it() {
    let ended = |alone: bool, state: State, ago| {
        let mut node = busy(NOW, state);
        if alone {
            let me = node.setup.me;
            node.setup.voters.retain(|id, _| *id == me);
        }
        node.voting_from = NOW.before(ago);
        seen(node, NOW)
    };
    let State::PreCandidate(PreCandidate { patience, .. }) = pre_candidate(NOW) else {
        unreachable!("it asks");
    };
    let interval = busy(NOW, follower(NOW)).setup.timing.heartbeat_interval();
    let stall = patience + interval * 2;
    let asks = |ago| ended(false, pre_candidate(NOW), ago);
    assert_ne!(asks(stall - MS), asks(stall * 2));
    assert_eq!(asks(stall), asks(stall * 2));
    assert_ne!(ended(true, follower(NOW), MS), ended(true, follower(NOW), MS * 2));
}

/// One change of each thing that a node knows.
#[test]
fn whatever_matters_makes_a_difference() {
    type Change = fn(&mut Election);
    type Situation = fn(Instant) -> State;
    let everywhere: [(&str, Change); 33] = [
        ("me", |node| node.setup.me = id(3)),
        ("voters", |node| {
            node.setup.voters.remove(&id(3));
        }),
        ("started", |node| node.started = NOW),
        ("term", |node| node.hard.term = Term(5)),
        ("vote", |node| node.hard.voted_for = Some(id(3))),
        ("cap", |node| node.hard.cap = MS),
        ("doubt", |node| node.hard.in_doubt = true),
        ("saved", |node| node.saved.cap = MS),
        ("is_new", |node| node.is_new = false),
        ("storage_failed", |node| node.storage_failed = true),
        ("eligible", |node| node.eligible = false),
        ("no promise", |node| node.promise = None),
        ("holder", |node| promise(node).holder = id(3)),
        ("promised term", |node| promise(node).term = Term(2)),
        ("promised seq", |node| promise(node).seq = 42),
        ("promised until", |node| promise(node).until = NOW + MS * 31),
        ("nothing heard", |node| node.heard = None),
        ("heard whom", |node| heard(node).leader = id(3)),
        ("heard term", |node| heard(node).term = Term(2)),
        ("named", |node| node.takeovers.named = Some(id(3))),
        ("heard seq", |node| heard(node).seq = 42),
        ("heard when", |node| heard(node).at = NOW),
        ("heard release", |node| heard(node).released = true),
        ("voting from", |node| node.voting_from = NOW + MS * 41),
        ("may_have_voted_up_to", |node| node.may_have_voted_up_to = Term(1)),
        ("highest_heard", |node| node.highest_heard = Term(9)),
        ("no work", |node| node.work = None),
        ("hold off", |node| node.hold_off_until = NOW + MS * 61),
        ("no young takeover", |node| node.takeovers.young = None),
        ("a young takeover", |node| takeover(node).settled_at = NOW),
        ("short takeovers", |node| node.takeovers.short.clear()),
        ("succession", |node| node.succession.reverse()),
        ("failures", |node| node.failures = 1),
    ];
    let of_states: [(Situation, &[Change]); 4] = [
        (
            follower,
            &[
                |node| follows(node).leader = None,
                |node| follows(node).suspect_at = NOW,
                |node| follows(node).hint = None,
            ],
        ),
        (
            pre_candidate,
            &[
                |node| asks(node).asked = NOW,
                |node| asks(node).round_trip = MS * 2,
                |node| asks(node).grants.clear(),
                |node| asks(node).grants.values_mut().for_each(|at| *at = NOW),
                |node| asks(node).patience = MS,
                |node| asks(node).round_ends = NOW,
                |node| asks(node).hint.iter_mut().for_each(|hint| hint.until = NOW),
            ],
        ),
        (
            candidate,
            &[
                |node| stands(node).asked.values_mut().for_each(|at| *at = NOW),
                |node| stands(node).asked.clear(),
                |node| stands(node).ends_at = NOW,
                |node| stands(node).votes.clear(),
                |node| stands(node).lease_won_by = NOW,
                |node| stands(node).refusals.clear(),
                |node| stands(node).ask_at.values_mut().for_each(|at| *at = NOW),
                |node| stands(node).repeat = MS,
                |node| stands(node).handover_retry = None,
            ],
        ),
        (
            leader,
            &[
                |node| leads(node).until = Some(NOW + MS),
                |node| leads(node).patience_ends = NOW,
                |node| leads(node).seq = 42,
                |node| leads(node).sent.values_mut().for_each(|at| *at = NOW),
                |node| leads(node).backers.clear(),
                |node| backer(node).until = NOW + MS,
                |node| backer(node).eligible = false,
                |node| leads(node).next_heartbeat = NOW,
                |node| leads(node).stepping_down = None,
                |node| leads(node).preferred = None,
            ],
        ),
    ];
    for (state, changes) in of_states {
        let as_it_is = seen(busy(NOW, state(NOW)), NOW);
        for (name, change) in everywhere {
            let mut node = busy(NOW, state(NOW));
            change(&mut node);
            assert_ne!(seen(node, NOW), as_it_is, "{name} in {:?}", as_it_is.state);
        }
        for (number, change) in changes.iter().enumerate() {
            let mut node = busy(NOW, state(NOW));
            change(&mut node);
            assert_ne!(seen(node, NOW), as_it_is, "{number} of {:?}", as_it_is.state);
        }
    }
}

fn promise(node: &mut Election) -> &mut Promise {
    node.promise.as_mut().expect("promised")
}

fn heard(node: &mut Election) -> &mut Heard {
    node.heard.as_mut().expect("heard")
}

fn takeover(node: &mut Election) -> &mut Takeover {
    node.takeovers.young.as_mut().expect("a young takeover")
}

fn follows(node: &mut Election) -> &mut Follower {
    match &mut node.state {
        State::Follower(follower) => follower,
        other => panic!("{other:?}"),
    }
}

fn asks(node: &mut Election) -> &mut PreCandidate {
    match &mut node.state {
        State::PreCandidate(asking) => asking,
        other => panic!("{other:?}"),
    }
}

fn stands(node: &mut Election) -> &mut Candidate {
    match &mut node.state {
        State::Candidate(candidate) => candidate,
        other => panic!("{other:?}"),
    }
}

fn leads(node: &mut Election) -> &mut Leader {
    match &mut node.state {
        State::Leader(leader) => leader,
        other => panic!("{other:?}"),
    }
}

fn backer(node: &mut Election) -> &mut Backer {
    leads(node).backers.get_mut(&id(3)).expect("a backer")
}
