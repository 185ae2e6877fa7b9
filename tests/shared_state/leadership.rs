//! The sources under test.

#[path = "../../src/leadership/lease.rs"]
pub(crate) mod lease;
#[path = "../../src/leadership/options.rs"]
pub(crate) mod options;
#[path = "../../src/leadership/remaining.rs"]
pub(crate) mod remaining;
#[path = "../../src/leadership/state.rs"]
pub(crate) mod state;
