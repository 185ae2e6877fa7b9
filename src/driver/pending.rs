//! What the election thread keeps between two steps, beside the election: who waits, and what was said already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::election::{Cause, Event, Instant, NodeId, Term, Timing, TimingError, TimingSpec};
use crate::inbox::Answer;

/// What the thread keeps between two steps, beside the election.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Who waits for this node to lead no more.
    pub(super) handovers: Vec<Answer>,
    /// Whether the election takes the program for unable to lead.
    pub(super) unable: bool,
    /// Who has not confirmed the release yet.
    pub(super) releases: BTreeSet<NodeId>,
    /// When the node stops whatever is still pending.
    pub(super) stop_by: Option<Instant>,
    /// The last term for which each node was reported as a second leader. It says so with every heartbeat.
    reported: BTreeMap<NodeId, Term>,
    /// What each node promised last.
    promised: BTreeMap<NodeId, Duration>,
}

impl Pending {
    /// Whether `event` is worth a line in the log.
    pub(super) fn is_news(&mut self, event: &Event) -> bool {
        match event.cause {
            Cause::ProtocolViolation { by } => self.reported.insert(by, event.term) != Some(event.term),
            _ => true,
        }
    }

    /// What does not fit when `peer` has promised no more than `granted` to a leader with this timing. Once: it is the
    /// peer's election timeout, and says so with every heartbeat.
    pub(super) fn misfit(&mut self, timing: Timing, peer: NodeId, granted: Duration) -> Option<TimingError> {
        if granted.is_zero() || self.promised.get(&peer) == Some(&granted) {
            return None;
        }
        self.promised.insert(peer, granted);
        let spec = TimingSpec {
            heartbeat_interval: timing.heartbeat_interval(),
            election_timeout: granted,
            clock_drift_ppm: timing.clock_drift_ppm(),
        };
        Timing::new(spec).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::Role;

    #[test]
    fn a_second_leader_is_logged_once_in_a_term() {
        let mut pending = Pending::default();
        let mut is_news = |term, by: u16| {
            pending.is_news(&Event {
                role: Role::Follower,
                term: Term(term),
                leader: None,
                token: None,
                cause: Cause::ProtocolViolation { by: by.into() },
            })
        };
        assert!(is_news(1, 2) && is_news(1, 3));
        assert!(!is_news(1, 2) && !is_news(1, 3));
        assert!(is_news(2, 2) && !is_news(2, 2));
    }

    #[test]
    fn a_peer_whose_election_timeout_does_not_fit_is_named_once() {
        let mut pending = Pending::default();
        let mut misfit = |peer: u16, millis| {
            let granted = Duration::from_millis(millis);
            let problem = pending.misfit(Timing::default(), peer.into(), granted);
            problem.map(|problem| problem.to_string())
        };
        assert_eq!(misfit(2, 500), None);
        assert_eq!(misfit(2, 0), None, "nothing was promised");
        let problem = misfit(2, 300).expect("less than three and a half heartbeats");
        assert!(problem.contains("300ms leaves no lease at heartbeat interval 100ms"), "{problem}");
        assert_eq!(misfit(2, 300), None);
        assert!(misfit(3, 300).is_some());
    }
}
