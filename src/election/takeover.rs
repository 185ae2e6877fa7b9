//! Which node should lead in the end?
//!
//! The node that is elected first need not be the best. The node of the highest priority may have been away, or no
//! eligible node was there. So the leader watches for a preferred node. When one has backed the leader for a while
//! without a gap, and was eligible all the time, the leader hands over to it. The while is long, so that a preferred
//! node that comes and goes costs the cluster little. It doubles each time that node leads only for a short time after
//! a takeover, so that a node that fails soon after each takeover does not disturb the cluster for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use super::leader::Preferred;
use super::{Effects, Election, EndReason, Instant, NodeId, State};

/// Each short reign doubles the wait for the next, up to 64 times [`Timing::settling`](super::Timing::settling).
const MOST_FAILURES: u32 = 6;

/// What a node has seen of those it would rather see lead than itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Takeovers {
    /// The leader of now, if it is one of them, as long as its reign is short.
    pub(super) young: Option<Takeover>,
    /// How many takeovers in a row were short, of each that had any.
    pub(super) short: BTreeMap<NodeId, u32>,
}

/// A reign that is not yet as long as a preferred node is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Takeover {
    pub(super) leader: NodeId,
    pub(super) settled_at: Instant,
}

impl Election {
    /// A leader is heard, or this node leads itself; it takes leadership if it did not lead this term before.
    pub(super) fn note_takeover(&mut self, now: Instant, leader: NodeId, is_new_leader: bool) {
        let prefers = self.prefers(leader);
        let Takeovers { young, short } = &mut self.takeovers;
        if is_new_leader {
            if let Some(reign) = young.take() {
                let failures = short.entry(reign.leader).or_insert(0);
                *failures = (*failures + 1).min(MOST_FAILURES);
            }
            let settled_at = now + self.setup.timing.settling();
            *young = prefers.then_some(Takeover { leader, settled_at });
        } else if young.take_if(|reign| now >= reign.settled_at).is_some() {
            short.remove(&leader);
        }
    }

    /// Hands over to a preferred node that has waited for long enough, and tells whether it does.
    pub(super) fn hand_to_preferred(&mut self, now: Instant, out: &mut Effects) -> bool {
        let preferred = self.preferred(now);
        let wait = preferred.map_or(Duration::ZERO, |id| self.wait_for_preferred(id));
        let State::Leader(leader) = &mut self.state else {
            return false;
        };
        let Some(id) = preferred else {
            leader.preferred = None;
            return false;
        };
        let due = match &leader.preferred {
            Some(known) if known.id == id => known.due,
            Some(_) | None => now + wait,
        };
        leader.preferred = Some(Preferred { id, due });
        if now < due {
            return false;
        }
        self.begin_step_down(now, Some(id), Duration::ZERO, EndReason::Preferred, out);
        true
    }

    /// The best of those who back this leader and are able to lead, if it should rather lead: always, if this leader is
    /// a last resort.
    fn preferred(&self, now: Instant) -> Option<NodeId> {
        let last_resort = !self.able_to_lead(now);
        self.best_backer(now).filter(|id| last_resort || self.prefers(*id))
    }

    fn prefers(&self, other: NodeId) -> bool {
        let voters = &self.setup.voters;
        voters[&other].priority > voters[&self.setup.me].priority
    }

    fn wait_for_preferred(&self, preferred: NodeId) -> Duration {
        let failures = self.takeovers.short.get(&preferred).copied().unwrap_or(0);
        self.setup.timing.settling() * (1 << failures)
    }
}
