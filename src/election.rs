//! Who leads, and until when? The whole protocol as a value.
//!
//! A majority elects the leader, as in Raft (Ongaro and Ousterhout 2014, section 5.2; pre-vote and check-quorum from
//! Ongaro's thesis, sections 9.6 and 6.2). That alone gives one leader *per term*, and a leader that has been replaced
//! does not know it. So a voter that answers a heartbeat also *promises* to elect nobody else for a while. A leader
//! acts only while the promises of a quorum last: it holds a *lease* (Gray and Cheriton 1989). The lease is counted
//! from the moment the leader *asked*, not from the moment it heard back, because only the asking is certain to come
//! before the promise began. And the lease is shorter than the promise, by what two clocks may differ in that time.
//!
//! # Why at most one
//!
//! Two leases at one moment need two quorums of promises, and two quorums share a voter. A voter gives no promise while
//! it owes another one, and a leader gives none while its own work may run.
//!
//! A voter that has restarted may have forgotten a promise. But the next leader it promises to was elected in a later
//! term. No voter of the old leader gave its vote for that before its promise had run out on its own clock. A voter
//! that had restarted gave it only after as much time as its longest promise lasts. The
//! [manual](crate::manual::protocol) has it step by step.
//!
//! # How it is driven
//!
//! [`Election`] reads no clock, opens no socket or file, starts no thread and draws no random numbers: the time and a
//! seed are arguments. A driver
//!
//! 1. waits for a message, at most until [`Election::wake_at`];
//! 2. reads the clock, and only then calls [`Election::step`] with the message, or with [`Input::Tick`];
//! 3. makes the new state durable by [`Output::store`], which is the only way to the effects;
//! 4. publishes [`Effects::lease`] to the threads that act as leader;
//! 5. sends the reply and the messages;
//! 6. steps [`Input::WorkEnded`] when [`Election::awaits_work`] names a term and nothing guarded by the lease of that
//!    term runs. Until then the node does not campaign again.
//!
//! Messages may be lost, late, repeated and reordered. A request is answered on the connection it came from. The sender
//! of a message is the peer that its connection has authenticated.
//!
//! [`Input`], [`Request`], [`Reply`], [`Refusal`], [`Recovery`] and [`Role`] are exhaustive on purpose: a driver or a
//! wire format that does not know one of their variants must not compile.

mod candidate;
#[cfg(feature = "checkers")]
mod canonical;
mod dice;
mod end_reason;
mod event;
mod hard_state;
mod id;
mod input;
mod leader;
mod message;
mod obituary;
mod succession;
mod takeover;
mod term;
mod time;
mod timing;
mod voter;

use std::time::Duration;

use serde::Serialize;

#[cfg(feature = "checkers")]
#[doc(hidden)]
pub use canonical::Names;
pub use end_reason::EndReason;
pub use event::{Cause, Event, Role};
pub use hard_state::{HardState, Output, Recovery, Store};
pub use id::{NodeId, NodeIdError};
pub use input::{Deadline, Effects, Input, Setup, Voter};
pub use message::{Hint, Refusal, Reply, Request};
pub use term::Term;
pub use time::Instant;
pub use timing::{Pace, Timing, TimingError, TimingSpec};

use candidate::{Candidate, FreshHint, PreCandidate};
use dice::Dice;
use leader::Leader;
use takeover::Takeovers;
use voter::{Heard, Promise};

/// One node's part in the election. See the [module](self) for how to drive it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
pub struct Election {
    setup: Setup,
    started: Instant,
    hard: HardState,
    saved: HardState,
    /// Nothing was ever saved. See [`Election::free_at`].
    is_new: bool,
    /// A write has failed. This node gives no votes and no promises any more.
    storage_failed: bool,
    eligible: bool,
    state: State,
    promise: Option<Promise>,
    heard: Option<Heard>,
    /// The end of the quarantine after a restart.
    voting_from: Instant,
    /// The node may have voted in any term up to this one, and may have forgotten it.
    may_have_voted_up_to: Term,
    /// The highest term in a reply to a pre-vote, or how far this node has come toward a term too far ahead (rule 13).
    /// In a term that is not higher, this node would win no votes.
    highest_heard: Term,
    /// Work that may still run under the lease of a term that this node no longer leads. The node votes for no other
    /// node before that lease ends. It campaigns itself only once the work is known to have ended.
    work: Option<Deadline>,
    /// This node has handed over: until this moment it leads only as a last resort.
    hold_off_until: Instant,
    takeovers: Takeovers,
    succession: Vec<NodeId>,
    /// How many candidacies in a row have failed. Then the line of succession has failed too, and chance decides.
    failures: u32,
    dice: Dice,
}

