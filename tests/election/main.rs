//! The election without the world: no thread, socket, file, sleep or clock.
#![allow(clippy::unwrap_used)]

mod harness;
mod paper;
mod picture;
mod scenarios;
mod simulation;
