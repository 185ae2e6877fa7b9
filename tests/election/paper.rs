//! The protocol, one sentence at a time.
//!
//! Each test is one sentence of the Raft paper (Ongaro and Ousterhout 2014), of Ongaro's thesis (2014), of the paper on
//! leases (Gray and Cheriton 1989), or of one of leadelect's own fifteen rules, and says which. A sentence about time
//! is tested at its boundary: one nanosecond before, and at the moment itself. The manner is that of etcd's
//! `raft_paper_test.go`.
//!
//! Node 1 is the one under test. It starts at [`START`], and its peers are played by the test.

mod bounds;
mod candidate;
mod heartbeat;
mod hint;
mod lease;
mod node;
mod node_id;
mod obituary;
mod pre_vote;
mod promise;
mod restart;
mod stall;
mod step_down;
mod storage;
mod succession;
mod takeover;
mod timing;
mod vote;

use std::convert::Infallible;
use std::time::Duration;

use leadelect::election::{
    Cause, Deadline, Effects, Election, EndReason, Event, HardState, Hint, Input, Instant, NodeId, Recovery, Refusal,
    Reply, Request, Role, Setup, Store, Term, Timing, TimingSpec, Voter,
};

/// When node 1 starts. Not the start of its clock, so that a moment that was never set shows.
const START: Instant = Instant::from_nanos(1_000_000_000_000);

/// The election timeout, and so the longest promise.
const D: Duration = Duration::from_millis(500);
/// The heartbeat interval.
const ETA: Duration = Duration::from_millis(100);
/// A leader is suspected after this much silence.
const S: Duration = Duration::from_millis(300);
/// How much later the next in line starts.
const STAGGER: Duration = Duration::from_millis(25);
/// The lease on a promise of [`D`] at the default drift bound.
const LEASE: Duration = Duration::from_nanos(498_000_999);
/// The smallest step of time.
const NS: Duration = Duration::from_nanos(1);

/// No paper test depends on chance, unless it says so.
const SEED: u64 = 7;

fn id(number: u16) -> NodeId {
    NodeId::from(number)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// `of` equal nodes, seen by node 1.
fn cluster(of: u16) -> Setup {
    Setup { me: id(1), voters: (1..=of).map(|n| (id(n), Voter::default())).collect(), timing: Timing::default() }
}

/// A node that comes back with this behind it, and has not been away for any time that is certain.
fn restored(term: u64, voted_for: Option<u16>, cap: Duration) -> Recovery {
    let state = HardState { term: Term(term), voted_for: voted_for.map(id), cap, in_doubt: false };
    let down_for = Duration::ZERO;
    Recovery::Restored { state, down_for }
}

/// Node 1 of `of`, free to vote: it remembers its past, and never promised anything in it.
fn node_of(of: u16) -> Node {
    node_in(of, 0)
}

/// The same, in `term`, its vote not spent.
fn node_in(of: u16, term: u64) -> Node {
    Node::start(cluster(of), restored(term, None, Duration::ZERO))
}

/// Node 1 of three, which has heard leader 2 in term 1 at [`START`].
fn follower() -> Node {
    let mut node = node_of(3);
    assert_eq!(node.heartbeat(START, 2, 1, 1), D);
    node
}

/// Node 1 of `of`, which has just asked for pre-votes in term 1.
fn pre_candidate_of(of: u16) -> Node {
    let mut node = node_of(of);
    assert_eq!(asks_pre_votes(&node.tick(START)), Some(1));
    node
}

/// Node 1 of `of`, which has just asked for votes in term 1.
fn candidate_of(of: u16) -> Node {
    candidate(node_of(of))
}

/// Node 1 of `of`, elected in term 1 and not yet acked. Its heartbeat 1 went out at [`START`].
fn elected_of(of: u16) -> Node {
    let (node, _) = elected(node_of(of));
    node
}

/// The same node, after it has asked for votes in term 1.
fn candidate(mut node: Node) -> Node {
    node.tick(START);
    for voter in 2..=node.majority() {
        node.gets_pre_vote(START, voter, Duration::ZERO);
    }
    assert_eq!(node.election.role(), Role::Candidate);
    assert_eq!(node.election.term(), Term(1));
    node
}

/// The same node, elected in term 1, and what it did then.
fn elected(node: Node) -> (Node, Effects) {
    let mut node = candidate(node);
    let mut effects = Effects::default();
    for voter in 2..=node.majority() {
        effects = node.gets_vote(START, voter);
    }
    assert_eq!(node.election.role(), Role::Leader);
    (node, effects)
}

/// Node 1 of `of`, which holds a lease in term 1 until [`START`] + [`LEASE`].
fn leader_of(of: u16) -> Node {
    let mut node = elected_of(of);
    for voter in 2..=node.majority() {
        node.gets_ack(START, voter, 1);
    }
    assert_eq!(node.lease_until(), Some(START + LEASE));
    node
}

/// A disk that remembers everything that was ever saved.
#[derive(Clone, Default)]
struct Disk {
    saved: Vec<HardState>,
}

impl Store for Disk {
    type Error = Infallible;

    fn save(&mut self, state: &HardState) -> Result<(), Infallible> {
        self.saved.push(*state);
        Ok(())
    }
}

/// A disk that cannot be written.
struct BrokenDisk;

impl Store for BrokenDisk {
    type Error = &'static str;

    fn save(&mut self, _: &HardState) -> Result<(), &'static str> {
        Err("no space left")
    }
}