/// What a node knows only while it has that role.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
enum State {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "checkers", derive(serde::Deserialize))]
struct Follower {
    leader: Option<NodeId>,
    /// When to ask for pre-votes.
    suspect_at: Instant,
    /// The hint that names `leader`, if this node does not hear the leader itself.
    hint: Option<FreshHint>,
}

impl Follower {
    /// Follows no leader, and waits until `suspect_at`.
    fn waiting(suspect_at: Instant) -> Self {
        Follower { leader: None, suspect_at, hint: None }
    }
}

impl Election {
    /// A node that starts at `now`.
    ///
    /// `seed` must be different at each start: it makes the numbers by which candidacies are told apart.
    ///
    /// # Panics
    ///
    /// If the node is not among the voters.
    #[must_use]
    pub fn new(setup: Setup, recovery: Recovery, now: Instant, seed: u64) -> Self {
        assert!(setup.voters.contains_key(&setup.me), "a node is one of the voters");
        let timeout = setup.timing.election_timeout();
        // Rule 7: every promise from before the start has run out when the quarantine ends. Rule 11: if terms and votes
        // may be forgotten too, the quarantine is twice as long, and the node gives no promises in it either.
        let (hard, quarantine) = match recovery {
            Recovery::Fresh => (HardState::default(), Duration::ZERO),
            Recovery::Restored { state, .. } if state.in_doubt => (state, state.cap.max(timeout) * 2),
            Recovery::Restored { state, down_for } => (state, state.cap.saturating_sub(down_for)),
            Recovery::Stateless { .. } => {
                let nothing = HardState { in_doubt: true, ..HardState::default() };
                (nothing, timeout * 2)
            }
        };
        let forgotten = match recovery {
            Recovery::Stateless { first_term } => first_term.0.clamp(1, Term::LARGEST_JUMP) - 1,
            Recovery::Fresh | Recovery::Restored { .. } => 0,
        };
        Election {
            started: now,
            hard,
            saved: hard,
            is_new: recovery == Recovery::Fresh,
            storage_failed: false,
            eligible: true,
            state: State::Follower(Follower::waiting(now)),
            promise: None,
            heard: None,
            voting_from: now + quarantine,
            may_have_voted_up_to: Term(forgotten),
            highest_heard: Term(forgotten),
            work: None,
            hold_off_until: Instant::ZERO,
            takeovers: Takeovers::default(),
            succession: Vec::new(),
            failures: 0,
            dice: Dice::new(seed),
            setup,
        }
    }

    /// Takes one input at the moment `now`. `now` never goes back from one step to the next.
    pub fn step(&mut self, now: Instant, input: Input) -> Output {
        let mut out = Effects::default();
        // Rule 5, before anything else: a lease that has run out stays lost, whatever the queue still holds.
        self.expire(now, &mut out);
        match input {
            Input::Tick => self.tick(now, &mut out),
            Input::Request { from, request } => out.reply = self.answer(now, from, request, &mut out),
            Input::Reply { from, reply } => self.hear(now, from, reply, &mut out),
            Input::StepDown { reason, successor, hold_off } => {
                self.step_down(now, reason, successor, hold_off, &mut out)
            }
            Input::WorkEnded { term } => self.work_ended(now, term, &mut out),
            Input::Obituary { of, up_to } => self.bury(now, of, up_to, &mut out),
            Input::Eligible(eligible) => self.eligible = eligible,
            Input::StorageFailed => self.stop_voting(now, &mut out),
        }
        out.lease = self.lease();
        let save = (!self.storage_failed && self.hard != self.saved).then_some(self.hard);
        self.saved = self.hard;
        Output { save, effects: out }
    }

