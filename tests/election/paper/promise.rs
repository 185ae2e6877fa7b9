//! What a voter promises a leader, and when that ends.

use super::*;

/// leadelect, promise: a voter that accepts a heartbeat at its local time l promises until l + D. A lease is granted
/// for a limited term, after which it has to be renewed (Gray and Cheriton 1989).
#[test]
fn a_heartbeat_is_answered_with_a_promise() {
    let mut node = node_of(3);
    let reply = node.answer(START, 2, heartbeat(1, 7, D));
    assert_eq!(reply, ack(1, 7, D));
}

/// leadelect, promise: each heartbeat promises anew, from when it came.
#[test]
fn each_heartbeat_renews_the_promise() {
    let mut node = follower();
    node.heartbeat(START + ETA, 2, 1, 2);
    let until = START + ETA + D;
    assert!(node.vote(until.before(NS), 3, 2).is_err());
    assert_eq!(node.vote(until, 3, 2), Ok(()));
}

/// leadelect, promise: no longer than the leader asked for, so that nodes configured differently stay safe.
#[test]
fn a_promise_is_no_longer_than_asked() {
    let mut node = node_of(3);
    let reply = node.answer(START, 2, heartbeat(1, 1, ms(200)));
    assert_eq!(granted(&reply), ms(200));
    assert!(node.vote((START + ms(200)).before(NS), 3, 2).is_err());
    assert_eq!(node.vote(START + ms(200), 3, 2), Ok(()));
}

/// leadelect, promise: no longer than the voter's own cap, which it must wait out after a restart; the ack says so.
#[test]
fn a_promise_is_no_longer_than_the_voters_own_timeout() {
    let mut node = node_of(3);
    let reply = node.answer(START, 2, heartbeat(1, 1, D * 10));
    assert_eq!(granted(&reply), D);
    assert!(node.vote((START + D).before(NS), 3, 2).is_err());
    assert_eq!(node.vote(START + D, 3, 2), Ok(()));
}

/// leadelect, promise: it ends by time or by release. So a later promise that is shorter does not shorten it.
#[test]
fn a_late_heartbeat_does_not_shorten_a_promise() {
    let mut node = node_of(3);
    node.request(START, 2, heartbeat(1, 1, D));
    node.request(START + ms(10), 2, heartbeat(1, 2, ms(50)));
    assert!(node.vote((START + D).before(NS), 3, 2).is_err());
    assert_eq!(node.vote(START + D, 3, 2), Ok(()));
}

/// leadelect rule 4: a heartbeat counts only if its number grows in its term. One that comes twice, or that a later one
/// has overtaken, is no news of the leader and renews no promise. Its answer promises nothing: what was promised before
/// stands, and the sender need not have sent it before that.
#[test]
fn a_heartbeat_that_was_heard_before_or_overtaken_is_no_news() {
    for old in [2, 1] {
        let mut node = node_of(3);
        assert_eq!(node.heartbeat(START, 2, 1, 2), D);
        assert_eq!(node.heartbeat(START + ms(250), 2, 1, old), Duration::ZERO);
        assert_eq!(node.election.wake_at(), START + S);
        assert!(node.vote((START + D).before(NS), 3, 2).is_err());
        assert_eq!(node.vote(START + D, 3, 2), Ok(()));
    }
    let mut node = node_of(3);
    node.heartbeat(START, 2, 1, 2);
    assert_eq!(node.heartbeat(START + ms(250), 2, 2, 1), D, "in another term it begins anew");
    assert_eq!(node.election.wake_at(), START + ms(250) + S);
}

/// leadelect, promise: it is never given to two at once, so that two leases would need a common voter (PaxosLease,
/// Trencseni and others 2012). The next leader is followed at once.
#[test]
fn a_promise_is_not_given_while_another_is_owed() {
    let mut node = follower();
    let last = (START + D).before(NS);
    assert_eq!(node.heartbeat(last, 3, 2, 1), Duration::ZERO);
    assert_eq!(node.election.leader(), Some(id(3)));
    assert_eq!(node.heartbeat(START + D, 3, 2, 2), D);
    assert_eq!(node.heartbeat(START + D + NS, 3, 2, 3), D, "to the same");
}

