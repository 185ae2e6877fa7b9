//! The program `leadelect`, called as from a shell while real nodes run.
//!
//! `cargo test --features cli --test cli`. The clusters are those of [`support`].
#![cfg(target_os = "linux")]
// Tests time real processes, and what is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod check;
mod clients;
mod command;
mod program;
mod secrets;
mod start;
mod status;
#[path = "../support/mod.rs"]
#[allow(dead_code)] // a part is for the other programs; the program `node` uses all of it
mod support;

use support::{certs, cluster, lease_log, process, skip};