    /// Returns when the next [`Input::Tick`] is due, if no other input comes before.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        match &self.state {
            State::Follower(follower) => follower.suspect_at,
            State::PreCandidate(asking) => asking.wake_at(self.campaign_at(asking)),
            State::Candidate(candidate) => candidate.wake_at(),
            State::Leader(leader) => leader.wake_at(),
        }
    }

    /// The timing of this node.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.setup.timing
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.setup.me
    }

    /// What [`Input::Eligible`] told last.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.eligible
    }

    /// What the node is.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.state {
            State::Follower(_) => Role::Follower,
            State::PreCandidate(asking) if asking.hinted_leader().is_some() => Role::Follower,
            State::PreCandidate(_) | State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// The highest term that the node has taken part in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// The leader the node knows of, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.state {
            State::Follower(follower) => follower.leader,
            State::PreCandidate(asking) => asking.hinted_leader(),
            State::Candidate(_) => None,
            State::Leader(_) => Some(self.setup.me),
        }
    }

    /// Returns until when the node may act as leader, or `None` if it may not. A moment that has passed means the same
    /// as `None`, so compare it with the clock before you act.
    #[must_use]
    pub fn lease(&self) -> Option<Deadline> {
        match &self.state {
            State::Leader(leader) => leader.lease(self.hard.term),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        }
    }

    /// The term whose work must end before the node can go on. Tell that it has ended with [`Input::WorkEnded`].
    #[must_use]
    pub fn awaits_work(&self) -> Option<Term> {
        match &self.state {
            State::Leader(leader) if leader.is_stepping_down() => Some(self.hard.term),
            _ => self.work.map(|work| work.token),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Effects) {
        match &mut self.state {
            State::Follower(follower) if now >= follower.suspect_at => {
                // Rule 10: this node wakes late, and a heartbeat may be waiting unread.
                let stalled = now > follower.suspect_at + self.setup.timing.heartbeat_interval();
                // It may also have voted for somebody, and its write has taken long.
                let voted = self.hard.voted_for.is_some_and(|id| id != self.setup.me);
                if stalled && (follower.leader.is_some() || voted) {
                    follower.suspect_at = now + self.setup.timing.stagger();
                } else {
                    self.ask(now, out);
                }
            }
            State::Follower(_) => {}
            State::PreCandidate(_) => self.pre_candidate_tick(now, out),
            State::Candidate(_) => self.candidate_tick(now, out),
            State::Leader(_) => self.leader_tick(now, out),
        }
    }

    /// Takes a reply. A reply that does not fit what the node is doing now is old, and dropped.
    fn hear(&mut self, now: Instant, from: NodeId, reply: Reply, out: &mut Effects) {
        if !self.is_peer(from) || self.is_too_far(now, from, reply.term(), out) {
            return;
        }
        match (&self.state, reply) {
            (State::PreCandidate(asking), Reply::PreVote { term, candidacy, verdict, wait, leader })
                if asking.candidacy == candidacy =>
            {
                self.pre_vote_reply(now, from, (term, verdict), wait, leader, out)
            }
            (State::Candidate(_), Reply::Vote { term, candidacy, verdict, wait }) => {
                self.vote_reply(now, from, candidacy, (term, verdict), wait, out)
            }
            (State::Leader(_), Reply::Heartbeat { term, seq, granted, eligible }) => {
                self.heartbeat_reply(now, from, (term, seq), granted, eligible, out)
            }
            _ => {}
        }
    }

    /// Takes part in a higher term: the node becomes a follower without a known leader, and asks again only later
    /// (rule 3). Never changes a promise.
    fn adopt(&mut self, now: Instant, term: Term, cause: Cause, out: &mut Effects) {
        debug_assert!(term > self.hard.term);
        self.enter(now, term);
        let suspect_at = now + self.setup.timing.stagger() + self.patience(now);
        self.follow(now, None, suspect_at, cause, out);
    }

    /// Begins a higher term, in which this node has not voted.
    fn enter(&mut self, now: Instant, term: Term) {
        self.note_past(now);
        self.leave_leadership(now);
        self.hard.term = term;
        self.hard.voted_for = None;
    }

    fn follow(&mut self, now: Instant, leader: Option<NodeId>, suspect_at: Instant, cause: Cause, out: &mut Effects) {
        self.leave_leadership(now);
        self.state = State::Follower(Follower { leader, suspect_at, hint: None });
        self.tell(cause, out);
    }

    /// Ends leadership of the old term before a new one begins, and remembers that its work may still run.
    fn leave_leadership(&mut self, now: Instant) {
        if let State::Leader(leader) = &self.state {
            self.work = leader.work(self.hard.term);
            if let Some(stepping_down) = &leader.stepping_down {
                let hold_off = stepping_down.hold_off;
                let until = now + hold_off.max(self.setup.timing.election_timeout());
                self.hold_off_until = self.hold_off_until.max(until);
            }
            self.state = State::Follower(Follower::waiting(Instant::NEVER));
        }
    }

    /// Rule 7: a new node may be an old one that lost its state. It must assume so when it hears of a term in which it
    /// has not voted, of a leader, or of any term after the first. Only a vote in the first term is given at once,
    /// although nothing shows whether it is a repeated one: a new cluster should not wait.
    fn note_past(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_new) {
            self.voting_from = self.owes_nothing_from();
            self.hard.in_doubt = true;
        }
        self.note_cap(now);
    }

    /// From this moment a node without state owes nothing: its promises have run out, and its votes are too old to
    /// count.
    fn owes_nothing_from(&self) -> Instant {
        let timeout = self.setup.timing.election_timeout();
        self.started + timeout + timeout
    }

    /// The last term in which this node may have voted.
    fn last_term(&self) -> Term {
        self.hard.term.max(self.may_have_voted_up_to)
    }

    /// The highest term that this node knows of.
    fn highest_term(&self) -> Term {
        self.last_term().max(self.highest_heard)
    }

    /// The term of this node's next candidacy.
    fn next_term(&self) -> Term {
        self.highest_term().next()
    }

    /// Keeps the durable cap at the longest promise that may be outstanding. After the quarantine the state is not in
    /// doubt any more.
    fn note_cap(&mut self, now: Instant) {
        let own = self.setup.timing.election_timeout();
        let served = now >= self.voting_from;
        self.hard.cap = if served { own } else { self.hard.cap.max(own) };
        self.hard.in_doubt &= !served;
    }

    fn stop_voting(&mut self, now: Instant, out: &mut Effects) {
        self.storage_failed = true;
        self.voting_from = Instant::NEVER;
        let suspect_at = now + self.setup.timing.suspicion();
        self.follow(now, None, suspect_at, Cause::StorageFailed, out);
    }

    /// Whether this node may campaign at all.
    fn may_lead(&self) -> bool {
        !self.storage_failed && !self.setup.voters[&self.setup.me].witness && self.last_term() < Term::LAST
    }

    /// Whether this node is eligible, as it tells its peers.
    fn able_to_lead(&self, now: Instant) -> bool {
        self.may_lead() && self.eligible && self.work.is_none() && now >= self.hold_off_until.max(self.voting_from)
    }

    fn is_peer(&self, id: NodeId) -> bool {
        id != self.setup.me && self.setup.voters.contains_key(&id)
    }

    fn majority(&self) -> usize {
        self.setup.voters.len() / 2 + 1
    }

    fn broadcast(&self, request: &Request, out: &mut Effects) {
        let others = self.setup.voters.keys().filter(|id| **id != self.setup.me);
        out.messages.extend(others.map(|id| (*id, request.clone())));
    }

    fn tell(&self, cause: Cause, out: &mut Effects) {
        out.events.push(Event {
            role: self.role(),
            term: self.hard.term,
            leader: self.leader(),
            token: self.lease().map(|lease| lease.token),
            cause,
        });
    }
}
