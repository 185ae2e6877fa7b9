//! What a step of a node wants done.

use std::fmt;
use std::time::Duration;

use crate::election::{Cause, Deadline, EndReason, Event, HardState, NodeId, Reply, Request, Store, Term, TimingError};
use crate::error::TransferError;

/// What one step wants done: first a state made durable, then the effects.
///
/// [`Output::store`] is the only way to the effects, so that nothing is said before it is durable.
#[must_use = "a step has effects only when its output is stored"]
#[derive(Debug)]
pub struct Output<C> {
    pub(super) save: Option<HardState>,
    pub(super) role_changed: bool,
    pub(super) effects: Effects<C>,
}

/// What a step wants done. An overrun and the lease come first; the rest needs no order.
#[derive(Debug)]
pub struct Effects<C> {
    /// What the program may rest on from now on. Not a change: the whole truth after this step. Every other lease is
    /// taken away.
    pub lease: Option<Deadline>,
    /// Why, if a lease is taken away.
    pub end_reason: EndReason,
    /// The work ran on when its lease had ended. Log it, and tell the program, before anybody else is told anything.
    pub overran: Option<Told>,
    /// The answer to the request that was stepped, if it was one.
    pub reply: Option<Reply>,
    /// What to send to whom.
    pub messages: Vec<(NodeId, Request)>,
    /// What has changed.
    pub told: Vec<Told>,
    /// What else is worth a line in the log.
    pub notes: Vec<Note>,
    /// What the callers are told.
    pub answers: Vec<(C, Answer)>,
    /// How late this step was for what was due, if something was.
    pub late: Option<Duration>,
    /// Nothing is left to do: the node has stopped.
    pub stopped: bool,
}

/// An event, and at which level it is logged, if it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    /// The event.
    pub event: Event,
    /// Not logged if there is none.
    pub level: Option<Level>,
}

/// How loud a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Somebody has to act.
    Error,
    /// Somebody should look.
    Warn,
    /// What a reader of the log wants to follow.
    Info,
}

impl Level {
    pub(super) fn of(event: &Event) -> Level {
        match event.cause {
            Cause::ProtocolViolation { .. }
            | Cause::SecondLease { .. }
            | Cause::StorageFailed
            | Cause::WorkOverran { .. } => Level::Error,
            Cause::LeaseLost => Level::Warn,
            Cause::SteppingDown { reason, .. } => match reason {
                EndReason::QuorumLost | EndReason::WorkSilent | EndReason::WorkFailed | EndReason::Unhealthy => {
                    Level::Warn
                }
                EndReason::Resigned
                | EndReason::Preferred
                | EndReason::HigherTerm
                | EndReason::StorageFailed
                | EndReason::Stopped => Level::Info,
            },
            _ => Level::Info,
        }
    }
}

/// A line of the log that is no event: nothing has changed, or not in this node's part of the election.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Note {
    /// The election timeout of a peer does not fit the timing of this node.
    TimingDiffers {
        /// That peer.
        peer: NodeId,
        /// What does not fit.
        problem: TimingError,
    },
    /// A lease that ended is still held, so that this node does not campaign.
    LeaseKept {
        /// The term of the lease.
        term: Term,
        /// How long ago it ended.
        ago: Duration,
    },
    /// A peer speaks of a term that is too far ahead. It cannot take part until the nodes have come closer.
    TermTooFar {
        /// That peer.
        peer: NodeId,
        /// The term that it speaks of.
        term: Term,
        /// The term of this node.
        own: Term,
    },
    /// A state could not be made durable.
    StorageFailed {
        /// Why not.
        problem: String,
    },
}

impl Note {
    /// At which level it is logged.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Note::TimingDiffers { .. } | Note::LeaseKept { .. } | Note::TermTooFar { .. } => Level::Warn,
            Note::StorageFailed { .. } => Level::Error,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::TimingDiffers { peer, problem } => {
                write!(f, "the timing of node {peer} does not fit the timing of this node: {problem}")
            }
            Note::LeaseKept { term, ago } => write!(
                f,
                "does not campaign: the lease of term {term} ended {ago:.1?} ago, and the program still holds it; drop \
                 every `Lease` of that term, and let the work of `lead` return"
            ),
            Note::TermTooFar { peer, term, own } => write!(
                f,
                "node {peer} speaks of term {term}, far ahead of term {own} here: it cannot take part until the terms \
                 meet, which takes one message for every {} terms; look for a damaged vote file, or a node that does \
                 not follow the protocol",
                Term::LARGEST_JUMP
            ),
            Note::StorageFailed { problem } => f.write_str(problem),
        }
    }
}

/// What a caller is told.
///
/// [`Call::HandOver`](super::Call::HandOver) is answered with `Refused`, or with `Begun` and later `Done`.
/// [`Call::WorkEnds`](super::Call::WorkEnds) is answered with `Done`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing has changed.
    Refused(TransferError),
    /// The lease was taken away, and the node gives leadership up.
    Begun,
    /// The node does not lead any more.
    Done,
}

/// What an [`Output`] held back because it could not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone<C> {
    pub(super) answers: Vec<(C, Answer)>,
}

impl<C> Output<C> {
    /// Whether the role has changed: what could not be sent yet is out of date.
    #[must_use]
    pub fn role_changed(&self) -> bool {
        self.role_changed
    }

    /// Makes durable what must be, and hands out the effects.
    ///
    /// # Errors
    ///
    /// The store's own, with what [`Mail::StorageFailed`](super::Mail::StorageFailed) has to bring back. The other
    /// effects are gone: nothing that rests on the lost write is ever said.
    pub fn store<S: Store + ?Sized>(self, store: &mut S) -> Result<Effects<C>, (S::Error, Undone<C>)> {
        match self.save.map_or(Ok(()), |state| store.save(&state)) {
            Ok(()) => Ok(self.effects),
            Err(error) => Err((error, Undone { answers: self.effects.answers })),
        }
    }
}

/// Nothing was held back.
impl<C> Default for Undone<C> {
    fn default() -> Self {
        Undone { answers: Vec::new() }
    }
}

impl<C> Default for Effects<C> {
    fn default() -> Self {
        Effects {
            lease: None,
            end_reason: EndReason::QuorumLost,
            overran: None,
            reply: None,
            messages: Vec::new(),
            told: Vec::new(),
            notes: Vec::new(),
            answers: Vec::new(),
            late: None,
            stopped: false,
        }
    }
}
