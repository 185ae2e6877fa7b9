//! placeholder
mod id;
mod memory;
mod time;
mod timing;
pub use id::{NodeId, NodeIdError};
pub use memory::{HardState, Output, Recovery, Store};
pub use time::Instant;
pub use timing::{Timing, TimingError};

/// A numbered period with at most one leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Term(pub u64);
impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
}
/// ph
#[derive(Debug)]
pub struct Effects;
