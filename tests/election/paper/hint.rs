//! What a node that is cut off from the leader learns from its peers.

use super::*;

/// When node 1 has lost leader 2.
const LOST: Instant = Instant::from_nanos(START.as_nanos() + 300_000_000);

/// The hint of node 3, 20 ms old when given at [`LOST`], is fresh until here.
const FRESH_UNTIL: Instant = Instant::from_nanos(LOST.as_nanos() + 280_000_000);

/// Node 1 of three does not hear leader 2 any more. At [`LOST`] node 3 has said that it still hears it.
fn hinted() -> Node {
    let mut node = follower();
    node.tick(LOST);
    let effects = node.gets_hint(LOST, 3, 2, ms(20));
    assert_eq!(causes(&effects), [Cause::LeaderHinted { by: id(3) }]);
    node
}

/// leadelect rule 9: a node that is cut off from the leader learns of it when its peers refuse, and shows it as leader.
#[test]
fn a_hinted_leader_is_shown() {
    let node = hinted();
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), Some(id(2)));
}

/// leadelect rule 9: it asks its peers again before the hint is stale. Meanwhile it shows itself as no candidate.
#[test]
fn a_hint_is_renewed_before_it_is_stale() {
    let mut node = hinted();
    let halfway = LOST + ms(140);
    assert_eq!(node.election.wake_at(), halfway);
    let effects = node.tick(halfway);
    assert_eq!(asks_pre_votes(&effects), Some(2));
    assert_eq!(causes(&effects), []);
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), Some(id(2)));
    let effects = node.gets_hint(halfway, 3, 2, ms(0));
    assert_eq!(causes(&effects), []);
    assert_eq!(node.election.wake_at(), halfway + S / 2);
}

/// leadelect rule 9: the next question comes when half of the hint's time has passed, but not sooner than after δ, or
/// when the hint is stale. Otherwise the questions would come ever faster.
#[test]
fn a_nearly_stale_hint_is_not_renewed_ever_faster() {
    for (left, again) in [(ms(100), ms(50)), (ms(40), STAGGER), (ms(10), ms(10))] {
        let mut node = follower();
        node.tick(LOST);
        node.gets_hint(LOST, 3, 2, S - left);
        assert_eq!(node.election.wake_at(), LOST + again);
    }
}

/// leadelect rule 9: a hint expires, exactly when the peer would have suspected the leader itself.
#[test]
fn a_hint_expires() {
    let mut node = hinted();
    node.tick(LOST + ms(140));
    assert_eq!(causes(&node.tick(FRESH_UNTIL.before(NS))), []);
    assert_eq!(node.election.leader(), Some(id(2)));
    let effects = node.tick(FRESH_UNTIL);
    assert_eq!(causes(&effects), [Cause::NoLeader]);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 9: it does not campaign while a hint is fresh, not even with a quorum of pre-votes.
#[test]
fn a_node_does_not_campaign_while_a_hint_is_fresh() {
    let mut node = hinted();
    assert_eq!(node.campaigns_at(), FRESH_UNTIL);
}

/// leadelect rule 9: a hint never extends a promise.
#[test]
fn a_hint_does_not_extend_a_promise() {
    let mut node = hinted();
    let until = START + D;
    assert!(until < FRESH_UNTIL, "the hint outlives the promise");
    assert!(node.vote(until.before(NS), 3, 2).is_err());
    assert_eq!(node.vote(until, 3, 2), Ok(()));
}

/// leadelect rule 9: a hint is never passed on, so that no hint rests on another hint.
#[test]
fn a_hint_is_not_passed_on() {
    let mut node = hinted();
    let reply = node.answer(LOST, 3, pre_vote(2));
    assert_eq!(verdict(&reply), Ok(()));
    assert!(matches!(reply, Reply::PreVote { leader: None, .. }));
}

/// leadelect rule 9: a hint has an age. A voter that hears a leader says how long ago that was.
#[test]
fn a_hint_carries_the_age_of_the_last_heartbeat() {
    let mut node = follower();
    let last = LOST.before(NS);
    let Reply::PreVote { leader, wait, .. } = node.answer(last, 3, pre_vote(2)) else {
        panic!("a pre-vote is answered as one");
    };
    assert_eq!(leader.map(|hint| (hint.leader, hint.age)), Some((id(2), S - NS)));
    assert_eq!(wait, NS);
}

/// leadelect rule 9: a released leader is no leader.
#[test]
fn a_released_leader_is_not_hinted_at() {
    let mut node = follower();
    node.request(START, 2, release(1, 1, None));
    let reply = node.answer(START, 3, pre_vote(2));
    assert!(matches!(reply, Reply::PreVote { leader: None, .. }));
}

/// leadelect rule 13: the age of a hint is bounded by this node's own suspicion.
#[test]
fn no_hint_is_believed_for_longer_than_the_suspicion() {
    let mut node = follower();
    node.tick(LOST);
    let reply = hint_reply(&node, id(2), Term(1), D * 99);
    node.reply(LOST, 3, reply);
    node.tick(LOST + S / 2);
    node.tick((LOST + S).before(NS));
    assert_eq!(node.election.leader(), Some(id(2)));
    node.tick(LOST + S);
    assert_eq!(node.election.leader(), None);
}

/// leadelect rule 9: a hint of an earlier term, or at a node that is no other voter, tells of no leader.
#[test]
fn a_hint_that_cannot_be_true_is_not_believed() {
    for (leader, term) in [(id(2), Term(0)), (id(1), Term(1)), (id(9), Term(1))] {
        let mut node = follower();
        node.tick(LOST);
        let reply = hint_reply(&node, leader, term, S);
        assert_eq!(causes(&node.reply(LOST, 3, reply)), []);
        assert_eq!(node.election.leader(), None);
    }
}

/// leadelect rule 9: a heartbeat of the leader itself replaces any hint.
#[test]
fn a_heartbeat_ends_a_hint() {
    let mut node = hinted();
    let effects = node.request(LOST, 3, heartbeat(2, 1, D));
    assert_eq!(causes(&effects), [Cause::LeaderHeard]);
    assert_eq!(node.election.leader(), Some(id(3)));
    assert_eq!(node.election.wake_at(), LOST + S);
}

/// leadelect rule 2: a refusal without a hint says when to ask again. The next round waits no longer than that.
#[test]
fn a_refused_pre_candidate_asks_again_when_the_answer_said() {
    let mut node = pre_candidate_of(3);
    let reply = Reply::PreVote {
        term: Term(0),
        candidacy: node.candidacy,
        verdict: Err(Refusal::LeaderHeard(id(3))),
        wait: ms(60),
        leader: None,
    };
    node.reply(START, 3, reply);
    assert_eq!(node.election.wake_at(), START + ms(60));
    assert_eq!(asks_pre_votes(&node.tick(START + ms(60))), Some(1));
}

fn hint_reply(node: &Node, leader: NodeId, term: Term, wait: Duration) -> Reply {
    let age = Duration::ZERO;
    Reply::PreVote {
        term: node.election.term(),
        candidacy: node.candidacy,
        verdict: Err(Refusal::LeaderHeard(leader)),
        wait,
        leader: Some(Hint { leader, term, age }),
    }
}
