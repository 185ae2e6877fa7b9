//! Tests of what several test programs share: the judge of lease logs, seeds, and skipped tests.
// What is missing in a test may panic.
#![allow(clippy::unwrap_used)]

mod dice;
mod drawing;
mod judging;
mod lease_log;
mod skip;
mod skipping;
