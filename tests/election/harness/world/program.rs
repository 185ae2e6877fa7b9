//! The program that runs on a node: acts on its leases in the nastiest way that it may.

use leadelect::NodeId;
use leadelect::election::{Deadline, Term};

use super::{WindUp, World};
use crate::harness::checker::{Step, Work};
use crate::harness::clock::{Real, nanos};
use crate::harness::record::Mark;

impl World {
    /// The work that runs on a node now does not return before `until`, although it does not act beyond its lease.
    pub(crate) fn hang(&mut self, id: NodeId, until: Real) {
        let now = self.now;
        let node = self.node_mut(id);
        if let Some(work) = node.work.filter(|work| now < work.until) {
            node.stuck = Some(Work { until, ..work });
        }
    }

    /// When the work of `term` returns, if it has not.
    pub(super) fn returns_at(&self, id: NodeId, term: Term) -> Option<Real> {
        let node = self.node(id);
        let busy = [node.work, node.stuck].into_iter().flatten();
        let busy = busy.filter(|work| work.token == term && self.now < work.until);
        busy.map(|work| work.until).max()
    }

    /// The program: acts on a lease until its last nanosecond, and, told to stop, goes on for a while.
    pub(super) fn set_work(&mut self, id: NodeId, step: &Step, lease: Option<Deadline>) {
        let now = self.now;
        let dice = &mut self.dice;
        let node = self.nodes.get_mut(&id).expect("a node");
        node.published = lease;
        let running = node.work.filter(|work| now < work.until);
        if let Some(stuck) = node.stuck.filter(|stuck| now < stuck.until) {
            if lease.is_some_and(|lease| lease.token != stuck.token) {
                let text = format!("{id} wins {lease:?} before {stuck:?} has returned");
                self.checker.fail("OneWorkAtATime", text);
            }
        }
        let work = match (lease, running) {
            (Some(lease), _) => {
                node.winding_up = false;
                Work { token: lease.token, until: node.clock.reaches(lease.until) }
            }
            (None, None) => return,
            (None, Some(work)) if node.election.is_none() => Work { until: now, ..work },
            (None, Some(_)) if node.winding_up => return,
            (None, Some(work)) => {
                node.winding_up = true;
                let rest = work.until.0 - now.0;
                let span = match (node.winds_up_in, dice.below(3)) {
                    (WindUp::After(span), _) => nanos(span),
                    (WindUp::Anyhow, 0) => 0,
                    (WindUp::Anyhow, 1) => rest,
                    (WindUp::Anyhow, _) => dice.below(rest),
                };
                Work { until: Real(now.0.saturating_add(span).min(work.until.0)), ..work }
            }
        };
        if running.is_some_and(|old| old.token != work.token) {
            let text = format!("{id} begins the work of term {} before {running:?} has ended", work.token);
            self.checker.fail("OneWorkAtATime", text);
        }
        node.work = Some(work);
        let ending = node.winding_up;
        self.note(|| Mark::Lease { node: id, token: work.token, until: work.until, ending });
        self.checker.acts(step, now, work);
    }
}
