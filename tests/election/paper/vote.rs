//! When a node votes, and for whom.

use super::*;

/// Each server votes for at most one candidate in a given term (Raft paper, section 5.2).
#[test]
fn a_node_votes_for_at_most_one_candidate_in_a_term() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    let refusal = Refusal::AlreadyVoted(id(2));
    assert_eq!(node.vote(START, 3, 1), Err(refusal));
}

/// Raft RPCs are idempotent (Raft paper, section 5.5): a vote whose answer was lost is granted again.
#[test]
fn the_candidate_that_has_a_vote_gets_it_again() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    assert_eq!(node.vote(START + ms(1), 2, 1), Ok(()));
    assert_eq!(node.disk.saved.len(), 1, "one vote is one write");
}

/// leadelect rule 1: a vote is granted if the term is higher. A vote is no promise: it binds in its term only.
#[test]
fn a_node_votes_again_in_a_later_term() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    assert_eq!(node.vote(START, 3, 2), Ok(()));
    assert_eq!(node.election.term(), Term(2));
}

/// leadelect rule 1: a vote is granted if the term is equal and the vote not spent.
#[test]
fn a_node_that_has_not_voted_in_its_term_votes_in_it() {
    let mut node = node_in(3, 4);
    assert_eq!(node.vote(START, 2, 4), Ok(()));
}

/// If a server receives a request with a stale term number, it rejects the request (Raft paper, section 5.1).
#[test]
fn a_vote_of_a_stale_term_is_refused_with_the_own_term() {
    let mut node = node_in(3, 4);
    let reply = node.answer(START, 2, vote(3));
    assert_eq!(verdict(&reply), Err(Refusal::TermBehind));
    assert_eq!(reply.term(), Term(4));
}

/// leadelect rule 1: no vote while a promise to another is outstanding, whatever the term; the answer says how long.
#[test]
fn a_vote_is_refused_until_the_promise_to_another_has_run_out() {
    let mut node = follower();
    let reply = node.answer((START + D).before(NS), 3, vote(9));
    assert_eq!(verdict(&reply), Err(Refusal::Promised(id(2))));
    assert_eq!(wait(&reply), NS);
    assert_eq!(node.vote(START + D, 3, 9), Ok(()));
}

/// leadelect, promise: it refuses votes to *other* nodes. Its holder may be elected again at any time.
#[test]
fn the_holder_of_a_promise_gets_the_vote() {
    let mut node = follower();
    assert_eq!(node.vote(START + NS, 2, 2), Ok(()));
}

/// leadelect, promise: a promise ends by time or by release. A vote for its holder does not end it.
#[test]
fn a_vote_for_its_holder_does_not_end_a_promise() {
    let mut node = follower();
    assert_eq!(node.vote(START + NS, 2, 2), Ok(()));
    let refusal = Refusal::Promised(id(2));
    assert_eq!(node.vote((START + D).before(NS), 3, 3), Err(refusal));
    assert_eq!(node.vote(START + D, 3, 3), Ok(()));
}

/// leadelect rule 1: no vote while work of this node's own lease may still run.
#[test]
fn a_leader_refuses_its_vote_until_its_own_lease_has_ended() {
    let mut node = leader_of(3);
    let reply = node.answer((START + LEASE).before(NS), 2, vote(9));
    assert_eq!(verdict(&reply), Err(Refusal::OwnWork));
    assert_eq!(wait(&reply), NS);
    assert_eq!(node.election.role(), Role::Leader, "refused: undisturbed");
    assert_eq!(node.vote(START + LEASE, 2, 9), Ok(()));
}

/// leadelect rule 1: a leader that has no lease has no work to wait for.
#[test]
fn a_leader_without_a_lease_votes_in_a_higher_term_at_once() {
    let mut node = elected_of(3);
    assert_eq!(node.vote(START, 2, 2), Ok(()));
    assert_eq!(node.election.role(), Role::Follower);
}

/// leadelect rule 1: the work of a deposed leader may still run until its lease has ended.
#[test]
fn a_deposed_leader_refuses_its_vote_until_its_old_lease_has_ended() {
    let mut node = leader_of(3);
    node.reply(START, 3, ack(5, 1, Duration::ZERO));
    assert_eq!(node.lease_until(), None);
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
    let refusal = Err(Refusal::OwnWork);
    assert_eq!(node.vote((START + LEASE).before(NS), 2, 6), refusal);
    assert_eq!(node.vote(START + LEASE, 2, 6), Ok(()));
}

/// leadelect rule 1: or until the work is known to have ended. The end of work of another term does not count.
#[test]
fn a_deposed_leader_votes_once_its_work_has_ended() {
    let mut node = leader_of(3);
    node.reply(START, 3, ack(5, 1, Duration::ZERO));
    node.work_ended(START, 5);
    assert_eq!(node.vote(START, 2, 6), Err(Refusal::OwnWork));
    node.work_ended(START, 1);
    assert_eq!(node.election.awaits_work(), None);
    assert_eq!(node.vote(START, 2, 6), Ok(()));
}

/// leadelect rule 1: a node that follows the leader of a term has spent its vote of that term, with or without a
/// promise.
#[test]
fn a_node_that_follows_a_leader_has_spent_its_vote_of_that_term() {
    let mut node = follower();
    let refusal = Refusal::AlreadyVoted(id(2));
    assert_eq!(node.vote(START + D, 3, 1), Err(refusal));
}

/// The same if this node only heard the leader release its term. A majority elected that leader, and this node may have
/// been part of it and have forgotten its vote.
#[test]
fn a_node_votes_for_no_other_in_a_term_whose_leader_it_heard_release() {
    for (candidate, verdict) in [(3, Err(Refusal::AlreadyVoted(id(2)))), (2, Ok(()))] {
        let mut node = node_in(3, 4);
        node.request(START, 2, release(5, 1, None));
        assert_eq!(node.vote(START, candidate, 5), verdict);
    }
}

/// leadelect rule 1: a vote in the term that has just been released stays spent, on disk as well.
#[test]
fn a_release_does_not_give_the_vote_back() {
    let mut node = follower();
    node.request(START, 2, release(1, 1, None));
    let saved = node.disk.saved.last().expect("a state");
    assert_eq!((saved.term, saved.voted_for), (Term(1), Some(id(2))));
}

/// leadelect rule 3: a denied vote never raises the voter's term. A server that believes a leader exists does not
/// update its term (thesis, section 4.2.3).
#[test]
fn a_denied_vote_changes_nothing_in_the_voter() {
    let mut node = follower();
    let before = node.election.clone();
    let reply = node.answer(START + NS, 3, vote(9));
    assert!(verdict(&reply).is_err());
    assert_eq!(reply.term(), Term(1));
    assert_eq!(node.election, before);
}

/// leadelect rule 1: votes are counted by authenticated id. A node that is no other voter gets no answer at all.
#[test]
fn a_stranger_gets_neither_vote_nor_promise_nor_answer() {
    let mut node = node_of(3);
    let before = node.election.clone();
    for stranger in [1, 4] {
        for request in [vote(1), pre_vote(1), heartbeat(1, 1, D), release(1, 1, None)] {
            assert_eq!(node.request(START, stranger, request).reply, None);
        }
    }
    assert_eq!(node.election, before);
}

/// leadelect rule 7 and thesis, section 9.6: a node that gave its vote gives the candidate time to win with it.
#[test]
fn a_voter_gives_its_candidate_time_to_win_before_it_campaigns() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    assert_eq!(asks_pre_votes(&node.tick((START + S).before(NS))), None);
    assert_eq!(asks_pre_votes(&node.tick(START + S)), Some(2));
}
