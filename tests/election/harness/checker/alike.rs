//! What the checker must still know, for a model check: two histories that can be violated by the same things from now
//! on are one.

use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{HardState, Instant, Term};

use super::super::clock::{Real, nanos};
use super::Checker;

impl Checker {
    /// Counts moments from a later `now`: so much has passed in the world, and so much on the clock of each node.
    pub(crate) fn aged(&mut self, now: Real, by: Duration, on: impl Fn(NodeId) -> Duration) {
        let back = |at: Real| Real(at.0.saturating_sub(nanos(by)));
        for work in self.work.values_mut() {
            work.until = back(work.until);
        }
        for owed in self.owed.values_mut() {
            owed.until = back(owed.until);
        }
        for (node, allowed) in &mut self.allowed {
            allowed.lease.until = allowed.lease.until.before(on(*node));
        }
        self.forget_past(now);
    }

    /// Nothing acts on this node any more.
    pub(crate) fn stops(&mut self, node: NodeId) {
        self.work.remove(&node);
    }

    /// Forgets what has run out: no property asks for it any more.
    pub(crate) fn forget_past(&mut self, now: Real) {
        self.work.retain(|_, work| work.until > now);
        self.owed.retain(|_, owed| owed.until > now);
        self.leases_won = 0;
    }

    /// Forgets the votes, elections and leases of terms that are closed: a node that has made a higher term durable
    /// breaks TermDurable if it votes or leads in a lower one. Nothing is forgotten of a node that may forget.
    pub(crate) fn forget_closed(
        &mut self,
        now: Instant,
        durable: impl Fn(NodeId) -> HardState,
        all: &[NodeId],
    ) {
        if self.forgetful {
            return;
        }
        let lowest = all.iter().map(|id| durable(*id).term).min();
        self.votes
            .retain(|(voter, term), _| *term >= durable(*voter).term);
        self.elected.retain(|term, _| Some(*term) >= lowest);
        self.allowed
            .retain(|node, allowed| allowed.lease.token >= durable(*node).term);
        for allowed in self.allowed.values_mut() {
            if allowed.revoked || allowed.lease.until <= now {
                allowed.revoked = true;
                allowed.lease.until = Instant::ZERO;
            }
        }
    }

    /// The heartbeats that are known by number.
    pub(crate) fn heartbeats(&self) -> impl Iterator<Item = (Term, u64)> {
        self.owed.values().map(|owed| (owed.term, owed.seq))
    }

    /// Gives heartbeats other numbers.
    pub(crate) fn renumber(&mut self, seq: impl Fn(Term, u64) -> u64) {
        for owed in self.owed.values_mut() {
            owed.seq = seq(owed.term, owed.seq);
        }
    }
}
