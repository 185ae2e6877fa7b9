//! Is it safe? Judged from outside: by what is said on the wire, and by what a program could do that acts until the
//! last nanosecond it is allowed to. Each property has one name, which is also its name in the manual.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leadelect::NodeId;
use leadelect::election::{Cause, Deadline, Election, EndReason, Event, HardState, Instant, Reply, Request, Term};

use super::clock::{Clock, Real};

mod canonical;
mod program;

/// When and where a step was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) node: NodeId,
    /// Counts the starts of the node.
    pub(crate) life: u64,
    pub(crate) at: Real,
    pub(crate) clock: Clock,
    /// What is durable when the step's effects happen; nothing for a node that runs without state.
    pub(crate) durable: Option<HardState>,
    /// The node's disk has failed: what it knows is hearsay.
    pub(crate) storage_failed: bool,
    /// How long the node waits at least for a preferred node.
    pub(crate) settling: Duration,
    /// Whether the node leads after the step, and its term then.
    pub(crate) leads: bool,
    pub(crate) term: Term,
}

impl Step {
    pub(crate) fn local(&self) -> Instant {
        self.clock.at(self.at)
    }
}

/// What a program may do in the name of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    pub(crate) token: Term,
    /// It acts strictly before this moment.
    pub(crate) until: Real,
}

/// A promise, as it was said on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Owed {
    holder: NodeId,
    /// Which start of the holder: a node without state may lead the same term twice, and count anew.
    life: u64,
    /// Which start of the node that owes it.
    own_life: u64,
    /// Until when by what was promised in that life: of the rest the process does not know.
    in_own_life: Real,
    term: Term,
    seq: u64,
    until: Real,
}

/// What a leader was last allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Allowed {
    lease: Deadline,
    revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Checker {
    /// The first thing that went wrong.
    pub(crate) violation: Option<String>,
    /// A node has forgotten its terms and votes: tokens need not grow any more.
    forgetful: bool,
    /// The last term that two were elected in, because a memory was lost.
    pub(crate) twice_led: Option<Term>,
    /// A member has lied, or still does: what a quorum says proves nothing.
    distrusts: bool,
    /// A member has lied: the terms and heartbeats of a leader need not have grown.
    pub(crate) lied: bool,
    /// A leader has made room for a preferred node.
    pub(crate) yielded: bool,
    /// How many leases were won: a run without any has checked nothing.
    pub(crate) leases_won: u64,
    work: BTreeMap<NodeId, Work>,
    last_lease: Option<(Term, NodeId, u64)>,
    /// Who may have forgotten: such a node withholds its promises after a start, too.
    forgot: BTreeSet<NodeId>,
    elected: BTreeMap<Term, (NodeId, u64)>,
    /// The last term that a node was elected in, and when on its clock.
    elected_at: BTreeMap<NodeId, (Term, Instant)>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    owed: BTreeMap<NodeId, Owed>,
    allowed: BTreeMap<NodeId, Allowed>,
    program: program::Calls,
}

/// Clocks that were set anew are compared in real time, each rounded to a nanosecond.
const ROUNDING: u64 = 2;

impl Checker {
    /// A node starts without what it knew, or never knows anything.
    pub(crate) fn forgot(&mut self, node: NodeId) {
        self.forgetful = true;
        self.forgot.insert(node);
        self.votes.retain(|(voter, _), _| *voter != node);
    }

    /// From now on a member lies: the leaders of its quorums are not judged.
    pub(crate) fn distrusts(&mut self) {
        self.distrusts = true;
        self.lied = true;
    }

    pub(crate) fn distrusts_now(&self) -> bool {
        self.distrusts
    }

    /// All that rests on lies has ended.
    pub(crate) fn trusts(&mut self) {
        self.distrusts = false;
        self.last_lease = None;
        self.elected.clear();
    }

    /// A new life of a node has no lease.
    pub(crate) fn started(&mut self, node: NodeId, remembers: bool) {
        self.allowed.remove(&node);
        if remembers {
            self.forgot.remove(&node);
        }
    }

