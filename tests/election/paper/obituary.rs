//! What an obituary ends, and what it does not.

use super::*;

const NOW: Instant = Instant::from_nanos(START.as_nanos() + 10_000_000);

impl Node {
    /// Nothing of a peer can act any more in a term up to this one.
    fn buries(&mut self, now: Instant, of: u16, up_to: u64) -> Effects {
        self.step(now, Input::Obituary { of: id(of), up_to: Term(up_to) })
    }
}

/// Node 1 of three, which follows leader 2 of term `term`. The line of succession is `line`.
fn heir(term: u64, line: &[u16]) -> Node {
    let mut node = node_of(3);
    let succession = line.iter().copied().map(id).collect();
    let heartbeat = Request::Heartbeat { term: Term(term), seq: 1, promise: D, succession };
    assert_eq!(granted(&node.answer(START, 2, heartbeat)), D);
    node
}

/// leadelect rule 15: an obituary of x up to t ends a promise to x of a term up to t.
#[test]
fn an_obituary_ends_the_promise_to_the_dead() {
    for up_to in [3, 4] {
        let mut node = heir(3, &[3, 1]);
        assert_eq!(node.vote(NOW, 3, 4), Err(Refusal::Promised(id(2))));
        node.buries(NOW, 2, up_to);
        assert_eq!(node.vote(NOW, 3, 4), Ok(()));
    }
}

/// leadelect rule 15: no promise of a later term, which protects a later process of x, nor its leadership.
#[test]
fn an_obituary_ends_no_promise_of_a_later_term() {
    let mut node = heir(3, &[1, 3]);
    let before = node.clone();
    assert_eq!(causes(&node.buries(NOW, 2, 2)), []);
    assert_eq!(node.election, before.election);
    assert_eq!(node.vote(NOW, 3, 4), Err(Refusal::Promised(id(2))));
    // Also if the promise was first given in an earlier term, to a process that has died since.
    node.heartbeat(NOW, 2, 4, 1);
    node.buries(NOW, 2, 3);
    assert_eq!(node.vote((NOW + D).before(NS), 3, 5), Err(Refusal::Promised(id(2))));
}

/// leadelect rule 15: nor a promise to another node, or another leadership.
#[test]
fn an_obituary_ends_no_promise_to_another_node() {
    let mut node = heir(3, &[1, 3]);
    let before = node.clone();
    for of in [1, 3, 9] {
        assert_eq!(causes(&node.buries(NOW, of, 3)), []);
        assert_eq!(node.election, before.election, "{of}");
    }
}

/// leadelect rule 15: the promise to a dead leader ends although another node was heard to lead since, and that leader
/// stays.
#[test]
fn an_obituary_leaves_another_leader_in_place() {
    let mut node = heir(3, &[1, 3]);
    assert_eq!(node.heartbeat(NOW, 3, 4, 1), Duration::ZERO, "it owes its promise to 2");
    assert_eq!(causes(&node.buries(NOW, 2, 3)), []);
    assert_eq!(node.election.leader(), Some(id(3)));
    assert_eq!(node.heartbeat(NOW, 3, 4, 2), D, "it is free now");
}

/// leadelect rule 15: nor the quarantine, because promises to other nodes may be forgotten.
#[test]
fn an_obituary_ends_no_quarantine() {
    let mut node = Node::start(cluster(3), restored(3, Some(2), D));
    node.heartbeat(START, 2, 3, 1);
    let effects = node.buries(NOW, 2, 3);
    assert_eq!(asks_votes(&effects), None);
    assert_eq!(node.vote((START + D).before(NS), 3, 4), Err(Refusal::Quarantine));
    assert_eq!(node.vote(START + D, 3, 4), Ok(()));
}

/// leadelect rule 15: the leadership of the dead counts as released: the first in the line campaigns at once, without
/// pre-vote.
#[test]
fn the_first_in_line_campaigns_at_once_when_its_leader_has_died() {
    let mut node = heir(3, &[1, 3]);
    let effects = node.buries(NOW, 2, 3);
    assert_eq!(causes(&effects), [Cause::LeaderDied { leader: id(2) }]);
    assert_eq!(asks_pre_votes(&effects), None);
    // When its own vote is durable, it asks for the others.
    assert_eq!(node.election.wake_at(), NOW);
    let effects = node.tick(NOW);
    assert_eq!(asks_votes(&effects), Some(4));
    assert_eq!(receivers(&effects), [id(2), id(3)]);
}

/// leadelect rule 15: rank k waits k·δ and asks for pre-votes first. It hears no leader that it would have to wait for.
#[test]
fn the_next_in_line_waits_a_stagger_for_each_before_it() {
    let mut node = heir(3, &[3, 1]);
    let effects = node.buries(NOW, 2, 3);
    assert_eq!(causes(&effects), [Cause::LeaderDied { leader: id(2) }]);
    assert_eq!(receivers(&effects), []);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.pre_vote(NOW, 3, 4), Ok(()));
    assert_eq!(node.election.wake_at(), NOW + STAGGER);
    assert!(asks_pre_votes(&node.tick(NOW + STAGGER)).is_some());
}

/// leadelect rule 15: an heir asks a voter again within milliseconds that has not heard of the death yet.
#[test]
fn an_heir_asks_again_soon_who_still_owes_a_promise_to_the_dead() {
    let mut node = heir(3, &[1, 3]);
    node.buries(NOW, 2, 3);
    node.tick(NOW);
    node.gets_no_vote(NOW, 3, D);
    let at = NOW + STAGGER / 16;
    assert_eq!(node.election.wake_at(), at);
    assert_eq!(receivers(&node.tick(at)), [id(3)]);
}

