//! What can be asked of running nodes from outside, over the network: their status, and to hand leadership over.
//!
//! A client is no node and takes no part in the election. It connects as nodes do, over mutual TLS with the `certs` of
//! its [`Config`]. Any certificate of the cluster's CA may ask for the status; only one that is valid for a node's name
//! may change anything. (With `insecure: true` anybody may do anything.) The program `leadelect` is made of this.
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
use crate::election::{NodeId, Role};
use crate::status::{PeerStatus, days_until};
use crate::transport::LinkError;
use crate::transport::client::{Answer, Asker, Unanswered};
use crate::transport::wire::{Question, Told};

/// Asks the nodes of one cluster. Every call makes a connection of its own and waits for the answer.
#[derive(Debug)]
pub struct Client {
    config: Config,
    asker: Asker,
}

impl Client {
    /// A client of the cluster that `config` describes. Loads the certificate that it shows; connects to nobody yet.
    ///
    /// # Errors
    ///
    /// When the certificate is one that the nodes would refuse. It need not be that of a node.
    pub fn new(config: Config) -> Result<Client, ConfigError> {
        let asker = Asker {
            cluster: config.cluster().to_owned(),
            timing: config.timing(),
            rpc_timeout: config.rpc_timeout(),
            credentials: config.client_credentials()?.map(Arc::new),
        };
        Ok(Client { config, asker })
    }

    /// What the node sees of itself and its peers.
    ///
    /// Takes at most about four seconds at the default timing: one each to look the name up, to connect, for TLS and
    /// for the answer.
    ///
    /// # Errors
    ///
    /// When the node cannot be reached or does not answer, when one side refuses the other, or when the node knows
    /// other nodes than the config.
    pub fn status(&self, id: NodeId) -> Result<NodeStatus, RemoteError> {
        let answer = self.ask(id, Question::Status)?;
        self.read_status(id, answer)
    }

    /// The same of every node, all asked at once, in the order of their ids.
    #[must_use]
    pub fn status_of_all(&self) -> Vec<(NodeId, Result<NodeStatus, RemoteError>)> {
        let ids: Vec<NodeId> = self.config.nodes().map(|(id, _)| id).collect();
        thread::scope(|scope| {
            let asked: Vec<_> = ids
                .into_iter()
                .map(|id| {
                    let thread = thread::Builder::new().name(format!("ask-{id}"));
                    (id, thread.spawn_scoped(scope, move || self.status(id)))
                })
                .collect();
            let answered = asked.into_iter().map(|(id, asked)| {
                let status = match asked.map(|thread| thread.join()) {
                    Ok(Ok(status)) => status,
                    Ok(Err(_)) => Err(RemoteError::Unreachable("the question panicked".into())),
                    Err(error) => Err(RemoteError::Unreachable(format!("cannot start a thread: {error}"))),
                };
                (id, status)
            });
            answered.collect()
        })
    }

    /// Has the node `leader` give leadership up, as [`Node::resign`](crate::Node::resign) does, and be a last resort
    /// for `hold_off` at least. Returns when it no longer leads: up to two election timeouts, if its work is slow to
    /// stop.
    ///
    /// # Errors
    ///
    /// As [`Client::status`]; also when the node does not lead, and when this client may not change anything.
    ///
    /// A node that was asked and has not answered in time, or whose connection broke before it did, may still do it,
    /// also later: the text of the error says so. See who leads, by [`Client::status_of_all`], before you ask again.
    pub fn resign(&self, leader: NodeId, hold_off: Duration) -> Result<(), RemoteError> {
        self.ask(leader, Question::Resign { hold_off }).map(drop)
    }

    /// Has the node `leader` hand leadership over to `to`. Returns when it no longer leads, which is a moment before
    /// `to` does.
    ///
    /// # Errors
    ///
    /// As [`Client::resign`]; also when `to` cannot lead, with the reason.
    pub fn transfer(&self, leader: NodeId, to: NodeId) -> Result<(), RemoteError> {
        self.ask(leader, Question::Transfer { to }).map(drop)
    }

    /// The nodes for whose names this client's certificate is valid. If there are none it may only ask for the status.
    #[must_use]
    pub fn valid_for(&self) -> Vec<NodeId> {
        let Some(credentials) = &self.asker.credentials else {
            return Vec::new();
        };
        let own = credentials.certificate();
        let nodes = self.config.nodes();
        let mine = nodes.filter(|(_, member)| own.is_valid_for(member.name()));
        mine.map(|(id, _)| id).collect()
    }

