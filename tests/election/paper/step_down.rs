//! How a leader steps down, and how its successor follows.

use super::*;

const NOW: Instant = Instant::from_nanos(START.as_nanos() + 10_000_000);

/// Node 1 of three, which held a lease and stepped down. Its work has ended, and it released at [`NOW`].
fn released() -> Node {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    assert_eq!(releases(&node.work_ended(NOW, 1)).len(), 2);
    node
}

/// Node 1 of three, whose leader 2 of term 1 has released at [`NOW`] and named a successor.
fn follower_released_to(successor: u16) -> Node {
    let mut node = follower();
    node.request(NOW, 2, release(1, 1, Some(successor)));
    node
}

/// leadelect rule 6: the lease is gone in the same step, and nothing is said yet.
#[test]
fn a_leader_that_steps_down_loses_its_lease_before_it_says_anything() {
    let mut node = leader_of(3);
    let effects = node.resign(NOW, None);
    assert_eq!(effects.lease, None);
    assert_eq!(receivers(&effects), []);
    assert_eq!(causes(&effects), [Cause::SteppingDown { reason: EndReason::Resigned, successor: Some(id(2)) }]);
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
}

/// leadelect rule 6: a release goes to everybody, but only once the guarded work has ended.
#[test]
fn a_release_is_sent_to_everybody_once_the_work_has_ended() {
    let mut node = leader_of(3);
    node.tick(START + ETA);
    let now = START + ETA + ms(1);
    node.resign(now, Some(3));
    assert_eq!(releases(&node.tick(now)), []);
    let effects = node.work_ended(now, 1);
    let successor = Some(id(3));
    let expected = [(id(2), 1, 2, successor), (id(3), 1, 2, successor)];
    assert_eq!(releases(&effects), expected);
    assert_eq!(causes(&effects), [Cause::Released { successor }]);
    assert_eq!(node.election.role(), Role::Follower);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.election.awaits_work(), None);
}

/// leadelect rule 6: the end of the work of another term releases nothing.
#[test]
fn the_end_of_another_terms_work_releases_nothing() {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    assert_eq!(releases(&node.work_ended(NOW, 0)), []);
    assert_eq!(releases(&node.work_ended(NOW, 2)), []);
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
}

/// leadelect rule 6: or at the exact end of the lease, whether or not the work has ended.
#[test]
fn a_release_is_sent_once_the_lease_has_run_out() {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    assert_eq!(node.election.wake_at(), START + LEASE);
    assert_eq!(releases(&node.tick((START + LEASE).before(NS))), []);
    assert_eq!(releases(&node.tick(START + LEASE)).len(), 2);
}

/// leadelect rule 6: while the node leads, the end of its work does not end its leadership.
#[test]
fn the_end_of_the_work_of_a_leader_does_not_end_its_leadership() {
    let mut node = leader_of(3);
    let effects = node.work_ended(NOW, 1);
    assert_eq!(releases(&effects), []);
    assert_eq!(node.lease_until(), Some(START + LEASE));
    assert_eq!(node.election.awaits_work(), None);
}

/// leadelect rule 6: a leader that steps down renews no promises, and an ack gives it no more time.
#[test]
fn a_leader_that_steps_down_sends_no_heartbeats_and_wins_no_time() {
    let mut node = leader_of(3);
    node.tick(START + ETA);
    node.resign(START + ETA, None);
    assert_eq!(node.gets_ack(START + ETA, 2, 2).lease, None);
    assert_eq!(heartbeat_sent(&node.tick(START + ETA * 2)), None);
    assert_eq!(releases(&node.tick(START + LEASE)).len(), 2);
}

/// leadelect rule 6: a leader that never held a lease has no work to wait for.
#[test]
fn a_leader_without_a_lease_releases_at_once() {
    let mut node = elected_of(3);
    assert_eq!(releases(&node.resign(NOW, None)).len(), 2);
    assert_eq!(node.election.role(), Role::Follower);
}

/// leadelect rule 6: a node that does not lead has nothing to give up.
#[test]
fn a_node_that_does_not_lead_cannot_step_down() {
    for mut node in [follower(), pre_candidate_of(3), candidate_of(3)] {
        let before = node.election.clone();
        let effects = node.resign(START, Some(2));
        assert_eq!((effects.messages, effects.events), (vec![], vec![]));
        assert_eq!(node.election, before);
    }
}

/// leadelect rule 6: a leader steps down once. The first call decides about the successor.
#[test]
fn a_second_step_down_has_no_effect() {
    let mut node = leader_of(3);
    node.resign(NOW, Some(3));
    let before = node.election.clone();
    assert_eq!(node.resign(NOW, Some(2)).events, []);
    assert_eq!(node.election, before);
}

