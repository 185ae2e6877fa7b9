//! A node asks first whether it would win.

use super::*;

/// In the Pre-Vote algorithm, a candidate only increments its term if it first learns from a majority of the cluster
/// that they would be willing to grant their votes (thesis, section 9.6).
#[test]
fn a_node_asks_for_pre_votes_before_it_enters_a_term() {
    let mut node = follower();
    let effects = node.tick(START + S);
    assert_eq!(asks_pre_votes(&effects), Some(2));
    assert_eq!(receivers(&effects), [id(2), id(3)]);
    assert_eq!(node.election.term(), Term(1));
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect, parameters: a leader is suspected after S of silence, and not before.
#[test]
fn a_follower_asks_after_the_suspicion_and_not_before() {
    let mut node = follower();
    assert_eq!(node.election.wake_at(), START + S);
    assert_eq!(receivers(&node.tick((START + S).before(NS))), []);
    assert_eq!(node.election.leader(), Some(id(2)));
    node.tick(START + S);
    assert_eq!(node.election.leader(), None);
}

/// If a follower receives communication over a period of time, it remains a follower (Raft paper, section 5.2).
#[test]
fn a_follower_that_hears_its_leader_asks_nothing() {
    let mut node = follower();
    for seq in 2..20 {
        let now = START + ETA * u32::try_from(seq - 1).expect("few");
        assert_eq!(receivers(&node.tick(now)), []);
        assert_eq!(node.heartbeat(now, 2, 1, seq), D);
        assert_eq!(node.election.wake_at(), now + S);
    }
}

/// Thesis, section 9.6: a server grants if it has not received a heartbeat from a valid leader for at least a baseline
/// election timeout; leadelect rule 2: for S.
#[test]
fn a_pre_vote_is_refused_until_the_leader_is_suspected() {
    let mut node = follower();
    let reply = node.answer((START + S).before(NS), 3, pre_vote(2));
    assert_eq!(verdict(&reply), Err(Refusal::LeaderHeard(id(2))));
    assert_eq!(wait(&reply), NS);
    assert_eq!(node.pre_vote(START + S, 3, 2), Ok(()));
}

/// leadelect rule 2: granted only if the term is not behind.
#[test]
fn a_pre_vote_in_a_term_that_has_begun_is_refused() {
    let mut node = node_in(3, 4);
    assert_eq!(node.pre_vote(START, 2, 4), Err(Refusal::TermBehind));
    assert_eq!(node.pre_vote(START, 2, 5), Ok(()));
}

/// leadelect rule 2: a pre-vote changes nothing in the voter, not even a timer.
#[test]
fn a_pre_vote_leaves_the_voter_as_it_was() {
    let nodes = [follower(), node_in(3, 4), candidate_of(3), pre_candidate_of(3)];
    for mut node in nodes {
        let before = node.election.clone();
        let saved = node.disk.saved.len();
        for (at, term) in [(NS, 2), (S - NS, 9), (S, 1), (S, 9)] {
            let effects = node.request(START + at, 3, pre_vote(term));
            assert_eq!(node.election, before);
            assert_eq!((effects.messages, effects.events), (vec![], vec![]));
        }
        assert_eq!(node.disk.saved.len(), saved);
    }
}

/// leadelect rule 2: a leader that has a lease refuses pre-votes and goes on.
#[test]
fn a_leader_refuses_a_pre_vote_and_names_itself() {
    let mut node = leader_of(3);
    let before = node.election.clone();
    let reply = node.answer(START, 2, pre_vote(9));
    assert_eq!(verdict(&reply), Err(Refusal::LeaderHeard(id(1))));
    let Reply::PreVote { leader, .. } = reply else {
        panic!("a pre-vote is answered as one");
    };
    let (leader_id, term, age) = (id(1), Term(1), Duration::ZERO);
    let hint = Hint { leader: leader_id, term, age };
    assert_eq!(leader, Some(hint));
    assert_eq!(node.election, before);
}

/// leadelect rule 2: the answer always carries the voter's term, what it knows of the leader, and how long it still
/// owes a promise.
#[test]
fn the_answer_to_a_pre_vote_tells_term_leader_and_promise() {
    let mut node = follower();
    let refused = Reply::PreVote {
        term: Term(1),
        candidacy: 1,
        verdict: Err(Refusal::LeaderHeard(id(2))),
        wait: S - ms(40),
        leader: Some(Hint { leader: id(2), term: Term(1), age: ms(40) }),
    };
    assert_eq!(node.answer(START + ms(40), 3, pre_vote(2)), refused);
    let granted = Reply::PreVote { term: Term(1), candidacy: 1, verdict: Ok(()), wait: D - ms(310), leader: None };
    assert_eq!(node.answer(START + ms(310), 3, pre_vote(2)), granted);
}

/// leadelect, promise: it binds against other nodes only. A deposed leader may at once ask the voters that still
/// promise to it, and they would vote for it at once.
#[test]
fn a_deposed_leader_may_ask_the_voters_that_promised_to_it_at_once() {
    let mut node = follower();
    let reply = node.answer(START + ms(40), 2, pre_vote(2));
    assert_eq!(verdict(&reply), Ok(()));
    assert_eq!(wait(&reply), Duration::ZERO);
}

/// leadelect rule 2: a pre-candidate asks for votes exactly when a quorum will be free of promises. Here its own
/// promise is the last to run out.
#[test]
fn a_pre_candidate_waits_for_its_own_promise() {
    let mut node = follower();
    node.tick(START + S);
    let effects = node.gets_pre_vote(START + S, 3, Duration::ZERO);
    assert_eq!(asks_votes(&effects), None);
    assert_eq!(node.election.wake_at(), START + D);
    assert_eq!(receivers(&node.tick((START + D).before(NS))), []);
    assert_eq!(asks_votes(&node.tick(START + D)), Some(2));
}

/// leadelect rule 2: here the voter's promise is the last to run out, on the slower of the two clocks.
#[test]
fn a_pre_candidate_waits_for_the_promises_of_its_voters() {
    let mut node = pre_candidate_of(3);
    let free = START + Timing::default().wait_for(ms(150));
    node.gets_pre_vote(START, 2, ms(150));
    assert_eq!(node.election.wake_at(), free);
    assert_eq!(receivers(&node.tick(free.before(NS))), []);
    assert_eq!(asks_votes(&node.tick(free)), Some(1));
}

/// leadelect rule 2: a request arrives when the voter is free, and not a way later: its wait began when it answered,
/// which was after it was asked. An eighth of the round trip is added.
#[test]
fn a_vote_is_asked_for_so_that_it_arrives_when_the_voter_is_free() {
    let mut node = pre_candidate_of(3);
    node.gets_pre_vote(START + ms(80), 2, ms(150));
    let free = START + ms(10) + Timing::default().wait_for(ms(150));
    assert_eq!(asks_votes(&node.tick(free.before(NS))), None);
    assert_eq!(asks_votes(&node.tick(free)), Some(1));
    node.gets_no_vote(free, 3, Duration::ZERO);
    node.gets_no_vote(free + ms(80), 2, ms(5));
    assert_eq!(node.election.wake_at(), free + ms(80), "its answer took longer than that");
    node.tick(free + ms(80));
    node.gets_no_vote(free + ms(88), 2, ms(20));
    assert_eq!(node.election.wake_at(), free + ms(81) + Timing::default().wait_for(ms(20)));
}

/// leadelect rule 2: the first in line makes its own vote durable δ before a quorum is free, and says nothing until
/// then. Another node does not.
#[test]
fn the_first_in_line_writes_its_own_vote_a_stagger_before_a_quorum_is_free() {
    let mut node = node_of(3);
    node.request(START, 2, heartbeat_with(&[1, 3]));
    node.tick(START + S);
    node.gets_pre_vote(START + S, 3, ms(100));
    let early = (START + D).before(STAGGER);
    assert_eq!(node.election.wake_at(), early);
    let writes = node.disk.saved.len();
    let effects = node.tick(early);
    assert_eq!((receivers(&effects), causes(&effects)), (vec![], vec![Cause::PreVotesWon]));
    let saved = node.disk.saved.last().expect("saved");
    assert_eq!((saved.term, saved.voted_for), (Term(2), Some(id(1))));
    assert_eq!(node.election.wake_at(), START + D);
    let mut refuses = node.clone();
    assert_eq!(refuses.vote(early, 3, 2), Err(Refusal::AlreadyVoted(id(1))));
    assert_eq!(refuses.heartbeat(early, 2, 1, 2), Duration::ZERO);
    assert_eq!(asks_votes(&node.tick(START + D)), Some(2));
    assert_eq!(node.disk.saved.len(), writes + 1);
}

/// leadelect rules 2, 7 and 9: but not while it is in quarantine, and not while a hint is fresh.
#[test]
fn a_node_in_quarantine_or_with_a_hint_does_not_write_its_vote_early() {
    let mut node = Node::start(cluster(3), restored(1, None, D * 2));
    node.request(START, 2, heartbeat_with(&[1, 3]));
    node.tick(START + S);
    let last = (START + D * 2).before(NS);
    node.tick(last);
    node.gets_pre_vote(last, 3, Duration::ZERO);
    assert_eq!(node.election.term(), Term(1));
    assert_eq!(node.election.wake_at(), START + D * 2);

    let mut node = node_of(3);
    node.request(START, 2, heartbeat_with(&[1, 3]));
    let late = START + D * 2;
    node.tick(late);
    node.tick(late + STAGGER);
    node.gets_hint(late + STAGGER, 3, 2, S - STAGGER * 2);
    let again = node.election.wake_at();
    node.tick(again);
    node.gets_pre_vote(again, 3, Duration::ZERO);
    assert_eq!(node.election.wake_at(), late + STAGGER * 3, "the end of the hint");
    assert_eq!(node.election.term(), Term(1));
}

/// leadelect rule 2: it waits for the quorum that is free first, and for no other node.
#[test]
fn a_pre_candidate_waits_for_no_more_than_a_quorum() {
    let free = |wait| START + Timing::default().wait_for(wait);
    let mut node = pre_candidate_of(5);
    node.gets_pre_vote(START, 2, ms(10));
    assert!(node.election.wake_at() >= START + S, "one of two that it needs");
    node.gets_pre_vote(START, 3, ms(200));
    assert_eq!(node.election.wake_at(), free(ms(200)));
    node.gets_pre_vote(START, 4, ms(100));
    assert_eq!(node.election.wake_at(), free(ms(100)));
    node.gets_pre_vote(START, 5, ms(250));
    assert_eq!(node.election.wake_at(), free(ms(100)));
}

/// Thesis, section 9.6: without a majority of pre-votes the term is never raised, however long it takes.
#[test]
fn a_node_without_a_quorum_of_pre_votes_never_campaigns() {
    let mut node = pre_candidate_of(5);
    for _ in 0..100 {
        let now = node.election.wake_at();
        node.gets_pre_vote(now, 2, Duration::ZERO);
        assert_eq!(asks_votes(&node.tick(now)), None);
    }
    assert_eq!(node.election.term(), Term(0));
}

/// leadelect rule 2: a round that brings no quorum is followed by another.
#[test]
fn a_pre_candidate_asks_again_after_a_round_without_a_quorum() {
    let mut node = pre_candidate_of(3);
    let now = node.election.wake_at();
    assert!((START + S..START + D).contains(&now));
    assert_eq!(asks_pre_votes(&node.tick(now)), Some(1));
}

/// leadelect rule 2: a refusal that no waiting will change does not end the round before the others could answer.
#[test]
fn a_refusal_for_ever_does_not_shorten_the_round() {
    let mut node = pre_candidate_of(3);
    let reply = Reply::PreVote {
        term: Term(0),
        candidacy: node.candidacy,
        verdict: Err(Refusal::CannotStore),
        wait: Duration::ZERO,
        leader: None,
    };
    node.reply(START, 2, reply);
    assert!(node.election.wake_at() >= START + S);
    let effects = node.gets_pre_vote(START + ms(150), 3, Duration::ZERO);
    assert_eq!(asks_votes(&effects), Some(1));
}

/// leadelect rule 1: answers are counted only for the very round that they answer.
#[test]
fn a_pre_vote_of_an_earlier_round_does_not_count() {
    let mut node = pre_candidate_of(3);
    let old = node.candidacy;
    let now = node.election.wake_at();
    node.tick(now);
    assert_ne!(node.candidacy, old);
    node.candidacy = old;
    assert_eq!(asks_votes(&node.gets_pre_vote(now, 2, Duration::ZERO)), None);
}

/// leadelect rule 1: the same voter twice is one pre-vote, and a stranger is none.
#[test]
fn pre_votes_are_counted_by_voter() {
    let mut node = pre_candidate_of(5);
    for from in [2, 2, 1, 6] {
        let effects = node.gets_pre_vote(START, from, Duration::ZERO);
        assert_eq!(asks_votes(&effects), None);
    }
    let effects = node.gets_pre_vote(START, 3, Duration::ZERO);
    assert_eq!(asks_votes(&effects), Some(1));
}

/// leadelect rule 2: asking changes nothing in the asker either. A node that learns of a higher term asks for the one
/// after it, a little later. It may still follow the leader of its own term.
#[test]
fn a_pre_candidate_that_learns_of_a_higher_term_asks_for_the_next_and_enters_neither() {
    let mut node = pre_candidate_of(3);
    let effects = node.reply(START, 2, behind(5, node.candidacy));
    assert_eq!(receivers(&effects), []);
    assert_eq!(node.election.term(), Term(0));
    let mut follows = node.clone();
    assert_eq!(follows.heartbeat(START, 3, 1, 1), D);
    assert_eq!(receivers(&node.tick((START + STAGGER).before(NS))), []);
    assert_eq!(asks_pre_votes(&node.tick(START + STAGGER)), Some(6));
}

/// leadelect, promise: adopting a higher term never clears a promise.
#[test]
fn a_higher_term_does_not_end_a_promise() {
    let mut node = follower();
    node.heartbeat(START + S, 3, 5, 1);
    assert_eq!(node.election.term(), Term(5));
    let refusal = Refusal::Promised(id(2));
    assert_eq!(node.vote((START + D).before(NS), 3, 6), Err(refusal));
    assert_eq!(node.vote(START + D, 3, 6), Ok(()));
}

fn behind(term: u64, candidacy: u64) -> Reply {
    Reply::PreVote {
        term: Term(term),
        candidacy,
        verdict: Err(Refusal::TermBehind),
        wait: Duration::ZERO,
        leader: None,
    }
}
