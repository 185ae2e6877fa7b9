//! How long a leader may act.

use super::*;

/// leadelect, lease: vote grants carry no promise. A new leader holds no lease until a quorum has acked its first
/// heartbeat.
#[test]
fn a_new_leader_holds_no_lease_until_a_quorum_has_acked() {
    let mut node = elected_of(5);
    assert_eq!(node.election.lease(), None);
    node.gets_ack(START, 2, 1);
    assert_eq!(node.election.lease(), None);
    let effects = node.gets_ack(START, 3, 1);
    let (token, until) = (Term(1), START + LEASE);
    assert_eq!(effects.lease, Some(Deadline { token, until }));
    assert_eq!(causes(&effects), [Cause::LeaseWon]);
}

/// leadelect, lease: counted from the clock before the heartbeat was sent, not from when the ack came. A lease holder
/// counts from before it asked (Gray and Cheriton 1989).
#[test]
fn a_lease_is_counted_from_the_asking() {
    let mut node = elected_of(3);
    node.gets_ack(START + ms(450), 2, 1);
    assert_eq!(node.lease_until(), Some(START + LEASE));
}

/// leadelect, lease: it ends at the m-th latest end of the nodes' promises. The leader's own promise never ends.
#[test]
fn a_lease_ends_when_the_last_quorum_of_promises_does() {
    let cases: [(u16, &[u64], u64); 5] = [
        (2, &[400], 400),
        (3, &[100, 400], 400),
        (4, &[100, 200, 400], 200),
        (5, &[100, 200, 300, 400], 300),
        (7, &[100, 200, 250, 300, 350, 400], 300),
    ];
    for (of, promises, quorum) in cases {
        let mut node = elected_of(of);
        for (voter, promise) in (2..).zip(promises) {
            node.reply(START, voter, ack(1, 1, ms(*promise)));
        }
        let until = START + Timing::default().lease(ms(quorum));
        assert_eq!(node.lease_until(), Some(until), "{of} nodes");
    }
}

/// leadelect, lease: a leader in an even cluster needs the promises of more than half, itself included.
#[test]
fn half_of_the_nodes_is_no_lease() {
    let mut node = elected_of(4);
    node.gets_ack(START, 2, 1);
    assert_eq!(node.election.lease(), None);
    node.gets_ack(START, 3, 1);
    assert_eq!(node.lease_until(), Some(START + LEASE));
}

/// leadelect, lease: the ack says how long a promise was granted. The leader counts no more than that, and no more than
/// it asked for.
#[test]
fn a_lease_rests_on_what_was_granted_and_on_no_more_than_was_asked_for() {
    for (granted, counted) in [(ms(300), ms(300)), (D * 10, D)] {
        let mut node = elected_of(3);
        node.reply(START, 2, ack(1, 1, granted));
        let until = START + Timing::default().lease(counted);
        assert_eq!(node.lease_until(), Some(until));
    }
}

/// leadelect, lease: a heartbeat that was answered without a promise is no backing.
#[test]
fn an_ack_without_a_promise_is_no_lease() {
    let mut node = elected_of(3);
    node.reply(START, 2, ack(1, 1, Duration::ZERO));
    assert_eq!(node.election.lease(), None);
}

/// Raft RPCs are idempotent (Raft paper, section 5.5): an ack that comes twice is the ack of one node.
#[test]
fn a_repeated_ack_is_one_ack() {
    let mut node = elected_of(5);
    node.gets_ack(START, 2, 1);
    node.gets_ack(START, 2, 1);
    assert_eq!(node.election.lease(), None);
}

/// leadelect, lease: an ack extends the lease from the sending of the very heartbeat that it answers.
#[test]
fn each_ack_counts_from_its_own_heartbeat() {
    let mut node = elected_of(3);
    node.tick(START + ETA);
    node.gets_ack(START + ms(150), 2, 1);
    assert_eq!(node.lease_until(), Some(START + LEASE));
    node.gets_ack(START + ms(150), 2, 2);
    assert_eq!(node.lease_until(), Some(START + ETA + LEASE));
}

/// leadelect, lease: acks may come out of order, and an older one does not shorten the lease.
#[test]
fn a_reordered_ack_does_not_shorten_the_lease() {
    let mut node = elected_of(3);
    node.tick(START + ETA);
    node.gets_ack(START + ms(150), 2, 2);
    node.gets_ack(START + ms(150), 2, 1);
    node.reply(START + ms(150), 2, ack(1, 2, ms(10)));
    assert_eq!(node.lease_until(), Some(START + ETA + LEASE));
}

/// leadelect, lease: nor does it weaken its sender as a backer: a backer counts with its longest promise.
#[test]
fn a_reordered_ack_does_not_weaken_a_backer() {
    let mut node = elected_of(5);
    node.tick(START + ETA);
    node.gets_ack(START + ms(150), 2, 2);
    node.gets_ack(START + ms(150), 2, 1);
    node.gets_ack(START + ms(150), 3, 2);
    assert_eq!(node.lease_until(), Some(START + ETA + LEASE));
}

/// leadelect, lease: s(seq) is known only of heartbeats that were sent.
#[test]
fn an_ack_of_a_heartbeat_never_sent_does_not_count() {
    let mut node = elected_of(3);
    node.gets_ack(START, 2, 2);
    node.gets_ack(START, 2, 0);
    assert_eq!(node.election.lease(), None);
}

/// leadelect, lease: a promise to an earlier leadership does not count for this one.
#[test]
fn an_ack_of_an_earlier_term_does_not_count() {
    let mut node = elected_of(3);
    node.reply(START, 2, ack(0, 1, D));
    assert_eq!(node.election.lease(), None);
}

