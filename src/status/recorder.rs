//! Counts the events of a node.

use super::Counters;
use crate::election::{Cause, Event, NodeId, Term};

/// Counts what a node does, and remembers what tells one event from the next.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) counters: Counters,
    pub(super) token: Option<Term>,
    /// The last leader known, and its term if this node has heard that leader itself.
    leader: Option<(NodeId, Option<Term>)>,
}

impl Recorder {
    pub(super) fn take(&mut self, event: &Event) {
        match event.cause {
            Cause::PreVotesWon | Cause::NamedSuccessor { .. } => self.counters.elections += 1,
            Cause::Elected { .. } => self.counters.elections_won += 1,
            Cause::StorageFailed => self.counters.writes_failed += 1,
            Cause::WorkOverran { .. } => {
                // Says nothing of the lease that may have been won since.
                self.counters.overruns += 1;
                return;
            }
            _ => {}
        }
        self.note_leader(event);
        let held = std::mem::replace(&mut self.token, event.token);
        if held.is_some() && event.token.is_none() {
            self.counters.leases_lost.add(event.cause.end_reason());
        }
    }

    fn note_leader(&mut self, event: &Event) {
        let Some(leader) = event.leader else {
            return;
        };
        let term = match event.cause {
            Cause::LeaderHeard | Cause::Elected { .. } => Some(event.term),
            // A hint is of a leader whose term this node may not have entered.
            _ => None,
        };
        let news = match self.leader {
            Some((known, known_term)) if known == leader => {
                term.is_some() && known_term.is_some() && term != known_term
            }
            Some(_) | None => true,
        };
        self.counters.leader_changes += u64::from(news);
        if news || term.is_some() {
            self.leader = Some((leader, term));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::LeasesLost;
    use super::*;
    use crate::election::{EndReason, Role};

    const ME: u16 = 1;

    fn event(term: u64, leader: Option<u16>, token: Option<u64>, cause: Cause) -> Event {
        Event {
            role: Role::Follower,
            term: Term(term),
            leader: leader.map(NodeId::from),
            token: token.map(Term),
            cause,
        }
    }

    fn elected() -> Cause {
        Cause::Elected { votes: Vec::new(), after: Duration::ZERO }
    }

    fn win(recorder: &mut Recorder) {
        recorder.take(&event(1, Some(ME), None, elected()));
        recorder.take(&event(1, Some(ME), Some(1), Cause::LeaseWon));
    }

    /// Wins a lease, and loses it by `cause`.
    fn lose(recorder: &mut Recorder, cause: Cause) {
        win(recorder);
        recorder.take(&event(1, None, None, cause));
    }

    #[test]
    fn a_leader_is_counted_once_in_a_term_however_it_became_known() {
        let mut recorder = Recorder::default();
        let hinted = || Cause::LeaderHinted { by: 3.into() };
        let mut changes = |event| {
            recorder.take(&event);
            recorder.counters.leader_changes
        };
        assert_eq!(changes(event(0, None, None, Cause::Started)), 0);
        assert_eq!(changes(event(1, Some(2), None, Cause::LeaderHeard)), 1);
        assert_eq!(changes(event(1, None, None, Cause::NoLeader)), 1);
        assert_eq!(changes(event(1, Some(2), None, hinted())), 1);
        assert_eq!(changes(event(1, Some(2), None, Cause::LeaderHeard)), 1);
        assert_eq!(changes(event(2, Some(2), None, Cause::LeaderHeard)), 2, "elected again");
        assert_eq!(changes(event(2, Some(3), None, hinted())), 3);
        assert_eq!(changes(event(3, Some(3), None, Cause::LeaderHeard)), 3, "the hint was of this term");
        assert_eq!(changes(event(4, Some(ME), None, elected())), 4);
        assert_eq!(changes(event(4, Some(ME), Some(4), Cause::LeaseWon)), 4);
    }

    #[test]
    fn a_lease_is_lost_once_and_by_the_first_cause() {
        let mut recorder = Recorder::default();
        let stepping_down = |reason| Cause::SteppingDown { reason, successor: None };
        lose(&mut recorder, Cause::LeaseLost);
        for reason in EndReason::ALL {
            lose(&mut recorder, stepping_down(reason));
            recorder.take(&event(1, None, None, Cause::Released { successor: None }));
        }
        lose(&mut recorder, Cause::HigherTerm { from: 2.into() });
        lose(&mut recorder, Cause::LeaderHeard);
        lose(&mut recorder, Cause::StorageFailed);
        let lost = recorder.counters.leases_lost.clone();
        assert!(lost.iter().all(|(reason, count)| count >= 1 && count == lost.count(reason)));
        let more = lost.iter().filter(|(_, count)| *count > 1);
        let expected = [(EndReason::QuorumLost, 2), (EndReason::HigherTerm, 3), (EndReason::StorageFailed, 2)];
        assert_eq!(more.collect::<Vec<_>>(), expected);
        assert_eq!(recorder.counters.writes_failed, 1);
        assert_eq!(recorder.counters.elections_won, 13);
    }

    #[test]
    fn a_leader_without_a_lease_loses_none() {
        let mut recorder = Recorder::default();
        recorder.take(&event(1, Some(ME), None, elected()));
        recorder.take(&event(1, None, None, Cause::LeaseLost));
        assert_eq!(recorder.counters.leases_lost, LeasesLost::default());
    }

    #[test]
    fn work_that_overruns_is_counted_and_takes_no_lease() {
        let mut recorder = Recorder::default();
        win(&mut recorder);
        recorder.take(&event(1, Some(ME), None, Cause::WorkOverran { term: Term(1) }));
        assert_eq!(recorder.counters.overruns, 1);
        assert_eq!(recorder.counters.leases_lost, LeasesLost::default());
        recorder.take(&event(1, None, None, Cause::LeaseLost));
        assert_eq!(recorder.counters.leases_lost.count(EndReason::QuorumLost), 1);
    }
}
