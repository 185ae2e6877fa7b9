//! Calls to running nodes over the network: ask for their status, or move leadership.
//!
//! A client is no node and takes no part in the election. It connects as nodes do, over mutual TLS with the `certs` of
//! its [`Config`]. With any certificate of the cluster's CA it may ask for the status. To change anything it needs a
//! certificate that is valid for a node's name. With `insecure: true` everybody may do everything. The program
//! `leadelect` uses this module.
//!
//! ```no_run
//! use leadelect::{Config, remote::Client};
//!
//! let client = Client::new(Config::from_yaml_file("cfg.yaml")?)?;
//! for (id, status) in client.status_of_all() {
//!     match status {
//!         Ok(node) => println!("{id}: {} in term {}, up for {:?}", node.role, node.term, node.uptime),
//!         Err(error) => println!("{id}: {error}"),
//!     }
//! }
//! # Ok::<(), leadelect::config::ConfigError>(())
//! ```

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::config::{Config, ConfigError};
use crate::election::{NodeId, NodeIdError, Role, Term};
use crate::leadership::Remaining;
use crate::status::PeerStatus;
use crate::transport::LinkError;
use crate::transport::client::{Caller, NodeReply};
use crate::transport::wire::{ClientCall, ClientReply};

/// Calls the nodes of one cluster. Every call makes a connection of its own and waits for the reply.
///
/// A node's id may be given as a [`NodeId`], as text or as a number.
#[derive(Debug)]
pub struct Client {
    config: Config,
    caller: Caller,
}

/// A change of leadership, for [`Client::transfer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer<L, T> {
    /// The node that leads now. It gets the call.
    pub leader: L,
    /// The node that should lead next.
    pub to: T,
}

