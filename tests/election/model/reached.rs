//! What a search has come across. One that never comes so far has checked little.

use std::fmt;

use leadelect::election::{Cause, Event, Refusal, Reply, Role};

use super::cluster::{Cluster, Node, Says};
use super::fingerprint::Shared;
use super::moves::{Left, Move};

const SITUATIONS: [&str; 18] = [
    "a lease in term 1",
    "a lease in term 2",
    "a lease in term 3",
    "a lease won after two crashes",
    "a lease won after a crash, and nothing else",
    "a lease won after an order to hand over, and nothing else",
    "a lease won after neither crash nor order",
    "a lease that ran out",
    "a successor that was named campaigns",
    "a letter that arrives a second time",
    "a vote refused for a promise",
    "a vote refused for own work",
    "a vote refused in quarantine",
    "a heartbeat of the own term without a promise",
    "a leader known by a hint",
    "a candidacy lost",
    "work that goes on until the lease is over",
    "an heir that campaigns when its leader has died",
];

/// What one departure alone does not lead to.
pub(super) const BEYOND_ONE_DEPARTURE: &[&str] = &["a lease won after two crashes", "a vote refused for own work"];

/// How often each.
#[derive(Debug, Default)]
pub(super) struct Reached([u64; SITUATIONS.len()]);

impl Reached {
    /// Notes what a move has led to; takes what the nodes told on the way. `kept`: some letter has arrived and is still
    /// on its way.
    pub(super) fn note(&mut self, made: Move, (spent, kept): (Left, bool), after: &Cluster, events: &mut Vec<Event>) {
        if let Some(term @ 1..=3) = after.acting() {
            self.0[usize::try_from(term).unwrap() - 1] += 1;
        }
        for event in events.drain(..) {
            let seen: &[usize] = match event.cause {
                Cause::LeaseWon => {
                    let later = event.term.0 > 1;
                    match (spent.crashes, spent.orders, spent.others) {
                        (2, _, _) => &[3],
                        (1, 0, 0) if later => &[4],
                        (0, 1, 0) if later => &[5],
                        (0, 0, _) if later => &[6],
                        _ => &[],
                    }
                }
                Cause::LeaseLost => &[7],
                Cause::NamedSuccessor { .. } => &[8],
                Cause::LeaderDied { .. } if event.role == Role::Candidate => &[17],
                Cause::LeaderHinted { .. } => &[14],
                Cause::CandidacyLost { .. } => &[15],
                _ => &[],
            };
            seen.iter().for_each(|seen| self.0[*seen] += 1);
        }
        if matches!(made, Move::DeliverLate(_)) && spent.others == 1 && kept {
            self.0[9] += 1;
        }
        let until_the_end = |node: &Shared<Node>| node.lingers && node.keeps().is_some() && node.work.is_none();
        if made == Move::TimePasses && after.nodes.iter().any(until_the_end) {
            self.0[16] += 1;
        }
        for letter in &after.letters {
            let seen = match &letter.says {
                Says::Reply(Reply::Vote { verdict, .. }) => match verdict {
                    Err(Refusal::Promised(_)) => 10,
                    Err(Refusal::OwnWork) => 11,
                    Err(Refusal::Quarantine) => 12,
                    _ => continue,
                },
                Says::Reply(Reply::Heartbeat { term, granted, .. }) if granted.is_zero() => {
                    let asker = &after.nodes[usize::from(letter.to)];
                    if asker.term() != term.0 {
                        continue;
                    }
                    13
                }
                _ => continue,
            };
            self.0[seen] += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Reached) {
        self.0.iter_mut().zip(other.0).for_each(|(own, more)| *own += more);
    }

    /// What was never reached.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let never = SITUATIONS.iter().zip(self.0).filter(|(_, count)| *count == 0);
        never.map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in SITUATIONS.iter().zip(self.0) {
            writeln!(f, "{count:>12}  {name}")?;
        }
        Ok(())
    }
}