/// leadelect, lease: only voters back a lease.
#[test]
fn the_ack_of_a_stranger_does_not_count() {
    let mut node = elected_of(3);
    node.gets_ack(START, 4, 1);
    node.gets_ack(START, 1, 1);
    assert_eq!(node.election.lease(), None);
}

/// A leader steps down if an election timeout elapses without a successful round of heartbeats to a majority of its
/// cluster (thesis, section 6.2); leadelect rule 5: when its lease has passed, exactly.
#[test]
fn a_leader_leads_strictly_before_the_end_of_its_lease() {
    let mut node = leader_of(3);
    node.tick((START + LEASE).before(NS));
    assert_eq!(node.election.role(), Role::Leader);
    assert_eq!(node.lease_until(), Some(START + LEASE));
    let effects = node.tick(START + LEASE);
    assert_eq!(effects.lease, None);
    assert!(causes(&effects).contains(&Cause::LeaseLost));
    assert_ne!(node.election.role(), Role::Leader);
}

/// leadelect rule 5: it wakes at the end of its lease, if that comes before the next heartbeat.
#[test]
fn a_leader_wakes_when_its_lease_ends() {
    let mut node = leader_of(3);
    for beat in 1..5 {
        node.tick(START + ETA * beat);
    }
    assert_eq!(node.election.wake_at(), START + LEASE);
}

/// leadelect rule 5 (StopsHeartbeats): it stops its heartbeats at once. A leader without a quorum must not go on
/// renewing the promises of the few nodes that it still reaches.
#[test]
fn a_leader_whose_lease_has_passed_heartbeats_no_more() {
    let mut node = leader_of(3);
    for late in [Duration::ZERO, ms(2), ETA, D * 9] {
        assert_eq!(heartbeat_sent(&node.tick(START + LEASE + late)), None);
    }
}

/// leadelect rule 5: a lease that has ended stays so. An ack that was still in the queue does not revive it.
#[test]
fn an_ack_after_the_end_does_not_revive_the_lease() {
    let mut node = leader_of(3);
    node.tick(START + ETA);
    let effects = node.gets_ack(START + LEASE, 2, 2);
    assert_eq!(effects.lease, None);
    assert_eq!(node.election.role(), Role::Follower);
}

/// leadelect rule 5: an ack that comes in the last nanosecond of the lease still extends it.
#[test]
fn an_ack_just_before_the_end_extends_the_lease() {
    let mut node = leader_of(3);
    node.tick(START + ETA);
    node.gets_ack((START + LEASE).before(NS), 2, 2);
    assert_eq!(node.lease_until(), Some(START + ETA + LEASE));
}

/// leadelect rule 5: a leader that stepped down keeps its vote of that term.
#[test]
fn a_leader_that_stepped_down_keeps_its_vote() {
    let mut node = leader_of(3);
    node.tick(START + LEASE);
    assert_eq!(node.election.term(), Term(1));
    let refusal = Refusal::AlreadyVoted(id(1));
    assert_eq!(node.vote(START + LEASE, 2, 1), Err(refusal));
}

/// leadelect rule 5: an elected node gives up after the election timeout if no quorum has acked it.
#[test]
fn a_leader_that_never_wins_a_lease_gives_up_after_the_election_timeout() {
    let mut node = elected_of(3);
    node.tick((START + D).before(NS));
    assert_eq!(node.election.role(), Role::Leader);
    let effects = node.tick(START + D);
    assert_eq!(heartbeat_sent(&effects), None);
    assert_ne!(node.election.role(), Role::Leader);
}

/// leadelect, fencing token: the term in which the lease was won; without a lease there is none.
#[test]
fn the_token_is_the_term_of_the_lease() {
    let mut node = candidate_of(3);
    let elected = node.gets_vote(START, 2);
    assert_eq!(elected.events.last().and_then(|event| event.token), None);
    let won = node.gets_ack(START, 2, 1);
    assert_eq!(won.events.last().and_then(|event| event.token), Some(Term(1)));
    assert_eq!(won.lease.map(|lease| lease.token), Some(Term(1)));
}

/// leadelect, fencing token (TokenMonotone): it grows strictly from leader to leader, also if that is the same node.
#[test]
fn the_token_grows_when_a_node_leads_again() {
    let mut node = leader_of(3);
    let again = START + LEASE;
    node.tick(again);
    node.work_ended(again, 1);
    node.gets_pre_vote(again, 2, Duration::ZERO);
    node.gets_vote(again, 2);
    assert_eq!(node.election.lease(), None, "the acks of the last term are not this one's");
    node.gets_ack(again, 2, 1);
    let token = node.election.lease().map(|lease| lease.token);
    assert_eq!(token, Some(Term(2)));
}

/// leadelect, lease: only leaders hold one.
#[test]
fn only_a_leader_holds_a_lease() {
    for node in [node_of(3), follower(), pre_candidate_of(3), candidate_of(3)] {
        assert_eq!(node.election.lease(), None);
    }
}

/// leadelect: a leader shows to which nodes it may hand over: those within their promise, and whether each is eligible.
#[test]
fn only_a_leader_shows_who_backs_it() {
    let mut node = elected_of(3);
    assert!(node.election.backers(START).is_empty());
    node.gets_ack(START, 2, 1);
    let mut ineligible = ack(1, 1, D);
    if let Reply::Heartbeat { eligible, .. } = &mut ineligible {
        *eligible = false;
    }
    node.reply(START, 3, ineligible);
    let ends = START + LEASE;
    let both = [(id(2), true), (id(3), false)];
    assert_eq!(node.election.backers(START), both.into());
    assert_eq!(node.election.backers(ends.before(NS)), both.into());
    assert!(node.election.backers(ends).is_empty());
    assert!(follower().election.backers(START).is_empty());
}