/// Node 1 with its disk.
#[derive(Clone)]
struct Node {
    election: Election,
    voters: u16,
    disk: Disk,
    /// What the last requests for votes or pre-votes were called.
    candidacy: u64,
}

impl Node {
    fn start(setup: Setup, recovery: Recovery) -> Node {
        Node::start_seeded(setup, recovery, SEED)
    }

    fn start_seeded(setup: Setup, recovery: Recovery, seed: u64) -> Node {
        Node {
            voters: u16::try_from(setup.voters.len()).expect("few"),
            election: Election::new(setup, recovery, START, seed),
            disk: Disk::default(),
            candidacy: 0,
        }
    }

    /// Steps `input`, and what a candidate does at once when its own vote is durable.
    fn step(&mut self, now: Instant, input: Input) -> Effects {
        let (writes, mut effects) = (self.disk.saved.len(), self.step_once(now, input));
        let entered = |event: &Event| matches!(event.cause, Cause::PreVotesWon | Cause::NamedSuccessor { .. });
        if effects.events.iter().any(entered) && self.election.role() == Role::Candidate && self.is_due(now) {
            assert!(self.disk.saved.len() > writes, "its own vote is durable before it asks for others");
            assert_eq!(asks_votes(&effects), None, "its clock starts when it asks, and that is after the write");
            let more = self.step_once(now, Input::Tick);
            assert_eq!(self.disk.saved.len(), writes + 1, "to ask takes no write");
            effects.messages.extend(more.messages);
            effects.events.extend(more.events);
        }
        effects
    }

    fn is_due(&self, now: Instant) -> bool {
        self.election.wake_at() <= now
    }

    fn step_once(&mut self, now: Instant, input: Input) -> Effects {
        let Ok(effects) = self.election.step(now, input).store(&mut self.disk);
        assert_eq!(effects.lease, self.election.lease(), "the whole truth about the lease");
        for (_, request) in &effects.messages {
            if let Request::PreVote { candidacy, .. } | Request::Vote { candidacy, .. } = request {
                self.candidacy = *candidacy;
            }
        }
        effects
    }

    fn tick(&mut self, now: Instant) -> Effects {
        self.step(now, Input::Tick)
    }

    /// Steps the request of a peer.
    fn request(&mut self, now: Instant, from: u16, request: Request) -> Effects {
        let from = id(from);
        self.step(now, Input::Request { from, request })
    }

