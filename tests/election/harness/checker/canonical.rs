//! What the checker must still know, for a model check: two histories that can be violated by the same things from now
//! on are one.

use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Instant, Term};

use super::super::clock::{Real, nanos};
use super::{Allowed, Checker, Owed, Work};

impl Checker {
    /// Counts moments from a later `now`: so much has passed in the world, and so much on the clock of each node.
    pub(crate) fn aged(&mut self, now: Real, by: Duration, on: impl Fn(NodeId) -> Duration) {
        let back = |at: Real| Real(at.0.saturating_sub(nanos(by)));
        let past = |at: Real| if at > now { at } else { Real::ZERO };
        for Work { token: _, until } in self.work.values_mut() {
            *until = back(*until);
        }
        for owed in self.owed.values_mut() {
            let Owed { holder: _, life: _, own_life: _, in_own_life, term: _, seq: _, until } = owed;
            *until = back(*until);
            *in_own_life = past(back(*in_own_life));
        }
        for (node, Allowed { lease, revoked: _ }) in &mut self.allowed {
            lease.until = lease.until.before(on(*node));
        }
        for (node, (_, at)) in &mut self.elected_at {
            *at = at.before(on(*node));
        }
    }

    /// Nothing acts on this node any more.
    pub(crate) fn stops(&mut self, node: NodeId) {
        self.work.remove(&node);
    }

    /// Forgets what no property asks for any more: what has run out, and the votes, elections and leases of terms that
    /// are closed. A node that has made a higher term durable breaks TermDurable if it votes or leads in a lower one.
    /// Nothing is forgotten of closed terms once a node may have forgotten its own.
    pub(crate) fn forget_past(
        &mut self,
        (now, local): (Real, Instant),
        longest_promise: Duration,
        durable: &[(NodeId, Term)],
    ) {
        // Every field is named, so that none that is added later is forgotten.
        let Checker {
            violation: _,
            forgetful,
            distrusts: _,
            lied: _,
            twice_led: _,
            yielded,
            leases_won,
            work,
            last_lease: _,
            forgot: _,
            elected,
            elected_at,
            votes,
            owed,
            allowed,
            program: _,
        } = self;
        *leases_won = 0;
        *yielded = false;
        work.retain(|_, work| work.until > now);
        owed.retain(|_, owed| owed.until > now);
        for (_, at) in elected_at.values_mut() {
            if *at + longest_promise < local {
                *at = Instant::ZERO;
            }
        }
        for allowed in allowed.values_mut() {
            if allowed.revoked || allowed.lease.until <= local {
                allowed.revoked = true;
                allowed.lease.until = Instant::ZERO;
            }
        }
        if *forgetful {
            return;
        }
        let term_of = |node: NodeId| {
            let known = durable.iter().find(|(id, _)| *id == node);
            known.map_or(Term::default(), |(_, term)| *term)
        };
        let lowest = durable.iter().map(|(_, term)| *term).min();
        votes.retain(|(voter, term), _| *term >= term_of(*voter));
        elected.retain(|term, _| Some(*term) >= lowest);
        elected_at.retain(|node, (term, _)| *term >= term_of(*node));
        allowed.retain(|node, allowed| allowed.lease.token >= term_of(*node));
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
