//! Who leads, and until when? The whole protocol as a value.
//!
//! A leader is elected by a majority, as in Raft (Ongaro and Ousterhout 2014, section 5.2; pre-vote and check-quorum
//! from Ongaro's thesis, sections 9.6 and 6.2). That alone elects one leader *per term*; a leader that has been
//! replaced does not know it. So a voter that answers a heartbeat also *promises* to elect nobody else for a while,
//! and a leader acts only while a quorum's promises last: it holds a *lease* (Gray and Cheriton 1989). The lease is
//! counted from when the leader *asked*, not from when it heard back, because only the asking is certain to come
//! before the promise began; and it is shorter than the promise by what two clocks may differ in that time.
//!
//! # Why at most one
//!
//! Two leases at one moment need two quorums of promises, and two quorums share a voter. A voter gives no promise while
//! it owes another, and a leader none while its own work may run. A voter that has restarted may have forgotten a
//! promise; but then whoever it promises to next was elected in a later term, by votes that none of the old leader's
//! voters gave before its promise had run out on its own clock, or, after a restart, before as much time had passed as
//! its longest promise lasts. The [manual](crate::manual::protocol) has it step by step.
//!
//! # How it is driven
//!
//! [`Election`] reads no clock, opens no socket or file, starts no thread and draws no chance: time and chance are
//! arguments. A driver
//!
//! 1. waits for a message, but no longer than until [`Election::wake_at`];
//! 2. reads the clock, and only then calls [`Election::step`] with what came, or with [`Input::Tick`];
//! 3. makes durable what must be, by [`Output::store`], which is the only way to the effects;
//! 4. publishes [`Effects::lease`] to those who act as leader;
//! 5. sends the reply and the messages;
//! 6. tells [`Input::WorkEnded`] when [`Election::awaits_work`] names a term and nothing guarded by its lease runs:
//!    until then the node is no candidate again.
//!
//! Messages may be lost, late, repeated and reordered. A request is answered on the connection it came from; its
//! sender is whoever that connection is authenticated as.

mod candidate;
mod canonical;
mod dice;
mod end_reason;
mod event;
mod hard_state;
mod id;
mod leader;
mod message;
mod takeover;
mod time;
mod timing;
mod voter;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use canonical::Names;
pub use end_reason::EndReason;
pub use event::{Cause, Event, Role};
pub use hard_state::{HardState, Output, Recovery, Store};
pub use id::{NodeId, NodeIdError};
pub use message::{Hint, Refusal, Reply, Request};
pub use time::Instant;
pub use timing::{Timing, TimingError, TimingSpec};

use candidate::{Candidate, FreshHint, PreCandidate};
use dice::Dice;
use leader::Leader;
use takeover::Takeovers;

/// A numbered period with at most one leader. The term in which a lease was won is its fencing token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Term(pub u64);

impl Term {
    /// The furthest that a message may be ahead of a node's own term: one bad frame must not use up all terms.
    pub const LARGEST_JUMP: u64 = 1 << 32;

    fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("terms grow by at most LARGEST_JUMP a message"))
    }

    fn too_far_from(self, own: Term) -> bool {
        self.0 > own.0.saturating_add(Self::LARGEST_JUMP)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cluster as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setup {
    /// This node.
    pub me: NodeId,
    /// All nodes, this one included. The same on every node.
    pub voters: BTreeMap<NodeId, Voter>,
    /// May differ between nodes, but for the drift bound.
    pub timing: Timing,
}

/// What is configured about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Voter {
    /// The higher, the earlier in the line of succession; and a leader hands over to one of higher priority in the end.
    pub priority: i32,
    /// Votes and never leads.
    pub witness: bool,
}

/// What may happen to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A peer asks.
    Request {
        /// The authenticated peer.
        from: NodeId,
        /// What it asks.
        request: Request,
    },
    /// A peer answers.
    Reply {
        /// The authenticated peer.
        from: NodeId,
        /// What it answers.
        reply: Reply,
    },
    /// The node should give leadership up: the work stops, and then the other nodes are told. Without effect on a node
    /// that does not lead, or that steps down already.
    StepDown {
        /// Why. Only told, never decided by.
        reason: EndReason,
        /// Who should follow; the best of those who are able if none is named.
        successor: Option<NodeId>,
        /// For how long this node leads only if nobody else can, at least the election timeout.
        hold_off: Duration,
    },
    /// Nothing guarded by the lease of this term runs any more, and nothing can start.
    WorkEnded {
        /// The term.
        term: Term,
    },
    /// Whether the node is able to lead. One that is not leads only if nobody else can.
    Eligible(bool),
    /// A state could not be made durable.
    StorageFailed,
}

