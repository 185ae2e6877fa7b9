//! Which node should follow a leader? The line of succession, and how much later each node in it starts.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Election, Instant, NodeId, State, Term, Voter};

impl Election {
    /// How much later this node starts than the first in the line of succession.
    pub(super) fn patience(&mut self, now: Instant) -> Duration {
        self.last_resort(now) + self.turn()
    }

    /// Rule 12: how much later a last resort starts than all others. The time counts that has passed since a leader
    /// gave leadership up: nobody else has led in it.
    pub(super) fn last_resort(&self, now: Instant) -> Duration {
        if self.eligible && now >= self.hold_off_until {
            return Duration::ZERO;
        }
        let released = self.heard.as_ref().filter(|heard| heard.released && heard.leader != self.setup.me);
        let passed = released.map_or(Duration::ZERO, |heard| now.since(heard.at));
        self.setup.timing.election_timeout().saturating_sub(passed)
    }

    /// How much later than the first this node starts, because of its place in the line of succession.
    pub(super) fn turn(&mut self) -> Duration {
        let stagger = self.setup.timing.stagger();
        if self.failures > 0 {
            // Rule 8: the line of succession has failed once, so chance breaks the tie.
            return self.dice.below(stagger * 8);
        }
        stagger * u32::try_from(self.rank()).unwrap_or(u32::MAX)
    }

    /// This node's place in the line of succession: by the last leader's list, or else by the configured order. A node
    /// that has restarted and has heard no leader has no list: it comes after those that have one.
    fn rank(&self) -> usize {
        let me = self.setup.me;
        if !self.succession.is_empty() {
            let place = self.succession.iter().position(|id| *id == me);
            return place.unwrap_or(self.succession.len());
        }
        let own = self.setup.voters[&me].priority;
        let ahead = |(id, voter): &(&NodeId, &Voter)| {
            !voter.witness && (voter.priority > own || (voter.priority == own && **id < me))
        };
        let restarted = self.heard.is_none() && self.hard.term > Term::default();
        let behind = if restarted { self.setup.voters.len() - 1 } else { 0 };
        behind + self.setup.voters.iter().filter(ahead).count()
    }

    pub(super) fn best_backer(&self, now: Instant) -> Option<NodeId> {
        let State::Leader(leader) = &self.state else {
            return None;
        };
        let best = self.succession_list(now).into_iter().next()?;
        leader.backers.get(&best).filter(|backer| backer.eligible && now < backer.until).map(|_| best)
    }

    /// The best backer, eligible or not.
    pub(super) fn best_last_resort(&self, now: Instant) -> Option<NodeId> {
        let backers = self.backers(now);
        let State::Leader(_) = &self.state else {
            return None;
        };
        self.succession_list(now).into_iter().find(|id| backers.contains_key(id))
    }

    /// Rule 8: first the eligible nodes whose promises last, then the other nodes whose promises last, then those that
    /// were heard in this term, then the rest; each group by priority. The list only orders, it never forbids.
    pub(super) fn succession_list(&self, now: Instant) -> Vec<NodeId> {
        let State::Leader(leader) = &self.state else {
            unreachable!("the caller knows that this node leads");
        };
        let voters = self.setup.voters.iter().filter(|(id, voter)| **id != self.setup.me && !voter.witness);
        let mut list: Vec<_> = voters
            .map(|(id, voter)| {
                let backer = leader.backers.get(id);
                let able = backer.is_some_and(|backer| backer.eligible);
                let fresh = backer.is_some_and(|backer| now < backer.until);
                (Reverse(able && fresh), Reverse(fresh), Reverse(backer.is_some()), Reverse(voter.priority), *id)
            })
            .collect();
        list.sort_unstable();
        list.into_iter().map(|(.., id)| id).collect()
    }
}
