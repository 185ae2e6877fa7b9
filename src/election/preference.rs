//! Who should lead in the end?
//!
//! Whoever is elected first need not be the best: the node of the highest priority may have been away, or none that is
//! able to lead was there. When it is back,
//! and has backed the leader for a while without a gap, able to lead itself, the leader hands over to it in order. The
//! while is long, so that nobody pays for a favourite that comes and goes; and it doubles with every short reign of
//! that favourite, so that one which fails soon after each take-over does not take the cluster along.

use std::collections::BTreeMap;
use std::time::Duration;

use super::leader::Favourite;
use super::{Cause, Effects, Election, Instant, NodeId, State};

/// Each short reign doubles the wait for the next, up to 64 times [`Timing::settling`](super::Timing::settling).
const MOST_STRIKES: u32 = 6;

/// What a node has seen of those it would rather see lead than itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Reigns {
    /// The leader of now, if it is one of them, as long as its reign is short.
    pub(super) young: Option<Reign>,
    /// How many reigns in a row were short, of each that had any.
    pub(super) short: BTreeMap<NodeId, u32>,
}

/// A reign that is not yet as long as a favourite is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reign {
    pub(super) leader: NodeId,
    pub(super) short_until: Instant,
}

impl Election {
    /// A leader is heard, or this node leads itself; it takes office if it did not lead this term before.
    pub(super) fn note_reign(&mut self, now: Instant, leader: NodeId, takes_office: bool) {
        let prefers = self.prefers(leader);
        let Reigns { young, short } = &mut self.reigns;
        if takes_office {
            if let Some(reign) = young.take() {
                let strikes = short.entry(reign.leader).or_insert(0);
                *strikes = (*strikes + 1).min(MOST_STRIKES);
            }
            let short_until = now + self.setup.timing.settling();
            *young = prefers.then_some(Reign { leader, short_until });
        } else if young.take_if(|reign| now >= reign.short_until).is_some() {
            short.remove(&leader);
        }
    }

    /// Hands over to a favourite that has waited for long enough, and tells whether it does.
    pub(super) fn yields(&mut self, now: Instant, out: &mut Effects) -> bool {
        let favourite = self.favourite(now);
        let wait = favourite.map_or(Duration::ZERO, |id| self.wait_of(id));
        let State::Leader(leader) = &mut self.state else {
            return false;
        };
        let Some(id) = favourite else {
            leader.favourite = None;
            return false;
        };
        let due = match &leader.favourite {
            Some(known) if known.id == id => known.due,
            Some(_) | None => now + wait,
        };
        leader.favourite = Some(Favourite { id, due });
        if now < due {
            return false;
        }
        self.step_aside(now, Some(id), Duration::ZERO, Cause::Yielding { to: id }, out);
        true
    }

    /// The best of those who back this leader and are able to lead, if it should rather lead: always, if this leader is
    /// a last resort.
    fn favourite(&self, now: Instant) -> Option<NodeId> {
        let last_resort = !self.able_to_lead(now);
        self.best_backer(now).filter(|id| last_resort || self.prefers(*id))
    }

    fn prefers(&self, other: NodeId) -> bool {
        let voters = &self.setup.voters;
        voters[&other].priority > voters[&self.setup.me].priority
    }

    fn wait_of(&self, favourite: NodeId) -> Duration {
        let strikes = self.reigns.short.get(&favourite).copied().unwrap_or(0);
        self.setup.timing.settling() * (1 << strikes)
    }
}