/// leadelect rule 6: a leader that is deposed while it steps down has nothing left to release.
#[test]
fn a_leader_deposed_while_it_steps_down_releases_nothing() {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    node.reply(NOW, 3, ack(5, 1, Duration::ZERO));
    assert_eq!(node.election.awaits_work(), Some(Term(1)));
    assert_eq!(node.vote(NOW, 2, 6), Err(Refusal::OwnWork));
    assert_eq!(releases(&node.work_ended(NOW, 1)), []);
    assert_eq!(node.vote(NOW, 2, 6), Ok(()));
}

/// leadelect rules 1 and 6: a leader that steps down gives no vote while its work may still run, and tells nobody that
/// it leads.
#[test]
fn a_leader_that_steps_down_neither_votes_nor_names_itself() {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    assert_eq!(node.vote(NOW, 2, 2), Err(Refusal::OwnWork));
    let reply = node.answer(NOW, 2, pre_vote(2));
    assert_eq!(verdict(&reply), Err(Refusal::LeaderHeard(id(1))));
    assert!(matches!(reply, Reply::PreVote { leader: None, .. }));
    node.work_ended(NOW, 1);
    assert_eq!(node.vote(NOW, 2, 2), Ok(()));
}

/// The prior leader picks the target of a transfer (thesis, section 3.10); leadelect rule 6: the best backer if none is
/// named, and none if no backer is eligible.
#[test]
fn a_release_names_the_best_backer_unless_told_otherwise() {
    let cases = [(None, true, Some(id(2))), (None, false, None), (Some(3), true, Some(id(3)))];
    for (asked, eligible, named) in cases {
        let mut node = elected_of(3);
        let (term, seq, granted) = (Term(1), 1, D);
        let reply = Reply::Heartbeat { term, seq, granted, eligible };
        node.reply(START, 2, reply);
        node.resign(NOW, asked);
        let effects = node.work_ended(NOW, 1);
        let successors: Vec<_> = releases(&effects).iter().map(|release| release.3).collect();
        assert_eq!(successors, [named, named]);
    }
}

/// leadelect rule 6: if no backer is eligible, and the leader holds off for longer than D, it names one all the same.
/// Nobody else would lead sooner.
#[test]
fn a_leader_that_stays_away_names_a_last_resort_if_nobody_is_eligible() {
    for (hold_off, named) in [(D, None), (D + NS, Some(id(2)))] {
        let mut node = elected_of(3);
        node.reply(START, 2, ineligible(ack(1, 1, D)));
        let (reason, successor) = (EndReason::Stopped, None);
        let effects = node.step(NOW, Input::StepDown { reason, successor, hold_off });
        assert_eq!(causes(&effects), [Cause::SteppingDown { reason, successor: named }]);
    }
}

/// leadelect rules 6 and 12: a last resort waits for D after a release, and not twice. It leaves 4 δ to the old leader.
#[test]
fn a_last_resort_counts_its_wait_from_the_release() {
    let mut node = follower();
    node.step(START, Input::Eligible(false));
    node.request(NOW, 2, release(1, 1, None));
    assert_eq!(node.election.wake_at(), NOW + D + STAGGER * 4);
    assert_eq!(node.campaigns_at(), NOW + D + STAGGER * 4);
}

/// leadelect rule 6: it names the best backer of the moment when it stepped down. If its work ends late, no node backs
/// it any more by then.
#[test]
fn a_release_names_the_best_backer_from_before_the_work_ended() {
    let mut node = leader_of(3);
    node.resign(NOW, None);
    let effects = node.tick(START + LEASE);
    let successor = Some(id(2));
    assert_eq!(causes(&effects), [Cause::Released { successor }]);
}

/// leadelect rules 6 and 8: a backer whose promise has run out is not named.
#[test]
fn a_backer_is_named_only_while_its_promise_lasts() {
    let ends = START + LEASE;
    for backer in [2, 3] {
        for (at, successor) in [(ends.before(NS), Some(id(backer))), (ends, None)] {
            let mut node = elected_of(5);
            node.gets_ack(START, backer, 1);
            let told = releases(&node.resign(at, None));
            assert_eq!(told[0].3, successor, "{backer} at {at:?}");
        }
    }
}

/// The target server starts a new election at once, without waiting for its election timeout (thesis, section 3.10);
/// leadelect rule 6: and without pre-vote.
#[test]
fn a_named_successor_campaigns_at_once_without_pre_vote() {
    let mut node = follower();
    let effects = node.request(NOW, 2, release(1, 1, Some(1)));
    assert_eq!(asks_votes(&effects), Some(2));
    assert_eq!(asks_pre_votes(&effects), None);
    assert_eq!(receivers(&effects), [id(2), id(3)]);
    assert_eq!(causes(&effects), [Cause::NamedSuccessor { by: id(2) }]);
}

