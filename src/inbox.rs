//! What reaches the election thread, all in one queue.
//!
//! The queue has no limit of its own, because its senders have: a connection waits for the answer before it reads the
//! next request, a peer's thread has one request under way, and a program's call waits for its result.

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::election::{EndReason, NodeId, Reply, Request, Term};
use crate::error::TransferError;

/// One thing for the election thread to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A peer asks, and waits for the answer.
    Request { from: NodeId, request: Request, answer: Sender<Reply> },
    /// A peer answers what this node asked.
    Reply { from: NodeId, reply: Reply },
    /// A peer cannot be reached, or did not answer a release.
    Unanswered { by: NodeId },
    /// The program wants to lead no more.
    HandOver {
        /// Who should follow; the best if nobody is named.
        successor: Option<NodeId>,
        hold_off: Duration,
        answer: Answer,
    },
    /// The work of this term ends, or has ended, and its lease was taken away.
    GiveUp {
        term: Term,
        why: EndReason,
        hold_off: Duration,
        /// Nothing is said, but see [`Answer`] for its end.
        answer: Option<Answer>,
    },
    /// The last guard of a lease that was taken away is gone.
    WorkEnded,
    /// The leadership has news: see [`Leadership::alarm_at`](crate::leadership::Leadership::alarm_at).
    Nudge,
    /// The node is to stop, after an orderly release.
    Stop,
}

/// Hears at once whether the node will hand over, and ends when it no longer leads.
pub(crate) type Answer = Sender<Result<(), TransferError>>;
