//! How long may a program act as leader, and how is it made to stop?
//!
//! Only while its node holds a lease, and whatever ends a leadership, it ends in one order. The work is told to *stop*.
//! Its end is *confirmed*, because the closure of [`Node::lead`](crate::Node::lead) returns and every
//! [`Lease`] is dropped. Only then leadership is *released*, and another node may lead at once.
//!
//! Work that does not stop delays that, but it does not make it unsafe. Every lease has a *hard deadline*, which only
//! the answers of a quorum move. From that moment on another node may lead, whatever this process does. So the work has
//! to know it in time: at the *soft deadline*, one drain time before the hard one, it is told to stop. A program that
//! is stopped itself, or hangs, is found out by comparing a deadline with the clock, never by a message that somebody
//! has to send.
//!
//! What threads share is in [`state`], and a lease in [`lease`]. Both only store and compare. What a silent or an
//! overrunning work means, and whether the node is eligible, is decided by the [engine](crate::engine).

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
