//! What a node owes its own program.

use std::collections::BTreeMap;
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Instant, Term};
use leadelect::engine::{Answer, Call};

use super::{Checker, Step};
use crate::harness::clock::Real;

/// A call that was not answered to the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Open {
    node: NodeId,
    /// The term whose work ends, or that leadership is handed over.
    ends: Option<Term>,
    hold_off: Duration,
    begun: bool,
}

/// Calls that are open, and until when nodes stay behind because a call said so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Calls {
    open: BTreeMap<u64, Open>,
    hold_off: BTreeMap<NodeId, Instant>,
}

impl Checker {
    pub(crate) fn calls(&mut self, number: u64, node: NodeId, call: &Call) {
        let (ends, hold_off) = match call {
            Call::HandOver { hold_off, .. } => (None, *hold_off),
            Call::WorkEnds { term, hold_off, .. } => (Some(*term), *hold_off),
        };
        self.program.open.insert(number, Open { node, ends, hold_off, begun: false });
    }

    /// The process is gone, and with it those who called.
    pub(crate) fn calls_end(&mut self, node: NodeId) {
        self.program.open.retain(|_, open| open.node != node);
        self.program.hold_off.remove(&node);
    }

    /// A call is answered once and truly: refused, or begun when the lease was taken away, and done when the node leads
    /// no more.
    pub(crate) fn answered(&mut self, step: &Step, number: u64, answer: &Answer) {
        let Some(mut open) = self.program.open.remove(&number) else {
            let text = format!("{} says {answer:?} to call {number}, which was answered", step.node);
            return self.fail("CallsAnswered", text);
        };
        let done = !step.leads || open.ends.is_some_and(|term| term != step.term);
        let holds = match answer {
            Answer::Refused(_) => !open.begun && open.ends.is_none(),
            Answer::Begun => !open.begun && open.ends.is_none(),
            Answer::Done => done && (open.begun || open.ends.is_some()),
        };
        if !holds {
            let text = format!("{} says {answer:?} to {open:?}, leads: {}", step.node, step.leads);
            self.fail("CallsAnswered", text);
        }
        if *answer == Answer::Begun {
            open.begun = true;
            self.program.open.insert(number, open);
        }
    }

    /// Whether the node stays behind because of a call that came while it stepped down.
    pub(crate) fn holds_off(&self, node: NodeId, now: Instant) -> bool {
        self.program.hold_off.get(&node).is_some_and(|until| now < *until)
    }

    /// A call came while the node stepped down already: it stays behind from then on.
    pub(crate) fn held_off(&mut self, node: NodeId, until: Instant) {
        let known = self.program.hold_off.entry(node).or_insert(until);
        *known = until.max(*known);
    }

    /// Who has called and has no answer.
    pub(crate) fn open_calls(&self) -> impl Iterator<Item = (u64, NodeId)> {
        self.program.open.iter().map(|(number, open)| (*number, open.node))
    }

    /// A stop ends within its limit.
    pub(crate) fn stops_in_time(&mut self, step: &Step, limit: Instant, stopped: bool) {
        if step.local() > limit && !stopped {
            self.fail("StopsInTime", format!("{} runs on at {:?}, after {limit:?}", step.node, step.local()));
        }
    }

    /// Stop, confirm, release: what a lease guards has ended before the node tells that it leads no more, or the lease
    /// has run out.
    pub(crate) fn releases(&mut self, step: &Step, term: Term, returns_at: Option<Real>) {
        let deadline = self.allowed.get(&step.node).filter(|allowed| allowed.lease.token == term);
        let over = deadline.is_none_or(|allowed| step.local() >= allowed.lease.until);
        if let (Some(at), false) = (returns_at, over) {
            self.fail("WorkEndsFirst", format!("{} releases term {term}, whose work returns at {at:?}", step.node));
        }
    }
}