    /// A program may act until `work.until` from now on.
    pub(crate) fn acts(&mut self, step: &Step, now: Real, work: Work) {
        self.lease_exclusion(step, now, work);
        self.token_monotone(step, work);
    }

    /// What the driver has published to those who act as leader.
    pub(crate) fn published(&mut self, step: &Step, lease: Option<Deadline>) {
        match (lease, self.allowed.get_mut(&step.node)) {
            (Some(lease), _) => {
                let revoked = false;
                self.allowed.insert(step.node, Allowed { lease, revoked });
            }
            (None, Some(allowed)) => allowed.revoked = true,
            (None, None) => {}
        }
    }

    pub(crate) fn tells(&mut self, step: &Step, event: &Event) {
        if let Cause::SteppingDown { reason: EndReason::Preferred, .. } = event.cause {
            self.yielded = true;
            self.yields_rarely(step, event.term);
        }
        if let Cause::ProtocolViolation { .. } | Cause::SecondLease { .. } = event.cause {
            self.no_false_alarm(step, event);
        }
        if let Cause::Elected { .. } = event.cause {
            self.elected_at.insert(step.node, (event.term, step.local()));
            self.term_unique(step, event.term);
        }
    }

    pub(crate) fn asks(&mut self, step: &Step, request: &Request) {
        self.request_durable(step, request);
        match request {
            Request::Vote { term, .. } => {
                // To campaign is to vote for oneself.
                self.vote_once(step, *term, step.node);
                self.promise_monotone(step, step.node);
            }
            Request::Heartbeat { term, promise, .. } => self.stops_heartbeats(step, *term, *promise),
            Request::PreVote { .. } | Request::Release { .. } => {}
        }
    }

    /// `life` is that of the node that asked.
    pub(crate) fn answers(&mut self, step: &Step, (to, life): (NodeId, u64), reply: &Reply) {
        self.reply_durable(step, to, reply);
        match reply {
            Reply::Vote { term, verdict, .. } if verdict.is_ok() => {
                self.vote_once(step, *term, to);
                self.promise_monotone(step, to);
            }
            Reply::Heartbeat { term, seq, granted, .. } if !granted.is_zero() => {
                self.promise_exclusive(step, to);
                let until = step.clock.reaches(step.local() + *granted);
                let old = self.owed.get(&step.node);
                let in_own_life =
                    old.filter(|old| old.own_life == step.life).map_or(until, |old| old.in_own_life.max(until));
                let newest = old
                    .filter(|old| !self.lied || old.own_life == step.life)
                    .filter(|old| (old.holder, old.life) == (to, life) && (old.term, old.seq) > (*term, *seq))
                    .map_or((*term, *seq), |old| (old.term, old.seq));
                let owed = Owed {
                    holder: to,
                    life,
                    own_life: step.life,
                    term: newest.0,
                    seq: newest.1,
                    until: old.map_or(until, |old| old.until.max(until)),
                    in_own_life,
                };
                self.owed.insert(step.node, owed);
            }
            Reply::PreVote { .. } | Reply::Vote { .. } | Reply::Heartbeat { .. } | Reply::Release { .. } => {}
        }
    }

    /// Until when a node owes its promises.
    pub(crate) fn owes_until(&self, node: NodeId) -> Real {
        self.owed.get(&node).map_or(Real::ZERO, |owed| owed.until)
    }

    /// A node takes a request: a release may free it from its promise.
    pub(crate) fn hears(&mut self, node: NodeId, (from, life): (NodeId, u64), request: &Request) {
        if let Request::Release { term, seq, .. } = request {
            let freed = |owed: &Owed| owed.holder == from && (owed.life, owed.term, owed.seq) <= (life, *term, *seq);
            if self.owed.get(&node).is_some_and(freed) {
                self.owed.remove(&node);
            }
        }
    }

    /// A node hears that nothing of a holder of its promise acts any more in a term up to this one, except in the life
    /// that lives on, if there is one.
    pub(crate) fn buries(&mut self, node: NodeId, (of, lives): (NodeId, Option<u64>), up_to: Term) {
        let freed = |owed: &Owed| owed.holder == of && owed.term <= up_to && Some(owed.life) != lives;
        if self.owed.get(&node).is_some_and(freed) {
            self.owed.remove(&node);
        }
    }

