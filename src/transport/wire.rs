//! What is inside a frame.
//!
//! The order of variants and fields is the format. The tests compare it with golden bytes. A change of the format needs
//! a new [`PROTOCOL`] number.

use std::fmt;
use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::frame::MAX_FRAME;
use crate::election::{NodeId, Reply, Request, Role, Term};
use crate::leadership::Remaining;
use crate::status::PeerStatus;

/// The number of this protocol. Nodes of different numbers refuse each other by name.
pub(crate) const PROTOCOL: u16 = 1;

/// Everything that travels between nodes, and between a client and a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// The first frame of a dialler: who it is, and what it expects of the other side.
    Hello(Hello),
    /// The node that was dialled agrees.
    Welcome(Hello),
    /// The node that was dialled ends the connection, and says why.
    Refused(String),
    Request(Request),
    Reply(Reply),
    Probe,
    Alive,
    /// The first frame of a client, which is no node. It sends no other.
    ClientRequest(ClientRequest),
    /// A part of the reply to it.
    ClientReply(ClientReply),
}

impl Frame {
    /// Whether this is the release of a leader. The election repeats every other request itself.
    pub(crate) fn is_release(&self) -> bool {
        matches!(self, Frame::Request(Request::Release { .. }))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientRequest {
    pub(crate) protocol: u16,
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
    /// What it sees of the logger of its program. The last part of a status; nodes before 0.2 do not send it.
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
    pub(crate) protocol: u16,
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
        same_protocol(self.protocol, theirs.protocol)?;
        same("cluster", &self.cluster, &theirs.cluster)?;
        same("nodes", &format!("{:?}", self.voters), &format!("{:?}", theirs.voters))?;
        same("clock drift in ppm", &self.clock_drift_ppm, &theirs.clock_drift_ppm)
    }
}

impl ClientRequest {
    /// Whether the client means this node of this cluster, in this version of the protocol. The error is the first
    /// difference, with both values.
    pub(crate) fn is_for(&self, me: NodeId, cluster: &str) -> Result<(), String> {
        same_protocol(PROTOCOL, self.protocol)?;
        same("cluster", &cluster, &self.cluster.as_str())?;
        if self.to == me {
            return Ok(());
        }
        let to = self.to;
        Err(format!("this is node {me}, not node {to}: check the addresses"))
    }
}

fn same_protocol(ours: u16, theirs: u16) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("different protocol: here {ours}, there {theirs}; run versions of leadelect that speak the same one"))
}

fn same<T: PartialEq + fmt::Display>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("different {what}: here {ours}, there {theirs}; make the configs agree"))
}

const FORMAT: Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> =
    bincode::config::standard().with_limit::<MAX_FRAME>();

pub(crate) fn encode(frame: &Frame) -> Vec<u8> {
    bincode::serde::encode_to_vec(frame, FORMAT).expect("a frame has only plain fields")
}

/// The frame in a body. Fails if the bytes are not exactly one frame of this protocol.
pub(crate) fn decode(body: &[u8]) -> Result<Frame, String> {
    match bincode::serde::decode_from_slice(body, FORMAT) {
        Ok((frame, used)) if used == body.len() => Ok(frame),
        Ok((_, used)) => {
            Err(other_protocol(body)
                .unwrap_or_else(|| format!("expected a frame of {used} bytes, found {}", body.len())))
        }
        Err(error) => Err(other_protocol(body)
            .unwrap_or_else(|| format!("expected a frame of protocol {PROTOCOL}, found other bytes: {error}"))),
    }
}

/// If this is the first frame of a node or a client of another protocol: the error with both numbers. In every
/// protocol these frames begin with the number of the variant and the number of the protocol.
fn other_protocol(body: &[u8]) -> Option<String> {
    let ((variant, protocol), _) = bincode::serde::decode_from_slice::<(u32, u16), _>(body, FORMAT).ok()?;
    let speaks_first = FIRST_FRAMES.contains(&variant);
    same_protocol(PROTOCOL, protocol).err().filter(|_| speaks_first)
}

