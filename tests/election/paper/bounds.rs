//! One bad frame must not use up all terms.
//!
//! Rule 13 says that every bound has a name. Those of frames, queues and handshakes are the transport's; this one is
//! the election's.

use super::*;

/// How far a message may be ahead of a node's own term.
const JUMP: u64 = 1 << 32;

/// leadelect rule 13: a node refuses a frame whose term is more than 2^32 above its own. Here the frame asks for a
/// vote.
#[test]
fn a_vote_in_a_term_too_far_ahead_is_refused() {
    assert_eq!(Term::LARGEST_JUMP, JUMP);
    let mut node = node_in(3, 5);
    assert_eq!(node.vote(START, 2, 6 + JUMP), Err(Refusal::TermTooFar));
    assert_eq!(node.vote(START, 2, u64::MAX), Err(Refusal::TermTooFar));
    assert_eq!(node.election.term(), Term(5));
    assert_eq!(node.vote(START, 2, 5 + JUMP), Ok(()));
}

/// leadelect rule 13: here one that asks for a pre-vote.
#[test]
fn a_pre_vote_in_a_term_too_far_ahead_is_refused() {
    let mut node = node_in(3, 5);
    assert_eq!(node.pre_vote(START, 2, 6 + JUMP), Err(Refusal::TermTooFar));
    assert_eq!(node.pre_vote(START, 2, 5 + JUMP), Ok(()));
}

/// leadelect rule 13: here a heartbeat.
#[test]
fn a_heartbeat_of_a_term_too_far_ahead_is_rejected() {
    let mut node = node_in(3, 5);
    assert_eq!(node.heartbeat(START, 2, 6 + JUMP, 1), Duration::ZERO);
    assert_eq!(node.election.term(), Term(5));
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.heartbeat(START, 2, 5 + JUMP, 1), D);
}

/// leadelect rule 13: here a release, even of a leader that this node has promised to.
#[test]
fn a_release_of_a_term_too_far_ahead_ends_no_promise() {
    let mut node = follower();
    node.request(START, 2, release(2 + JUMP, 1, None));
    assert_eq!(node.election.term(), Term(1));
    assert_eq!(node.election.leader(), Some(id(2)));
    assert_eq!(node.vote(START, 3, 2), Err(Refusal::Promised(id(2))));
    node.request(START, 2, release(1 + JUMP, 1, None));
    assert_eq!(node.election.term(), Term(1 + JUMP));
    assert_eq!(node.election.leader(), None);
}

/// leadelect rule 13: here a reply, which would raise the asker's term.
#[test]
fn a_reply_of_a_term_too_far_ahead_is_dropped() {
    let too_far = Term(2 + JUMP);
    let (refusal, wait) = (Err(Refusal::TermBehind), Duration::ZERO);

    let mut node = candidate_of(3);
    node.reply(START, 2, vote_reply(too_far, node.candidacy, refusal, wait));
    assert_eq!(node.election.role(), Role::Candidate);

    let mut node = leader_of(3);
    node.reply(START, 2, ack(too_far.0, 1, wait));
    assert_eq!(node.election.role(), Role::Leader);
    node.reply(START, 2, ack(1 + JUMP, 1, wait));
    assert_eq!(node.election.term(), Term(1 + JUMP));

    let mut node = pre_candidate_of(3);
    let reply =
        Reply::PreVote { term: Term(1 + JUMP), candidacy: node.candidacy, verdict: refusal, wait, leader: None };
    node.reply(START, 2, reply);
    assert_eq!(node.election.term(), Term(0));
}

/// leadelect rule 13: a node that leads for longer keeps no more.
#[test]
fn a_leader_that_nobody_answers_forgets_what_it_sent_long_ago() {
    let mut node = leader_of(3);
    for seq in 2..100 {
        let now = START + ETA * u32::try_from(seq - 1).expect("few");
        node.tick(now);
        node.gets_ack(now, 2, seq);
    }
    let lease = node.lease_until();
    let before = node.election.clone();
    node.gets_ack(START + ETA * 98, 3, 90);
    assert_eq!(node.election, before, "an ack that is older than any promise");
    assert_eq!(node.lease_until(), lease);
}