/// What a step wants done, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What those who act as leader may rest on from now on. Not a change: the whole truth after this step.
    pub lease: Option<Deadline>,
    /// The answer to the request that was stepped, if it was one.
    pub reply: Option<Reply>,
    /// What to send to whom.
    pub messages: Vec<(NodeId, Request)>,
    /// What to tell.
    pub events: Vec<Event>,
}

/// Until when a node may act as leader, on its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadline {
    /// The fencing token: the term of the lease.
    pub token: Term,
    /// The node may act strictly before this moment.
    pub until: Instant,
}

/// One node's part in the election. See the [module](self) for how to drive it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Election {
    setup: Setup,
    started: Instant,
    hard: HardState,
    saved: HardState,
    /// Nothing was ever saved: see [`Election::free_at`].
    is_new: bool,
    /// A write has failed: this node votes and promises no more.
    storage_failed: bool,
    eligible: bool,
    state: State,
    promise: Option<Promise>,
    heard: Option<Heard>,
    /// The end of the quarantine after a restart.
    voting_from: Instant,
    /// Up to this term the node may have voted without remembering it.
    may_have_voted_up_to: Term,
    /// The highest term that a peer has told of: behind it no vote is to be had.
    highest_heard: Term,
    /// What may still run under the lease of a term that this node no longer leads: it votes for nobody before the end
    /// of that lease, and stands itself only once the work is known to have ended.
    work: Option<Deadline>,
    /// Until when this node, having handed over, leaves leading to others if there are any.
    hold_off_until: Instant,
    takeovers: Takeovers,
    succession: Vec<NodeId>,
    /// Whether the last candidacy failed: then the line of succession has failed, and chance decides.
    failed: bool,
    dice: Dice,
}

/// What only a role knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Follower {
    leader: Option<NodeId>,
    /// When to ask for pre-votes.
    suspect_at: Instant,
    /// What `leader` rests on, if this node does not hear it itself.
    hint: Option<FreshHint>,
}

impl Follower {
    /// Follows nobody, and waits until `suspect_at`.
    fn waiting(suspect_at: Instant) -> Self {
        Follower { leader: None, suspect_at, hint: None }
    }
}

/// Until `until`, nobody but `holder` gets this node's vote, whatever the term.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Promise {
    holder: NodeId,
    term: Term,
    seq: u64,
    until: Instant,
}

/// The last leader that this node has heard itself, or was itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Heard {
    leader: NodeId,
    term: Term,
    at: Instant,
    released: bool,
}