    /// Steps the request of a peer and returns what it is told.
    fn answer(&mut self, now: Instant, from: u16, request: Request) -> Reply {
        let effects = self.request(now, from, request);
        effects.reply.expect("a peer is answered")
    }

    /// Steps the reply of a peer.
    fn reply(&mut self, now: Instant, from: u16, reply: Reply) -> Effects {
        let from = id(from);
        self.step(now, Input::Reply { from, reply })
    }

    /// A peer asks for a vote.
    fn vote(&mut self, now: Instant, from: u16, term: u64) -> Result<(), Refusal> {
        verdict(&self.answer(now, from, vote(term)))
    }

    /// A peer asks for a pre-vote.
    fn pre_vote(&mut self, now: Instant, from: u16, term: u64) -> Result<(), Refusal> {
        verdict(&self.answer(now, from, pre_vote(term)))
    }

    /// A leader asks for a promise of [`D`]: what is granted.
    fn heartbeat(&mut self, now: Instant, from: u16, term: u64, seq: u64) -> Duration {
        granted(&self.answer(now, from, heartbeat(term, seq, D)))
    }

    /// A peer would vote for this node, once `wait` has passed.
    fn gets_pre_vote(&mut self, now: Instant, from: u16, wait: Duration) -> Effects {
        let reply = Reply::PreVote {
            term: self.election.term(),
            candidacy: self.candidacy,
            verdict: Ok(()),
            wait,
            leader: None,
        };
        self.reply(now, from, reply)
    }

    /// A peer hears a leader that this node does not, and has done so `age` ago.
    fn gets_hint(&mut self, now: Instant, from: u16, leader: u16, age: Duration) -> Effects {
        let term = self.election.term();
        let hint = Hint { leader: id(leader), term, age };
        let reply = Reply::PreVote {
            term,
            candidacy: self.candidacy,
            verdict: Err(Refusal::LeaderHeard(hint.leader)),
            wait: S - age,
            leader: Some(hint),
        };
        self.reply(now, from, reply)
    }

    /// A peer votes for this node.
    fn gets_vote(&mut self, now: Instant, from: u16) -> Effects {
        let reply = vote_reply(self.election.term(), self.candidacy, Ok(()), D);
        self.reply(now, from, reply)
    }

    /// A peer refuses its vote, and may not after `wait`; zero is never.
    fn gets_no_vote(&mut self, now: Instant, from: u16, wait: Duration) -> Effects {
        let refusal = Err(Refusal::Promised(id(9)));
        let reply = vote_reply(self.election.term(), self.candidacy, refusal, wait);
        self.reply(now, from, reply)
    }

    /// A peer promises [`D`].
    fn gets_ack(&mut self, now: Instant, from: u16, seq: u64) -> Effects {
        self.reply(now, from, ack(self.election.term().0, seq, D))
    }

    /// The program resigns.
    fn resign(&mut self, now: Instant, successor: Option<u16>) -> Effects {
        let input =
            Input::StepDown { reason: EndReason::Resigned, successor: successor.map(id), hold_off: Duration::ZERO };
        self.step(now, input)
    }

    fn work_ended(&mut self, now: Instant, term: u64) -> Effects {
        self.step(now, Input::WorkEnded { term: Term(term) })
    }

    /// When it campaigns, if node 2 would vote for it at any time.
    fn campaigns_at(&mut self) -> Instant {
        for _ in 0..100 {
            let now = self.election.wake_at();
            let effects = self.tick(now);
            let asked = asks_pre_votes(&effects).is_some();
            let won = asked.then(|| self.gets_pre_vote(now, 2, Duration::ZERO));
            if asks_votes(&won.unwrap_or(effects)).is_some() {
                return now;
            }
        }
        panic!("no campaign until {:?}", self.election.wake_at());
    }

    fn majority(&self) -> u16 {
        self.voters / 2 + 1
    }

    fn lease_until(&self) -> Option<Instant> {
        self.election.lease().map(|lease| lease.until)
    }
}

fn vote(term: u64) -> Request {
    let term = Term(term);
    Request::Vote { term, candidacy: 1 }
}

