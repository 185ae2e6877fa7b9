//! What several test programs share: certificates, processes, clusters of them, and the judge of their logs.
//!
//! Each program includes this once. The program `support` tests it.

pub(crate) mod actor;
pub(crate) mod certs;
pub(crate) mod child;
pub(crate) mod cluster;
pub(crate) mod dice;
pub(crate) mod holdings;
pub(crate) mod lease_log;
pub(crate) mod process;
pub(crate) mod quota;
pub(crate) mod real_time;
pub(crate) mod skip;
