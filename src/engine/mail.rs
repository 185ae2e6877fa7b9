//! What reaches a node.

use std::time::Duration;

use serde::Serialize;

use super::Undone;
use crate::election::{EndReason, Instant, NodeId, Reply, Request, Term};

/// One thing for a node to deal with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub enum Mail<C> {
    /// The node starts. Comes once, and before everything but [`Mail::Program`].
    Start,
    /// Time has passed, and nothing else is left to deal with.
    Wake,
    /// The node comes late: it was stopped, or got no processor. So the program may have got none, either.
    Late,
    /// A peer asks. The answer is [`Effects::reply`](super::Effects::reply) of this very step.
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
    /// No process of a peer that has ever run can act any more under a lease of a term up to this one.
    Obituary {
        /// That peer.
        of: NodeId,
        /// The highest term in which it may have been elected.
        up_to: Term,
    },
    /// A peer cannot be reached, or did not answer a release in time.
    Unanswered {
        /// That peer.
        by: NodeId,
    },
    /// The program wants something.
    Call {
        /// What it wants.
        call: Call,
        /// Who is told what becomes of it.
        caller: C,
    },
    /// What the program is and wants now. Not a change: the whole truth at this moment, so that nothing has to queue.
    Program(Program),
    /// The lease of this term was taken away, and guards nothing any more.
    LeaseFree {
        /// The term.
        term: Term,
    },
    /// The node should stop: it gives leadership up, and then ends.
    Stop,
    /// A state could not be made durable.
    StorageFailed {
        /// Why not.
        problem: String,
        /// What [`Output::store`](super::Output::store) did not give out. No part of a recording: a replay has its own.
        #[serde(skip)]
        undone: Undone<C>,
    },
}

/// What a program may ask of its node, and waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub enum Call {
    /// Give leadership up. Refused if the node does not lead, or if `successor` could not follow now.
    HandOver {
        /// Who should follow; the best node if none is named.
        successor: Option<NodeId>,
        /// How long this node stays behind, at least the election timeout.
        hold_off: Duration,
    },
    /// The work of this term ends, or has ended, and its lease was taken away. Never refused: without effect if the
    /// node does not lead this term any more.
    WorkEnds {
        /// The term of the lease.
        term: Term,
        /// Why it ends.
        reason: EndReason,
        /// How long this node stays behind.
        hold_off: Duration,
    },
}

/// What a program is and wants, as its node has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Program {
    /// It said that it is not eligible.
    pub ineligible: bool,
    /// It has left [`Node::lead`](crate::Node::lead): nobody would do the work.
    pub absent: bool,
    /// Until when it wants to stay behind.
    pub hold_off_until: Instant,
    /// Its health, if it is checked.
    pub health: Option<Health>,
    /// The work that runs now.
    pub work: Option<Work>,
    /// The first lease that was taken away and is still held.
    pub kept: Option<Term>,
}

/// The health of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Health {
    /// By when the next good answer must come. A moment that has passed says that the program is not healthy.
    pub good_until: Instant,
    /// How long the node stays behind when the program falls ill.
    pub hold_off: Duration,
}

/// The work of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Work {
    /// The term of its lease.
    pub term: Term,
    /// The hard deadline: it must have ended by then.
    pub until: Instant,
    /// From when on it counts as silent, unless it says before that it is alive.
    pub silent_at: Instant,
    /// Its lease was taken away.
    pub told_to_stop: bool,
    /// Something is done when it overruns, so that no overrun is told late.
    pub acts_on_overrun: bool,
    /// How long the node stays behind when the work was silent.
    pub hold_off: Duration,
}
