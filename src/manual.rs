//! Long reads: how it works, what it assumes, how to run it, and how it is built.

#[doc = include_str!("manual/protocol.md")]
pub mod protocol {}

#[doc = include_str!("manual/safety.md")]
pub mod safety {}

#[doc = include_str!("manual/failover.md")]
pub mod failover {}

#[doc = include_str!("manual/death.md")]
pub mod death {}

#[doc = include_str!("manual/clocks.md")]
pub mod clocks {}

#[doc = include_str!("manual/security.md")]
pub mod security {}

#[doc = include_str!("manual/operations.md")]
pub mod operations {}

#[doc = include_str!("manual/short_leases.md")]
pub mod short_leases {}

#[doc = include_str!("manual/mutants.md")]
pub mod mutants {}

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/decisions.md")]
pub mod decisions {}