impl Client {
    /// A client of the cluster that `config` describes. Loads its certificate, but connects to no node yet.
    ///
    /// # Errors
    ///
    /// When the nodes would refuse the certificate. It need not be that of a node.
    pub fn new(config: Config) -> Result<Client, ConfigError> {
        let caller = Caller {
            cluster: config.cluster().to_owned(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout,
            credentials: config.client_credentials()?.map(Arc::new),
        };
        Ok(Client { config, caller })
    }

    /// What the node sees of itself and its peers.
    ///
    /// Takes at most about four seconds at the default timing: one each for the look-up of the name, the connection,
    /// TLS and the reply.
    ///
    /// # Errors
    ///
    /// When the node cannot be reached or does not answer, when one side refuses the other, or when the node's config
    /// lists other nodes than this one.
    pub fn status(&self, id: impl TryInto<NodeId, Error: Into<NodeIdError>>) -> Result<NodeStatus, RemoteError> {
        let id = read_id(id)?;
        let reply = self.call(id, ClientCall::Status)?;
        self.read_status(id, reply)
    }

    /// The status of every node, in the order of their ids. All are asked at once.
    #[must_use]
    pub fn status_of_all(&self) -> Vec<(NodeId, Result<NodeStatus, RemoteError>)> {
        thread::scope(|scope| {
            let ask = |(id, _)| {
                let thread = thread::Builder::new().name(format!("ask-{id}"));
                (id, thread.spawn_scoped(scope, move || self.status(id)))
            };
            let asked: Vec<_> = self.config.nodes().map(ask).collect();
            let answered = asked.into_iter().map(|(id, asked)| {
                let status = match asked.map(|thread| thread.join()) {
                    Ok(Ok(status)) => status,
                    Ok(Err(_)) => Err(RemoteError::Unreachable("the call panicked".into())),
                    Err(error) => Err(RemoteError::Unreachable(format!("cannot start a thread: {error}"))),
                };
                (id, status)
            });
            answered.collect()
        })
    }

    /// Makes the node `leader` give leadership up, as [`Node::resign_for`](crate::Node::resign_for) does. Returns when
    /// the node no longer leads. That takes up to two election timeouts if its work is slow to stop.
    ///
    /// # Errors
    ///
    /// As [`Client::status`]. Also when the node does not lead, and when this client may not change anything.
    ///
    /// If the node got the call and did not answer in time, or the connection broke before the answer, the node *may
    /// still do it*, also later. The text of the error then says so. See who leads, by [`Client::status_of_all`],
    /// before you call again.
    pub fn resign(
        &self,
        leader: impl TryInto<NodeId, Error: Into<NodeIdError>>,
        hold_off: Duration,
    ) -> Result<(), RemoteError> {
        self.call(read_id(leader)?, ClientCall::Resign { hold_off }).map(drop)
    }

    /// Makes the node `leader` hand leadership over to the node `to`. Returns when `leader` no longer leads. The other
    /// node leads a moment later.
    ///
    /// ```no_run
    /// use leadelect::remote::{Client, Transfer};
    ///
    /// # fn hand_over(client: &Client) -> Result<(), leadelect::remote::RemoteError> {
    /// client.transfer(Transfer { leader: "1", to: "2" })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Client::resign`]. Also when `to` cannot lead: the text says why.
    pub fn transfer<L, T>(&self, Transfer { leader, to }: Transfer<L, T>) -> Result<(), RemoteError>
    where
        L: TryInto<NodeId, Error: Into<NodeIdError>>,
        T: TryInto<NodeId, Error: Into<NodeIdError>>,
    {
        let (leader, to) = (read_id(leader)?, read_id(to)?);
        self.call(leader, ClientCall::Transfer { to }).map(drop)
    }

    /// The nodes for whose names this client's certificate is valid. If there are none, it may only ask for the status.
    #[must_use]
    pub fn valid_for(&self) -> Vec<NodeId> {
        let Some(credentials) = &self.caller.credentials else {
            return Vec::new();
        };
        let own = credentials.certificate();
        let nodes = self.config.nodes();
        let mine = nodes.filter(|(_, member)| own.is_valid_for(member.name()));
        mine.map(|(id, _)| id).collect()
    }

    /// Whole days until the first of the certificates ends that this client shows: its own, or an intermediate one.
    /// Nothing without TLS.
    #[must_use]
    pub fn certificate_days(&self) -> Option<i64> {
        Some(clock::days_until(self.caller.credentials.as_ref()?.end()?.at))
    }

    /// What is allowed in the files of the certificates and may not be meant, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.caller.credentials.as_ref().map_or(Vec::new(), |credentials| credentials.warnings())
    }

    fn call(&self, id: NodeId, call: ClientCall) -> Result<NodeReply, RemoteError> {
        let Some(member) = self.config.members.get(&id) else {
            return Err(RemoteError::UnknownNode { id: id.to_string() });
        };
        let in_doubt = match call {
            ClientCall::Status => "",
            ClientCall::Resign { .. } | ClientCall::Transfer { .. } => IN_DOUBT,
        };
        let stream = self.caller.dial(member).map_err(|error| RemoteError::new(error, ""))?;
        self.caller.exchange(stream, id, call).map_err(|error| RemoteError::new(error, in_doubt))
    }

    fn read_status(&self, id: NodeId, reply: NodeReply) -> Result<NodeStatus, RemoteError> {
        let unexpected = || RemoteError::Refused("expected a status, found something else".into());
        let ClientReply::Status { role, term, leader, token, lease, version, uptime, peers: _ } = reply.first else {
            return Err(unexpected());
        };
        let mut peers = Vec::new();
        for part in reply.peers {
            let ClientReply::Peer(mut peer) = part else {
                return Err(unexpected());
            };
            peer.addr = self.config.members.get(&peer.id).map_or_else(String::new, ToString::to_string);
            peers.push(peer);
        }
        self.check_nodes(id, &peers)?;
        let Some(ClientReply::Logger { stuck: logger_stuck, lines_lost }) = reply.logger else {
            return Err(unexpected());
        };
        Ok(NodeStatus {
            id,
            role,
            term,
            leader,
            token,
            lease,
            peers,
            version,
            uptime,
            logger_stuck,
            lines_lost,
            round_trip: reply.round_trip,
            certificate_days: reply.end.as_ref().map(|end| clock::days_until(end.at)),
            ends_first: reply.end.and_then(|end| end.intermediate),
        })
    }

