//! An act on a resource outside: one datagram, which the kernel queues at the moment it is sent.
//!
//! So the order in which the resource reads is the order in which the acts were done, however late it reads. An act
//! that finds the queue full is not done.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::process::id;

/// The path of the resource.
pub(crate) const RESOURCE: &str = "LEADELECT_TEST_RESOURCE";
/// The name of the one who acts.
pub(crate) const ACTOR: &str = "LEADELECT_TEST_ACTOR";

#[derive(Debug)]
pub(crate) struct Actor {
    socket: UnixDatagram,
    name: String,
}

impl Actor {
    pub(crate) fn from_env() -> Option<Actor> {
        let (path, name) = (env::var_os(RESOURCE)?, env::var(ACTOR).ok()?);
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Some(Actor { socket, name })
    }

    /// Acts with `token`. The actor was sure at `before` that it may, and for no longer than until `until`.
    pub(crate) fn act(&self, token: u64, before: u64, until: u64) {
        // Fails if the queue is full, or if the test is over.
        let _ = self.socket.send(format!("{} {token} {} {before} {until}", self.name, id()).as_bytes());
    }
}