    /// What is said of the dead is true: nothing of them acts.
    pub(crate) fn obituary_true(&mut self, now: Real, of: NodeId, up_to: Term) {
        let acts = self.work.get(&of).filter(|work| work.token <= up_to && now < work.until);
        if let Some(work) = acts {
            self.fail("ObituaryTrue", format!("{of} is said to be dead up to term {up_to}, and does {work:?}"));
        }
    }

    /// No two nodes can act at the same moment of real time: neither on a lease, nor finishing what it had begun.
    fn lease_exclusion(&mut self, step: &Step, now: Real, work: Work) {
        self.work.insert(step.node, work);
        if work.until <= now || self.distrusts {
            return;
        }
        let both = self
            .work
            .iter()
            .find(|(other, theirs)| **other != step.node && theirs.until > now)
            .map(|(other, theirs)| (*other, *theirs));
        if let Some((other, theirs)) = both {
            self.fail(
                "LeaseExclusion",
                format!(
                    "{} acts with token {} until {:?}, and {other} with token {} until {:?}",
                    step.node, work.token, work.until, theirs.token, theirs.until
                ),
            );
        }
    }

    /// The token of a lease is higher than that of every lease before.
    fn token_monotone(&mut self, step: &Step, work: Work) {
        let this = (work.token, step.node, step.life);
        if self.last_lease == Some(this) {
            return;
        }
        self.leases_won += 1;
        if let Some((token, node, _)) = self.last_lease.replace(this) {
            if token >= work.token && !self.forgetful && !self.distrusts {
                self.fail(
                    "TokenMonotone",
                    format!("{} acts with token {} after {node} with {token}", step.node, work.token),
                );
            }
        }
    }

    /// An alarm of a broken assumption is true: somebody has forgotten, or lied.
    fn no_false_alarm(&mut self, step: &Step, event: &Event) {
        if !self.forgetful && !self.distrusts {
            self.fail("NoFalseAlarm", format!("{} says at {:?}: {event}", step.node, step.at));
        }
    }

    /// At most one node is elected in a term.
    fn term_unique(&mut self, step: &Step, term: Term) {
        let this = (step.node, step.life);
        let first = *self.elected.entry(term).or_insert(this);
        if first != this {
            self.twice_led = Some(term);
        }
        if first != this && !self.forgetful && !self.distrusts {
            self.fail("TermUnique", format!("{} and {} are both elected in term {term}", first.0, step.node));
        }
    }

    /// A node votes for at most one candidate in a term, itself included, also across restarts.
    fn vote_once(&mut self, step: &Step, term: Term, candidate: NodeId) {
        let first = *self.votes.entry((step.node, term)).or_insert(candidate);
        if first != candidate {
            self.fail("VoteOnce", format!("{} votes for {candidate} in term {term} after {first}", step.node));
        }
    }

    /// Until a promise has run out, or its holder has given it back, no vote goes to anyone else: not in a higher
    /// term, not after a restart, not to the voter itself.
    fn promise_monotone(&mut self, step: &Step, candidate: NodeId) {
        let Some(owed) = self.owed.get(&step.node).copied() else {
            return;
        };
        if owed.holder != candidate && step.at.0.saturating_add(ROUNDING) < owed.until.0 {
            self.fail(
                "PromiseMonotone",
                format!(
                    "{} votes for {candidate} at {:?} and has promised {} until {:?}",
                    step.node, step.at, owed.holder, owed.until
                ),
            );
        }
    }

    /// Nor is anything promised to anyone else until then. A node that restarts and remembers its term may: that a
    /// later leader was elected shows that the lease it has forgotten is over.
    fn promise_exclusive(&mut self, step: &Step, leader: NodeId) {
        let owed = self.owed.get(&step.node).copied();
        let Some(owed) = owed.filter(|owed| owed.holder != leader) else {
            return;
        };
        let until = match self.forgot.contains(&step.node) {
            true => owed.until,
            false if owed.own_life == step.life => owed.in_own_life,
            false => return,
        };
        if step.at.0.saturating_add(ROUNDING) < until.0 {
            self.fail(
                "PromiseExclusive",
                format!(
                    "{} promises {leader} at {:?} and has promised {} until {until:?}",
                    step.node, step.at, owed.holder
                ),
            );
        }
    }