/// leadelect rule 6: all other nodes give it a head start of 4 δ, and may vote for it at once.
#[test]
fn a_follower_that_is_not_named_votes_for_the_successor_and_waits() {
    let mut node = follower_released_to(3);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.election.wake_at(), NOW + STAGGER * 4);
    assert_eq!(node.vote(NOW, 3, 2), Ok(()));
}

/// leadelect rule 6: a node that has voted for the successor waits for it as long, and not until it would suspect a
/// leader. Nobody owes a promise.
#[test]
fn a_voter_of_a_successor_waits_for_it_no_longer_than_for_the_named_one() {
    let mut node = follower_released_to(3);
    assert_eq!(node.vote(NOW + ms(1), 3, 2), Ok(()));
    assert_eq!(node.election.wake_at(), NOW + ms(1) + STAGGER * 4);
    let mut node = follower();
    assert_eq!(node.vote(START + D, 3, 2), Ok(()));
    assert_eq!(node.election.wake_at(), START + D + S, "without a release");
}

/// leadelect rule 6: if the successor fails, another node is elected without a wait for the promise that was given
/// back.
#[test]
fn after_a_release_without_a_successor_an_election_needs_no_wait() {
    let mut node = follower();
    node.request(NOW, 2, release(1, 1, None));
    let reply = node.answer(NOW, 3, pre_vote(2));
    assert_eq!((verdict(&reply), wait(&reply)), (Ok(()), Duration::ZERO));
    assert_eq!(node.campaigns_at(), NOW + STAGGER);
}

/// Raft RPCs are idempotent (Raft paper, section 5.5): a release that comes twice starts one candidacy.
#[test]
fn a_repeated_release_does_not_start_a_second_candidacy() {
    let mut node = follower_released_to(1);
    let before = node.election.clone();
    let effects = node.request(NOW, 2, release(1, 1, Some(1)));
    assert_eq!(effects.messages, []);
    assert_eq!(node.election, before);
}

/// leadelect rule 6: after a release of an earlier term the named node does not campaign against its leader.
#[test]
fn a_stale_release_makes_nobody_campaign() {
    let mut node = follower();
    node.heartbeat(NOW, 3, 2, 1);
    let effects = node.request(NOW, 2, release(1, 1, Some(1)));
    assert_eq!(effects.messages, []);
    assert_eq!(node.election.leader(), Some(id(3)));
}

/// leadelect rules 1 and 6: being named does not end a quarantine. The successor asks like any other node, and waits.
#[test]
fn a_named_successor_in_quarantine_waits_for_its_end() {
    let mut node = Node::start(cluster(3), restored(0, None, D));
    node.heartbeat(START, 2, 1, 1);
    let effects = node.request(NOW, 2, release(1, 1, Some(1)));
    assert_eq!(effects.messages, []);
    assert_eq!(node.campaigns_at(), START + D);
}

/// leadelect rule 6: the release may reach the voters after the successor's request. So it soon asks again those that
/// refused, and then less and less often.
#[test]
fn a_named_successor_soon_asks_a_voter_again_that_has_not_heard_the_release() {
    let mut node = follower_released_to(1);
    let mut now = NOW;
    for sixteenths in [1, 2, 4, 8, 16, 16] {
        node.gets_no_vote(now, 3, D);
        let again = now + STAGGER * sixteenths / 16;
        assert_eq!(receivers(&node.tick(again.before(NS))), []);
        let effects = node.tick(again);
        assert!(receivers(&effects).contains(&id(3)));
        assert_eq!(asks_votes(&effects), Some(2));
        now = again;
    }
}

/// leadelect rule 6: the old leader does not campaign for D.
#[test]
fn a_leader_that_released_does_not_campaign_for_an_election_timeout() {
    let mut node = released();
    assert_eq!(receivers(&node.tick((NOW + D).before(NS))), []);
    assert_eq!(asks_pre_votes(&node.tick(NOW + D)), Some(2));
}

/// leadelect rule 6: it leads again if no other node wins.
#[test]
fn a_leader_that_released_leads_again_if_nobody_else_does() {
    assert_eq!(released().campaigns_at(), NOW + D);
}

/// Node 1 of three, which released at [`NOW`] and holds off for 4 D.
fn holding_off() -> Node {
    let mut node = leader_of(3);
    let (successor, hold_off) = (None, D * 4);
    let input = Input::StepDown { reason: EndReason::Resigned, successor, hold_off };
    node.step(NOW, input);
    node.work_ended(NOW, 1);
    node
}

