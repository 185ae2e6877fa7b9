//! A node that was stalled itself does not conclude from its timers that others have failed.

use super::*;

/// leadelect rule 10: a node whose loop woke late drains its channel before it believes its timers.
#[test]
fn a_follower_that_woke_late_gives_its_leader_another_moment() {
    let mut node = follower();
    let late = START + S + ETA + NS;
    assert_eq!(receivers(&node.tick(late)), []);
    assert_eq!(node.election.leader(), Some(id(2)));
    assert_eq!(node.election.wake_at(), late + STAGGER);
    assert_eq!(node.heartbeat(late, 2, 1, 2), D);
    assert_eq!(node.election.wake_at(), late + S);
}

/// leadelect rule 10: late means later than a heartbeat interval. Then a heartbeat may be waiting unread.
#[test]
fn a_follower_that_woke_in_time_believes_its_timer() {
    let mut node = follower();
    let effects = node.tick(START + S + ETA);
    assert_eq!(asks_pre_votes(&effects), Some(2));
}

/// leadelect rule 10: it looks into its channel once, and then believes its timer.
#[test]
fn a_follower_that_finds_no_heartbeat_in_its_channel_asks() {
    let mut node = follower();
    let late = START + S * 9;
    node.tick(late);
    assert_eq!(receivers(&node.tick((late + STAGGER).before(NS))), []);
    assert_eq!(asks_pre_votes(&node.tick(late + STAGGER)), Some(2));
}

/// leadelect rule 10: a node that knows of no leader may ask at once, even if it woke late.
#[test]
fn a_node_without_a_leader_that_woke_late_asks_at_once() {
    let mut node = node_of(3);
    assert_eq!(asks_pre_votes(&node.tick(START + D * 9)), Some(1));
}

/// leadelect rule 10: a node that has just voted, and whose write took long, gives its candidate another moment.
#[test]
fn a_voter_that_wrote_for_long_gives_its_candidate_another_moment() {
    let mut node = node_of(3);
    assert_eq!(node.vote(START, 2, 1), Ok(()));
    let due = node.election.wake_at();
    let mut in_time = node.clone();
    assert_eq!(asks_pre_votes(&in_time.tick(due + ETA)), Some(2));
    let late = due + ETA + NS;
    assert_eq!(receivers(&node.tick(late)), []);
    assert_eq!(asks_pre_votes(&node.tick(late + STAGGER)), Some(2));
}

/// leadelect rule 10: after a stall the pre-votes are old. The node asks for them again.
#[test]
fn a_pre_candidate_that_woke_late_asks_again() {
    let due = START + Timing::default().wait_for(ms(150));
    for (late, term) in [(ETA, Some(1)), (ETA + NS, None)] {
        let mut node = pre_candidate_of(3);
        node.gets_pre_vote(START, 2, ms(150));
        let effects = node.tick(due + late);
        assert_eq!(asks_votes(&effects), term);
        assert_eq!(asks_pre_votes(&effects).is_none(), term.is_some());
    }
}

/// leadelect rule 10: a single node has no channel to drain.
#[test]
fn a_node_that_is_alone_leads_however_late_it_woke() {
    let mut node = node_of(1);
    node.tick(START + D * 9);
    assert_eq!(node.election.role(), Role::Leader);
}

/// leadelect rule 5: a leader that was stalled past the end of its lease has lost it, even if acks wait in its channel.
#[test]
fn a_leader_that_woke_late_leads_no_more() {
    let mut node = leader_of(3);
    for seq in 2..5 {
        node.tick(START + ETA * (seq - 1));
    }
    let late = START + D * 9;
    let effects = node.request(late, 2, pre_vote(2));
    assert_eq!(effects.lease, None);
    assert_eq!(causes(&effects), [Cause::LeaseLost]);
    assert_eq!(effects.reply.as_ref().map(verdict), Some(Ok(())));
}
