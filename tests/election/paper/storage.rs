//! What is durable before it is said, and what happens to a node that cannot write.

use super::*;

/// Node 1 of three, which followed 2 in term 1 when its disk failed.
fn with_failed_storage() -> Node {
    let mut node = follower();
    node.step(START, Input::StorageFailed);
    node
}

fn hard_state(term: u64, voted_for: Option<u16>, cap: Duration) -> HardState {
    HardState { term: Term(term), voted_for: voted_for.map(id), cap, in_doubt: false }
}

/// Persistent state is updated on stable storage before responding to RPCs (Raft paper, figure 2).
#[test]
fn a_vote_is_durable_before_it_is_said() {
    let mut node = node_of(3);
    node.vote(START, 2, 4).expect("granted");
    assert_eq!(node.disk.saved, [hard_state(4, Some(2), D)]);
}

/// leadelect, durable: so are the term of a promise, its spent vote, and the longest promise.
#[test]
fn a_promise_rests_on_a_durable_term_and_cap() {
    let node = follower();
    assert_eq!(node.disk.saved, [hard_state(1, Some(2), D)]);
}

/// leadelect, durable: so are a candidate's term and its vote for itself, before it asks for the votes of others.
#[test]
fn a_candidacy_is_durable_before_votes_are_asked_for() {
    let node = candidate_of(3);
    assert_eq!(node.disk.saved, [hard_state(1, Some(1), D)]);
}

/// leadelect, durable: so is an adopted term, with its vote not spent.
#[test]
fn an_adopted_term_is_durable() {
    let mut node = elected_of(3);
    node.reply(START, 2, ack(5, 1, Duration::ZERO));
    assert_eq!(node.disk.saved.last(), Some(&hard_state(5, None, D)));
}

/// leadelect, durable: a node never says what it could not make durable. There are no effects without the write.
#[test]
fn what_cannot_be_made_durable_is_not_said() {
    let requests = [vote(1), heartbeat(1, 1, D), release(1, 1, None)];
    for request in requests {
        let from = id(2);
        let mut node = node_of(3);
        let output = node.election.step(START, Input::Request { from, request });
        assert_eq!(output.store(&mut BrokenDisk), Err("no space left"));
    }
    let mut node = follower();
    let (from, request) = (id(2), release(1, 1, Some(1)));
    let campaign = node.election.step(START, Input::Request { from, request });
    assert_eq!(campaign.store(&mut BrokenDisk), Err("no space left"));
}

/// leadelect, durable: what rests on nothing new needs no disk.
#[test]
fn what_rests_on_nothing_new_is_said_without_a_write() {
    let requests = [pre_vote(2), vote(2), heartbeat(0, 1, D)];
    for request in requests {
        let from = id(3);
        let mut node = follower();
        let output = node.election.step(START, Input::Request { from, request });
        let effects = output.store(&mut BrokenDisk).expect("nothing to write");
        assert!(effects.reply.is_some());
    }
}

/// leadelect, durable: steady state does no disk I/O.
#[test]
fn heartbeats_and_acks_write_nothing() {
    let mut follower = follower();
    let mut leader = leader_of(3);
    for seq in 2..50 {
        let now = START + ETA * u32::try_from(seq - 1).expect("few");
        assert_eq!(follower.heartbeat(now, 2, 1, seq), D);
        assert_eq!(heartbeat_sent(&leader.tick(now)), Some(seq));
        leader.gets_ack(now, 2, seq);
    }
    assert_eq!(follower.disk.saved.len(), 1);
    assert_eq!(leader.disk.saved.len(), 1);
}

/// leadelect, durable: the cap is the longest promise this node may ever have made. It grows before the first longer
/// promise is given.
#[test]
fn the_cap_grows_before_a_longer_promise() {
    let mut node = Node::start(cluster(3), restored(1, Some(2), ms(100)));
    assert_eq!(node.heartbeat(START, 2, 1, 1), D);
    assert_eq!(node.disk.saved, [hard_state(1, Some(2), D)]);
}

/// leadelect, durable: and shrinks only once the longer ones have run out.
#[test]
fn the_cap_shrinks_once_the_longer_promises_have_run_out() {
    let mut node = Node::start(cluster(3), restored(1, Some(2), D * 4));
    node.heartbeat(START, 2, 1, 1);
    node.heartbeat((START + D * 4).before(NS), 2, 1, 2);
    assert_eq!(node.disk.saved, []);
    node.heartbeat(START + D * 4, 2, 1, 3);
    assert_eq!(node.disk.saved, [hard_state(1, Some(2), D)]);
}

/// leadelect, durable: a node that cannot write votes no more, and says why. It does not even repeat a vote.
#[test]
fn a_node_whose_disk_failed_votes_no_more() {
    let mut node = with_failed_storage();
    assert_eq!(node.vote(START + D, 3, 2), Err(Refusal::CannotStore));
    assert_eq!(node.vote(START + D, 2, 1), Err(Refusal::CannotStore));
    assert_eq!(node.pre_vote(START + D, 3, 2), Err(Refusal::CannotStore));
}

/// leadelect, durable: nor does it promise. It still follows, and writes nothing.
#[test]
fn a_node_whose_disk_failed_follows_and_promises_nothing() {
    let mut node = with_failed_storage();
    let saved = node.disk.saved.len();
    let reply = node.answer(START + ms(1), 3, heartbeat(5, 1, D));
    let Reply::Heartbeat { term, granted, eligible, .. } = reply else {
        panic!("a heartbeat is answered as one");
    };
    assert_eq!((term, granted, eligible), (Term(5), Duration::ZERO, false));
    assert_eq!(node.election.leader(), Some(id(3)));
    assert_eq!(node.disk.saved.len(), saved);
}

/// leadelect, durable: nor does it campaign, even if a leader names it as successor.
#[test]
fn a_node_whose_disk_failed_never_campaigns() {
    let mut node = with_failed_storage();
    assert_eq!(receivers(&node.tick(START + S)), []);
    assert_eq!(node.election.wake_at(), Instant::NEVER);
    let named = node.request(START + S, 2, release(1, 1, Some(1)));
    assert_eq!(receivers(&named), []);
    assert_eq!(receivers(&node.tick(START + D * 9)), []);
}

/// leadelect, durable: a candidate or leader whose disk has failed becomes a follower. Its lease is gone at once.
#[test]
fn a_leader_whose_disk_failed_steps_down() {
    let mut node = leader_of(3);
    let effects = node.step(START, Input::StorageFailed);
    assert_eq!(effects.lease, None);
    assert_eq!(causes(&effects), [Cause::StorageFailed]);
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
    let mut node = candidate_of(3);
    node.step(START, Input::StorageFailed);
    node.gets_vote(START, 2);
    assert_eq!(node.election.role(), Role::Follower);
}
