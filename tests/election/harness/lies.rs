//! What a member says that does not follow the protocol: anything that is well-formed.

use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Hint, Refusal, Reply, Request, Term};

use super::Dice;

/// Any well-formed request.
pub(crate) fn request(dice: &mut Dice, term: Term, others: &[NodeId], timeout: Duration) -> Request {
    let seq = *dice.pick(&[0, 1, 7, u64::MAX]);
    match dice.below(6) {
        0 => Request::PreVote { term, candidacy: dice.next() },
        1 => Request::Vote { term, candidacy: dice.next() },
        2 => Request::Release { term, seq, successor: dice.chance(500).then(|| *dice.pick(others)) },
        _ => {
            let promise = *dice.pick(&[Duration::ZERO, timeout, Duration::MAX]);
            let succession = others.iter().copied().filter(|_| dice.chance(500)).collect();
            Request::Heartbeat { term, seq, promise, succession }
        }
    }
}

/// The answer of a liar, instead of `reply`.
pub(crate) fn twisted(dice: &mut Dice, reply: Reply, ids: &[NodeId]) -> Reply {
    if dice.chance(300) {
        return reply;
    }
    let twisted = |dice: &mut Dice, term: Term| Term(term.0.saturating_add(dice.below(3)));
    let verdict = |dice: &mut Dice| match dice.below(4) {
        0 => Err(Refusal::LeaderHeard(*dice.pick(ids))),
        1 => Err(Refusal::TermBehind),
        _ => Ok(()),
    };
    let wait = Duration::from_millis(dice.below(3000));
    match reply {
        Reply::PreVote { term, candidacy, .. } => {
            let (term, verdict) = (twisted(dice, term), verdict(dice));
            let leader = dice.chance(500).then(|| Hint { leader: *dice.pick(ids), term, age: wait });
            Reply::PreVote { term, candidacy, verdict, wait, leader }
        }
        Reply::Vote { term, candidacy, .. } => {
            Reply::Vote { term: twisted(dice, term), candidacy, verdict: verdict(dice), wait }
        }
        Reply::Heartbeat { term, seq, .. } => {
            Reply::Heartbeat { term: twisted(dice, term), seq, granted: wait, eligible: dice.chance(500) }
        }
        Reply::Release { term } => Reply::Release { term },
    }
}
