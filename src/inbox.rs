//! What reaches the election thread, all in one queue.
//!
//! The queue has no limit of its own, because its senders have: a connection waits for the answer before it reads the
//! next request, a peer's thread has one request under way, and a program's call waits for its result.

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::election::{NodeId, Reply, Request};

/// One thing for the election thread to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A peer asks, and waits for the answer.
    Request {
        from: NodeId,
        request: Request,
        answer: Sender<Reply>,
    },
    /// A peer answers what this node asked.
    Reply { from: NodeId, reply: Reply },
    /// A peer cannot be reached, or did not answer a release.
    Unanswered { by: NodeId },
    /// The node is to lead no more, and to be a last resort for so long; `done` hears whether it led.
    Resign {
        hold_off: Duration,
        done: Sender<bool>,
    },
    /// The node is to let another one lead; `done` hears why it does not.
    Transfer {
        to: NodeId,
        done: Sender<Result<(), String>>,
    },
    /// The last guard of a lease that was taken away is gone.
    WorkEnded,
    /// The node is to stop, after an orderly release.
    Stop,
}
