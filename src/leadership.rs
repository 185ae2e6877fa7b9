//! How long may a program act as leader, and how is it made to stop?
//!
//! A program may act only while its node holds a lease. Every leadership ends in the same order. The work is told to
//! *stop*. Its end is *confirmed* when the closure of [`Node::lead`](crate::Node::lead) has returned and every
//! [`Lease`] is dropped. Only then leadership is *released*, and another node may lead at once.
//!
//! Work that does not stop delays that, but it does not make it unsafe. Every lease has a *hard deadline*, which only
//! the answers of a quorum move. From that moment on another node may lead, even if this process hangs. So the work has
//! to know it in time: at the *soft deadline*, one drain time before the hard one, it is told to stop. To find a
//! program that is stopped itself, or hangs, a thread compares a deadline with the clock. It needs no message from that
//! program.
//!
//! What threads share is in [`state`], and a lease in [`lease`]. Both only store and compare. The
//! [engine](crate::engine) decides what follows from silent or overrunning work, and whether the node is eligible.

mod health;
mod lead;
mod lease;
mod options;
mod remaining;
mod state;

pub use lead::{Leading, Next, WorkResult};
pub(crate) use lead::{NodeHandle, lead, wait};
pub use lease::Lease;
pub use options::{HealthCheck, LeadOptions, OnOverrun};
pub use remaining::Remaining;
pub(crate) use state::{LONGEST_WAIT, Leadership, Nudge};

#[cfg(test)]
mod tests;
