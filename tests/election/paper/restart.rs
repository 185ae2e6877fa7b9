//! A restarted node keeps the promises that it has forgotten.

use super::*;

fn damaged(cap: Duration) -> Recovery {
    let (term, voted_for) = (Term(4), None);
    let state = HardState { term, voted_for, cap, in_doubt: true };
    let down_for = Duration::ZERO;
    Recovery::Restored { state, down_for }
}

/// It gives no vote to 2 until `span` after its start, exactly.
fn assert_quarantine(recovery: Recovery, span: Duration) {
    let mut node = Node::start(cluster(3), recovery);
    let term = node.election.term().0 + 1;
    let reply = node.answer(START, 2, vote(term));
    assert_eq!(verdict(&reply), Err(Refusal::Quarantine), "{recovery:?}");
    assert_eq!(wait(&reply), span, "{recovery:?}");
    let last = (START + span).before(NS);
    assert_eq!(node.vote(last, 2, term), Err(Refusal::Quarantine));
    assert_eq!(node.vote(START + span, 2, term), Ok(()), "{recovery:?}");
}

/// After a crash, a grantor honours the leases of before by waiting for the longest term that it may have granted (Gray
/// and Cheriton 1989); leadelect rule 7: no vote for `cap` after the start.
#[test]
fn a_restarted_node_gives_no_vote_for_its_longest_promise() {
    assert_quarantine(restored(4, None, D), D);
    assert_quarantine(restored(4, None, ms(123)), ms(123));
}

/// leadelect rule 7: the cap is the longest promise of that time, and not the one that is configured now.
#[test]
fn a_promise_longer_than_now_configured_is_waited_out() {
    assert_quarantine(restored(4, None, D * 4), D * 4);
}

/// leadelect rule 7: if the host was booted since, its uptime counts as waiting time.
#[test]
fn the_time_in_which_a_node_was_certainly_down_counts_as_waiting() {
    let restored = |down_for| {
        let (term, voted_for, cap) = (Term(4), None, D);
        let state = HardState { term, voted_for, cap, in_doubt: false };
        Recovery::Restored { state, down_for }
    };
    assert_quarantine(restored(ms(200)), ms(300));
    assert_quarantine(restored(D - NS), NS);
    for long in [D, D * 100] {
        let mut node = Node::start(cluster(3), restored(long));
        assert_eq!(node.vote(START, 2, 5), Ok(()));
    }
}

/// leadelect rule 7: a node that has never promised does not wait.
#[test]
fn a_node_that_never_promised_votes_at_once() {
    let mut node = Node::start(cluster(3), restored(4, None, Duration::ZERO));
    assert_eq!(node.vote(START, 2, 5), Ok(()));
}

/// leadelect rule 7: it follows and acks at once.
#[test]
fn a_node_in_quarantine_follows_and_acks() {
    let mut node = Node::start(cluster(3), restored(4, None, D));
    assert_eq!(node.heartbeat(START, 2, 5, 1), D);
    assert_eq!(node.election.leader(), Some(id(2)));
}

/// leadelect rule 11: a node that is in doubt keeps that on disk until the quarantine is over. Otherwise a second
/// restart would cut the wait short.
#[test]
fn a_doubt_is_kept_until_the_quarantine_is_over() {
    for recovery in [damaged(D), Recovery::Fresh] {
        let mut node = Node::start(cluster(3), recovery);
        node.heartbeat((START + D * 2).before(NS), 2, 5, 1);
        let saved = *node.disk.saved.last().expect("saved");
        assert!(saved.in_doubt, "{recovery:?}");
        let state = saved;
        let down_for = Duration::ZERO;
        assert_quarantine(Recovery::Restored { state, down_for }, D * 2);
        node.heartbeat(START + D * 2, 2, 5, 2);
        assert!(!node.disk.saved.last().expect("saved").in_doubt);
    }
}

/// leadelect rule 1: a node whose vote was lost to damage assumes that it voted for the leader of that term.
#[test]
fn a_node_that_forgot_its_vote_does_not_vote_against_the_leader_of_that_term() {
    let mut node = Node::start(cluster(3), damaged(D));
    node.heartbeat(START, 2, 5, 1);
    let refused = Err(Refusal::AlreadyVoted(id(2)));
    assert_eq!(node.vote(START + D * 2, 3, 5), refused);
    assert_eq!(node.vote(START + D * 2, 3, 6), Ok(()));
}

/// leadelect rule 7: its own vote is no exception.
#[test]
fn a_node_in_quarantine_does_not_vote_for_itself() {
    let mut node = Node::start(cluster(3), restored(4, None, D));
    assert_eq!(node.campaigns_at(), START + D + STAGGER * 2);
    let mut node = Node::start(cluster(1), restored(4, None, D));
    assert_eq!(node.tick(START).lease, None);
    assert!(node.tick(START + D).lease.is_some());
}

/// leadelect rule 7: a candidate that got its vote before the restart is no exception either.
#[test]
fn a_node_in_quarantine_does_not_even_repeat_its_vote() {
    let mut node = Node::start(cluster(3), restored(4, Some(2), D));
    assert_eq!(node.vote(START, 2, 4), Err(Refusal::Quarantine));
    assert_eq!(node.vote(START + D, 2, 4), Ok(()));
}