    /// Whole days until this client's certificate ends. Nothing without TLS.
    #[must_use]
    pub fn certificate_days(&self) -> Option<i64> {
        self.asker.credentials.as_ref()?.days_left()
    }

    fn ask(&self, id: NodeId, question: Question) -> Result<Answer, RemoteError> {
        let Some(member) = self.config.member(id) else {
            return Err(RemoteError::UnknownNode(id));
        };
        let in_doubt = match question {
            Question::Status => "",
            Question::Resign { .. } | Question::Transfer { .. } => IN_DOUBT,
        };
        let answer = self.asker.ask(id, member, question);
        answer.map_err(|unanswered| match unanswered {
            Unanswered::Unasked(error) => RemoteError::new(&error, ""),
            Unanswered::Asked(error) => RemoteError::new(&error, in_doubt),
        })
    }

    fn read_status(&self, id: NodeId, answer: Answer) -> Result<NodeStatus, RemoteError> {
        let unexpected = || RemoteError::Refused("expected a status, found something else".into());
        let mut told = answer.told.into_iter();
        let Some(Told::Status { role, term, leader, token, lease, version, uptime, peers: _ }) = told.next() else {
            return Err(unexpected());
        };
        let mut peers = Vec::new();
        for part in told {
            let Told::Peer { id, connected, last_heard, round_trip, certificate_days, last_error, requests, failures } =
                part
            else {
                return Err(unexpected());
            };
            let member = self.config.member(id);
            peers.push(PeerStatus {
                id,
                addr: member.map_or_else(String::new, |member| member.to_string()),
                connected,
                last_heard,
                round_trip,
                certificate_days,
                last_error,
                requests,
                failures,
            });
        }
        self.check_nodes(id, &peers)?;
        let days = |end| days_until(end, clock::wall_seconds());
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
            round_trip: answer.round_trip,
            certificate_days: answer.certificate_ends.map(days),
        })
    }

    /// A majority of other nodes means nothing here.
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

/// A node as it sees itself, as [`Node::status`](crate::Node::status) there, and what can be seen of it from here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader it knows of, itself included.
    pub leader: Option<NodeId>,
    /// The fencing token, if the node holds a lease that has not run out.
    pub token: Option<u64>,
    /// How long it may still act as leader if nobody answers it any more; zero if it may not. Centuries where it has no
    /// end, in a cluster of one node.
    pub lease: Duration,
    /// How it sees the other nodes, by id.
    pub peers: Vec<PeerStatus>,
    /// The version of this library there.
    pub version: String,
    /// How long ago the node was started.
    pub uptime: Duration,
    /// From the question to the answer, on a connection that was there already.
    pub round_trip: Duration,
    /// Whole days until the node's certificate ends; negative if it has. Nothing without TLS.
    pub certificate_days: Option<i64>,
}

/// Why a node did not do what it was asked for, by whose fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// The config has no such node.
    UnknownNode(NodeId),
    /// It cannot be reached, or the connection broke: it is down, or the network is.
    Unreachable(String),
    /// It was reached, and did not answer in time: it hangs, or is overloaded.
    Silent(String),
    /// It was reached, and one side does not accept the other, or the node will not do it: the text says why.
    Refused(String),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::UnknownNode(id) => write!(f, "there is no node {id} in the config"),
            RemoteError::Unreachable(what) => write!(f, "unreachable: {what}"),
            RemoteError::Silent(what) => write!(f, "silent: {what}"),
            RemoteError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RemoteError {}

/// What is to be known of an order that was given and not answered.
const IN_DOUBT: &str = "; it may still do what it was asked for: see who leads before you ask again";

impl RemoteError {
    /// With what is to be known if the node has not even refused.
    fn new(error: &LinkError, otherwise: &str) -> Self {
        match error {
            LinkError::Gone(_) => RemoteError::Unreachable(format!("{error}{otherwise}")),
            LinkError::Silent { .. } => RemoteError::Silent(format!("{error}{otherwise}")),
            LinkError::Refused(why) => RemoteError::Refused(why.clone()),
        }
    }
}
