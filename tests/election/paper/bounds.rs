//! One bad frame must not use up all terms.
//!
//! Rule 13 says that every bound has a name. Those of frames, queues and handshakes are the transport's; this one is
//! the election's.

use super::*;

/// How far a message may be ahead of the highest term that a node knows.
const JUMP: u64 = 1 << 32;

/// leadelect rule 13: a node refuses a frame whose term is more than 2^32 above the highest that it knows. Here the
/// frame asks for a vote.
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

/// leadelect rule 13: the node moves toward a term that is too far ahead, by the largest jump for each message. It asks
/// for no vote, gives none, and promises nothing on the way.
#[test]
fn a_laggard_meets_a_far_term_after_some_messages() {
    let far = 5 + 3 * JUMP;
    let mut node = node_in(3, 5);
    for seq in 1..3 {
        assert_eq!(node.heartbeat(START, 2, far, seq), Duration::ZERO);
        assert_eq!((node.election.term(), node.election.leader()), (Term(5), None));
    }
    assert_eq!(node.heartbeat(START, 2, far, 3), D);
    assert_eq!((node.election.term(), node.election.leader()), (Term(far), Some(id(2))));

    let mut node = node_in(3, 5);
    let refused = node.answer(START, 2, vote(far));
    assert_eq!(verdict(&refused), Err(Refusal::TermTooFar));
    assert_ne!(wait(&refused), Duration::ZERO, "the candidate asks again");
    assert_eq!(node.vote(START, 2, far), Err(Refusal::TermTooFar));
    assert_eq!(node.vote(START, 2, far), Ok(()));

    let mut node = pre_candidate_of(3);
    let reply = |node: &Node| Reply::PreVote {
        term: Term(3 * JUMP),
        candidacy: node.candidacy,
        verdict: Err(Refusal::TermBehind),
        wait: Duration::ZERO,
        leader: None,
    };
    for _ in 0..3 {
        let reply = reply(&node);
        node.reply(START, 2, reply);
    }
    let asks = node.tick(node.election.wake_at());
    let term = asks.messages.iter().map(|(_, request)| request.term()).max();
    assert_eq!(term, Some(Term(3 * JUMP + 1)));
}

/// leadelect rule 13: a witness asks for nothing, so it moves when it is asked.
#[test]
fn a_witness_meets_a_far_term_when_it_is_asked_for_pre_votes() {
    let mut setup = cluster(3);
    setup.voters.get_mut(&id(1)).expect("a voter").witness = true;
    let mut node = Node::start(setup, restored(5, None, Duration::ZERO));
    assert_eq!(node.pre_vote(START, 2, 5 + 2 * JUMP), Err(Refusal::TermTooFar));
    assert_eq!(node.pre_vote(START, 2, 5 + 2 * JUMP), Ok(()));
}

/// leadelect rule 13: a follower whose term is far ahead does not end a leadership until the leader has come near. Then
/// it does so once, as any higher term (rule 3).
#[test]
fn a_leader_is_deposed_once_by_a_far_term_and_then_elected_beyond_it() {
    let far = 1 + 3 * JUMP;
    let mut node = leader_of(3);
    for _ in 0..2 {
        node.reply(START, 2, ack(far, 1, Duration::ZERO));
        assert_eq!((node.election.role(), node.election.term()), (Role::Leader, Term(1)));
    }
    node.reply(START, 2, ack(far, 1, Duration::ZERO));
    assert_eq!((node.election.role(), node.election.term()), (Role::Follower, Term(far)));
}

/// leadelect rules 7 and 13: a new node that hears of a far term has met a past.
#[test]
fn a_new_node_that_hears_of_a_far_term_is_in_doubt() {
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.vote(START, 2, 1 + JUMP), Err(Refusal::TermTooFar));
    assert_eq!(node.vote(START, 2, 1), Err(Refusal::Quarantine));
}

/// leadelect rule 13: after the last term no node is elected, and none votes twice in it.
#[test]
fn a_node_that_has_voted_in_the_last_term_campaigns_no_more() {
    let mut node = node_in(3, Term::LAST.0 - 1);
    assert_eq!(node.vote(START, 2, Term::LAST.0), Ok(()));
    assert_eq!(node.vote(START, 3, Term::LAST.0), Err(Refusal::AlreadyVoted(id(2))));
    node.heartbeat(START, 2, Term::LAST.0, 1);
    node.request(START + D, 3, heartbeat(Term::LAST.0, 1, D));
    for _ in 0..3 {
        let at = node.election.wake_at();
        if at == Instant::NEVER {
            break;
        }
        assert_eq!(asks_votes(&node.tick(at)), None);
    }
    assert_eq!(node.election.wake_at(), Instant::NEVER);
    assert_eq!(node.election.term(), Term::LAST);
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