fn pre_vote(term: u64) -> Request {
    let term = Term(term);
    Request::PreVote { term, candidacy: 1 }
}

fn heartbeat(term: u64, seq: u64, promise: Duration) -> Request {
    Request::Heartbeat { term: Term(term), seq, promise, succession: Vec::new() }
}

/// The heartbeat 1 of term 1 with a line of succession.
fn heartbeat_with(succession: &[u16]) -> Request {
    Request::Heartbeat { term: Term(1), seq: 1, promise: D, succession: succession.iter().copied().map(id).collect() }
}

fn release(term: u64, seq: u64, successor: Option<u16>) -> Request {
    Request::Release { term: Term(term), seq, successor: successor.map(id) }
}

fn vote_reply(term: Term, candidacy: u64, verdict: Result<(), Refusal>, wait: Duration) -> Reply {
    Reply::Vote { term, candidacy, verdict, wait }
}

fn ack(term: u64, seq: u64, granted: Duration) -> Reply {
    Reply::Heartbeat { term: Term(term), seq, granted, eligible: true }
}

/// The same ack, of a peer that is not eligible.
fn ineligible(ack: Reply) -> Reply {
    match ack {
        Reply::Heartbeat { term, seq, granted, .. } => Reply::Heartbeat { term, seq, granted, eligible: false },
        other => panic!("an ack, not {other}"),
    }
}

/// What the answer to a request for a vote or a pre-vote says.
fn verdict(reply: &Reply) -> Result<(), Refusal> {
    match reply {
        Reply::Vote { verdict, .. } | Reply::PreVote { verdict, .. } => *verdict,
        Reply::Heartbeat { .. } | Reply::Release { .. } => panic!("no verdict in {reply}"),
    }
}

/// How long to wait, in the answer to a request for a vote or a pre-vote.
fn wait(reply: &Reply) -> Duration {
    match reply {
        Reply::Vote { wait, .. } | Reply::PreVote { wait, .. } => *wait,
        Reply::Heartbeat { .. } | Reply::Release { .. } => panic!("no wait in {reply}"),
    }
}

/// The promise in the answer to a heartbeat.
fn granted(reply: &Reply) -> Duration {
    match reply {
        Reply::Heartbeat { granted, .. } => *granted,
        Reply::Vote { .. } | Reply::PreVote { .. } | Reply::Release { .. } => {
            panic!("no promise in {reply}")
        }
    }
}

/// The term in which votes are asked for, if they are.
fn asks_votes(effects: &Effects) -> Option<u64> {
    effects.messages.iter().find_map(|(_, request)| match request {
        Request::Vote { term, .. } => Some(term.0),
        _ => None,
    })
}

/// The term in which pre-votes are asked for, if they are.
fn asks_pre_votes(effects: &Effects) -> Option<u64> {
    effects.messages.iter().find_map(|(_, request)| match request {
        Request::PreVote { term, .. } => Some(term.0),
        _ => None,
    })
}

/// The number of the heartbeat that is sent, if one is.
fn heartbeat_sent(effects: &Effects) -> Option<u64> {
    effects.messages.iter().find_map(|(_, request)| match request {
        Request::Heartbeat { seq, .. } => Some(*seq),
        _ => None,
    })
}

/// Who is told of a release, of which term and heartbeat, and who should follow.
fn releases(effects: &Effects) -> Vec<(NodeId, u64, u64, Option<NodeId>)> {
    let release = |(to, request): &(NodeId, Request)| match request {
        Request::Release { term, seq, successor } => Some((*to, term.0, *seq, *successor)),
        _ => None,
    };
    effects.messages.iter().filter_map(release).collect()
}

fn receivers(effects: &Effects) -> Vec<NodeId> {
    effects.messages.iter().map(|(to, _)| *to).collect()
}

fn causes(effects: &Effects) -> Vec<Cause> {
    let causes = effects.events.iter().map(|event| event.cause.clone());
    causes.collect()
}
