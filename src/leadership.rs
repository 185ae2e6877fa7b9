//! How a program acts as leader, and how it is made to stop.

mod lead;
mod lease;
mod remaining;
mod state;

pub use lead::{LeadOptions, Leading, Next};
pub(crate) use lead::{NodeHandle, lead};
pub use lease::Lease;
pub use remaining::Remaining;
pub use state::Overrun;
pub(crate) use state::{Alarm, LONGEST_WAIT, Leadership};
