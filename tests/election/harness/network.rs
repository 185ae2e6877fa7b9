//! What becomes of a message: lost, late, twice, out of order. Requests and replies each travel in their own
//! direction, so that a node may be able to talk and not to hear.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;

use super::Dice;
use super::clock::nanos;
use super::per_node::PerNode;

/// One direction between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    pub(crate) delay: Duration,
    /// Up to so much later than `delay`, each message for itself: this reorders.
    pub(crate) jitter: Duration,
    /// So many are late by up to [`TAIL`] times that: most of what is sent is timely, and the rest is not at all.
    pub(crate) tail_per_mille: u64,
    pub(crate) lost_per_mille: u64,
    pub(crate) twice_per_mille: u64,
}

impl Link {
    pub(crate) const GOOD: Link = Link {
        cut: false,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
        tail_per_mille: 0,
        lost_per_mille: 0,
        twice_per_mille: 0,
    };
}

/// How much longer the heavy tail of the delays is than what is usual.
const TAIL: u64 = 30;

#[derive(Debug)]
pub(crate) struct Network {
    /// From whom to whom.
    links: PerNode<PerNode<Link>>,
}

impl Network {
    pub(crate) fn new(nodes: &[NodeId]) -> Self {
        let from_one = |from: &NodeId| {
            let others = nodes.iter().filter(|to| *to != from);
            (*from, others.map(|to| (*to, Link::GOOD)).collect())
        };
        Network { links: nodes.iter().map(from_one).collect() }
    }

    pub(crate) fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let from = self.links.get_mut(&from).expect("a node");
        from.get_mut(&to).expect("another node")
    }

    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.values_mut().flat_map(PerNode::values_mut)
    }

    pub(crate) fn all(&self) -> BTreeMap<(NodeId, NodeId), Link> {
        let from_one = |(from, links): (&NodeId, &PerNode<Link>)| {
            let from = *from;
            let pairs: Vec<_> = links.iter().map(|(to, link)| ((from, *to), *link)).collect();
            pairs
        };
        self.links.iter().flat_map(from_one).collect()
    }

    /// How long a message takes that is sent now, and its copy, if there is one; nothing arrives if there is none.
    pub(crate) fn carry(&self, from: NodeId, to: NodeId, dice: &mut Dice) -> [Option<Duration>; 2] {
        let link = &self.links[&from][&to];
        if link.cut || dice.chance(link.lost_per_mille) {
            return [None, None];
        }
        let twice = dice.chance(link.twice_per_mille);
        let jitter = nanos(link.jitter);
        let mut delay = || {
            let tail = match dice.chance(link.tail_per_mille) {
                true => TAIL,
                false => 1,
            };
            link.delay + Duration::from_nanos(dice.below(jitter.saturating_mul(tail)))
        };
        [Some(delay()), twice.then(delay)]
    }
}
