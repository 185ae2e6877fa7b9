//! The text between the supervisor, its guard and the process that becomes the command.

#[path = "../../src/bin/leadelect/run/guard_protocol.rs"]
#[allow(dead_code, missing_docs)]
mod guard_protocol;

use std::fmt::Debug;
use std::os::fd::OwnedFd;

use guard_protocol::{FromGuard, Received, ToGuard, receive, send, socket_pair};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Serialize, de::DeserializeOwned};

/// What one end sends to the other. A line is a message.
pub fn guard(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(16).collect();
    received::<ToGuard>(&lines);
    received::<FromGuard>(&lines);
}

fn received<T: Serialize + DeserializeOwned + PartialEq + Debug>(lines: &[&[u8]]) {
    let (ours, theirs) = socket_pair().expect("a pair");
    for line in lines {
        // Fails if it is longer than the buffer of a socket.
        let _ = rustix::net::send(&ours, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    while let Some(message) = next::<T>(&theirs) {
        let (ours, theirs) = socket_pair().expect("a pair");
        send(&ours, &message).expect("sent");
        assert_eq!(next(&theirs), Some(message));
    }
}

fn next<T: DeserializeOwned>(from: &OwnedFd) -> Option<T> {
    match receive(from, RecvFlags::DONTWAIT) {
        Received::Message(message, _) => Some(message),
        Received::Closed | Received::Nothing => None,
    }
}
