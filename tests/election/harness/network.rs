//! What becomes of a message: lost, late, twice, out of order. Requests and replies each travel in their own
//! direction, so that a node may be able to talk and not to hear.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;

use super::Dice;
use super::clock::nanos;

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
    links: BTreeMap<(NodeId, NodeId), Link>,
}

impl Network {
    pub(crate) fn new(nodes: &[NodeId]) -> Self {
        let mut links = BTreeMap::new();
        for from in nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                links.insert((*from, *to), Link::GOOD);
            }
        }
        Network { links }
    }

    pub(crate) fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        self.links.get_mut(&(from, to)).expect("two nodes")
    }

    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.values_mut()
    }

    pub(crate) fn all(&self) -> &BTreeMap<(NodeId, NodeId), Link> {
        &self.links
    }

    /// How long each copy of a message takes that is sent now; no copy arrives if there is none.
    pub(crate) fn carry(&self, from: NodeId, to: NodeId, dice: &mut Dice) -> Vec<Duration> {
        let link = self.links[&(from, to)];
        if link.cut || dice.chance(link.lost_per_mille) {
            return Vec::new();
        }
        let copies = 1 + usize::from(dice.chance(link.twice_per_mille));
        let jitter = nanos(link.jitter);
        (0..copies)
            .map(|_| {
                let tail = if dice.chance(link.tail_per_mille) {
                    TAIL
                } else {
                    1
                };
                link.delay + Duration::from_nanos(dice.below(jitter.saturating_mul(tail)))
            })
            .collect()
    }
}
