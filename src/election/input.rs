//! What an election is told, and what a step of it wants done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{EndReason, Event, Instant, NodeId, Reply, Request, Term, Timing};

/// The cluster as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Setup {
    /// This node.
    pub me: NodeId,
    /// All nodes, this one included. The same on every node.
    pub voters: BTreeMap<NodeId, Voter>,
    /// May differ between nodes. Only the drift bound must be the same on all of them.
    pub timing: Timing,
}

/// What is configured about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Voter {
    /// A node of higher priority comes earlier in the line of succession. In the end the eligible node with the highest
    /// priority leads.
    pub priority: i32,
    /// A witness votes and never leads.
    pub witness: bool,
}

/// What may happen to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A peer asks.
    Request {
        /// The authenticated peer.
        from: NodeId,
        /// What it asks.
        request: Request,
    },
    /// A peer answers.
    Reply {
        /// The authenticated peer.
        from: NodeId,
        /// What it answers.
        reply: Reply,
    },
    /// The node should give up leadership: first its work stops, then it tells the other nodes. No effect on a node
    /// that does not lead, or that steps down already.
    StepDown {
        /// Why. It is told to others, and decides nothing.
        reason: EndReason,
        /// Who should lead next. If none is named, the best eligible backer.
        successor: Option<NodeId>,
        /// How long this node then leads only as a last resort. At least the election timeout.
        hold_off: Duration,
    },
    /// Nothing guarded by the lease of this term runs any more, and nothing can start.
    WorkEnded {
        /// The term.
        term: Term,
    },
    /// No process of a peer that has ever run can act any more under a lease of a term up to this one. Its promises of
    /// these terms are void.
    Obituary {
        /// The peer.
        of: NodeId,
        /// The highest term in which it may have been elected.
        up_to: Term,
    },
    /// Whether the node is eligible. A node that is not leads only as a last resort: when no other node does.
    Eligible(bool),
    /// A state could not be made durable.
    StorageFailed,
}

/// What a step wants done, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What the threads that act as leader may rely on from now on. This is the whole truth after the step, not a
    /// change.
    pub lease: Option<Deadline>,
    /// The answer, if the input was a request.
    pub reply: Option<Reply>,
    /// The requests to send, each with its receiver.
    pub messages: Vec<(NodeId, Request)>,
    /// What has happened, for logs and watchers.
    pub events: Vec<Event>,
    /// The sender and the term of the message, if the term is too far ahead to be taken at once.
    pub too_far: Option<(NodeId, Term)>,
}

/// Until when a node may act as leader, on its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Deadline {
    /// The fencing token: the term of the lease.
    pub token: Term,
    /// The node may act strictly before this moment.
    pub until: Instant,
}
