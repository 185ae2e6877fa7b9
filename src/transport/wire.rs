//! What is inside a frame.
//!
//! The order of variants and fields is the format: golden bytes in the tests hold it still. Whoever changes it gives
//! [`PROTOCOL`] a new number.

use std::fmt;
use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::frame::MAX_FRAME;
use crate::election::{NodeId, Reply, Request, Role};

/// The number of this protocol. Nodes of different numbers refuse each other by name.
pub(crate) const PROTOCOL: u16 = 1;

/// Everything that travels between nodes, and between a client and a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// The dialler says first who it is and what it takes for granted.
    Hello(Hello),
    /// Whoever was dialled agrees.
    Welcome(Hello),
    /// Whoever was dialled will not go on, and says why.
    Refused(String),
    /// A question of the election.
    Request(Request),
    /// Its answer.
    Reply(Reply),
    /// Is anybody there?
    Probe,
    /// Yes.
    Alive,
    /// A client, which is no node, asks: its first frame, and its only one.
    Ask(Ask),
    /// What it is told.
    Told(Told),
}

impl Frame {
    /// The last word of a leader. Every other request is repeated by the election.
    pub(crate) fn is_release(&self) -> bool {
        matches!(self, Frame::Request(Request::Release { .. }))
    }
}

/// What a client wants of which node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) protocol: u16,
    pub(crate) cluster: String,
    pub(crate) to: NodeId,
    pub(crate) question: Question,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What do you see?
    Status,
    /// Lead no more, and be a last resort for so long.
    Resign { hold_off: Duration },
    /// Let this node lead.
    Transfer { to: NodeId },
}

/// A part of what a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// What the node sees of itself; so many peers follow.
    Status {
        #[serde(with = "RoleBytes")]
        role: Role,
        term: u64,
        leader: Option<NodeId>,
        token: Option<u64>,
        lease: Duration,
        version: String,
        uptime: Duration,
        peers: u16,
    },
    /// What it sees of one of them.
    Peer {
        id: NodeId,
        connected: bool,
        last_heard: Option<Duration>,
        round_trip: Option<Duration>,
        certificate_days: Option<i64>,
        last_error: Option<String>,
        requests: u64,
        failures: u64,
    },
    /// What was asked for is done.
    Done,
}

/// How a role travels: the core does not know of frames.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Role")]
enum RoleBytes {
    Follower,
    Candidate,
    Leader,
}

/// The longest error of a peer that a client is told, in characters: four bytes each fill half a frame.
pub(crate) const MOST_TOLD: usize = 500;

/// Who speaks, and what both sides must agree on before anything else is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u16,
    pub(crate) cluster: String,
    /// All nodes, sorted.
    pub(crate) voters: Vec<NodeId>,
    pub(crate) clock_drift_ppm: u32,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// A number that the process drew when it started: tells two processes with one id apart.
    pub(crate) instance: u64,
}

impl Hello {
    /// Whether `theirs` agrees with this node's own view.
    ///
    /// # Errors
    ///
    /// The first difference, with both values.
    pub(crate) fn agree(&self, theirs: &Hello) -> Result<(), String> {
        same("protocol", &self.protocol, &theirs.protocol)?;
        same("cluster", &self.cluster, &theirs.cluster)?;
        same("nodes", &List(&self.voters), &List(&theirs.voters))?;
        same("clock drift in ppm", &self.clock_drift_ppm, &theirs.clock_drift_ppm)
    }
}

impl Ask {
    /// Whether whoever asks speaks with the node, the cluster and the version that it means to.
    ///
    /// # Errors
    ///
    /// The first difference, with both values.
    pub(crate) fn is_for(&self, me: NodeId, cluster: &str) -> Result<(), String> {
        same("protocol", &PROTOCOL, &self.protocol)?;
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

#[derive(PartialEq)]
struct List<'a>(&'a [NodeId]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

const FORMAT: Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> =
    bincode::config::standard().with_limit::<MAX_FRAME>();

/// The bytes of a frame's body.
pub(crate) fn encode(frame: &Frame) -> Vec<u8> {
    bincode::serde::encode_to_vec(frame, FORMAT).expect("a frame has only plain fields")
}

/// The frame in a body.
///
/// # Errors
///
/// When the bytes are not exactly one frame of this protocol.
pub(crate) fn decode(body: &[u8]) -> Result<Frame, String> {
    match bincode::serde::decode_from_slice(body, FORMAT) {
        Ok((frame, used)) if used == body.len() => Ok(frame),
        Ok((_, used)) => Err(format!("expected a frame of {used} bytes, found {}", body.len())),
        Err(error) => Err(format!("expected a frame of protocol {PROTOCOL}, found other bytes: {error}")),
    }
}

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
            ask(Question::Status),
            ask(Question::Resign { hold_off: Duration::from_secs(30) }),
            ask(Question::Transfer { to: id(3) }),
            Frame::Told(Told::Status {
                role: Role::Leader,
                term: 5,
                leader: Some(id(1)),
                token: Some(5),
                lease: Duration::from_millis(400),
                version: "0.1.0".into(),
                uptime: Duration::from_secs(90),
                peers: 2,
            }),
            Frame::Told(Told::Peer {
                id: id(3),
                connected: false,
                last_heard: Some(Duration::from_secs(2)),
                round_trip: None,
                certificate_days: Some(-1),
                last_error: Some("no".into()),
                requests: 5,
                failures: 6,
            }),
            Frame::Told(Told::Done),
        ]
    }

    fn ask(question: Question) -> Frame {
        Frame::Ask(Ask { protocol: 1, cluster: "c".into(), to: id(1), question })
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
        let peer = Told::Peer {
            id: longest,
            connected: true,
            last_heard: Some(Duration::MAX),
            round_trip: Some(Duration::MAX),
            certificate_days: Some(i64::MIN),
            last_error: Some("\u{10ffff}".repeat(MOST_TOLD)),
            requests: u64::MAX,
            failures: u64::MAX,
        };
        assert!(encode(&Frame::Told(peer)).len() <= MAX_FRAME);
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_and_is_an_error() {
        // A refusal whose text claims to be 2^60 bytes long.
        let lie = [2, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        let error = decode(&lie).expect_err("a lie");
        assert!(error.contains("expected a frame of protocol 1"), "{error}");
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