/// The numbers of [`Frame::Hello`], [`Frame::Welcome`] and [`Frame::ClientRequest`].
const FIRST_FRAMES: [u32; 3] = [0, 1, 7];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Hint, Refusal, Term};

    fn id(number: u16) -> NodeId {
        NodeId::from(number)
    }

    fn hello() -> Hello {
        Hello {
            protocol: 1,
            cluster: "c".into(),
            voters: vec![id(1), id(2)],
            clock_drift_ppm: 1000,
            from: id(1),
            to: id(2),
            instance: 7,
            obituary: Some(Term(4)),
        }
    }

    fn every_frame() -> Vec<Frame> {
        let (term, candidacy) = (Term(5), 300);
        vec![
            Frame::Hello(hello()),
            Frame::Welcome(hello()),
            Frame::Refused("no".into()),
            Frame::Request(Request::PreVote { term, candidacy }),
            Frame::Request(Request::Vote { term, candidacy }),
            Frame::Request(Request::Heartbeat {
                term,
                seq: 9,
                promise: Duration::from_millis(500),
                succession: vec![id(3), id(2)],
            }),
            Frame::Request(Request::Release { term, seq: 9, successor: Some(id(3)) }),
            Frame::Reply(Reply::PreVote {
                term,
                candidacy,
                verdict: Err(Refusal::LeaderHeard(id(1))),
                wait: Duration::from_millis(260),
                leader: Some(Hint { leader: id(1), term, age: Duration::from_millis(40) }),
            }),
            Frame::Reply(Reply::Vote { term, candidacy, verdict: Ok(()), wait: Duration::from_millis(500) }),
            Frame::Reply(Reply::Heartbeat { term, seq: 9, granted: Duration::from_millis(500), eligible: true }),
            Frame::Reply(Reply::Release { term }),
            Frame::Probe,
            Frame::Alive,
            call(ClientCall::Status),
            call(ClientCall::Resign { hold_off: Duration::from_secs(30) }),
            call(ClientCall::Transfer { to: id(3) }),
            Frame::ClientReply(ClientReply::Status {
                role: Role::Leader,
                term,
                leader: Some(id(1)),
                token: Some(term),
                lease: Remaining::Left(Duration::from_millis(400)),
                version: "0.1.0".into(),
                uptime: Duration::from_secs(90),
                peers: 2,
            }),
            Frame::ClientReply(ClientReply::Peer(PeerStatus {
                last_heard: Some(Duration::from_secs(2)),
                certificate_days: Some(-1),
                last_error: Some("no".into()),
                requests: 5,
                failures: 6,
                ..PeerStatus::unknown(id(3), String::new())
            })),
            Frame::ClientReply(ClientReply::Done),
            Frame::ClientReply(ClientReply::Logger { stuck: Some(Duration::from_secs(4)), lines_lost: 300 }),
        ]
    }

    fn call(call: ClientCall) -> Frame {
        Frame::ClientRequest(ClientRequest { protocol: 1, cluster: "c".into(), to: id(1), call })
    }

    #[test]
    fn every_frame_comes_back_as_it_went() {
        for frame in every_frame() {
            assert_eq!(decode(&encode(&frame)), Ok(frame));
        }
    }

    /// The format of protocol 1. A difference here means that nodes of two versions misunderstand each other.
    #[test]
    fn golden_bytes() {
        let golden = include_str!("golden.txt");
        let found: String = every_frame().iter().map(|frame| hex(&encode(frame)) + "\n").collect();
        assert_eq!(found, golden, "the bytes of protocol {PROTOCOL} have changed");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_longest_messages_fit_a_frame() {
        let longest: NodeId = "x".repeat(NodeId::MAX_LEN).parse().expect("an id");
        let mut hello = hello();
        hello.voters = vec![longest; 64];
        hello.cluster = "x".repeat(64);
        assert!(encode(&Frame::Hello(hello)).len() <= MAX_FRAME);
        let heartbeat = Request::Heartbeat {
            term: Term(u64::MAX),
            seq: u64::MAX,
            promise: Duration::MAX,
            succession: vec![longest; 64],
        };
        assert!(encode(&Frame::Request(heartbeat)).len() <= MAX_FRAME);
        let peer = PeerStatus {
            id: longest,
            addr: String::new(),
            connected: true,
            last_heard: Some(Duration::MAX),
            round_trip: Some(Duration::MAX),
            certificate_days: Some(i64::MIN),
            last_error: Some("\u{10ffff}".repeat(LONGEST_PEER_ERROR)),
            requests: u64::MAX,
            failures: u64::MAX,
        };
        assert!(encode(&Frame::ClientReply(ClientReply::Peer(peer))).len() <= MAX_FRAME);
    }

    #[test]
    fn an_endless_lease_comes_back_endless_and_another_with_its_time() {
        let comes_back = |lease| {
            let status = ClientReply::Status {
                role: Role::Leader,
                term: Term(5),
                leader: None,
                token: Some(Term(5)),
                lease,
                version: String::new(),
                uptime: Duration::ZERO,
                peers: 0,
            };
            let frame = Frame::ClientReply(status);
            assert_eq!(decode(&encode(&frame)), Ok(frame), "{lease}");
        };
        comes_back(Remaining::Over);
        comes_back(Remaining::Left(Duration::from_secs(3600)));
        comes_back(Remaining::Endless);
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_and_is_an_error() {
        // A refusal whose text claims to be 2^60 bytes long.
        let lie = [2, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        let error = decode(&lie).expect_err("a lie");
        assert!(error.contains("expected a frame of protocol 1"), "{error}");
    }

    #[test]
    fn a_first_frame_of_a_later_protocol_is_refused_with_both_numbers_whatever_follows() {
        let Frame::ClientRequest(request) = call(ClientCall::Status) else { unreachable!() };
        let (mut later, mut asks) = (hello(), request);
        (later.protocol, asks.protocol) = (300, 300);
        for frame in [Frame::Hello(later.clone()), Frame::Welcome(later), Frame::ClientRequest(asks)] {
            // The variant is one byte, and 300 is three.
            let mut bytes = encode(&frame)[..4].to_vec();
            bytes.extend([0xff; 9]);
            let error = decode(&bytes).expect_err("other fields");
            assert_eq!(
                error,
                "different protocol: here 1, there 300; run versions of leadelect that speak the same one"
            );
        }
        let error = decode(&[2, 251, 44, 1, 255]).expect_err("no first frame");
        assert!(error.contains("found other bytes"), "{error}");
    }

    #[test]
    fn no_truncated_extended_or_changed_frame_panics() {
        for frame in every_frame() {
            let bytes = encode(&frame);
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err(), "{frame:?} cut at {len}");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(decode(&longer).is_err());
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    let _ = decode(&changed);
                }
            }
        }
    }

    #[test]
    fn a_difference_is_named_with_both_values() {
        let (ours, mut theirs) = (hello(), hello());
        theirs.voters = vec![id(1), id(3)];
        let error = ours.agree(&theirs).expect_err("different nodes");
        assert_eq!(error, "different nodes: here [1, 2], there [1, 3]; make the configs agree");
    }
}
