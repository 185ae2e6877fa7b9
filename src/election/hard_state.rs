//! What a node must not forget, and what it knows about its own past when it starts.

use std::time::Duration;

use super::{Effects, NodeId, Term};

/// What must be durable before any message that rests on it leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HardState {
    /// The highest term this node has taken part in.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeId>,
    /// The longest promise that this node may have outstanding.
    pub cap: Duration,
    /// A later state than this may have been lost: the node has not yet waited until what it may have voted and
    /// promised in it is too old to matter.
    pub in_doubt: bool,
}

/// Where a [`HardState`] becomes durable.
pub trait Store {
    /// Why a state could not be made durable.
    type Error;

    /// Makes `state` durable. When this returns `Ok`, the state survives a power cut.
    ///
    /// # Errors
    ///
    /// When the state may not be durable. The node must then be told ([`Input::StorageFailed`](super::Input)).
    fn save(&mut self, state: &HardState) -> Result<(), Self::Error>;
}

/// What a node knows, when it starts, of what it promised and voted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// A new node: it has a place to remember things, and there is nothing in it.
    Fresh,
    /// Everything is remembered but the promises, which are never written down; unless the state is in doubt.
    Restored {
        /// What was last made durable.
        state: HardState,
        /// How long, for certain, the node has not been running: the host's uptime after a reboot of the same host,
        /// zero otherwise.
        down_for: Duration,
    },
    /// A node that runs without a place to remember things.
    Stateless {
        /// The first term it may vote and campaign in: the wall clock in seconds, so that tokens normally still grow.
        /// It follows a leader of any term.
        first_term: Term,
    },
}

/// What one step wants done: first a state made durable, then the effects.
///
/// [`Output::store`] is the only way to the effects, so that nothing is said before it is durable.
#[must_use = "a step has effects only when its output is stored"]
#[derive(Debug)]
pub struct Output {
    pub(super) save: Option<HardState>,
    pub(super) effects: Effects,
}

impl Output {
    /// For the node around this election, whose own output keeps the effects behind the store in the same way.
    pub(crate) fn into_parts(self) -> (Option<HardState>, Effects) {
        (self.save, self.effects)
    }

    /// Makes durable what must be, and hands out the effects.
    ///
    /// # Errors
    ///
    /// The store's own. The effects are gone then: nothing that rests on the lost write is ever said.
    pub fn store<S: Store + ?Sized>(self, store: &mut S) -> Result<Effects, S::Error> {
        if let Some(state) = &self.save {
            store.save(state)?;
        }
        Ok(self.effects)
    }
}