/// leadelect rule 15: it campaigns at once only if it owes nothing, can lead, and no work of its own may still run.
#[test]
fn an_heir_that_is_not_free_does_not_campaign() {
    // It owes a promise to 3, and follows 2 of a later term without one.
    let mut node = heir(3, &[1, 3]);
    node.heartbeat(NOW, 3, 4, 1);
    let succession = vec![id(1), id(2)];
    node.request(NOW, 3, Request::Heartbeat { term: Term(4), seq: 2, promise: D, succession });
    assert_eq!(node.buries(NOW, 3, 4).messages, []);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.vote(NOW, 3, 5), Err(Refusal::Promised(id(2))));
    // A witness.
    let mut setup = cluster(3);
    setup.voters.insert(id(1), Voter { witness: true, ..Voter::default() });
    let mut node = Node::start(setup, restored(0, None, Duration::ZERO));
    node.heartbeat(START, 2, 3, 1);
    assert_eq!(node.buries(NOW, 2, 3).messages, []);
    // One whose work has not returned.
    let mut node = leader_of(3);
    node.reply(NOW, 3, ack(3, 1, Duration::ZERO));
    let heartbeat = Request::Heartbeat { term: Term(3), seq: 1, promise: D, succession: vec![id(1), id(3)] };
    let at = START + LEASE;
    node.answer(at, 2, heartbeat);
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
    assert_eq!(node.buries(at, 2, 3).messages, []);
}

/// leadelect rule 15: who has not heard the dead leader for S comes late to the news, and asks for pre-votes first.
#[test]
fn a_late_heir_asks_for_pre_votes_first() {
    let mut node = heir(3, &[1, 3]);
    let just_in_time = (START + S).before(NS);
    let mut other = node.clone();
    other.buries(just_in_time, 2, 3);
    assert!(asks_votes(&other.tick(just_in_time)).is_some());
    let effects = node.buries(START + S, 2, 3);
    assert_eq!(effects.messages, []);
    assert_eq!(node.election.wake_at(), START + S);
    assert_eq!(asks_pre_votes(&node.tick(START + S)), Some(4));
}

/// leadelect rule 15: a heartbeat of the dead that comes late gets no promise, and is not followed.
#[test]
fn a_late_heartbeat_of_the_dead_gets_no_promise() {
    let mut node = heir(3, &[3, 1]);
    node.buries(NOW, 2, 3);
    assert_eq!(node.heartbeat(NOW, 2, 3, 2), Duration::ZERO);
    assert_eq!(node.election.leader(), None);
    // But the next process of that node may lead.
    assert_eq!(node.heartbeat(NOW, 2, 4, 1), D);
}

/// leadelect rule 15: a second obituary changes nothing.
#[test]
fn a_repeated_obituary_changes_nothing() {
    for line in [[1, 3], [3, 1]] {
        let mut node = heir(3, &line);
        node.buries(NOW, 2, 3);
        let before = node.clone();
        assert_eq!(node.buries(NOW + NS, 2, 3).messages, []);
        assert_eq!(node.election, before.election);
    }
}

/// leadelect rule 15: a node that asks for pre-votes already asks anew, and soon once more: all are free now.
#[test]
fn a_pre_candidate_asks_anew_when_the_leader_it_lost_is_dead() {
    let mut node = heir(3, &[1, 3]);
    let at = START + S;
    node.tick(at);
    node.gets_pre_vote(at, 3, D - S);
    assert!(node.election.wake_at() > at + STAGGER);
    let effects = node.buries(at, 2, 3);
    assert_eq!(asks_pre_votes(&effects), Some(4));
    assert_eq!(node.election.wake_at(), at + STAGGER / 4);
    assert_eq!(asks_votes(&node.gets_pre_vote(at, 3, Duration::ZERO)), Some(4));
}

/// leadelect rule 15: a candidate asks at once who has not voted yet.
#[test]
fn a_candidate_asks_again_at_once_when_the_leader_it_lost_is_dead() {
    let mut node = heir(3, &[1, 3]);
    let at = node.campaigns_at();
    node.gets_no_vote(at, 3, ms(100));
    assert_eq!(receivers(&node.buries(at, 2, 3)), [id(2), id(3)]);
}

/// leadelect rule 15: a leader is not disturbed, nor is a node that has voted for another one or that knows of a leader
/// by a hint.
#[test]
fn an_obituary_disturbs_neither_a_leader_nor_its_voters() {
    let mut node = leader_of(3);
    let before = node.clone();
    assert_eq!(node.buries(NOW, 2, 9).messages, []);
    assert_eq!(node.election, before.election);

    let mut node = heir(3, &[1, 3]);
    assert_eq!(node.vote(START + D, 3, 4), Ok(()));
    let (role, wake_at) = (node.election.role(), node.election.wake_at());
    assert_eq!(node.buries(START + D, 2, 3).messages, []);
    assert_eq!((node.election.role(), node.election.wake_at()), (role, wake_at));

    let mut node = heir(3, &[1, 3]);
    node.tick(START + S);
    node.gets_hint(START + S, 3, 2, ms(10));
    let wake_at = node.election.wake_at();
    assert_eq!(node.buries(START + S, 2, 3).messages, []);
    assert_eq!((node.election.leader(), node.election.wake_at()), (Some(id(2)), wake_at));
}

/// leadelect rule 15: after a write has failed the node gives no votes, whoever has died.
#[test]
fn a_node_that_cannot_store_inherits_nothing() {
    let mut node = heir(3, &[1, 3]);
    node.step(NOW, Input::StorageFailed);
    assert_eq!(node.buries(NOW, 2, 3).messages, []);
    assert_eq!(node.vote(NOW, 3, 4), Err(Refusal::CannotStore));
}
