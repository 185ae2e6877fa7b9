//! Which node should lead in the end?
//!
//! In the end the eligible node with the highest priority leads.
//!
//! The node that is elected first need not be that one: the best node may have been away, or not eligible. So the
//! leader watches for a preferred node. When one has backed the leader for a while without a gap, and was eligible all
//! the time, the leader hands over to it. The wait is long, so that a preferred node that comes and goes costs the
//! cluster little. The wait doubles each time that node leads only for a short time after a takeover, or another node
//! leads although that one was named. So a node that fails at each takeover does not disturb the cluster for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::leader::Preferred;
use super::{Effects, Election, EndReason, Instant, NodeId, State};

/// Each takeover that lasts only a short time doubles the wait for the next one, up to 64 times
/// [`Timing::settling`](super::Timing::settling).
const MOST_FAILURES: u32 = 6;

/// What a node has seen of the nodes that are preferred to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Takeovers {
    /// The present leader, if it is preferred, until it has led for long enough.
    pub(super) young: Option<Takeover>,
    /// For each node: how many of its takeovers in a row were short, or failed.
    pub(super) short: BTreeMap<NodeId, u32>,
    /// The successor that the last leader named, until some node leads.
    pub(super) named: Option<NodeId>,
}

/// A takeover that has not yet lasted as long as [`Timing::settling`](super::Timing::settling).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Takeover {
    pub(super) leader: NodeId,
    pub(super) settled_at: Instant,
}

impl Election {
    /// Notes that `leader` leads; it may be this node. `is_new_leader` says that its leadership has just begun.
    pub(super) fn note_takeover(&mut self, now: Instant, leader: NodeId, is_new_leader: bool) {
        let prefers = self.prefers(leader);
        let missed = self.takeovers.named.filter(|named| *named != leader && self.prefers(*named));
        let Takeovers { young, short, named } = &mut self.takeovers;
        if is_new_leader {
            *named = None;
            for failed in young.take().map(|takeover| takeover.leader).into_iter().chain(missed) {
                let failures = short.entry(failed).or_insert(0);
                *failures = (*failures + 1).min(MOST_FAILURES);
            }
            let settled_at = now + self.setup.timing.settling();
            *young = prefers.then_some(Takeover { leader, settled_at });
        } else if young.take_if(|takeover| now >= takeover.settled_at).is_some() {
            short.remove(&leader);
        }
    }

    /// Hands over to a preferred node that has waited long enough. Returns `true` if it does.
    pub(super) fn hand_to_preferred(&mut self, now: Instant, out: &mut Effects) -> bool {
        let preferred = self.preferred(now);
        let wait = preferred.map_or(Duration::ZERO, |id| self.wait_for_preferred(id));
        let State::Leader(leader) = &mut self.state else {
            unreachable!("the caller knows that this node leads");
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

    /// The best eligible backer, if it is preferred to this leader. If this leader is a last resort, every eligible
    /// backer is preferred.
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
