//! `leadelect run`: three supervisors on loopback, whose commands, guards and selves are killed and stopped.
//!
//! The command is this very binary, started again as [`work`]. It writes down every millisecond that it lives, and so
//! do the processes that it starts, on a clock that all processes of the host share. In no test may a process of one
//! leader live once a process of the next leader does. [`rig`] judges that.
#![cfg(target_os = "linux")]
// Tests time real processes, and what is missing in a test may panic.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod alone;
mod asking;
mod chance;
mod crowd;
mod death;
mod exclusion;
mod handover;
mod host;
mod relay;
mod rig;
mod scheduling;
mod stuck_log;
#[path = "../support/mod.rs"]
#[allow(dead_code)] // a part is for the other programs; the program `node` uses all of it
mod support;
mod work;

use support::{child, cluster, dice, process, real_time, skip};
