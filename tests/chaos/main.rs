//! A world that attacks real clusters, by chance that can be repeated.
//!
//! Each node is a real process in a network namespace of its own. It is `leadelect run` with a command ([`work`]), or a
//! program of the library ([`child`](support::child)). All packets between nodes go through a [`network`] in this
//! process, which loses, delays and forges. A folder of the node's own lies on a small disk. A small C file,
//! `shim.c`, makes writes slow or failing and moves the wall clock.
//!
//! A [`round`] starts a cluster, waits until it has settled, inflicts the [`faults`] that its seed says, mends them,
//! and waits until a leader acts again. [`judge`] then reads the [`history`]: what was done to whom, and every act that
//! reached the [`resource`]. What the nodes have recorded is replayed, and judged on one [`timeline`]. Several rounds
//! run at once. Nothing leaves the namespaces, and they end with this process.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CHAOS_ROUNDS` | how many rounds | 4 |
//! | `CHAOS_MINUTES` | begin rounds for this long instead | |
//! | `CHAOS_SEED` | the seed of the first round; the next has the next seed | chance |
//! | `CHAOS_CLUSTERS` | how many rounds run at once | 4 |
//! | `CHAOS_ONLY` | the first fault of a round has this in its name | |
//! | `CHAOS_LONGEST_STOP_MS` | the longest stop of a process | 2000; 20000 with `CHAOS_MINUTES` |
//!
//! What fails leaves its history and its picture in `target/chaos`.
#![cfg(target_os = "linux")]
// Tests time real processes, and what is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bites;
mod campaign;
mod cluster;
mod disk;
mod faults;
#[path = "../election/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // a part is for the other programs
mod harness;
mod history;
mod host;
mod judge;
mod logs;
mod network;
mod packet;
mod picture;
mod processes;
mod resource;
mod round;
#[path = "../support/mod.rs"]
#[allow(dead_code)] // a part is for the other programs
mod support;
#[path = "../replay/timeline.rs"]
mod timeline;
mod work;

use support::{actor, certs, child, dice, holdings, lease_log, process, quota, skip};
