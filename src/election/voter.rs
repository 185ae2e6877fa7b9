//! What does a node answer? Votes, pre-votes and promises.
//!
//! A refusal changes nothing, so a node whose question is refused disturbs nobody.

use std::time::Duration;

use serde::Serialize;

use super::{
    Cause, Deadline, Effects, Election, Follower, Hint, Instant, NodeId, Refusal, Reply, Request, State, Term,
};

/// Until `until`, only `holder` gets this node's vote, in any term.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Promise {
    pub(super) holder: NodeId,
    pub(super) term: Term,
    pub(super) seq: u64,
    pub(super) until: Instant,
}

/// The last leader that this node has heard directly, or has been itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub(super) struct Heard {
    pub(super) leader: NodeId,
    pub(super) term: Term,
    /// The latest heartbeat of that term, or the one that its release names. Zero if it was this node.
    pub(super) seq: u64,
    pub(super) at: Instant,
    pub(super) released: bool,
}

impl Election {
    /// Answers a request. A sender that is not a voter, or is this node, gets no answer: the transport should not have
    /// let it in.
    pub(super) fn answer(&mut self, now: Instant, from: NodeId, request: Request, out: &mut Effects) -> Option<Reply> {
        if !self.is_peer(from) {
            return None;
        }
        if self.is_too_far(now, from, request.term(), out) {
            return Some(self.refuse_too_far(now, from, request));
        }
        Some(match request {
            Request::PreVote { term, candidacy } => self.answer_pre_vote(now, from, term, candidacy),
            Request::Vote { term, candidacy } => self.answer_vote(now, from, term, candidacy, out),
            Request::Heartbeat { term, seq, promise, succession } => {
                self.answer_heartbeat(now, from, (term, seq), promise, succession, out)
            }
            Request::Release { term, seq, successor } => self.answer_release(now, from, (term, seq), successor, out),
        })
    }

    /// Rule 13: whether the term of a message is too far ahead to be taken at once. The node then moves toward it, by
    /// the largest jump, in what it knows and in nothing else: one bad frame uses up few terms, and nodes that are far
    /// apart meet again after some messages.
    pub(super) fn is_too_far(&mut self, now: Instant, from: NodeId, term: Term, out: &mut Effects) -> bool {
        let reached = self.highest_term().toward(term);
        if reached == term {
            return false;
        }
        self.highest_heard = reached;
        if self.is_new {
            self.note_past(now);
        }
        out.too_far = Some((from, term));
        true
    }

    /// Rule 13: no vote, no promise, and the end of none. The sender may ask again soon: then its term is nearer.
    fn refuse_too_far(&self, now: Instant, from: NodeId, request: Request) -> Reply {
        let verdict = Err(Refusal::TermTooFar);
        let soon = self.setup.timing.stagger();
        match request {
            Request::PreVote { candidacy, .. } => {
                let wait = self.quiet_in(now, from).map_or(soon, |(_, wait)| wait);
                Reply::PreVote { term: self.hard.term, candidacy, verdict, wait, leader: None }
            }
            Request::Vote { candidacy, .. } => Reply::Vote { term: self.last_term(), candidacy, verdict, wait: soon },
            Request::Heartbeat { seq, .. } => {
                let (term, granted) = (self.hard.term, Duration::ZERO);
                Reply::Heartbeat { term, seq, granted, eligible: self.able_to_lead(now) }
            }
            Request::Release { term, .. } => Reply::Release { term },
        }
    }

    /// Rule 2. Takes `&self`: a pre-vote changes nothing in the voter, not even a timer.
    fn answer_pre_vote(&self, now: Instant, from: NodeId, term: Term, candidacy: u64) -> Reply {
        let quiet = self.quiet_in(now, from);
        let (verdict, wait) = match self.pre_vote_refusal(term, quiet) {
            Some(refusal) => (Err(refusal), quiet.map_or(Duration::ZERO, |(_, wait)| wait)),
            None => (Ok(()), self.free_at(from, term).0.since(now)),
        };
        Reply::PreVote {
            // While this node hears a leader, it does not tell a term that would end that leadership.
            term: match quiet {
                Some(_) => self.hard.term,
                None => self.last_term(),
            },
            candidacy,
            verdict,
            wait,
            leader: self.hint(now).filter(|hint| hint.leader != from),
        }
    }

