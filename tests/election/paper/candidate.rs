//! How a candidacy is won and lost.

use super::*;

/// To begin an election, a follower increments its current term and transitions to candidate state. It then votes for
/// itself and issues RequestVote RPCs to each of the other servers (Raft paper, section 5.2).
#[test]
fn a_candidate_enters_the_next_term_votes_for_itself_and_asks_everybody_else() {
    let mut node = Node::start(cluster(3), restored(4, Some(3), Duration::ZERO));
    node.heartbeat(START, 3, 4, 1);
    node.tick(START + S);
    node.gets_pre_vote(START + S, 3, Duration::ZERO);
    let effects = node.tick(START + D);
    assert_eq!(node.election.role(), Role::Candidate);
    assert_eq!(asks_votes(&effects), Some(5));
    assert_eq!(receivers(&effects), [id(2), id(3)]);
    let saved = node.disk.saved.last().expect("saved");
    assert_eq!((saved.term, saved.voted_for), (Term(5), Some(id(1))));
}

/// A candidate wins an election if it receives votes from a majority of the servers in the full cluster (Raft paper,
/// section 5.2). Half of the votes is no majority.
#[test]
fn a_candidate_needs_more_than_half_of_all_votes() {
    for (of, needed) in [(2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
        let mut node = candidate_of(of);
        for voter in 2..needed {
            node.gets_vote(START, voter);
        }
        assert_eq!(node.election.role(), Role::Candidate, "{of} nodes");
        node.gets_vote(START, needed);
        assert_eq!(node.election.role(), Role::Leader, "{of} nodes");
    }
}

/// One node is a majority of one (Raft paper, section 5.2): it leads at once, and its lease needs nobody's promise.
#[test]
fn a_single_node_leads_at_once() {
    let mut node = node_of(1);
    let effects = node.tick(START);
    assert_eq!(node.election.role(), Role::Leader);
    let (token, until) = (Term(1), Instant::NEVER);
    assert_eq!(effects.lease, Some(Deadline { token, until }));
    assert_eq!(receivers(&effects), []);
}

/// leadelect rule 1: votes are counted by voter. The same voter twice is one vote.
#[test]
fn the_same_voter_twice_is_one_vote() {
    let mut node = candidate_of(5);
    node.gets_vote(START, 2);
    node.gets_vote(START, 2);
    assert_eq!(node.election.role(), Role::Candidate);
    node.gets_vote(START, 3);
    assert_eq!(node.election.role(), Role::Leader);
}

/// leadelect rule 1: votes are counted only of the authenticated other voters.
#[test]
fn the_vote_of_a_stranger_does_not_count() {
    let mut node = candidate_of(3);
    node.gets_vote(START, 4);
    node.gets_vote(START, 1);
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 1: a vote counts only for the very candidacy that it answers.
#[test]
fn a_vote_for_another_candidacy_does_not_count() {
    let mut node = candidate_of(3);
    let other = node.candidacy.wrapping_add(1);
    node.reply(START, 2, vote_reply(Term(1), other, Ok(()), D));
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 1: the id of a candidacy is also unique across restarts. Only the seed makes it so.
#[test]
fn a_vote_for_a_candidacy_before_a_restart_does_not_count() {
    let old = candidate_of(3).candidacy;
    let mut node = Node::start_seeded(cluster(3), restored(0, None, Duration::ZERO), SEED + 1);
    node.tick(START);
    node.gets_pre_vote(START, 2, Duration::ZERO);
    assert_eq!(node.election.term(), Term(1));
    node.reply(START, 2, vote_reply(Term(1), old, Ok(()), D));
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 2: a pre-vote is no vote.
#[test]
fn a_late_pre_vote_does_not_count_as_a_vote() {
    let mut node = candidate_of(5);
    node.gets_pre_vote(START, 4, Duration::ZERO);
    node.gets_pre_vote(START, 5, Duration::ZERO);
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 11: a grant counts only while its voter certainly remembers it. The answer says how long that is,
/// from the moment at which the vote was asked for.
#[test]
fn a_vote_older_than_its_wait_does_not_count() {
    let lease = Timing::default().lease(ms(200));
    for (at, role) in [((START + lease).before(NS), Role::Leader), (START + lease, Role::Candidate)] {
        let mut node = candidate_of(3);
        let reply = vote_reply(Term(1), node.candidacy, Ok(()), ms(200));
        node.reply(at, 2, reply);
        assert_eq!(node.election.role(), role, "at {at:?}");
    }
}

/// leadelect rule 11: that is the moment of the very request that is answered. A voter that writes for long answers
/// several requests when it has written, and the latest of these answers is young enough.
#[test]
fn the_age_of_a_vote_is_counted_from_the_request_that_it_answers() {
    let mut node = candidate_of(3);
    let first = node.candidacy;
    node.tick(START + ETA);
    let second = node.candidacy;
    assert_ne!(first, second);
    let lease = Timing::default().lease(ms(200));
    let at = START + lease;
    node.reply(at, 2, vote_reply(Term(1), first, Ok(()), ms(200)));
    assert_eq!(node.election.role(), Role::Candidate);
    let mut late = node.clone();
    late.reply(at + ETA, 2, vote_reply(Term(1), second, Ok(()), ms(200)));
    assert_eq!(late.election.role(), Role::Candidate);
    node.reply((at + ETA).before(NS), 2, vote_reply(Term(1), second, Ok(()), ms(200)));
    assert_eq!(node.election.role(), Role::Leader);
}

/// leadelect rule 11: a request is sent, and its clock starts, only when the candidate's own vote is durable. The first
/// candidacy gives its voters time for as long a write.
#[test]
fn a_candidate_asks_when_its_own_vote_is_durable_and_waits_for_as_long_a_write() {
    for write in [Duration::ZERO, D * 2] {
        let mut node = pre_candidate_of(3);
        let reply = Reply::PreVote {
            term: Term(0),
            candidacy: node.candidacy,
            verdict: Ok(()),
            wait: Duration::ZERO,
            leader: None,
        };
        let effects = node.step_once(START, Input::Reply { from: id(2), reply });
        assert_eq!(receivers(&effects), []);
        assert_eq!(node.election.wake_at(), START);
        let asked = START + write;
        assert_eq!(asks_votes(&node.tick(asked)), Some(1));
        let (mut counts, mut at) = (node.clone(), asked);
        counts.gets_vote((asked + LEASE).before(NS), 2);
        assert_eq!(counts.election.role(), Role::Leader);
        while asks_pre_votes(&node.tick(at)).is_none() {
            at = node.election.wake_at();
        }
        assert!((asked + write + S..asked + write + D).contains(&at), "{at:?} after {write:?}");
    }
}

/// leadelect rule 11: nor does a lease begin once a voter may have forgotten its vote and promised to another node. A
/// node that forgets gives its first promise after twice that time.
#[test]
fn a_leader_without_a_lease_gives_up_before_its_voters_may_have_forgotten() {
    let mut node = candidate_of(3);
    let reply = vote_reply(Term(1), node.candidacy, Ok(()), ms(200));
    node.reply(START + ms(100), 2, reply);
    let gives_up = START + Timing::default().lease(ms(200)) * 2;
    node.tick(gives_up.before(NS));
    assert_eq!(node.election.role(), Role::Leader);
    let effects = node.tick(gives_up);
    assert_eq!(causes(&effects)[0], Cause::LeaseLost);
}

/// leadelect rule 11: a voter says how long its vote may be counted: its own election timeout.
#[test]
fn a_vote_may_be_counted_for_the_voters_election_timeout() {
    let mut node = node_of(3);
    assert_eq!(wait(&node.answer(START, 2, vote(1))), D);
}

/// If a candidate receives the heartbeat of a leader whose term is at least as large as its own, it recognizes the
/// leader and returns to follower state (Raft paper, section 5.2).
#[test]
fn a_candidate_follows_the_leader_of_its_term() {
    let mut node = candidate_of(3);
    assert_eq!(node.heartbeat(START, 3, 1, 1), D);
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), Some(id(3)));
}

/// If the term in the heartbeat is smaller than the candidate's current term, the candidate rejects it and continues in
/// candidate state (Raft paper, section 5.2).
#[test]
fn a_candidate_rejects_the_leader_of_an_earlier_term() {
    let mut node = candidate_of(3);
    assert_eq!(node.heartbeat(START, 3, 0, 1), Duration::ZERO);
    assert_eq!(node.election.role(), Role::Candidate);
}

/// If a candidate discovers that its term is out of date, it immediately reverts to follower state (Raft paper, section
/// 5.1); leadelect rule 3: of unknown leader, and never straight to another campaign.
#[test]
fn a_candidate_that_learns_of_a_higher_term_follows_and_asks_only_later() {
    let mut node = candidate_of(3);
    let refusal = Err(Refusal::TermBehind);
    let reply = vote_reply(Term(6), node.candidacy, refusal, Duration::ZERO);
    let effects = node.reply(START, 2, reply);
    assert_eq!(causes(&effects), [Cause::HigherTerm { from: id(2) }]);
    assert_eq!(receivers(&effects), []);
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.election.term(), Term(6));
    // It has no list, and waits for those that may have one.
    let later = START + STAGGER * 3;
    assert_eq!(receivers(&node.tick(later.before(NS))), []);
    assert_eq!(asks_pre_votes(&node.tick(later)), Some(7));
}

/// leadelect rule 2: a vote that was refused only because of a promise is asked for again in the same term. That is
/// exactly when the answer said that the voter would be free, on the slower of the two clocks.
#[test]
fn a_candidate_asks_again_when_the_promise_has_run_out() {
    let mut node = candidate_of(3);
    node.gets_no_vote(START, 2, ms(50));
    let free = START + Timing::default().wait_for(ms(50));
    assert_eq!(node.election.wake_at(), free);
    assert_eq!(receivers(&node.tick(free.before(NS))), []);
    let effects = node.tick(free);
    assert_eq!(receivers(&effects), [id(2)]);
    assert_eq!(asks_votes(&effects), Some(1));
}

/// The candidate retries RequestVote if it does not receive a response in a timely manner (Raft paper, section 5.1).
#[test]
fn a_candidate_asks_silent_voters_again_after_a_heartbeat_interval() {
    let mut node = candidate_of(5);
    node.gets_vote(START, 2);
    node.gets_no_vote(START, 3, Duration::ZERO);
    assert_eq!(receivers(&node.tick((START + ETA).before(NS))), []);
    let effects = node.tick(START + ETA);
    assert_eq!(asks_votes(&effects), Some(1));
    assert_eq!(receivers(&effects), [id(4), id(5)]);
}

/// leadelect rule 2: but not before two round trips have passed, as the pre-vote has measured them. A named successor
/// has not measured any, and waits for two heartbeat intervals.
#[test]
fn a_candidate_on_a_slow_network_asks_silent_voters_again_after_two_round_trips() {
    for (round_trip, again) in [(ms(50), ms(100)), (ms(50) + NS, (ms(50) + NS) * 2), (ms(120), ms(240))] {
        let mut node = pre_candidate_of(3);
        let asked = START + round_trip;
        assert_eq!(asks_votes(&node.gets_pre_vote(asked, 2, Duration::ZERO)), Some(1));
        assert_eq!(node.election.wake_at(), asked + again);
        assert_eq!(asks_votes(&node.tick(asked + again)), Some(1));
    }
    let mut node = follower();
    node.request(START, 2, release(1, 1, Some(1)));
    assert_eq!(node.election.wake_at(), START + ETA * 2);
}

/// leadelect rule 3: a candidacy ends when too many voters have refused for it to be won. Then the node asks for
/// pre-votes, and does not campaign again at once.
#[test]
fn a_candidate_that_cannot_win_any_more_asks_for_pre_votes() {
    let mut node = candidate_of(3);
    node.gets_no_vote(START, 2, Duration::ZERO);
    assert_eq!(node.election.term(), Term(1));
    let effects = node.gets_no_vote(START, 3, Duration::ZERO);
    let votes = vec![id(1)];
    assert!(causes(&effects).contains(&Cause::CandidacyLost { votes }));
    assert_eq!(asks_votes(&effects), None);
    assert_eq!(asks_pre_votes(&effects), Some(2));
    assert_eq!(node.election.term(), Term(1));
}

/// The same with 5 and with 2 nodes: it goes on as long as the voters that have not refused are a majority.
#[test]
fn a_candidate_that_can_still_win_goes_on() {
    let mut node = candidate_of(5);
    for voter in [2, 3] {
        let effects = node.gets_no_vote(START, voter, Duration::ZERO);
        assert_eq!(causes(&effects), [], "three of five may still vote for it");
    }
    let effects = node.gets_no_vote(START, 4, Duration::ZERO);
    assert_eq!(asks_pre_votes(&effects), Some(2));

    let mut node = candidate_of(2);
    let effects = node.gets_no_vote(START, 2, Duration::ZERO);
    assert_eq!(asks_pre_votes(&effects), Some(2));
}

/// Each candidate restarts its randomized election timeout at the start of an election (Raft paper, section 5.2), here
/// between suspicion and the election timeout; leadelect rule 2: a pre-vote follows.
#[test]
fn a_candidacy_that_nobody_decides_ends_at_a_random_moment() {
    let mut ends: Vec<Instant> = (0..32).map(end_of_undecided_candidacy).collect();
    assert!(ends.iter().all(|end| (START + S..START + D).contains(end)));
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() > 28, "{} different of 32", ends.len());
}

/// leadelect rule 8: after each candidacy in a row that has failed the next one lasts twice as long, up to four times.
/// So it outlasts the write of a voter whose disk is slower than its own.
#[test]
fn a_candidacy_lasts_longer_after_each_that_has_failed() {
    let mut node = candidate_of(3);
    let mut began = START;
    for times in [1, 2, 4, 4] {
        let mut at = began;
        while asks_pre_votes(&node.tick(at)).is_none() {
            at = node.election.wake_at();
        }
        assert!((began + S * times..began + D * times).contains(&at), "{at:?} after {began:?}");
        began = node.campaigns_at();
    }
}

fn end_of_undecided_candidacy(seed: u64) -> Instant {
    let mut node = Node::start_seeded(cluster(3), restored(0, None, Duration::ZERO), seed);
    node.tick(START);
    node.gets_pre_vote(START, 2, Duration::ZERO);
    loop {
        let at = node.election.wake_at();
        let effects = node.tick(at);
        if asks_pre_votes(&effects).is_some() {
            assert_eq!(asks_pre_votes(&effects), Some(2));
            assert_eq!(asks_votes(&effects), None);
            return at;
        }
        assert_eq!(asks_votes(&effects), Some(1));
    }
}
