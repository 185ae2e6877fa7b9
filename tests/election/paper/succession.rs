//! Which node starts an election first, and which nodes never lead.

use super::*;

/// Node 1 of `setup`, whose leader 2 of term 1 names this line of succession at [`START`].
fn follower_in(setup: Setup, succession: &[u16]) -> Node {
    let mut node = Node::start(setup, restored(0, None, Duration::ZERO));
    node.request(START, 2, heartbeat_with(succession));
    node
}

fn witness() -> Voter {
    let (priority, witness) = (0, true);
    Voter { priority, witness }
}

fn priority(priority: i32) -> Voter {
    let witness = false;
    Voter { priority, witness }
}

/// What the leader tells its followers about who should follow.
fn succession(effects: &Effects) -> Vec<NodeId> {
    let request = effects.messages.first().map(|(_, request)| request);
    match request {
        Some(Request::Heartbeat { succession, .. }) => succession.clone(),
        other => panic!("a heartbeat, not {other:?}"),
    }
}

/// leadelect rule 8: when a leader falls silent, rank k starts after k·δ.
#[test]
fn the_line_of_succession_starts_one_stagger_after_another() {
    let lines: [(&[u16], u32); 4] = [(&[1, 3, 4, 5], 0), (&[3, 1, 4, 5], 1), (&[3, 4, 1, 5], 2), (&[3, 4, 5, 1], 3)];
    for (line, rank) in lines {
        let node = follower_in(cluster(5), line);
        let suspect_at = START + S + STAGGER * rank;
        assert_eq!(node.election.wake_at(), suspect_at, "rank {rank}");
    }
}

/// leadelect rule 8: and campaigns k·δ after the promises have run out.
#[test]
fn the_line_of_succession_campaigns_one_stagger_after_another() {
    for (line, rank) in [([1, 3], 0), ([3, 1], 1)] {
        let mut node = follower_in(cluster(3), &line);
        assert_eq!(node.campaigns_at(), START + D + STAGGER * rank);
    }
}

/// leadelect rule 8: a node that is not first asks again before it campaigns. An earlier one may be a candidate by now
/// and still wait for its disk.
#[test]
fn a_node_that_is_not_first_in_line_asks_again_before_it_campaigns() {
    let mut node = follower_in(cluster(3), &[3, 1]);
    assert!(asks_pre_votes(&node.tick(START + S + STAGGER)).is_some());
    node.gets_pre_vote(START + D, 3, Duration::ZERO);
    let effects = node.tick(START + D + STAGGER);
    assert_eq!(asks_votes(&effects), None);
    assert!(asks_pre_votes(&effects).is_some());
    let effects = node.gets_pre_vote(START + D + STAGGER + ms(1), 3, Duration::ZERO);
    assert_eq!(asks_votes(&effects), Some(2));
}

/// leadelect rule 8: the first in line does not ask again, so that its pre-vote costs no time beyond the wait.
#[test]
fn the_first_in_line_campaigns_the_moment_a_quorum_is_free() {
    let mut node = follower_in(cluster(3), &[1, 3]);
    assert!(asks_pre_votes(&node.tick(START + S)).is_some());
    node.gets_pre_vote(START + S, 3, Duration::ZERO);
    assert_eq!(asks_votes(&node.tick(START + D)), Some(2));
}

/// leadelect rule 8: the list orders and never forbids. A node that is not in it comes last.
#[test]
fn a_node_outside_the_line_of_succession_starts_last() {
    let mut node = follower_in(cluster(5), &[3, 4, 5]);
    assert_eq!(node.election.wake_at(), START + S + STAGGER * 3);
    node.tick(START + S + STAGGER * 3);
    assert_eq!(node.election.role(), Role::Candidate);
}

