//! What leaders say, and whose heartbeat is believed.

use super::*;

/// Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of the other servers
/// to establish its authority and prevent new elections (Raft paper, section 5.2).
#[test]
fn a_new_leader_heartbeats_to_everybody_at_once() {
    let mut node = candidate_of(3);
    let effects = node.gets_vote(START, 2);
    assert_eq!(heartbeat_sent(&effects), Some(1));
    assert_eq!(receivers(&effects), [id(2), id(3)]);
}

/// Leaders send periodic heartbeats to all followers (Raft paper, section 5.2): every η.
#[test]
fn a_leader_heartbeats_every_interval() {
    let mut node = leader_of(3);
    assert_eq!(node.election.wake_at(), START + ETA);
    assert_eq!(heartbeat_sent(&node.tick((START + ETA).before(NS))), None);
    let effects = node.tick(START + ETA);
    assert_eq!(heartbeat_sent(&effects), Some(2));
    assert_eq!(receivers(&effects), [id(2), id(3)]);
    assert_eq!(node.election.wake_at(), START + ETA * 2);
}

/// leadelect, promise: the heartbeat carries the D of the leader.
#[test]
fn a_heartbeat_asks_for_the_leaders_election_timeout() {
    let mut setup = cluster(3);
    setup.timing = Timing::new(TimingSpec { election_timeout: ms(800), ..TimingSpec::default() }).expect("valid");
    let (_, effects) = elected(Node::start(setup, restored(0, None, Duration::ZERO)));
    let (_, request) = effects.messages.first().expect("a heartbeat");
    let &Request::Heartbeat { term, promise, .. } = request else {
        panic!("a heartbeat, not {request}");
    };
    assert_eq!((term, promise), (Term(1), ms(800)));
}

/// leadelect rule 4: the heartbeat of a lower term is rejected with the voter's own term, and gets no promise.
#[test]
fn a_heartbeat_of_a_lower_term_is_rejected_with_the_own_term() {
    let mut node = node_in(3, 5);
    let before = node.election.clone();
    let reply = node.answer(START, 2, heartbeat(4, 1, D));
    assert_eq!(reply, ack(5, 1, Duration::ZERO));
    assert_eq!(node.election, before);
    assert_eq!(node.vote(START, 3, 6), Ok(()));
}

/// If a leader discovers that its term is out of date, it immediately reverts to follower state (Raft paper, section
/// 5.1). Its lease is gone in the very step.
#[test]
fn a_leader_rejected_with_a_higher_term_steps_down_at_once() {
    let mut node = leader_of(3);
    let effects = node.reply(START, 3, ack(5, 1, Duration::ZERO));
    assert_eq!(effects.lease, None);
    assert_eq!(causes(&effects), [Cause::HigherTerm { from: id(3) }]);
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.election.term(), Term(5));
    assert_eq!(heartbeat_sent(&node.tick(START + ETA)), None);
}

/// Raft paper, section 5.1: a server whose term is smaller updates it, and follows (section 5.2).
#[test]
fn a_node_follows_the_leader_of_a_higher_term() {
    for mut node in [follower(), pre_candidate_of(3), candidate_of(3), leader_of(3)] {
        node.heartbeat(START, 3, 5, 1);
        assert_eq!(node.election.role(), Role::Follower);
        assert_eq!(node.election.leader(), Some(id(3)));
        assert_eq!(node.election.term(), Term(5));
        assert_eq!(node.lease_until(), None);
    }
}

/// leadelect rule 4: the heartbeat of a different leader in the same term is a protocol violation, loud, and no
/// promise.
#[test]
fn a_second_leader_of_the_same_term_is_reported_and_gets_no_promise() {
    let mut node = follower();
    let effects = node.request(START + NS, 3, heartbeat(1, 1, D));
    let violation = Cause::ProtocolViolation { by: id(3) };
    assert_eq!(causes(&effects), [violation]);
    assert_eq!(effects.reply, Some(ack(1, 1, Duration::ZERO)));
    assert_eq!(node.election.leader(), Some(id(2)));
    assert_eq!(node.vote(START + D, 3, 2), Ok(()), "no promise was renewed");
}