/// leadelect rule 2: a pre-vote says how long the quarantine will last.
#[test]
fn a_pre_vote_waits_for_the_quarantine() {
    let mut node = Node::start(cluster(3), restored(4, None, D));
    let reply = node.answer(START + ms(100), 2, pre_vote(5));
    assert_eq!((verdict(&reply), wait(&reply)), (Ok(()), D - ms(100)));
}

/// currentTerm and votedFor survive a restart (Raft paper, figure 2); leadelect, TermDurable and VoteOnce.
#[test]
fn a_restarted_node_remembers_its_term_and_its_vote() {
    let mut before = node_of(3);
    assert_eq!(before.vote(START, 2, 7), Ok(()));
    let state = *before.disk.saved.last().expect("saved");
    let down_for = Duration::ZERO;
    let mut node = Node::start(cluster(3), Recovery::Restored { state, down_for });
    assert_eq!(node.vote(START + D, 3, 6), Err(Refusal::TermBehind));
    let refusal = Refusal::AlreadyVoted(id(2));
    assert_eq!(node.vote(START + D, 3, 7), Err(refusal));
    assert_eq!(node.vote(START + D, 2, 7), Ok(()));
}

/// leadelect rule 7: in the first term a new node waits neither to vote nor to be elected.
#[test]
fn a_new_node_votes_and_campaigns_at_once() {
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.campaigns_at(), START);
}

/// leadelect rule 7: a new node in a cluster that has elected before may have lost its disk. So it waits until its
/// promises have run out and its votes are too old to count: twice the election timeout.
#[test]
fn a_new_node_that_is_asked_in_a_later_term_is_in_doubt() {
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    let reply = node.answer(START, 2, vote(2));
    assert_eq!(verdict(&reply), Err(Refusal::Quarantine));
    assert_eq!(wait(&reply), D * 2);
    assert!(node.vote((START + D * 2).before(NS), 2, 2).is_err());
    assert_eq!(node.vote(START + D * 2, 2, 2), Ok(()));
}

/// leadelect rule 7: the same when it learns of the past from a leader. It follows that leader at once.
#[test]
fn a_new_node_that_hears_a_leader_follows_at_once_and_votes_late() {
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.heartbeat(START, 2, 4, 1), Duration::ZERO);
    assert_eq!(node.election.leader(), Some(id(2)));
    let last = (START + D * 2).before(NS);
    assert_eq!(node.vote(last, 3, 5), Err(Refusal::Quarantine));
    assert_eq!(node.vote(START + D * 2, 3, 5), Ok(()));
}

/// leadelect rule 7: the same when it learns of the past from a refusal, and for its own vote.
#[test]
fn a_new_node_that_learns_of_a_higher_term_campaigns_late() {
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    node.tick(START);
    let reply = Reply::PreVote {
        term: Term(5),
        candidacy: node.candidacy,
        verdict: Err(Refusal::TermBehind),
        wait: Duration::ZERO,
        leader: None,
    };
    node.reply(START, 2, reply);
    assert_eq!(node.campaigns_at(), START + D * 2);
    assert_eq!(node.election.term(), Term(6));
}

/// leadelect rule 7: a node whose last write may be missing may have forgotten a vote, too. It waits until that vote is
/// too old to count.
#[test]
fn a_node_with_damaged_state_also_waits_for_its_forgotten_vote() {
    assert_quarantine(damaged(Duration::ZERO), D * 2);
    assert_quarantine(damaged(D), D * 2);
    assert_quarantine(damaged(D * 4), D * 8);
}

const FIRST_TERM: Term = Term(1_700_000_000);

fn stateless() -> Node {
    let first_term = FIRST_TERM;
    Node::start(cluster(3), Recovery::Stateless { first_term })
}

/// leadelect rule 11: without state, no vote for twice the election timeout after the start.
#[test]
fn a_node_without_state_gives_no_vote_for_twice_the_election_timeout() {
    let mut node = stateless();
    let reply = node.answer(START, 2, vote(FIRST_TERM.0));
    assert_eq!(verdict(&reply), Err(Refusal::Quarantine));
    assert_eq!(wait(&reply), D * 2);
    let last = (START + D * 2).before(NS);
    assert!(node.vote(last, 2, FIRST_TERM.0).is_err());
    assert_eq!(node.vote(START + D * 2, 2, FIRST_TERM.0), Ok(()));
}

/// leadelect rule 11: a node that may have forgotten its term promises nothing to any node while it gives no vote. It
/// may have forgotten a later leader than the one that sends this heartbeat.
#[test]
fn a_node_that_may_have_forgotten_promises_nothing_in_quarantine() {
    for (recovery, span) in
        [(Recovery::Stateless { first_term: FIRST_TERM }, D * 2), (damaged(D), D * 2), (damaged(D * 4), D * 8)]
    {
        let mut node = Node::start(cluster(3), recovery);
        let last = (START + span).before(NS);
        assert_eq!(node.heartbeat(START, 2, 5, 1), Duration::ZERO);
        assert_eq!(node.heartbeat(last, 2, 5, 2), Duration::ZERO);
        assert_eq!(node.heartbeat(START + span, 2, 5, 3), D, "{recovery:?}");
    }
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.heartbeat((START + D * 2).before(NS), 2, 2, 1), Duration::ZERO);
    assert_eq!(node.heartbeat(START + D * 2, 2, 2, 2), D);
}

