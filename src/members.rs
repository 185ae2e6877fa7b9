//! Who is in the cluster, and which of them this node is.
//!
//! A [`Member`] is one node, as its peers know it. [`Members`] are all of them, seen by one: nothing else in this crate
//! knows who the peers of a node are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::election::{NodeId, NodeIdError, Voter};
use crate::error::TransferError;

/// One node, as its peers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The IP address or DNS name that peers dial. Names are resolved at every dial.
    pub addr: String,
    /// The TCP port that peers dial, and that the node listens on.
    pub port: u16,
    /// The IP address that the node listens on, where it is not `addr`: behind NAT, or `0.0.0.0` in a container.
    pub listen: Option<IpAddr>,
    /// The name that the node's certificate must be valid for, where it is not `addr`.
    pub tls_name: Option<String>,
    /// Who is preferred as leader: the highest of those that are equally up to date. 0 unless set.
    pub priority: i32,
    /// Whether the node votes and never leads.
    pub witness: bool,
}

impl Member {
    pub(crate) fn new(addr: impl Into<String>, port: u16) -> Member {
        Member { addr: addr.into(), port, listen: None, tls_name: None, priority: 0, witness: false }
    }

    /// The name that the node's certificate must be valid for.
    pub(crate) fn name(&self) -> &str {
        self.tls_name.as_deref().unwrap_or(&self.addr)
    }
}

/// Where the node is dialled: `host:port`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addr, port) = (&self.addr, self.port);
        match addr.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{addr}]:{port}"),
            _ => write!(f, "{addr}:{port}"),
        }
    }
}

/// All nodes of the cluster, seen by one of them.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    me: NodeId,
    all: BTreeMap<NodeId, Member>,
}

impl Members {
    /// The nodes `all`, as the node `me` sees them.
    ///
    /// # Panics
    ///
    /// When `me` is not one of them.
    pub(crate) fn new(me: NodeId, all: BTreeMap<NodeId, Member>) -> Members {
        assert!(all.contains_key(&me), "node {me} is no member");
        Members { me, all }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn own(&self) -> &Member {
        &self.all[&self.me]
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Member> {
        self.all.get(&id)
    }

    /// Every node, this one included, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.all.iter().map(|(id, member)| (*id, member))
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.iter().filter(|(id, _)| *id != self.me)
    }

    pub(crate) fn peer(&self, id: NodeId) -> Option<&Member> {
        self.get(id).filter(|_| id != self.me)
    }

    /// What the election has to know of every node.
    pub(crate) fn voters(&self) -> BTreeMap<NodeId, Voter> {
        let voter = |member: &Member| Voter { priority: member.priority, witness: member.witness };
        self.iter().map(|(id, member)| (id, voter(member))).collect()
    }

    /// The peer `id`, if leadership of this node may be transferred to it as far as the config says.
    pub(crate) fn successor(
        &self,
        id: impl TryInto<NodeId, Error: Into<NodeIdError>>,
    ) -> Result<NodeId, TransferError> {
        let unknown = |id: &str| TransferError::Unknown { id: id.to_owned() };
        let id: NodeId = id.try_into().map_err(|error| unknown(error.into().found()))?;
        match self.get(id) {
            None => Err(unknown(id.as_str())),
            Some(_) if id == self.me => Err(TransferError::Oneself),
            Some(member) if member.witness => Err(TransferError::Witness(id)),
            Some(_) => Ok(id),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Node 1 of those whose addresses are given, each at port 1.
    pub(crate) fn members<const N: usize>(addrs: [&str; N]) -> Members {
        let all = (1u16..).zip(addrs).map(|(id, addr)| (id.into(), Member::new(addr, 1)));
        Members::new(1.into(), all.collect())
    }

    #[test]
    fn leadership_goes_to_a_peer_that_may_lead_and_to_nobody_else() {
        let mut members = members(["one.example", "two.example", "three.example"]);
        members.all.get_mut(&3.into()).expect("a member").witness = true;
        assert_eq!(members.successor("2"), Ok(2.into()));
        assert_eq!(members.successor(NodeId::from(1)), Err(TransferError::Oneself));
        assert_eq!(members.successor("3".to_owned()), Err(TransferError::Witness(3.into())));
        for unknown in ["4", "two words", ""] {
            assert_eq!(members.successor(unknown), Err(TransferError::Unknown { id: unknown.to_owned() }));
        }
    }
}