    /// A majority of other nodes says nothing about these.
    fn check_nodes(&self, id: NodeId, peers: &[PeerStatus]) -> Result<(), RemoteError> {
        let ours: Vec<NodeId> = self.config.nodes().map(|(id, _)| id).collect();
        let mut theirs: Vec<NodeId> = peers.iter().map(|peer| peer.id).chain([id]).collect();
        theirs.sort_unstable();
        if ours == theirs {
            return Ok(());
        }
        Err(RemoteError::Refused(format!("different nodes: here {ours:?}, there {theirs:?}; make the configs agree")))
    }
}

fn read_id(id: impl TryInto<NodeId, Error: Into<NodeIdError>>) -> Result<NodeId, RemoteError> {
    id.try_into().map_err(|error| RemoteError::UnknownNode { id: error.into().found().to_owned() })
}

/// A node as it sees itself, as [`Node::status`](crate::Node::status) there, and what a client sees of it.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serialize", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NodeStatus {
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
    /// How it sees the other nodes, by id.
    pub peers: Vec<PeerStatus>,
    /// The version of this library there.
    pub version: String,
    /// How long ago the node was started.
    #[cfg_attr(feature = "serialize", serde(rename = "uptime_s", serialize_with = "crate::status::seconds"))]
    pub uptime: Duration,
    /// How long its program's logger has been busy with one line, if that is longer than 3 s: it is stuck.
    #[cfg_attr(
        feature = "serialize",
        serde(rename = "logger_stuck_ms", serialize_with = "crate::status::some_millis")
    )]
    pub logger_stuck: Option<Duration>,
    /// How many lines of its log were lost since it was started.
    pub lines_lost: u64,
    /// From the request to the reply, on an open connection.
    #[cfg_attr(feature = "serialize", serde(rename = "round_trip_ms", serialize_with = "crate::status::millis"))]
    pub round_trip: Duration,
    /// Whole days until the first of the certificates ends that the node shows, negative if it has ended. Nothing
    /// without TLS.
    pub certificate_days: Option<i64>,
    /// The intermediate certificate that ends first, such as `CN=nodes`. Nothing if that is the node's own.
    pub ends_first: Option<String>,
}

/// Why a node did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// The config has no such node.
    UnknownNode {
        /// The id, or the text that is none.
        id: String,
    },
    /// The node cannot be reached, or the connection broke: the node or the network is down.
    Unreachable(String),
    /// The node was reached and did not answer in time: it hangs or is overloaded.
    Silent(String),
    /// The node was reached. One side does not accept the other, or the node refuses the call. The text says why.
    Refused(String),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::UnknownNode { id } => write!(f, "found no node {id:?} in the config"),
            RemoteError::Unreachable(what) => write!(f, "unreachable: {what}"),
            RemoteError::Silent(what) => write!(f, "silent: {what}"),
            RemoteError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RemoteError {}

/// What the caller has to know if a node got a call that changes something, and did not answer.
const IN_DOUBT: &str = "; it may still do what it was asked for: see who leads before you ask again";

impl RemoteError {
    /// Adds `doubt` unless the node has refused.
    fn new(error: LinkError, doubt: &str) -> Self {
        match error {
            LinkError::Gone(_) => RemoteError::Unreachable(format!("{error}{doubt}")),
            LinkError::Silent { .. } => RemoteError::Silent(format!("{error}{doubt}")),
            LinkError::Refused(why) => RemoteError::Refused(why),
        }
    }
}
