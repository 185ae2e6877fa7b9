//! The election alone: no thread, socket, file, sleep or clock. Only [`mutants`] builds a copy of it and runs that in
//! processes of its own.
#![allow(clippy::unwrap_used)]

mod failover;
mod harness;
mod model;
mod mutants;
mod paper;
mod picture;
mod scenarios;
mod simulation;