/// leadelect rule 11: it starts its first term from the wall clock so that tokens normally still grow.
#[test]
fn a_node_without_state_campaigns_in_the_term_of_the_wall_clock() {
    let mut node = stateless();
    assert_eq!(node.campaigns_at(), START + D * 2);
    assert_eq!(node.election.term(), FIRST_TERM);
}

/// leadelect rule 11: or in a later one, if it knows of one.
#[test]
fn a_node_without_state_campaigns_in_no_term_that_it_knows_to_be_over() {
    let mut node = stateless();
    node.heartbeat(START, 2, FIRST_TERM.0 + 4, 1);
    node.campaigns_at();
    assert_eq!(node.election.term(), Term(FIRST_TERM.0 + 5));
}

/// leadelect rule 11: it follows the leader also in a term before that of the wall clock. Its answers depose no leader.
#[test]
fn a_node_without_state_follows_the_leader_of_an_earlier_term() {
    let mut node = stateless();
    for (at, seq) in [(START, 1), (START + D * 2, 2)] {
        let reply = node.answer(at, 2, heartbeat(5, seq, D));
        assert_eq!(reply.term(), Term(5));
        assert_eq!(node.election.leader(), Some(id(2)));
        let reply = node.answer(at, 3, pre_vote(6));
        assert_eq!(reply.term(), Term(5), "while a leader is heard");
        assert_eq!(verdict(&reply), Err(Refusal::LeaderHeard(id(2))));
    }
}

/// leadelect rule 11: it may have voted in an earlier term. A node that asks for its vote there learns in which term to
/// ask.
#[test]
fn a_node_without_state_gives_no_vote_in_a_term_before_the_wall_clock() {
    let mut node = stateless();
    node.heartbeat(START, 2, 5, 1);
    for request in [pre_vote(6), vote(6), vote(FIRST_TERM.0 - 1)] {
        let reply = node.answer(START + D * 2, 3, request);
        assert_eq!(verdict(&reply), Err(Refusal::TermBehind));
        assert_eq!(reply.term(), Term(FIRST_TERM.0 - 1));
    }
    assert_eq!(node.vote(START + D * 2, 3, FIRST_TERM.0), Ok(()));
}

/// leadelect rules 11 and 13: even with an absurdly wrong wall clock a node stays within reach of its peers' terms.
#[test]
fn a_wall_clock_far_off_does_not_use_up_the_terms() {
    for (wall, term) in [(u64::MAX, 1 << 32), (0, 1)] {
        let first_term = Term(wall);
        let mut node = Node::start(cluster(3), Recovery::Stateless { first_term });
        node.campaigns_at();
        assert_eq!(node.election.term(), Term(term));
    }
}

/// leadelect rule 7: what a new node hears of others shows a past, too. Then it does not vote in the first term, not
/// even for a node that was left behind there. Found by the simulation (seed 10008064).
#[test]
fn a_new_node_that_is_told_of_a_past_waits() {
    let asking = || {
        let mut node = Node::start(cluster(3), Recovery::Fresh);
        node.tick(START);
        node
    };
    let told = |node: &mut Node, term, leader| {
        let reply = Reply::PreVote {
            term: Term(term),
            candidacy: node.candidacy,
            verdict: Err(Refusal::TermBehind),
            wait: Duration::ZERO,
            leader,
        };
        node.reply(START, 2, reply);
    };
    let hint = Hint { leader: 3.into(), term: Term(1), age: ms(10) };
    for (term, hint) in [(1, Some(hint)), (2, None)] {
        let mut node = asking();
        told(&mut node, term, hint);
        let before = START + D + (D - ms(1));
        assert_eq!(node.vote(before, 3, 1), Err(Refusal::Quarantine));
        assert_eq!(node.vote(START + D * 2, 3, term + 1), Ok(()));
    }
    let mut node = asking();
    told(&mut node, 1, None);
    assert_eq!(node.vote(START, 3, 1), Ok(()));
}

/// leadelect rule 7: a new node may have lost its disk, and the message that it hears may be old. Only its vote in the
/// first term shows that it began together with the cluster.
#[test]
fn a_new_node_that_hears_a_leader_without_having_voted_waits() {
    for term in [1, 2] {
        let mut node = Node::start(cluster(3), Recovery::Fresh);
        assert_eq!(node.heartbeat(START, 2, term, 1), Duration::ZERO);
        let before = START + D + (D - ms(1));
        assert_eq!(node.vote(before, 3, term + 1), Err(Refusal::Quarantine));
        assert_eq!(node.heartbeat(START + D * 2, 3, term + 1, 1), D);
    }
    let mut node = Node::start(cluster(3), Recovery::Fresh);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    assert_eq!(node.heartbeat(START, 2, 1, 1), D);
}