/// leadelect, promise: nor while work of the node's own lease may still run.
#[test]
fn a_promise_is_not_given_while_own_work_may_run() {
    let mut node = leader_of(3);
    let until = node.lease_until().expect("a lease");
    assert_eq!(node.heartbeat(until.before(NS), 3, 5, 1), Duration::ZERO);
    assert_eq!(node.election.leader(), Some(id(3)));
    assert_eq!(node.heartbeat(until, 3, 5, 2), D);
}

/// leadelect, promise: once the work is known to have ended, the node may promise again.
#[test]
fn a_promise_is_given_once_own_work_has_ended() {
    let mut node = leader_of(3);
    assert_eq!(node.heartbeat(START, 3, 5, 1), Duration::ZERO);
    let term = node.election.awaits_work().expect("work");
    node.step(START, Input::WorkEnded { term });
    assert_eq!(node.heartbeat(START + NS, 3, 5, 2), D);
}

/// leadelect, promise: the holder's own release ends it at once.
#[test]
fn the_holder_may_end_its_promise() {
    let mut node = follower();
    let reply = node.answer(START + NS, 2, release(1, 1, None));
    assert_eq!(reply, Reply::Release { term: Term(1) });
    assert_eq!(node.vote(START + NS, 3, 2), Ok(()));
}

/// leadelect, promise: only the holder may end it. Requests are authenticated.
#[test]
fn only_its_holder_may_end_a_promise() {
    let mut node = follower();
    node.request(START + NS, 3, release(1, 9, None));
    assert_eq!(node.vote(START + NS, 3, 2), Err(Refusal::Promised(id(2))));
    assert_eq!(node.election.leader(), Some(id(2)));
}

/// leadelect, promise: a release counts only if its (term, seq) is not older than the promise. Here the seq is older.
#[test]
fn a_release_older_than_the_last_heartbeat_is_stale() {
    let mut node = follower();
    node.heartbeat(START + NS, 2, 1, 2);
    node.request(START + NS, 2, release(1, 1, None));
    assert_eq!(node.vote(START + NS, 3, 2), Err(Refusal::Promised(id(2))));
    node.request(START + NS, 2, release(1, 2, None));
    assert_eq!(node.vote(START + NS, 3, 2), Ok(()));
}

/// leadelect, promise: here the term is older, of an earlier leadership of the same node.
#[test]
fn a_release_of_an_earlier_term_is_stale() {
    let mut node = follower();
    node.heartbeat(START + NS, 2, 5, 1);
    node.request(START + NS, 2, release(1, 99, None));
    assert_eq!(node.vote(START + NS, 3, 6), Err(Refusal::Promised(id(2))));
    assert_eq!(node.election.leader(), Some(id(2)));
}

/// leadelect, promise: a heartbeat that comes after a later one does not make an older release count.
#[test]
fn a_reordered_heartbeat_does_not_revive_a_stale_release() {
    let mut node = follower();
    node.heartbeat(START, 2, 1, 3);
    assert_eq!(node.heartbeat(START, 2, 1, 2), Duration::ZERO, "late, and no news");
    node.request(START, 2, release(1, 2, None));
    assert_eq!(node.vote(START, 3, 2), Err(Refusal::Promised(id(2))));
}

/// leadelect rule 6: a release is the last word of a term. A heartbeat that it overtook brings no promise back.
#[test]
fn a_heartbeat_overtaken_by_its_release_is_no_promise() {
    let mut node = follower();
    node.request(START, 2, release(1, 2, None));
    assert_eq!(node.heartbeat(START, 2, 1, 2), Duration::ZERO);
    assert_eq!(node.election.leader(), None);
    assert_eq!(node.vote(START, 3, 2), Ok(()));
}

/// leadelect rule 6: a release that a voter hears before any heartbeat of that term is the last word of it, too.
#[test]
fn a_release_heard_before_any_heartbeat_is_the_last_word_of_its_term() {
    let mut node = node_of(3);
    node.request(START, 2, release(3, 5, None));
    assert_eq!(node.election.term(), Term(3));
    assert_eq!(node.heartbeat(START, 2, 3, 5), Duration::ZERO);
}

/// leadelect, promise: the released leader may lead again in a later term, with promises of that term.
#[test]
fn a_leader_that_released_gets_promises_again_in_a_later_term() {
    let mut node = follower();
    node.request(START, 2, release(1, 1, None));
    assert_eq!(node.heartbeat(START, 2, 2, 1), D);
    assert_eq!(node.vote(START, 3, 3), Err(Refusal::Promised(id(2))));
}
