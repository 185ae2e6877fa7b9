//! What a node has counted since it started: what an operator draws, and wakes up for.
//!
//! Plain numbers in a snapshot, [`Status::counters`](crate::Status::counters): asking for them costs a copy, and
//! whoever shows them needs nothing of this crate but them. What to alarm on is in the
//! [manual](crate::manual::operations).

use std::time::Duration;

use crate::election::{Cause, EndReason, Event, NodeId, Refusal, Term};

/// What a node has counted since it started. Every count only grows, and begins at zero with every start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// How often this node has come to know another leader than before, itself included, or the same one in a later
    /// term. The first counts, too.
    pub leader_changes: u64,
    /// How often this node has begun an election: asked for votes, not only whether it would get them.
    pub elections: u64,
    /// How often it was elected.
    pub elections_won: u64,
    /// The pre-votes that this node, as a voter, has refused to others.
    pub pre_votes_refused: PreVotesRefused,
    /// The leases that this node held, and lost.
    pub leases_lost: LeasesLost,
    /// How often work still ran when the lease that guarded it had ended.
    pub overruns: u64,
    /// How late the election thread was, each time something was due: because the thread got no processor, waited for
    /// the disk, or the process or the host was stopped. Near a heartbeat interval it delays heartbeats; near the
    /// election timeout it costs the lease.
    pub lateness: Measured,
    /// How long each write of the vote file took, the flush to the disk included, and failed writes too. None without a
    /// `state_dir`.
    pub writes: Measured,
    /// How many of these writes failed. After the first, the node votes no more until it is restarted.
    pub writes_failed: u64,
}

/// The pre-votes that a voter has refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreVotesRefused {
    /// The voter hears the leader that the asker does not: the asker is cut off from it, or was slow.
    pub leader_heard: u64,
    /// The term asked for is not ahead of the voter's.
    pub term_behind: u64,
    /// The term is absurdly far ahead: the frame, or the asker's state, is damaged.
    pub term_too_far: u64,
    /// The voter's disk has failed.
    pub cannot_store: u64,
}

/// The leases that a node has lost, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeasesLost([u64; EndReason::ALL.len()]);

impl LeasesLost {
    /// How many were lost for this reason.
    #[must_use]
    pub fn count(&self, reason: EndReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count, in the order of [`EndReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        EndReason::ALL.into_iter().zip(self.0)
    }
}

/// How often something was measured, and how long it took the last time and at worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measured {
    /// How often.
    pub count: u64,
    /// The last time.
    pub last: Duration,
    /// The longest since the start.
    pub worst: Duration,
}

impl Measured {
    pub(crate) fn add(&mut self, took: Duration) {
        self.count += 1;
        self.last = took;
        self.worst = self.worst.max(took);
    }
}

/// Counts what a node tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) counters: Counters,
    holds_lease: bool,
    /// The last leader known, and its term if this node has heard it itself.
    leader: Option<(NodeId, Option<Term>)>,
}

impl Recorder {
    pub(crate) fn take(&mut self, event: &Event) {
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
        let held = std::mem::replace(&mut self.holds_lease, event.token.is_some());
        if held && !self.holds_lease {
            self.counters.leases_lost.0[event.cause.end_reason() as usize] += 1;
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

    /// A pre-vote was refused.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        let refused = &mut self.counters.pre_votes_refused;
        let count = match refusal {
            Refusal::LeaderHeard(_) => &mut refused.leader_heard,
            Refusal::TermBehind => &mut refused.term_behind,
            Refusal::TermTooFar => &mut refused.term_too_far,
            Refusal::CannotStore => &mut refused.cannot_store,
            // These refuse a vote, and put off a pre-vote.
            Refusal::AlreadyVoted(_) | Refusal::Promised(_) | Refusal::Quarantine | Refusal::OwnWork => return,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::Role;

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

    #[test]
    fn what_is_measured_keeps_the_last_and_the_worst() {
        let mut measured = Measured::default();
        for millis in [3, 9, 1] {
            measured.add(Duration::from_millis(millis));
        }
        assert_eq!(measured.count, 3);
        assert_eq!(measured.last, Duration::from_millis(1));
        assert_eq!(measured.worst, Duration::from_millis(9));
    }
}