    /// Nothing is said that a power cut could make untrue: neither a term of one's own, nor a candidacy.
    fn request_durable(&mut self, step: &Step, request: &Request) {
        let Some(durable) = step.durable else {
            return;
        };
        let holds = match request {
            Request::PreVote { .. } => true, // a question binds to nothing
            Request::Vote { term, .. } => durable.term == *term && durable.voted_for == Some(step.node),
            Request::Heartbeat { term, .. } => durable.term == *term && durable.voted_for == Some(step.node),
            Request::Release { term, .. } => *term <= durable.term,
        };
        if !holds {
            self.fail("TermDurable", format!("{} says {request} and has stored {durable:?}", step.node));
        }
    }

    /// Nothing is said that a power cut could make untrue: neither a term, nor a vote, nor a promise. What a node
    /// tells of others' terms after its disk has failed binds it to nothing.
    fn reply_durable(&mut self, step: &Step, to: NodeId, reply: &Reply) {
        let Some(durable) = step.durable else {
            return;
        };
        let hearsay = step.storage_failed || matches!(reply, Reply::Release { .. });
        let binds = match reply {
            Reply::Vote { term, verdict, .. } if verdict.is_ok() => {
                durable.term == *term && durable.voted_for == Some(to)
            }
            Reply::Heartbeat { granted, .. } => durable.cap >= *granted,
            Reply::PreVote { .. } | Reply::Vote { .. } | Reply::Release { .. } => true,
        };
        if !binds || (reply.term() > durable.term && !hearsay) {
            self.fail("TermDurable", format!("{} says {reply} to {to} and has stored {durable:?}", step.node));
        }
    }

    /// A leader whose lease has run out, or was given up, renews nobody's promise; nor does one that has won none for
    /// as long as it asks others to promise.
    fn stops_heartbeats(&mut self, step: &Step, term: Term, promise: Duration) {
        let allowed = self.allowed.get(&step.node);
        let Some(allowed) = allowed.filter(|allowed| allowed.lease.token == term) else {
            let elected = self.elected_at.get(&step.node);
            let elected = elected.filter(|(own, _)| *own == term);
            if elected.is_some_and(|(_, at)| step.local() > *at + promise) {
                let text = format!("{} still asks for a first lease of term {term}", step.node);
                self.fail("StopsHeartbeats", text);
            }
            return;
        };
        if allowed.revoked || step.local() >= allowed.lease.until {
            let text = format!("{} sends a heartbeat of term {term} after {allowed:?}", step.node);
            self.fail("StopsHeartbeats", text);
        }
    }

    /// A leader hands over to a preferred node only after it has led for long.
    fn yields_rarely(&mut self, step: &Step, term: Term) {
        let elected = self.elected_at.get(&step.node);
        let Some((_, since)) = elected.filter(|(own, _)| *own == term) else {
            return;
        };
        if step.local() < *since + step.settling {
            let text = format!("{} yields in term {term}, elected at {since:?}", step.node);
            self.fail("YieldsRarely", text);
        }
    }

    /// To be asked for a pre-vote changes nothing in a node, not even a timer. That its own lease has run out
    /// meanwhile is not the asking's doing.
    pub(crate) fn pre_vote_pure(&mut self, before: &Election, after: &Election, now: Instant) {
        let lapsed = before.lease().is_some_and(|lease| lease.until <= now);
        let timed_out = before.role() != after.role() && before.wake_at() <= now;
        if !lapsed && !timed_out && before != after {
            self.fail("PreVotePure", format!("{} was {before:?}\nis {after:?}", before.me()));
        }
    }

    /// What else must hold of a run.
    pub(crate) fn fail(&mut self, property: &str, text: String) {
        self.violation.get_or_insert(format!("{property}: {text}"));
    }
}
