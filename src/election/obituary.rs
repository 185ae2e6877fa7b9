//! What is owed to the dead? Rule 15.
//!
//! A promise protects the acts of its holder. If the process that could act is gone, nothing is left to protect, and
//! the others need not wait until the promise has run out. [`Input::Obituary`](super::Input::Obituary) says so. Who may
//! say it is not decided here: it takes the exclusive lock on the state of the dead.

use super::{Cause, Effects, Election, Instant, NodeId, State, Term};

impl Election {
    /// No process of node `of` can act any more under a lease of a term up to `up_to`.
    ///
    /// Anything beyond that is left as it is: a promise of a later term protects a later process of that node, and
    /// another leader is not dead.
    pub(super) fn bury(&mut self, now: Instant, of: NodeId, up_to: Term, out: &mut Effects) {
        if !self.is_peer(of) {
            return;
        }
        self.promise.take_if(|promise| promise.holder == of && promise.term <= up_to);
        let led = self.heard.as_mut().filter(|heard| heard.leader == of && heard.term <= up_to && !heard.released);
        let Some(heard) = led else {
            return;
        };
        // As after a release: a heartbeat of the dead that still comes gets no promise.
        heard.released = true;
        let suspected_at = heard.at + self.setup.timing.suspicion();
        let (free_at, _) = self.free_at(self.setup.me, self.hard.term);
        match &mut self.state {
            State::Follower(follower) if follower.leader == Some(of) && follower.hint.is_none() => {
                self.inherit(now, of, suspected_at, out);
            }
            State::PreCandidate(_) => self.ask_the_free(now, out),
            // If it may ask at all by now.
            State::Candidate(candidate) if now >= free_at => {
                candidate.ask_at.values_mut().for_each(|at| *at = now);
                self.candidate_tick(now, out);
            }
            State::Follower(_) | State::Candidate(_) | State::Leader(_) => {}
        }
    }

    /// Those who were asked are free now. But some may not have heard of it yet, so they are asked once more soon.
    fn ask_the_free(&mut self, now: Instant, out: &mut Effects) {
        let again = now + self.setup.timing.stagger() / 4;
        self.ask(now, out);
        if let State::PreCandidate(asking) = &mut self.state {
            asking.round_ends = asking.round_ends.min(again);
        }
    }

    /// The first in the line of succession campaigns at once, and the others after it.
    ///
    /// This node has not heard the dead for long? Then it comes late to this news, another leader may be elected, and
    /// it asks for pre-votes first.
    fn inherit(&mut self, now: Instant, from: NodeId, suspected_at: Instant, out: &mut Effects) {
        self.failures = 0;
        let patience = self.patience(now);
        let is_free = self.may_lead() && self.work.is_none() && now >= self.free_at(self.setup.me, self.next_term()).0;
        if patience.is_zero() && is_free && now < suspected_at {
            self.campaign(now, Cause::LeaderDied { leader: from }, out);
        } else {
            self.follow(now, None, now + patience, Cause::LeaderDied { leader: from }, out);
        }
    }
}
