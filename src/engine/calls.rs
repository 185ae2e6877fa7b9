//! What becomes of a call of the program: whether it is carried out, and what the caller is told.

use std::time::Duration;

use super::{Answer, Call, Engine, Output};
use crate::election::{EndReason, Input, Instant, NodeId};
use crate::error::TransferError;

/// Work may ask to resign again and again while it has to stop, and waits for no answer. Further calls are refused,
/// because what they ask for is under way.
const MOST_WAITING: usize = 1024;

impl<C: Clone> Engine<C> {
    pub(super) fn call(&mut self, now: Instant, call: Call, caller: C, out: &mut Output<C>) {
        match call {
            Call::HandOver { successor, hold_off } => match self.refusal(now, successor) {
                Some(refusal) => out.effects.answers.push((caller, Answer::Refused(refusal))),
                None => {
                    out.effects.answers.push((caller.clone(), Answer::Begun));
                    self.waiting.push(caller);
                    if self.is_stepping_down() && !hold_off.is_zero() {
                        // The election knows only the hold-off it was given when it began to step down.
                        self.hold_off_until = self.hold_off_until.max(now + hold_off);
                    }
                    self.step_down(now, EndReason::Resigned, successor, hold_off, out);
                }
            },
            Call::WorkEnds { term, reason, hold_off } => {
                if self.leads() && self.election.term() == term {
                    self.waiting.push(caller);
                    self.step_down(now, reason, None, hold_off, out);
                } else {
                    out.effects.answers.push((caller, Answer::Done));
                }
            }
        }
    }

    /// Why leadership is not handed over, if it is not.
    fn refusal(&self, now: Instant, successor: Option<NodeId>) -> Option<TransferError> {
        if !self.leads() {
            return Some(TransferError::NotLeader);
        }
        if self.is_stepping_down() && (successor.is_some() || self.waiting.len() >= MOST_WAITING) {
            return Some(TransferError::UnderWay);
        }
        let id = successor?;
        if self.unreachable.contains(&id) {
            return Some(TransferError::Silent(id));
        }
        match self.election.backers(now).get(&id) {
            Some(true) => None,
            Some(false) => Some(TransferError::NotEligible(id)),
            None => {
                let heard = self.heard.get(&id).is_some_and(|at| now.since(*at) < self.timing().election_timeout());
                // One that has just started answers, and promises nothing. One whose promise has run out is silent.
                let promises_nothing = heard && !self.promised.contains_key(&id);
                Some(if promises_nothing { TransferError::NotEligible(id) } else { TransferError::Silent(id) })
            }
        }
    }

    /// Gives leadership up, unless that is under way. The lease is gone with this step; leadership is released when
    /// what the lease guarded has ended.
    pub(super) fn step_down(
        &mut self,
        now: Instant,
        reason: EndReason,
        successor: Option<NodeId>,
        hold_off: Duration,
        out: &mut Output<C>,
    ) {
        if !self.is_stepping_down() {
            self.elect(now, Input::StepDown { reason, successor, hold_off }, out);
        }
    }
}