/// leadelect rule 6: for longer, if the program asks. Then it leads only if no other node can, one D later.
#[test]
fn a_leader_that_holds_off_for_longer_is_a_last_resort_and_not_barred() {
    assert_eq!(holding_off().campaigns_at(), NOW + D * 2);
    let mut node = holding_off();
    node.heartbeat(NOW + D, 2, 2, 1);
    assert_eq!(node.campaigns_at(), NOW + D * 3 + S, "also after another has led");
    let mut node = holding_off();
    node.heartbeat(NOW + D * 4, 2, 2, 1);
    assert_eq!(node.campaigns_at(), NOW + D * 5, "and as usual when that is over");
}

/// leadelect rule 6: a node may lead as a last resort meanwhile. If it steps down again, its hold-off gets no shorter.
#[test]
fn a_second_hand_over_does_not_shorten_a_hold_off() {
    let mut node = holding_off();
    node.heartbeat(NOW, 2, 2, 1);
    node.request(NOW, 2, release(2, 1, Some(1)));
    node.gets_vote(NOW, 3);
    node.gets_ack(NOW, 3, 1);
    node.resign(NOW, None);
    node.work_ended(NOW, 3);
    assert_eq!(node.election.role(), Role::Follower);
    let eligible = |reply| matches!(reply, Reply::Heartbeat { eligible: true, .. });
    let early = node.answer((NOW + D * 4).before(NS), 2, heartbeat(4, 1, D));
    assert!(!eligible(early));
    assert!(eligible(node.answer(NOW + D * 4, 2, heartbeat(4, 2, D))));
}

/// leadelect rule 6: it holds off also if it is deposed before it could release.
#[test]
fn a_leader_deposed_while_it_steps_down_still_holds_off() {
    let eligible = |reply| matches!(reply, Reply::Heartbeat { eligible: true, .. });
    let mut node = leader_of(3);
    node.resign(NOW, None);
    node.reply(NOW, 3, ack(5, 1, Duration::ZERO));
    node.work_ended(NOW, 1);
    assert!(!eligible(node.answer((NOW + D).before(NS), 2, heartbeat(6, 1, D))));
    assert!(eligible(node.answer(NOW + D, 2, heartbeat(6, 2, D))));
}

/// leadelect rule 6: once the lease has run out, work that does not end delays neither the release nor the node's vote.
/// But the node does not campaign, and says that it is not eligible.
#[test]
fn a_node_whose_work_still_runs_does_not_campaign() {
    let ends = START + LEASE;
    for deposed in [false, true] {
        let mut node = leader_of(3);
        if deposed {
            node.tick(ends);
        } else {
            node.resign(NOW, None);
            assert_eq!(releases(&node.tick(ends)).len(), 2);
        }
        assert_eq!(node.election.awaits_work(), Some(Term(1)));
        let mut idle = node.clone();
        idle.work_ended(ends, 1);
        assert_eq!(idle.election.awaits_work(), None);
        let mut at = ends;
        for _ in 0..100 {
            at = at.max(node.election.wake_at());
            let asked = asks_pre_votes(&node.tick(at)).is_some();
            let won = asked.then(|| node.gets_pre_vote(at, 2, Duration::ZERO));
            assert_eq!(won.and_then(|effects| asks_votes(&effects)), None);
            assert_eq!(node.election.term(), Term(1));
        }
        assert!(idle.campaigns_at() < at);
        node.work_ended(at, 1);
        assert!(node.campaigns_at() < at + D * 3, "it asks anew");

        let mut node = leader_of(3);
        node.tick(ends);
        let reply = node.answer(ends, 2, heartbeat(2, 1, D));
        let Reply::Heartbeat { granted, eligible, .. } = reply else {
            panic!("{reply}");
        };
        assert_eq!((granted, eligible), (D, false));
        let effects = node.request(ends, 2, release(2, 1, Some(1)));
        assert_eq!(asks_votes(&effects), None, "nor when it is named");
        assert_eq!(node.vote(ends, 3, 3), Ok(()));
    }
}

/// leadelect rule 6: meanwhile it follows the next leader, and tells it that it is not eligible.
#[test]
fn a_leader_that_holds_off_is_no_successor() {
    let eligible = |reply| matches!(reply, Reply::Heartbeat { eligible: true, .. });
    let mut node = released();
    let early = node.answer((NOW + D).before(NS), 2, heartbeat(2, 1, D));
    assert_eq!((granted(&early), eligible(early)), (D, false));
    let later = node.answer(NOW + D, 2, heartbeat(2, 2, D));
    assert_eq!((granted(&later), eligible(later)), (D, true));
}

/// leadelect rules 1 and 6: after the release the old leader votes for its successor at once.
#[test]
fn a_leader_that_released_votes_at_once() {
    assert_eq!(released().vote(NOW, 2, 2), Ok(()));
}
