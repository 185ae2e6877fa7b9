//! The number of an election, which is the fencing token of the lease that is won in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A numbered period with at most one elected leader. The term in which a lease was won is its fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Term(pub u64);

impl Term {
    /// How far a message may be ahead of the highest term that a node knows. One bad frame must not use up all terms.
    pub const LARGEST_JUMP: u64 = 1 << 32;

    /// The last term. A node that may have voted in it cannot be elected any more.
    pub const LAST: Term = Term(u64::MAX);

    /// The term after this one. There is none after [`Term::LAST`].
    pub(super) fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }

    /// How far a node that knows of `self` comes by a message of the term `other`.
    pub(super) fn toward(self, other: Term) -> Term {
        other.min(Term(self.0.saturating_add(Self::LARGEST_JUMP)))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
