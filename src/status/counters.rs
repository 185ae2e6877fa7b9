//! What a node has counted since it started, as plain numbers.
//!
//! They are part of every [`Status`](crate::Status): reading them costs a copy. The
//! [manual](crate::manual::operations) says which of them are worth an alarm.

use std::time::Duration;

use crate::election::{EndReason, Refusal};

/// What a node has counted since it started. Every count begins at zero with each start, and only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// How many times this node learned of a new leader: another node than before, itself included, or the same one in
    /// a later term. The first leader counts, too.
    pub leader_changes: u64,
    /// How many elections this node has begun. An election begins when it asks for votes. Pre-votes do not count.
    pub elections: u64,
    /// How many elections it has won.
    pub elections_won: u64,
    /// The pre-votes that this node has refused to others.
    pub pre_votes_refused: PreVotesRefused,
    /// The leases that this node held and lost.
    pub leases_lost: LeasesLost,
    /// How many times work still ran when the lease that guarded it had ended.
    pub overruns: u64,
    /// How late the election thread was each time something was due. It is late when it gets no processor, when it
    /// waits for the disk, or when the process or the host was stopped. A heartbeat interval of lateness delays
    /// heartbeats. An election timeout of it costs the lease.
    pub lateness: Measured,
    /// How long each write of the vote file took, the flush to the disk included. Failed writes count, too. There are
    /// none without a `state_dir`.
    pub writes: Measured,
    /// How many of these writes failed. After the first failure the node does not vote until it is restarted.
    pub writes_failed: u64,
    /// How many lines of the node's log were lost, because the program's logger was too slow for them or panicked.
    pub lines_lost: u64,
    /// The connections to this node that it refused, or turned away for lack of room. The log says why, but not for
    /// each.
    pub connections_refused: u64,
    /// The requests of clients such as `leadelect status`, answered or not.
    pub client_requests: u64,
}

/// The pre-votes that a voter has refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PreVotesRefused {
    /// The voter hears a leader that the asker does not hear: the asker is cut off from it, or was slow.
    pub leader_heard: u64,
    /// The term asked for is not ahead of the voter's.
    pub term_behind: u64,
    /// The term is absurdly far ahead: the frame or the asker's state is damaged.
    pub term_too_far: u64,
    /// The voter's disk has failed.
    pub cannot_store: u64,
}

impl PreVotesRefused {
    pub(super) fn add(&mut self, refusal: Refusal) {
        let count = match refusal {
            Refusal::LeaderHeard(_) => &mut self.leader_heard,
            Refusal::TermBehind => &mut self.term_behind,
            Refusal::TermTooFar => &mut self.term_too_far,
            Refusal::CannotStore => &mut self.cannot_store,
            // These refuse a vote, and put off a pre-vote.
            Refusal::AlreadyVoted(_) | Refusal::Promised(_) | Refusal::Quarantine | Refusal::OwnWork => return,
        };
        *count += 1;
    }
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

    pub(super) fn add(&mut self, reason: EndReason) {
        self.0[reason as usize] += 1;
    }
}

/// How many times something was measured, and how long it took the last time and at worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Measured {
    /// How many times.
    pub count: u64,
    /// How long it took the last time.
    #[cfg_attr(feature = "serialize", serde(rename = "last_ms", serialize_with = "super::millis"))]
    pub last: Duration,
    /// The longest time since the start.
    #[cfg_attr(feature = "serialize", serde(rename = "worst_ms", serialize_with = "super::millis"))]
    pub worst: Duration,
}

impl Measured {
    pub(super) fn add(&mut self, took: Duration) {
        self.count += 1;
        self.last = took;
        self.worst = self.worst.max(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
