//! Why leadership is not handed over.

use std::fmt;

use crate::election::NodeId;

/// The node does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotLeader;

impl fmt::Display for NotLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node does not lead")
    }
}

impl std::error::Error for NotLeader {}

/// Why leadership is not transferred to a node. Nothing has changed: this node leads on, if it did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead.
    NotLeader,
    /// This node has begun to hand over already.
    UnderWay,
    /// There is no such node in the config.
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// It is this node itself.
    Oneself,
    /// It votes and never leads.
    Witness(NodeId),
    /// It cannot be reached, or was not heard for about an election timeout.
    Silent(NodeId),
    /// It answers, but is not eligible now: it holds off after a leadership of its own, it was made ineligible, or it
    /// has just started.
    NotEligible(NodeId),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::NotLeader => NotLeader.fmt(f),
            TransferError::UnderWay => f.write_str("this node is handing over already"),
            TransferError::Unknown { id } => write!(f, "found no node {id:?} in the config"),
            TransferError::Oneself => f.write_str("this node leads already: name another"),
            TransferError::Witness(id) => write!(f, "node {id} is a witness: it never leads"),
            TransferError::Silent(id) => {
                write!(f, "node {id} was not heard lately, or cannot be reached: see that it runs")
            }
            TransferError::NotEligible(id) => {
                write!(f, "node {id} is not eligible now: it holds off, was made ineligible or has just started")
            }
        }
    }
}

impl std::error::Error for TransferError {}
