//! What must never be, whatever was done to a cluster.

use super::history::{History, Kept};
use super::lease_log::{Claims, judge as judge_checks};
use super::resource::ALWAYS;

/// Everything that is wrong with a round.
pub(crate) fn violations(history: &History) -> Vec<String> {
    let mut found = history.wrong.clone();
    refusals(history, &mut found);
    overlaps(history, &mut found);
    needless_changes(history, &mut found);
    if let Err(fault) = judge_checks(&history.checks, Claims::MayBeReleased) {
        found.push(fault);
    }
    found
}

/// A process of the library that is stopped between its check and its act acts late, and no clock inside sees that.
/// Such an act, and no other, may be refused.
fn refusals(history: &History, found: &mut Vec<String>) {
    let refused = history.acts.iter().filter(|act| act.refused && (act.until == ALWAYS || act.received <= act.until));
    let refused: Vec<_> = refused.collect();
    if let Some(first) = refused.first() {
        found.push(format!(
            "the resource refused {} acts, first at {:.3} ms: {first:?}",
            refused.len(),
            history.millis(first.received)
        ));
    }
}

/// What `leadelect run` has started is dead before anything acts for the next leader.
fn overlaps(history: &History, found: &mut Vec<String>) {
    let lives = history.lives();
    for (at, life) in lives.iter().enumerate() {
        for other in &lives[at + 1..] {
            if life.token == other.token && life.node != other.node {
                found.push(format!("one token on two nodes: {life:?} {other:?}"));
            }
        }
    }
    let strict = |pid| history.acts.iter().any(|act| act.pid == pid && act.until == ALWAYS);
    for life in lives.iter().filter(|life| strict(life.pid)) {
        for later in lives.iter().filter(|later| later.token > life.token) {
            if life.last >= later.first {
                let millis = (life.last - later.first) as f64 / 1e6;
                found.push(format!("acts of two tokens overlap by {millis:.3} ms:\n  {life:?}\n  {later:?}"));
            }
        }
    }
}

fn needless_changes(history: &History, found: &mut Vec<String>) {
    let Some(Kept { token, from, to }) = history.kept else { return };
    let other = history.acts.iter().find(|act| act.token != token && act.at >= from && act.at <= to);
    if let Some(act) = other {
        found.push(format!(
            "a needless change of leader from token {token} at {:.3} ms: {act:?}",
            history.millis(act.at)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease_log::Check;
    use super::super::resource::Act;
    use super::*;

    fn act(node: &str, token: u64, pid: i32, at: u64) -> Act {
        Act { node: node.into(), token, pid, at, until: ALWAYS, received: at + 1, refused: false }
    }

    fn history(acts: Vec<Act>) -> History {
        History { acts, ..History::default() }
    }

    #[track_caller]
    fn finds(history: &History, what: &str) {
        let found = violations(history);
        assert!(found.iter().any(|violation| violation.contains(what)), "{what}: {found:?}");
    }

    #[test]
    fn leaders_one_after_the_other_are_in_order() {
        let acts = vec![act("1", 1, 10, 5), act("1", 1, 10, 9), act("2", 4, 20, 10), act("2", 4, 20, 30)];
        assert_eq!(violations(&history(acts.clone())), [""; 0]);
        assert_eq!(history(acts).gaps(), [1]);
    }

    #[test]
    fn acts_of_two_tokens_at_once_are_found() {
        let acts = vec![act("1", 1, 10, 5), act("2", 4, 20, 10), act("1", 1, 10, 12)];
        finds(&history(acts), "overlap");
    }

    #[test]
    fn a_refused_act_is_found_unless_its_lease_was_over() {
        let mut late = act("1", 1, 10, 5);
        (late.refused, late.received, late.until) = (true, 90, 80);
        assert_eq!(violations(&history(vec![late.clone()])), [""; 0]);
        late.until = 100;
        finds(&history(vec![late.clone()]), "refused");
        late.until = ALWAYS;
        finds(&history(vec![late]), "refused");
    }

    #[test]
    fn one_token_on_two_nodes_is_found() {
        finds(&history(vec![act("1", 1, 10, 5), act("2", 1, 20, 9)]), "one token on two nodes");
    }

    #[test]
    fn a_change_of_leader_without_a_reason_is_found() {
        let mut history = history(vec![act("1", 1, 10, 5), act("2", 2, 20, 50)]);
        history.kept = Some(Kept { token: 1, from: 1, to: 40 });
        assert_eq!(violations(&history), [""; 0]);
        history.kept = Some(Kept { token: 1, from: 1, to: 60 });
        finds(&history, "needless");
    }

    #[test]
    fn two_valid_leases_at_once_are_found() {
        let check = |at, token| Check { before: at, after: at + 1, valid: true, token, left: 5 };
        let mut history = History::default();
        history.checks.push(("1".into(), vec![check(10, 1), check(30, 1)]));
        history.checks.push(("2".into(), vec![check(20, 2), check(40, 2)]));
        finds(&history, "LeaseExclusion");
    }

    #[test]
    fn what_was_seen_while_the_round_ran_counts() {
        let history = History { wrong: vec!["node 1 ended by itself".into()], ..History::default() };
        finds(&history, "ended by itself");
    }
}
