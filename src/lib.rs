//! Leader election by majority.
pub mod election;
pub use election::{NodeId, NodeIdError, Timing, TimingError};
