//! What must a node not forget, and what does it know of its own past when it starts?

use std::time::Duration;

use serde::Serialize;

use super::{Effects, NodeId, Term};

/// What must be durable before a message that relies on it leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct HardState {
    /// The highest term that this node has taken part in.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeId>,
    /// The longest promise that this node may have outstanding.
    pub cap: Duration,
    /// A later state than this one may be lost. The node has not yet waited until the votes and promises in that lost
    /// state are too old to matter.
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
    /// When the state may not be durable. Then step the node with [`Input::StorageFailed`](super::Input).
    fn save(&mut self, state: &HardState) -> Result<(), Self::Error>;
}

/// What a starting node knows of its earlier votes and promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// A new node: it has a place for its state, and that place is empty.
    Fresh,
    /// The state was read. It holds everything except the promises, which are never written, unless it is in doubt.
    Restored {
        /// What was last made durable.
        state: HardState,
        /// How long this node has certainly not been running. After a reboot of the same host this is the uptime of the
        /// host, otherwise zero.
        down_for: Duration,
    },
    /// A node that runs without a place for its state.
    Stateless {
        /// The first term in which it may vote and campaign: the wall clock in seconds, so that tokens normally still
        /// grow. It follows a leader of any term.
        first_term: Term,
    },
}

/// What one step wants done: first make a state durable, then carry out the effects.
///
/// [`Output::store`] is the only way to the effects. So the node says nothing before it is durable.
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

    /// Makes the state durable, if it has changed, and returns the effects.
    ///
    /// # Errors
    ///
    /// The error of the store. The effects are then gone: nothing that relies on the failed write is ever said.
    pub fn store<S: Store + ?Sized>(self, store: &mut S) -> Result<Effects, S::Error> {
        if let Some(state) = &self.save {
            store.save(state)?;
        }
        Ok(self.effects)
    }
}
