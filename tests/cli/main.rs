//! The program `leadelect`, asked things by a shell while real nodes run.
//!
//! `cargo test --features cli --test cli`. The clusters are those of the test target `node`, whose files these are.
#![cfg(target_os = "linux")]
// Tests time real processes, and what is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]
// What only the other target needs.
#![allow(dead_code)]

#[path = "../node/certs.rs"]
mod certs;
mod check;
#[path = "../node/child.rs"]
mod child;
mod clients;
#[path = "../node/cluster.rs"]
mod cluster;
mod command;
#[path = "../node/lease_log.rs"]
mod lease_log;
#[path = "../node/process.rs"]
mod process;
mod program;
mod status;
