//! What can be seen of a node: a snapshot, its counters, and a stream of its changes.
//!
//! The threads of a node write what they see on one board. A [`Status`] is a copy of the board at one moment, and
//! [`Events`] are the changes of it. Reading either never waits for the election thread, so a node whose disk hangs
//! can still be looked at.
//!
//! With the feature `serialize` the types here implement `serde::Serialize`. Times are then numbers, and the end of
//! their name is the unit: `last_heard` becomes `last_heard_ms`.

mod board;
mod counters;
mod events;
#[cfg(feature = "serialize")]
mod json;
mod poll_fd;
#[cfg(feature = "prometheus")]
mod prometheus;
mod recorder;
mod slowness;

use std::fmt;
use std::time::Duration;

pub(crate) use self::board::Board;
pub use self::counters::{Counters, LeasesLost, Measured, PreVotesRefused};
pub use self::events::Events;
#[cfg(feature = "serialize")]
pub(crate) use self::json::{millis, seconds, some_millis};
use crate::election::{NodeId, Role, Term};
use crate::leadership::Remaining;

/// A node as it sees itself and its peers, at one moment.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows of, itself included.
    pub leader: Option<NodeId>,
    /// The fencing token, if the node holds a lease that has not run out.
    pub token: Option<Term>,
    /// How long the node may still act as leader if no peer answers any more. [`Remaining::Over`] if it has no token.
    #[cfg_attr(feature = "serialize", serde(rename = "lease_ms"))]
    pub lease: Remaining,
    /// The other nodes, by id.
    pub peers: Vec<PeerStatus>,
    /// How long the program's logger has been busy with one line of this node, if that is longer than 3 s: it is stuck.
    #[cfg_attr(feature = "serialize", serde(rename = "logger_stuck_ms", serialize_with = "json::some_millis"))]
    pub logger_stuck: Option<Duration>,
    /// What the node has counted since it started.
    pub counters: Counters,
}

/// What a node knows of one of its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// Where it is dialled, as `host:port`.
    pub addr: String,
    /// Whether this node has a connection to it.
    pub connected: bool,
    /// How long ago the peer was last heard, on a connection of either direction.
    #[cfg_attr(feature = "serialize", serde(rename = "last_heard_ms", serialize_with = "json::some_millis"))]
    pub last_heard: Option<Duration>,
    /// The time from the last request to its reply.
    #[cfg_attr(feature = "serialize", serde(rename = "round_trip_ms", serialize_with = "json::some_millis"))]
    pub round_trip: Option<Duration>,
    /// Whole days until the peer's certificate ends, negative if it has ended. Nothing without TLS or before the first
    /// connection.
    pub certificate_days: Option<i64>,
    /// What last went wrong between the two. A new connection clears it.
    pub last_error: Option<String>,
    /// How many requests this node has sent to the peer since the start, probes of an idle connection included.
    pub requests: u64,
    /// How many times since the start this node could not reach the peer, got no reply in time, or was refused.
    pub failures: u64,
}

/// One line, as the example logs it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} term={}", self.role, self.term)?;
        match self.leader {
            Some(leader) => write!(f, " leader={leader}")?,
            None => f.write_str(" leader=none")?,
        }
        if let Some(token) = self.token {
            write!(f, " token={token} lease={}", self.lease)?;
        }
        self.peers.iter().try_for_each(|peer| write!(f, ", {peer}"))
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.connected, self.round_trip, &self.last_error) {
            (true, Some(round_trip), _) => write!(f, "peer {} up ({round_trip:.1?})", self.id),
            (true, None, _) => write!(f, "peer {} up", self.id),
            (false, _, Some(error)) => write!(f, "peer {} down ({error})", self.id),
            (false, _, None) => write!(f, "peer {} down", self.id),
        }
    }
}

impl PeerStatus {
    /// A peer of which nothing is known yet.
    pub(crate) fn unknown(id: NodeId, addr: String) -> Self {
        PeerStatus {
            id,
            addr,
            connected: false,
            last_heard: None,
            round_trip: None,
            certificate_days: None,
            last_error: None,
            requests: 0,
            failures: 0,
        }
    }
}