impl Election {
    /// A node that starts at `now`.
    ///
    /// `seed` must differ from start to start: candidacies are told apart by it.
    ///
    /// # Panics
    ///
    /// If the node is not among the voters.
    #[must_use]
    pub fn new(setup: Setup, recovery: Recovery, now: Instant, seed: u64) -> Self {
        assert!(setup.voters.contains_key(&setup.me), "a node is one of the voters");
        let timeout = setup.timing.election_timeout();
        // Rule 7: whatever was promised before the start has run out `quarantine` after it. Rule 11: if terms and votes
        // may be forgotten, too, then it is twice as long, and nothing is promised either.
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
            failed: false,
            dice: Dice::new(seed),
            setup,
        }
    }

    /// Takes one input at the moment `now`, which is never before that of an earlier step.
    pub fn step(&mut self, now: Instant, input: Input) -> Output {
        let mut out = Effects::default();
        // Rule 5, before anything else: a lease that has run out stays so, whatever is still in the queue.
        self.expire(now, &mut out);
        match input {
            Input::Tick => self.tick(now, &mut out),
            Input::Request { from, request } => out.reply = self.answer(now, from, request, &mut out),
            Input::Reply { from, reply } => self.hear(now, from, reply, &mut out),
            Input::StepDown { reason, successor, hold_off } => {
                self.step_down(now, reason, successor, hold_off, &mut out)
            }
            Input::WorkEnded { term } => self.work_ended(now, term, &mut out),
            Input::Eligible(eligible) => self.eligible = eligible,
            Input::StorageFailed => self.stop_voting(now, &mut out),
        }
        out.lease = self.lease();
        let save = (!self.storage_failed && self.hard != self.saved).then_some(self.hard);
        self.saved = self.hard;
        Output { save, effects: out }
    }

    /// When the next [`Input::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        match &self.state {
            State::Follower(follower) => follower.suspect_at,
            State::PreCandidate(asking) => asking.wake_at(self.campaign_at(asking)),
            State::Candidate(candidate) => candidate.wake_at(),
            State::Leader(leader) => leader.wake_at(),
        }
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.setup.me
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

    /// The highest term the node has taken part in.
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

    /// Until when the node may act as leader; nothing if it may not. A moment that has passed says the same as
    /// nothing: whoever acts compares it with the clock.
    #[must_use]
    pub fn lease(&self) -> Option<Deadline> {
        match &self.state {
            State::Leader(leader) => leader.lease(self.hard.term),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        }
    }

    /// The term whose work must be known to have ended before the node can go on: see [`Input::WorkEnded`].
    #[must_use]
    pub fn awaits_work(&self) -> Option<Term> {
        match &self.state {
            State::Leader(leader) if leader.is_stepping_down() => Some(self.hard.term),
            _ => self.work.map(|work| work.token),
        }
    }

    /// Who has promised this leader lately, and whether it is able to lead itself. Nobody on a node that does not lead.
    #[must_use]
    pub fn backers(&self, now: Instant) -> BTreeMap<NodeId, bool> {
        let backers = match &self.state {
            State::Leader(leader) => Some(&leader.backers),
            State::Follower(_) | State::PreCandidate(_) | State::Candidate(_) => None,
        };
        let fresh = backers.into_iter().flatten();
        let fresh = fresh.filter(|(_, backer)| now < backer.until);
        fresh.map(|(id, backer)| (*id, backer.eligible)).collect()
    }

    fn tick(&mut self, now: Instant, out: &mut Effects) {
        match &mut self.state {
            State::Follower(follower) if now >= follower.suspect_at => {
                // Rule 10: who wakes late may have a heartbeat waiting unread.
                let stalled = now > follower.suspect_at + self.setup.timing.heartbeat_interval();
                if stalled && follower.leader.is_some() {
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

    /// Takes an answer. One that does not fit what the node is doing now is old, and dropped.
    fn hear(&mut self, now: Instant, from: NodeId, reply: Reply, out: &mut Effects) {
        if !self.is_peer(from) || reply.term().too_far_from(self.hard.term) {
            return;
        }
        match (&self.state, reply) {
            (State::PreCandidate(asking), Reply::PreVote { term, candidacy, verdict, wait, leader })
                if asking.candidacy == candidacy =>
            {
                self.pre_vote_reply(now, from, (term, verdict), wait, leader, out)
            }
            (State::Candidate(candidate), Reply::Vote { term, candidacy, verdict, wait })
                if candidate.candidacy == candidacy =>
            {
                self.vote_reply(now, from, (term, verdict), wait, out)
            }
            (State::Leader(_), Reply::Heartbeat { term, seq, granted, eligible }) => {
                self.heartbeat_reply(now, from, (term, seq), granted, eligible, out)
            }
            _ => {}
        }
    }

    /// Takes part in a higher term: falls back to a follower of unknown leader, and asks again only later (rule 3).
    /// Never touches a promise.
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

    /// Leads no more in the old term, before a new one begins: what it led may still be at work.
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

    /// Rule 7: a new node that hears of a term in which it has not voted may be an old one that lost its memory, and so
    /// may one that is told of a leader, or of a term after the first. Only a vote in the first term, which nothing
    /// tells from a repeated one, is given at once: a new cluster should not wait.
    fn note_past(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_new) {
            self.voting_from = self.owes_nothing_from();
            self.hard.in_doubt = true;
        }
        self.note_cap(now);
    }

    /// By when a node that remembers nothing owes nothing: its promises have run out, and its votes are too old.
    fn owes_nothing_from(&self) -> Instant {
        let timeout = self.setup.timing.election_timeout();
        self.started + timeout + timeout
    }

    /// The last term in which this node may have voted.
    fn last_term(&self) -> Term {
        self.hard.term.max(self.may_have_voted_up_to)
    }

    /// The term of this node's next candidacy.
    fn next_term(&self) -> Term {
        self.last_term().max(self.highest_heard).next()
    }

    /// Keeps the durable cap at the longest promise that may be outstanding; the quarantine ends all doubt.
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

    /// Whether this node may ever stand for election.
    fn may_lead(&self) -> bool {
        !self.storage_failed && !self.setup.voters[&self.setup.me].witness
    }

    /// Whether this node is able to lead, as its peers should know it.
    fn able_to_lead(&self, now: Instant) -> bool {
        self.may_lead() && self.eligible && self.work.is_none() && now >= self.hold_off_until.max(self.voting_from)
    }

    /// How much later than the first in line this node starts.
    fn patience(&mut self, now: Instant) -> Duration {
        let stagger = self.setup.timing.stagger();
        let last_resort = if self.eligible && now >= self.hold_off_until {
            Duration::ZERO
        } else {
            self.setup.timing.election_timeout()
        };
        if self.failed {
            // Rule 8: the line of succession has failed once; chance breaks the tie.
            return last_resort + self.dice.below(stagger * 8);
        }
        last_resort + stagger * u32::try_from(self.rank()).unwrap_or(u32::MAX)
    }

    /// This node's place in the line of succession: the last leader's list, or else the configured order.
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
        self.setup.voters.iter().filter(ahead).count()
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
