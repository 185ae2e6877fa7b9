//! Real nodes: threads, loopback TLS, processes that are killed, stopped and cut off.
//!
//! A test starts a cluster of its own, in a folder of its own, on ports that no other test uses, and ends all that it
//! started, also if it fails. It waits for conditions and not for a time to pass. The exceptions are the few tests that
//! show that something does *not* happen.
//!
//! Most nodes are this very binary, started again as [`support::child`]. It writes down what its lease says about every
//! millisecond, on a clock that all processes of the host share. [`support::lease_log`] judges the whole log
//! afterwards.
//! The command line of an example is tried on `examples/node.rs`.
#![cfg(target_os = "linux")]
// signals, CLOCK_BOOTTIME, /proc
// Tests time real processes, and what is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod busy_host;
mod certificates;
mod cut_off;
mod duplicate_id;
mod examples;
mod failover;
mod floods;
mod handover;
mod in_process;
mod lead;
mod logger;
mod obituary;
mod overrun;
mod program;
mod recall;
mod remote;
mod rolling;
mod slow_host;
mod slow_link;
mod soak;
mod storm;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod upgrades;
mod watch;

use support::{certs, child, cluster, dice, holdings, lease_log, process, quota, real_time, skip};
