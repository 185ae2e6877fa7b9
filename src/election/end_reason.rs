//! Why a leadership ended: one list, for events, errors, counters and metrics.

use std::fmt;

use serde::Serialize;

/// Why a node no longer leads, or must stop its work as leader.
///
/// The same reason appears in the event, in the error that stops the work, in the counters and in the metrics. The list
/// is exhaustive on purpose: code that shows or counts reasons must treat each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub enum EndReason {
    /// No quorum answered in time: the lease has run out, or runs out before the work could stop.
    QuorumLost,
    /// The program or an operator gave leadership up: by [`Node::resign`](crate::Node::resign) or
    /// [`Node::transfer_to`](crate::Node::transfer_to), or because the closure of [`Node::lead`](crate::Node::lead)
    /// has returned.
    Resigned,
    /// A preferred node takes over, because it was eligible for long enough. Preferred is a node of higher priority;
    /// any eligible node is, if this node is not eligible itself.
    Preferred,
    /// The work did not call [`Leading::alive`](crate::Leading::alive) in time.
    WorkSilent,
    /// The health check of the program failed.
    Unhealthy,
    /// The work returned an error or panicked.
    WorkFailed,
    /// A peer is in a higher term.
    HigherTerm,
    /// The vote file could not be written.
    StorageFailed,
    /// The node stops.
    Stopped,
}

impl EndReason {
    /// All of them, in a fixed order.
    pub const ALL: [EndReason; 9] = [
        EndReason::QuorumLost,
        EndReason::Resigned,
        EndReason::Preferred,
        EndReason::WorkSilent,
        EndReason::Unhealthy,
        EndReason::WorkFailed,
        EndReason::HigherTerm,
        EndReason::StorageFailed,
        EndReason::Stopped,
    ];

    /// Returns the reason in lower case with underscores, as metrics and JSON show it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.words().0
    }

    /// For a machine, and for a reader.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            EndReason::QuorumLost => ("quorum_lost", "no quorum answered in time"),
            EndReason::Resigned => ("resigned", "leadership was given up"),
            EndReason::Preferred => ("preferred", "a preferred node takes over"),
            EndReason::WorkSilent => ("work_silent", "the work was silent for too long"),
            EndReason::Unhealthy => ("unhealthy", "the health check was not passed"),
            EndReason::WorkFailed => ("work_failed", "the work has failed"),
            EndReason::HigherTerm => ("higher_term", "a peer is in a higher term"),
            EndReason::StorageFailed => ("storage_failed", "the vote file cannot be written"),
            EndReason::Stopped => ("stopped", "the node stops"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl std::error::Error for EndReason {}