    fn pre_vote_refusal(&self, term: Term, quiet: Option<(NodeId, Duration)>) -> Option<Refusal> {
        if self.storage_failed {
            return Some(Refusal::CannotStore);
        }
        if let Some((leader, _)) = quiet {
            return Some(Refusal::LeaderHeard(leader));
        }
        (term <= self.last_term()).then_some(Refusal::TermBehind)
    }

    /// The leader that this node hears, and how long until it suspects that leader. `None` if that leader itself asks:
    /// it is not refused because of itself.
    fn quiet_in(&self, now: Instant, asker: NodeId) -> Option<(NodeId, Duration)> {
        let suspicion = self.setup.timing.suspicion();
        if matches!(self.state, State::Leader(_)) {
            return Some((self.setup.me, suspicion));
        }
        let heard = self.heard.as_ref().filter(|heard| !heard.released && heard.leader != asker)?;
        let quiet_at = heard.at + suspicion;
        (now < quiet_at).then(|| (heard.leader, quiet_at.since(now)))
    }

    /// Rule 9: only a leader that this node hears directly, so that no hint rests on another hint.
    fn hint(&self, now: Instant) -> Option<Hint> {
        if let State::Leader(leader) = &self.state {
            return (!leader.is_stepping_down()).then_some(Hint {
                leader: self.setup.me,
                term: self.hard.term,
                age: Duration::ZERO,
            });
        }
        let heard = self.heard.as_ref().filter(|heard| !heard.released)?;
        let age = now.since(heard.at);
        (age < self.setup.timing.suspicion()).then_some(Hint { leader: heard.leader, term: heard.term, age })
    }

    /// Rule 1.
    fn answer_vote(&mut self, now: Instant, from: NodeId, term: Term, candidacy: u64, out: &mut Effects) -> Reply {
        let (verdict, wait) = match self.vote_refusal(now, from, term) {
            Some((refusal, wait)) => (Err(refusal), wait),
            None => {
                self.grant(now, from, term, out);
                (Ok(()), self.setup.timing.election_timeout())
            }
        };
        Reply::Vote { term: self.last_term(), candidacy, verdict, wait }
    }

    fn vote_refusal(&self, now: Instant, from: NodeId, term: Term) -> Option<(Refusal, Duration)> {
        if self.storage_failed {
            return Some((Refusal::CannotStore, Duration::ZERO));
        }
        if term < self.hard.term || term <= self.may_have_voted_up_to {
            return Some((Refusal::TermBehind, Duration::ZERO));
        }
        if let Some(other) = self.hard.voted_for.filter(|id| term == self.hard.term && *id != from) {
            return Some((Refusal::AlreadyVoted(other), Duration::ZERO));
        }
        // This node may have forgotten its vote. The leader of the term had it.
        let led_by = self.heard.as_ref().filter(|heard| heard.term == term);
        if let Some(heard) = led_by.filter(|heard| heard.leader != from) {
            return Some((Refusal::AlreadyVoted(heard.leader), Duration::ZERO));
        }
        let (free_at, refusal) = self.free_at(from, term);
        (now < free_at).then(|| (refusal, free_at.since(now)))
    }

    /// When this node is free to vote for `candidate` in `term`, and why not before: because of the quarantine, or
    /// because of what it owes to others.
    pub(super) fn free_at(&self, candidate: NodeId, term: Term) -> (Instant, Refusal) {
        // Rule 7: a new node that is asked for a vote in a later term than the first may have lost its past.
        let doubtful = self.is_new && term > Term(1);
        let quarantine = if doubtful { self.owes_nothing_from() } else { self.voting_from };
        let (owed_until, refusal) = self.owes_until(candidate);
        if quarantine > owed_until { (quarantine, Refusal::Quarantine) } else { (owed_until, refusal) }
    }

