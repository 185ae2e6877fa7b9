//! Elects one leader among a small fixed set of nodes, only by a majority, and lets a program act as leader only
//! while that is provably safe. Threads and blocking I/O; no async runtime.
//!
//! ```no_run
//! use leadelect::{Config, Node};
//! use std::{error::Error, time::Duration};
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     let node = Node::start(Config::from_yaml_file("cfg.yaml")?.for_node("1")?)?;
//!     node.lead(|leading| {
//!         // Once per term won, until the node stops. The wait ends at once when leadership must.
//!         while leading.wait(Duration::from_secs(1)).is_ok() {
//!             println!("on this node only, with token {}", leading.token());
//!         }
//!         // Only now another node may lead.
//!     });
//!     Ok(())
//! }
//! ```
//!
//! # What it promises
//!
//! - **At most one leader acts at any instant**, if no clock's rate is off by more than the configured drift, and if
//!   the program asks [`Leading::check`] or [`Lease::is_valid`] at the moment of use.
//! - **Tokens only grow** from leader to leader, if the nodes have a `state_dir`.
//! - **A vote survives a power cut**, and a restarted node breaks no promise that it gave before.
//! - **Peers prove who they are**, in both directions, with a certificate for their configured name.
//!
//! # What it does not
//!
//! - It replicates no log and stores nothing for the program.
//! - The set of nodes is fixed. To change it, stop all nodes and start all of them again.
//! - It cannot reach into a resource. A program that is stopped *between* [`Lease::is_valid`] and acting, or whose
//!   virtual machine is paused, acts late. Only a resource that refuses old tokens stops that. Send [`Lease::token`]
//!   along with everything you change.
//!
//! # Where to go from here
//!
//! | to | see |
//! |---|---|
//! | do what only a leader may | [`Node::lead`], [`Leading`], [`LeadOptions`] |
//! | hand over, stop | [`Node::resign`], [`Node::transfer_to`], [`Node::shutdown`] |
//! | act as leader without a closure | [`Node::lease`], [`Lease`] |
//! | configure it | [`Config`], [`config`] |
//! | make a crash cost milliseconds | [`death_witness`] |
//! | watch it | [`Status`], [`Events`], [`status`], [`Counters`](status::Counters) |
//! | ask or command running nodes from outside | [`remote`], or the program `leadelect` |
//! | use the protocol over another transport, or check it | [`election`] |
//! | understand it, secure it, operate it | [`manual`] |

mod clock;
pub mod config;
pub mod death_witness;
mod driver;
pub mod election;
pub mod engine;
mod error;
#[cfg(feature = "checkers")]
#[doc(hidden)]
pub mod fuzz;
mod inbox;
mod leadership;
mod log_queue;
pub mod manual;
mod members;
mod node;
#[cfg(not(feature = "checkers"))]
mod recording;
#[cfg(feature = "checkers")]
#[doc(hidden)]
pub mod recording;
pub mod remote;
mod state_lock;
pub mod status;
mod store;
mod sync;
mod tls;
mod transport;

#[doc(hidden)]
pub use clock::lease_clock_nanos;
pub use config::Config;
#[doc(hidden)]
pub use config::{may_be_key, time_from_str};
pub use election::{Cause, EndReason, Event, NodeId, Role, Term};
pub use error::{NotLeader, TransferError};
pub use leadership::{HealthCheck, LeadOptions, Leading, Lease, Next, OnOverrun, Remaining, WorkResult};
pub use node::{Node, StartError};
pub use state_lock::StateLock;
pub use status::{Events, Status};
pub use store::StateProblem;

/// The program of README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
