//! What is inside a frame.
//!
//! The order of variants and fields is the format. The tests compare it with golden bytes. A change of the format needs
//! a new number of the protocol: [`protocol`] says what may change, and how two sides find the number that they use.

use std::fmt;
use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod protocol;

use super::frame::MAX_FRAME;
use crate::election::{NodeId, Reply, Request, Role, Term};
use crate::leadership::Remaining;
use crate::status::PeerStatus;
pub(crate) use protocol::{Protocol, Protocols};

/// Everything that travels between nodes, and between a client and a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// The first frame of a dialler: the protocols that it speaks, who it is, and what it expects of the other side.
    Hello(Protocols, Hello),
    /// The node that was dialled agrees. It says what it speaks itself, and the protocol of this connection.
    Welcome(Protocols, Protocol, Hello),
    /// The node that was dialled ends the connection, and says why. The same in every protocol.
    Refused(String),
    Request(Request),
    Reply(Reply),
    Probe,
    Alive,
    /// The first frame of a client, which is no node: the protocols that it speaks, and what it wants. It sends no
    /// other.
    ClientRequest(Protocols, ClientRequest),
    /// A part of the reply to it, and the protocol of that part.
    ClientReply(Protocol, ClientReply),
}

impl Frame {
    /// Whether this is the release of a leader. The election repeats every other request itself.
    pub(crate) fn is_release(&self) -> bool {
        matches!(self, Frame::Request(Request::Release { .. }))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientRequest {
    pub(crate) cluster: String,
    pub(crate) to: NodeId,
    pub(crate) call: ClientCall,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ClientCall {
    Status,
    Resign { hold_off: Duration },
    Transfer { to: NodeId },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ClientReply {
    /// What the node sees of itself. A part for each of the `peers` follows.
    Status {
        #[serde(with = "RoleBytes")]
        role: Role,
        term: Term,
        leader: Option<NodeId>,
        token: Option<Term>,
        #[serde(with = "lease_bytes")]
        lease: Remaining,
        version: String,
        uptime: Duration,
        peers: u16,
    },
    /// What it sees of one of them.
    Peer(#[serde(with = "PeerBytes")] PeerStatus),
    Done,
    /// What it sees of the logger of its program. The last part of a status.
    Logger {
        stuck: Option<Duration>,
        lines_lost: u64,
    },
}

/// How a role travels: the core does not know of frames.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Role")]
enum RoleBytes {
    Follower,
    Candidate,
    Leader,
}

/// How a peer's status travels. The client has the address in its own config.
#[derive(Serialize, Deserialize)]
#[serde(remote = "PeerStatus")]
struct PeerBytes {
    id: NodeId,
    #[serde(skip)]
    addr: String,
    connected: bool,
    last_heard: Option<Duration>,
    round_trip: Option<Duration>,
    certificate_days: Option<i64>,
    last_error: Option<String>,
    requests: u64,
    failures: u64,
}

/// How the time left of a lease travels: as a duration. One of at least a century stands for an endless lease.
mod lease_bytes {
    use super::*;

    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    const ENDLESS: Duration = Duration::from_nanos(u64::MAX);

    pub(super) fn serialize<S: Serializer>(lease: &Remaining, serializer: S) -> Result<S::Ok, S::Error> {
        lease.duration().unwrap_or(ENDLESS).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Remaining, D::Error> {
        let left = Duration::deserialize(deserializer)?;
        Ok(if left < CENTURY { left.into() } else { Remaining::Endless })
    }
}

/// The longest error of a peer in a reply to a client, in characters. At four bytes each it fills half a frame.
pub(crate) const LONGEST_PEER_ERROR: usize = 500;

/// Who speaks, and what both sides must agree on before any other frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    /// All nodes, sorted.
    pub(crate) voters: Vec<NodeId>,
    pub(crate) clock_drift_ppm: u32,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// A random number of this process. It tells two processes with one id apart.
    pub(crate) instance: u64,
    /// No process of this node but this one can act under a lease of this term or an earlier one.
    pub(crate) obituary: Option<Term>,
}

impl Hello {
    /// Whether `theirs` agrees with this node's own view. The error is the first difference, with both values.
    pub(crate) fn agree(&self, theirs: &Hello) -> Result<(), String> {
        same("cluster", &self.cluster, &theirs.cluster)?;
        same("nodes", &format!("{:?}", self.voters), &format!("{:?}", theirs.voters))?;
        same("clock drift in ppm", &self.clock_drift_ppm, &theirs.clock_drift_ppm)
    }
}

impl ClientRequest {
    /// Whether the client means this node of this cluster. The error is the first difference, with both values.
    pub(crate) fn is_for(&self, me: NodeId, cluster: &str) -> Result<(), String> {
        same("cluster", &cluster, &self.cluster.as_str())?;
        if self.to == me {
            return Ok(());
        }
        let to = self.to;
        Err(format!("this is node {me}, not node {to}: check the addresses"))
    }
}

fn same<T: PartialEq + fmt::Display>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("different {what}: here {ours}, there {theirs}; make the configs agree"))
}

const FORMAT: Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> =
    bincode::config::standard().with_limit::<MAX_FRAME>();

/// The body of a frame of `protocol`. The first frame of a dialler and of a client is written before the number of the
/// connection is known: for the highest that the sender speaks.
pub(crate) fn encode(frame: &Frame, protocol: Protocol) -> Vec<u8> {
    let mut body = bincode::serde::encode_to_vec(frame, FORMAT).expect("a frame has only plain fields");
    if has_number_at_end(frame, protocol) {
        body.extend(bincode::serde::encode_to_vec(Protocol::NEXT, FORMAT).expect("a number"));
    }
    body
}

/// The frame in a body that was written for `protocol`. Fails if the bytes are not exactly one frame of it.
pub(crate) fn decode(body: &[u8], protocol: Protocol) -> Result<Frame, String> {
    match read(body, protocol)? {
        (frame, used) if used == body.len() => Ok(frame),
        (_, used) => Err(format!("expected a frame of {used} bytes, found {}", body.len())),
    }
}

/// The first frame that comes from the other side, and the protocol to go on with: the highest that both sides speak.
pub(crate) fn decode_first(body: &[u8], ours: Protocols) -> Result<(Frame, Protocol), String> {
    let Some(theirs) = announced(body) else {
        // A refusal, or nothing that a connection may begin with.
        return Ok((decode(body, ours.highest)?, ours.highest));
    };
    let protocol = ours.highest_common(theirs)?;
    match read(body, protocol) {
        // It was written for a later protocol. What follows are fields that this one has not.
        Ok((frame @ (Frame::Hello(..) | Frame::ClientRequest(..)), _)) if theirs.highest > protocol => {
            Ok((frame, protocol))
        }
        _ => Ok((decode(body, protocol)?, protocol)),
    }
}

/// The frame at the beginning of a body, and how many bytes it takes.
fn read(body: &[u8], protocol: Protocol) -> Result<(Frame, usize), String> {
    let other =
        |error: &dyn fmt::Display| format!("expected a frame of protocol {protocol}, found other bytes: {error}");
    let (frame, used) = bincode::serde::decode_from_slice(body, FORMAT).map_err(|error| other(&error))?;
    if !has_number_at_end(&frame, protocol) {
        return Ok((frame, used));
    }
    match bincode::serde::decode_from_slice::<Protocol, _>(&body[used..], FORMAT) {
        Ok((Protocol::NEXT, more)) => Ok((frame, used + more)),
        Ok((number, _)) => Err(other(&format!("they end with the number {number}"))),
        Err(error) => Err(other(&error)),
    }
}

/// From [`Protocol::NEXT`] on, every frame but a refusal has one field more: that number.
fn has_number_at_end(frame: &Frame, protocol: Protocol) -> bool {
    protocol >= Protocol::NEXT && !matches!(frame, Frame::Refused(_))
}

/// What the sender of a body speaks, if it says so. Every protocol has these numbers at this place.
fn announced(body: &[u8]) -> Option<Protocols> {
    let ((variant, lowest), _) = bincode::serde::decode_from_slice::<(u32, Protocol), _>(body, FORMAT).ok()?;
    let one = Protocols { lowest, highest: lowest };
    match variant {
        // A hello of protocol 1 names that number alone.
        HELLO | WELCOME | CLIENT_REQUEST if lowest == Protocol::FIRST => Some(one),
        HELLO | WELCOME | CLIENT_REQUEST => {
            let range = bincode::serde::decode_from_slice::<(u32, Protocols), _>(body, FORMAT).ok();
            range.map(|((_, range), _)| range)
        }
        CLIENT_REPLY => Some(one),
        _ => None,
    }
}

/// The numbers of the variants of [`Frame`] that say what their sender speaks.
const HELLO: u32 = 0;
const WELCOME: u32 = 1;
const CLIENT_REQUEST: u32 = 7;
const CLIENT_REPLY: u32 = 8;

#[cfg(test)]
mod tests;