/// leadelect rule 8: without a list the nodes are ordered by priority, then by id. Witnesses do not count.
#[test]
fn without_a_line_of_succession_priority_and_id_order_the_nodes() {
    let cases = [
        ([priority(0), priority(0), priority(0)], 0),
        ([priority(0), priority(1), priority(0)], 1),
        ([priority(0), priority(1), priority(2)], 2),
        ([priority(3), priority(1), priority(2)], 0),
        ([priority(-1), witness(), priority(0)], 1),
    ];
    for (voters, rank) in cases {
        let mut setup = cluster(3);
        setup.voters = (1..).map(id).zip(voters).collect();
        let node = follower_in(setup, &[]);
        assert_eq!(node.election.wake_at(), START + S + STAGGER * rank);
    }
    let mut setup = cluster(3);
    setup.me = id(3);
    let mut last = Node::start(setup, restored(0, None, Duration::ZERO));
    last.request(START, 2, heartbeat_with(&[]));
    assert_eq!(last.election.wake_at(), START + S + STAGGER * 2);
}

/// leadelect rule 8: a node that has restarted and has heard no leader since has no list. It comes after all that have
/// one. A node in its first term, and one that has led, know that there is none.
#[test]
fn a_restarted_node_that_has_heard_no_leader_comes_after_those_that_have_a_list() {
    let mut node = Node::start(cluster(3), restored(4, None, Duration::ZERO));
    assert_eq!(node.campaigns_at(), START + STAGGER * 2);
    let mut node = Node::start(cluster(3), restored(4, None, Duration::ZERO));
    node.heartbeat(START, 2, 5, 1);
    assert_eq!(node.campaigns_at(), START + D);
    assert_eq!(node_of(3).campaigns_at(), START);
    let mut node = leader_of(3);
    node.tick(START + LEASE);
    node.work_ended(START + LEASE, 1);
    assert_eq!(asks_votes(&node.gets_pre_vote(START + LEASE, 2, Duration::ZERO)), Some(2));
}

/// leadelect rule 8: heartbeats carry a list ranked by health, then ack freshness, then priority.
#[test]
fn a_leader_ranks_by_health_then_freshness_then_priority() {
    let mut setup = cluster(5);
    setup.voters = (1..).map(id).zip([9, 0, 1, 2, 3].map(priority)).collect();
    let (mut node, first) = elected(Node::start(setup, restored(0, None, Duration::ZERO)));
    assert_eq!(succession(&first), [3, 2, 5, 4].map(id), "those that voted, and then by priority");

    node.gets_ack(START, 2, 1);
    node.reply(START, 3, ineligible(ack(1, 1, D)));
    node.gets_ack(START, 5, 1);
    let acked = node.tick(START + ETA);
    assert_eq!(succession(&acked), [5, 2, 3, 4].map(id), "eligible, fresh, silent");

    node.gets_ack(START + ETA, 2, 2);
    node.reply(START + ETA, 3, ineligible(ack(1, 2, D)));
    let before = node.tick((START + LEASE).before(NS));
    assert_eq!(succession(&before), [5, 2, 3, 4].map(id), "5 is still fresh");
    let stale = node.tick(START + LEASE + ETA.saturating_sub(NS));
    assert_eq!(succession(&stale), [2, 3, 5, 4].map(id), "5 is no longer");
}

/// leadelect rule 8: a backer counts as fresh until the exact end of its promise.
#[test]
fn a_backer_is_first_in_line_only_while_its_promise_lasts() {
    let ends = START + LEASE;
    for (at, line) in [(ends.before(NS), [3, 2, 4, 5]), (ends, [2, 3, 4, 5])] {
        let mut node = elected_of(5);
        node.gets_ack(START, 3, 1);
        assert_eq!(succession(&node.tick(at)), line.map(id), "at {at:?}");
    }
}

/// leadelect rules 8 and 12: neither the leader nor a witness is in the line of succession.
#[test]
fn a_leader_names_neither_itself_nor_a_witness() {
    let mut setup = cluster(4);
    setup.voters.insert(id(3), witness());
    let (_, first) = elected(Node::start(setup, restored(0, None, Duration::ZERO)));
    assert_eq!(succession(&first), [2, 4].map(id));
}

/// leadelect rule 8: after one failed round everybody waits at random, less than 8·δ.
#[test]
fn after_a_failed_candidacy_each_node_waits_for_a_random_time() {
    let mut waits: Vec<Duration> = (0..32).map(wait_after_a_lost_candidacy).collect();
    assert!(waits.iter().all(|wait| *wait < STAGGER * 8));
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 28, "{} different of 32", waits.len());
}