/// leadelect rule 4: no node can follow both. It enters the next term once it owes the first leader nothing.
#[test]
fn a_term_with_a_second_leader_is_given_up_when_the_promise_to_the_first_has_run_out() {
    let mut node = follower();
    let first = node.heartbeat(START, 2, 1, 2);
    assert_eq!(first, D);
    let early = node.request(START + (D - NS), 3, heartbeat(1, 1, D));
    assert_eq!(early.reply, Some(ack(1, 1, Duration::ZERO)));

    let late = node.request(START + D, 3, heartbeat(1, 2, D));

    assert_eq!(late.reply, Some(ack(2, 2, Duration::ZERO)));
    let violation = Cause::ProtocolViolation { by: id(3) };
    assert_eq!(causes(&late), [violation, Cause::NoLeader]);
    assert_eq!(node.disk.saved.last().expect("saved").term, Term(2));
    assert_eq!(node.election.leader(), None);
}

/// leadelect rule 4: the leader itself notices a second one, and goes on leading.
#[test]
fn a_leader_reports_a_second_leader_of_its_term() {
    let mut node = leader_of(3);
    let effects = node.request(START, 3, heartbeat(1, 1, D));
    let violation = Cause::ProtocolViolation { by: id(3) };
    assert_eq!(causes(&effects), [violation]);
    assert_eq!(effects.reply, Some(ack(1, 1, Duration::ZERO)));
    assert_eq!(node.lease_until(), Some(START + LEASE));
}

/// leadelect rule 4: it remembers that it led, also when it no longer does.
#[test]
fn a_deposed_leader_reports_a_second_leader_of_the_term_that_it_led() {
    let mut node = leader_of(3);
    node.tick(START + LEASE);
    assert_ne!(node.election.role(), Role::Leader);
    let effects = node.request(START + LEASE, 3, heartbeat(1, 1, D));
    let violation = Cause::ProtocolViolation { by: id(3) };
    assert_eq!(causes(&effects).first(), Some(&violation));
    assert_eq!(granted(&effects.reply.expect("a peer is answered")), Duration::ZERO);
}

/// leadelect rule 4: while a lease lasts, no quorum elects another node. A node that is told so all the same reports it
/// loudly, and follows.
#[test]
fn a_leader_of_a_higher_term_beside_a_lease_is_reported() {
    let second = Cause::SecondLease { by: id(2) };
    let mut node = leader_of(3);
    let effects = node.request(START + (LEASE - NS), 2, heartbeat(5, 1, D));
    assert_eq!(causes(&effects), [second.clone(), Cause::LeaderHeard]);
    assert_eq!(node.lease_until(), None);

    let mut node = leader_of(3);
    node.resign(START, None);
    let effects = node.request(START, 2, release(5, 1, None));
    assert_eq!(causes(&effects).first(), Some(&second), "its work may still run");

    let mut node = leader_of(3);
    let effects = node.request(START + LEASE, 2, heartbeat(5, 1, D));
    assert!(!causes(&effects).contains(&second), "the lease was over: {effects:?}");

    let mut node = elected_of(3);
    let effects = node.request(START, 2, heartbeat(5, 1, D));
    assert_eq!(causes(&effects), [Cause::LeaderHeard], "it had no lease yet");
}

/// leadelect rule 4: it is no violation if another candidate has won than the one that got this node's vote.
#[test]
fn a_node_follows_a_leader_that_it_did_not_vote_for() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    let effects = node.request(START, 3, heartbeat(1, 1, D));
    assert_eq!(causes(&effects), [Cause::LeaderHeard]);
    let refusal = Refusal::AlreadyVoted(id(2));
    assert_eq!(node.vote(START, 3, 1), Err(refusal), "its vote is spent");
}

/// leadelect rule 4: a leader is reported once in its term.
#[test]
fn a_leader_is_reported_once_in_a_term() {
    let mut node = follower();
    let again = node.request(START + ETA, 2, heartbeat(1, 2, D));
    assert_eq!(causes(&again), []);
    let next = node.request(START + ETA, 2, heartbeat(2, 1, D));
    assert_eq!(causes(&next), [Cause::LeaderHeard]);
}
