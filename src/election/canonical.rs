//! When are two situations the same? For model checkers, which must know one when they meet it again.
//!
//! A node whose clock started an hour later, or whose candidacy drew another number, does the same things. So a
//! situation is brought into a canonical form. All moments are counted from now. Numbers that only tell messages apart
//! are replaced by names that the checker gives. Waits that are over are forgotten. From then on the node does the same
//! as before; only the durations in its events may differ. Nothing else in the crate uses this.

use super::candidate::{Candidate, FreshHint, PreCandidate};
use super::leader::{Backer, Leader, Preferred, SteppingDown};
use super::takeover::{Takeover, Takeovers};
use super::{Deadline, Dice, Election, Follower, HardState, Heard, Instant, Promise, State, Term};

/// New names for numbers that only tell messages apart.
#[doc(hidden)]
pub trait Names {
    /// The new name of the current candidacy. Candidacies are only compared for equality.
    fn candidacy(&mut self, candidacy: u64) -> u64;
    /// The new number of a heartbeat in a term. Must keep the order.
    fn heartbeat(&self, term: Term, seq: u64) -> u64;
    /// Whether an answer to this heartbeat may still come.
    fn is_answerable(&self, term: Term, seq: u64) -> bool;
    /// The new seed of the random numbers, or `None` to go on as before.
    fn seed(&self) -> Option<u64>;
}

/// Moves `now` to `origin`. A moment too far back becomes the start of the clock; the node never looks back that far.
struct Origin {
    now: Instant,
    origin: Instant,
    /// A wait that ended by this moment is over. The node never asks again when it ended.
    over: Instant,
}

impl Origin {
    fn moment(&self, at: &mut Instant) {
        *at = match *at {
            Instant::NEVER => Instant::NEVER,
            at if at < self.now => self.origin.before(self.now.since(at)),
            at => self.origin + at.since(self.now),
        }
    }

    fn end(&self, at: &mut Instant) {
        if *at <= self.over {
            *at = Instant::ZERO;
        } else {
            self.moment(at);
        }
    }

    fn hint(&self, hint: &mut Option<FreshHint>) {
        if let Some(FreshHint { leader: _, until }) = hint {
            self.moment(until);
        }
    }
}

impl Election {
    /// Moves `now` to `origin` and gives other names, in the same situation. For model checkers: situations in which
    /// nodes do the same become equal.
    ///
    /// # Panics
    ///
    /// If `origin` is less than three election timeouts after the start of the clock: a node looks back that far.
    #[doc(hidden)]
    pub fn canonicalize(&mut self, now: Instant, origin: Instant, names: &mut impl Names) {
        let timing = self.setup.timing;
        assert!(
            origin >= Instant::ZERO + timing.election_timeout() * 3,
            "the origin {origin:?} leaves no room to look back"
        );
        let over = match &self.state {
            // A single node asks no peers: only its own waits say when to campaign.
            _ if self.majority() == 1 => Instant::ZERO,
            // The node counts its patience from when the last wait ended. If that is too long ago, it has stalled.
            State::PreCandidate(asking) => now.before(asking.patience + timing.heartbeat_interval() * 2),
            State::Follower(_) | State::Candidate(_) | State::Leader(_) => now,
        };
        let origin_of = Origin { now, origin, over };
        // Every field is named here and below, so that a field that is added later is not forgotten.
        let Election {
            setup: _,
            started,
            hard: HardState { term, voted_for: _, cap: _, in_doubt: _ },
            saved: _,
            is_new,
            storage_failed: _,
            eligible: _,
            state,
            promise,
            heard,
            voting_from,
            may_have_voted_up_to: _,
            highest_heard: _,
            work,
            hold_off_until,
            takeovers: Takeovers { young, short: _ },
            succession: _,
            failed: _,
            dice,
        } = self;
        // Only a new node counts from its start, until it cannot have forgotten anything any more.
        match *is_new && *started + timing.election_timeout() * 2 > over {
            true => origin_of.moment(started),
            false => *started = Instant::ZERO,
        }
        state.canonicalize(*term, &origin_of, names);
        if let Some(promise) = promise {
            let Promise { holder: _, term, seq, until } = promise;
            *seq = names.heartbeat(*term, *seq);
            origin_of.end(until);
        }
        if let Some(heard) = heard {
            let Heard { leader: _, term: _, at, released: _ } = heard;
            match *at + timing.suspicion() <= now {
                true => *at = Instant::ZERO,
                false => origin_of.moment(at),
            }
        }
        origin_of.end(voting_from);
        if let Some(Deadline { token: _, until }) = work {
            origin_of.end(until);
        }
        origin_of.end(hold_off_until);
        if let Some(Takeover { leader: _, settled_at }) = young {
            origin_of.moment(settled_at);
        }
        if let Some(seed) = names.seed() {
            *dice = Dice::new(seed);
        }
    }

