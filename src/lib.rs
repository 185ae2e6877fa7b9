//! Leader election by majority.
mod clock;
mod config;
mod driver;
pub mod election;
mod inbox;
mod lease;
mod node;
mod status;
mod store;
mod transport;

pub use config::{Config, ConfigBuilder, ConfigError, Member, NodeConfig, NodeSpec};
pub use election::{Cause, Event, NodeId, NodeIdError, Role, Timing, TimingError};
pub use lease::Lease;
pub use node::{Node, NotLeader, StartError};
pub use status::{Events, PeerStatus, Status};