    /// Until when this node must not back `other`, because of a promise to another node, or because work that its own
    /// lease guarded may still run.
    fn owes_until(&self, other: NodeId) -> (Instant, Refusal) {
        let work_until = self.own_work().map_or(Instant::ZERO, |work| work.until);
        match &self.promise {
            Some(promise) if promise.holder != other && promise.until > work_until => {
                (promise.until, Refusal::Promised(promise.holder))
            }
            Some(_) | None => (work_until, Refusal::OwnWork),
        }
    }

    fn grant(&mut self, now: Instant, candidate: NodeId, term: Term, out: &mut Effects) {
        if self.hard.term == term && self.hard.voted_for == Some(candidate) {
            return;
        }
        self.is_new = false;
        self.note_cap(now);
        let timing = self.setup.timing;
        // After a release nobody owes a promise, and there is nothing to wait for.
        let released = self.heard.as_ref().is_some_and(|heard| heard.released);
        let wait = if released { timing.head_start() } else { timing.suspicion() };
        let suspect_at = now + wait + self.patience(now);
        self.leave_leadership(now);
        self.hard.term = term;
        self.hard.voted_for = Some(candidate);
        self.follow(now, None, suspect_at, Cause::VoteGranted { to: candidate }, out);
    }

    /// Follows a leader and promises to elect nobody else for a while.
    fn answer_heartbeat(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, seq): (Term, u64),
        asked: Duration,
        succession: Vec<NodeId>,
        out: &mut Effects,
    ) -> Reply {
        let accepted = self.accepts(now, from, term, out);
        let accepted = accepted && !self.has_heard(from, (term, seq));
        let granted = if accepted { self.promise(now, from, (term, seq), asked) } else { Duration::ZERO };
        if accepted {
            self.follow_heard(now, from, (term, seq), succession, out);
        }
        Reply::Heartbeat { term: self.hard.term, seq, granted, eligible: self.able_to_lead(now) }
    }

    /// Rule 4: whether this heartbeat, or a later one of the term, was heard before. Then it is no news.
    fn has_heard(&self, from: NodeId, (term, seq): (Term, u64)) -> bool {
        let heard = self.heard.as_ref().filter(|heard| (heard.leader, heard.term) == (from, term));
        heard.is_some_and(|heard| seq <= heard.seq)
    }

    /// Rule 4: not the heartbeat of a lower term, nor of a second leader of the same term.
    fn accepts(&mut self, now: Instant, from: NodeId, term: Term, out: &mut Effects) -> bool {
        if term < self.hard.term {
            return false;
        }
        self.note_second_lease(now, from, term, out);
        let Some(heard) = self.heard.as_ref().filter(|heard| heard.term == term) else {
            return true;
        };
        if heard.leader != from {
            self.tell(Cause::ProtocolViolation { by: from }, out);
            if now >= self.owes_until(from).0 && term < Term::LAST {
                // No promise of this node needs the term any more, and the second leader would never get one in it.
                self.adopt(now, term.next(), Cause::NoLeader, out);
            }
            return false;
        }
        // A leader sends no heartbeat after the release of its term: the release has overtaken this one.
        !heard.released
    }

    /// No other node can be elected while this node's lease lasts: a quorum has promised. If one was, an assumption is
    /// broken. This node follows all the same, because the end of its work is the safer side.
    fn note_second_lease(&mut self, now: Instant, other: NodeId, term: Term, out: &mut Effects) {
        let work = self.own_work();
        if work.is_some_and(|work| now < work.until && work.token < term) {
            self.tell(Cause::SecondLease { by: other }, out);
        }
    }

    /// The work that this node's own lease guarded, and that may still run.
    fn own_work(&self) -> Option<Deadline> {
        match &self.state {
            State::Leader(leader) => leader.work(self.hard.term),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => self.work,
        }
    }

    fn promise(&mut self, now: Instant, leader: NodeId, (term, seq): (Term, u64), asked: Duration) -> Duration {
        if term > self.hard.term {
            self.enter(now, term);
        }
        self.note_cap(now);
        // To follow a leader spends the vote of its term.
        self.hard.voted_for = self.hard.voted_for.or(Some(leader));
        // Never a promise to two nodes at once, and none while one may be forgotten: two leases share a voter.
        if self.storage_failed || self.hard.in_doubt || now < self.owes_until(leader).0 {
            return Duration::ZERO;
        }
        let granted = asked.min(self.setup.timing.election_timeout());
        let old = self.promise.take().filter(|old| old.holder == leader);
        let mut until = now + granted;
        if let Some(old) = old {
            until = until.max(old.until); // a promise never gets shorter
        }
        self.promise = Some(Promise { holder: leader, term, seq, until });
        granted
    }

    fn follow_heard(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, seq): (Term, u64),
        succession: Vec<NodeId>,
        out: &mut Effects,
    ) {
        let known = self.heard.replace(Heard { leader: from, term, seq, at: now, released: false });
        let is_new_leader = known.is_none_or(|heard| (heard.leader, heard.term) != (from, term));
        self.note_takeover(now, from, is_new_leader);
        let news = self.leader() != Some(from) || is_new_leader;
        self.succession = succession;
        self.failures = 0;
        let suspect_at = now + self.setup.timing.suspicion() + self.patience(now);
        self.state = State::Follower(Follower { leader: Some(from), suspect_at, hint: None });
        if news {
            self.tell(Cause::LeaderHeard, out);
        }
    }

    /// Rule 6: only the holder of a promise can end it.
    fn answer_release(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, seq): (Term, u64),
        successor: Option<NodeId>,
        out: &mut Effects,
    ) -> Reply {
        let reply = Reply::Release { term };
        let held = self.promise.as_ref().filter(|promise| promise.holder == from);
        if held.is_some_and(|promise| (promise.term, promise.seq) > (term, seq)) {
            return reply; // the release of an earlier leadership
        }
        if held.is_some() {
            self.promise = None;
        }
        if self.accepts(now, from, term, out) {
            self.succeed(now, from, (term, seq), successor, out);
        }
        reply
    }

    /// How long this node leaves to others after a release. A named successor gets the time of its write. A last resort
    /// is not in the way of the old leader when that may lead again.
    fn head_start(&self, now: Instant, successor: Option<NodeId>) -> Duration {
        let timing = self.setup.timing;
        let waits = successor.is_some() || !self.last_resort(now).is_zero();
        if waits { timing.head_start() } else { timing.stagger() }
    }

    /// The leader of this node's term, or of a higher one, has stepped down and has said who should lead next.
    fn succeed(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, seq): (Term, u64),
        successor: Option<NodeId>,
        out: &mut Effects,
    ) {
        if term > self.hard.term {
            self.enter(now, term);
        }
        self.heard = Some(Heard { leader: from, term, seq, at: now, released: true });
        self.failures = 0;
        self.takeovers.named = successor;
        self.succession.retain(|id| Some(*id) != successor);
        let named = successor == Some(self.setup.me) && self.may_lead() && self.work.is_none();
        if named && now >= self.free_at(self.setup.me, self.next_term()).0 {
            self.campaign(now, Cause::NamedSuccessor { by: from }, out);
            return;
        }
        let patience = match named {
            true => Duration::ZERO,
            false => self.head_start(now, successor) + self.last_resort(now) + self.turn(),
        };
        self.follow(now, None, now + patience, Cause::LeaderReleased { by: from }, out);
    }
}
