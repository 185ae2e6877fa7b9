//! The number of an election, which is the fencing token of the lease that is won in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A numbered period with at most one elected leader. The term in which a lease was won is its fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Term(pub u64);

impl Term {
    /// How far a message may be ahead of a node's own term. One bad frame must not use up all terms.
    pub const LARGEST_JUMP: u64 = 1 << 32;

    pub(super) fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("terms grow by at most LARGEST_JUMP a message"))
    }

    pub(super) fn too_far_from(self, own: Term) -> bool {
        self.0 > own.0.saturating_add(Self::LARGEST_JUMP)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