    /// The heartbeats that the node knows by number: the last one it sent, and the last one it promised on.
    #[doc(hidden)]
    pub fn heartbeats(&self) -> impl Iterator<Item = (Term, u64)> {
        let sent = match &self.state {
            State::Leader(leader) => Some((self.hard.term, leader.seq)),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let promised = self.promise.as_ref();
        let promised = promised.map(|promise| (promise.term, promise.seq));
        sent.into_iter().chain(promised)
    }

    /// The heartbeats whose answers the node waits for.
    #[doc(hidden)]
    pub fn unanswered(&self) -> impl Iterator<Item = (Term, u64)> {
        let leader = match &self.state {
            State::Leader(leader) => Some(leader),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let sent = leader.into_iter().flat_map(|leader| leader.sent.keys());
        sent.map(|seq| (self.hard.term, *seq))
    }
}

impl State {
    fn canonicalize(&mut self, own_term: Term, origin_of: &Origin, names: &mut impl Names) {
        match self {
            State::Follower(Follower { leader: _, suspect_at, hint }) => {
                origin_of.moment(suspect_at);
                origin_of.hint(hint);
            }
            State::PreCandidate(PreCandidate { candidacy, grants, patience: _, round_ends, hint }) => {
                *candidacy = names.candidacy(*candidacy);
                grants.values_mut().for_each(|free_at| origin_of.moment(free_at));
                origin_of.moment(round_ends);
                origin_of.hint(hint);
            }
            State::Candidate(Candidate {
                candidacy,
                started,
                ends_at,
                votes: _,
                lease_won_by,
                refusals: _,
                ask_again,
                handover_retry: _,
            }) => {
                *candidacy = names.candidacy(*candidacy);
                origin_of.moment(started);
                origin_of.moment(ends_at);
                origin_of.moment(lease_won_by);
                ask_again.values_mut().for_each(|at| origin_of.moment(at));
            }
            State::Leader(Leader {
                until,
                patience_ends,
                seq,
                sent,
                backers,
                next_heartbeat,
                stepping_down,
                preferred,
            }) => {
                if let Some(stepping_down) = stepping_down {
                    let SteppingDown { successor: _, hold_off: _ } = stepping_down;
                }
                until.iter_mut().for_each(|until| origin_of.moment(until));
                // Matters only until the first lease.
                match until {
                    Some(_) => *patience_ends = Instant::ZERO,
                    None => origin_of.moment(patience_ends),
                }
                *seq = names.heartbeat(own_term, *seq);
                let awaited = std::mem::take(sent).into_iter();
                *sent = awaited
                    .filter(|(seq, _)| names.is_answerable(own_term, *seq))
                    .map(|(seq, mut at)| {
                        origin_of.moment(&mut at);
                        (names.heartbeat(own_term, seq), at)
                    })
                    .collect();
                for Backer { until, eligible: _ } in backers.values_mut() {
                    origin_of.end(until);
                }
                origin_of.moment(next_heartbeat);
                if let Some(Preferred { id: _, due }) = preferred {
                    origin_of.moment(due);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        node.heard = Some(Heard { leader: id(2), term: Term(3), at: now.before(MS * 10), released: false });
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
            grants: BTreeMap::from([(id(3), now + MS * 80)]),
            patience: MS * 25,
            round_ends: now + MS * 90,
            hint: hint(now),
        })
    }

    fn candidate(now: Instant) -> State {
        State::Candidate(Candidate {
            candidacy: now.as_nanos(),
            started: now.before(MS * 5),
            ends_at: now + MS * 100,
            votes: BTreeSet::from([id(1)]),
            lease_won_by: Instant::NEVER,
            refusals: BTreeSet::from([id(2)]),
            ask_again: BTreeMap::from([(id(3), now + MS * 110)]),
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
        let everywhere: [(&str, Change); 31] = [
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
            ("failed", |node| node.failed = true),
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
                    |node| stands(node).started = NOW,
                    |node| stands(node).ends_at = NOW,
                    |node| stands(node).votes.clear(),
                    |node| stands(node).lease_won_by = NOW,
                    |node| stands(node).refusals.clear(),
                    |node| stands(node).ask_again.values_mut().for_each(|at| *at = NOW),
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
}