fn wait_after_a_lost_candidacy(seed: u64) -> Duration {
    let mut node = Node::start_seeded(cluster(3), restored(0, None, Duration::ZERO), seed);
    node.tick(START);
    node.gets_pre_vote(START, 2, Duration::ZERO);
    node.gets_no_vote(START, 2, Duration::ZERO);
    node.gets_no_vote(START, 3, Duration::ZERO);
    node.gets_pre_vote(START, 2, Duration::ZERO);
    node.election.wake_at().since(START)
}

/// leadelect rule 8: once a leader is heard, its list orders the nodes again.
#[test]
fn the_line_of_succession_counts_again_once_a_leader_is_heard() {
    let mut node = candidate_of(3);
    node.gets_no_vote(START, 2, Duration::ZERO);
    node.gets_no_vote(START, 3, Duration::ZERO);
    node.request(START, 2, heartbeat_with(&[3, 1]));
    assert_eq!(node.election.wake_at(), START + S + STAGGER);
}

/// leadelect rule 12: a witness votes and promises.
#[test]
fn a_witness_votes_and_promises() {
    let mut node = witness_of(3);
    assert_eq!(node.pre_vote(START, 2, 1), Ok(()));
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    assert_eq!(node.heartbeat(START, 2, 1, 1), D);
}

/// leadelect rule 12: a witness never leads. It asks no node, even if there is no leader for a long time.
#[test]
fn a_witness_never_asks() {
    let mut node = witness_of(3);
    assert_eq!(receivers(&node.tick(START)), []);
    node.heartbeat(START, 2, 1, 1);
    let effects = node.tick(START + S);
    assert_eq!(receivers(&effects), []);
    assert_eq!(causes(&effects), [Cause::NoLeader]);
    assert_eq!(node.election.wake_at(), Instant::NEVER);
    assert_eq!(receivers(&node.tick(START + D * 99)), []);
}

/// leadelect rule 12: not even if it is named.
#[test]
fn a_witness_that_is_named_does_not_campaign() {
    let mut node = witness_of(3);
    node.heartbeat(START, 2, 1, 1);
    let effects = node.request(START, 2, release(1, 1, Some(1)));
    assert_eq!(receivers(&effects), []);
    assert_eq!(receivers(&node.tick(START + D * 9)), []);
}

/// leadelect rule 12: it says so in its acks.
#[test]
fn a_witness_is_never_eligible() {
    let mut node = witness_of(3);
    let reply = node.answer(START, 2, heartbeat(1, 1, D));
    assert_eq!(reply, ineligible(ack(1, 1, D)));
}

fn witness_of(of: u16) -> Node {
    let mut setup = cluster(of);
    setup.voters.insert(id(1), witness());
    Node::start(setup, restored(0, None, Duration::ZERO))
}

/// leadelect rule 12: an ineligible node leads only if no other node can. It starts D later than all others.
#[test]
fn an_ineligible_node_starts_an_election_timeout_later() {
    let mut node = node_of(3);
    node.step(START, Input::Eligible(false));
    node.heartbeat(START, 2, 1, 1);
    assert_eq!(node.election.wake_at(), START + S + D);
    assert_eq!(node.campaigns_at(), START + S + D + D);
}

/// leadelect rules 7 and 8: no leader hands over to a node that cannot vote yet, not even for itself.
#[test]
fn a_node_in_quarantine_is_not_eligible() {
    let mut node = Node::start(cluster(3), restored(1, None, D));
    let reply = node.answer((START + D).before(NS), 2, heartbeat(1, 1, D));
    assert_eq!(reply, ineligible(ack(1, 1, D)));
    let reply = node.answer(START + D, 2, heartbeat(1, 2, D));
    assert_eq!(reply, ack(1, 2, D));
}

/// leadelect rule 12: it says in its acks that it is ineligible, and later that it is eligible again.
#[test]
fn a_node_tells_whether_it_is_eligible() {
    let mut node = follower();
    node.step(START, Input::Eligible(false));
    let reply = node.answer(START, 2, heartbeat(1, 2, D));
    assert_eq!(reply, ineligible(ack(1, 2, D)));
    node.step(START, Input::Eligible(true));
    let reply = node.answer(START, 2, heartbeat(1, 3, D));
    assert_eq!(reply, ack(1, 3, D));
    assert_eq!(node.election.wake_at(), START + S);
}
