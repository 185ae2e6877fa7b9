//! Where the threads of a node write what they see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::events::{Events, Reader};
use super::recorder::Recorder;
use super::slowness::Slowness;
use super::{Counters, PeerStatus, Status};
use crate::clock;
use crate::election::{Cause, Event, Instant, NodeId, Reply, Role, Term, Timing};
use crate::leadership::Remaining;
use crate::log_queue::LoggerState;
use crate::sync::lock;

/// The one place that knows what can be seen of a node. Every method takes the lock for a moment and never waits.
#[derive(Debug)]
pub(crate) struct Board {
    me: NodeId,
    logger: Arc<LoggerState>,
    view: Mutex<View>,
    turns: AtomicU64,
}

#[derive(Debug)]
struct View {
    role: Role,
    term: Term,
    leader: Option<NodeId>,
    peers: BTreeMap<NodeId, Peer>,
    recorder: Recorder,
    slowness: Slowness,
    readers: Vec<Weak<Reader>>,
    closed: bool,
}

#[derive(Debug)]
struct Peer {
    /// As it is shown, except what depends on the moment of the look.
    shown: PeerStatus,
    heard_at: Option<Instant>,
    /// In seconds since 1970.
    certificate_ends: Option<u64>,
}

impl Board {
    /// The election thread takes a turn.
    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// How many turns the election thread has taken. None once it has ended.
    pub(crate) fn turns(&self) -> Option<u64> {
        (!lock(&self.view).closed).then(|| self.turns.load(Ordering::Relaxed))
    }

    pub(crate) fn new(me: NodeId, peers: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        let peers = peers.into_iter().map(|(id, addr)| {
            let shown = PeerStatus::unknown(id, addr);
            (id, Peer { shown, heard_at: None, certificate_ends: None })
        });
        let view = View {
            role: Role::Follower,
            term: Term::default(),
            leader: None,
            peers: peers.collect(),
            recorder: Recorder::default(),
            slowness: Slowness::default(),
            readers: Vec::new(),
            closed: false,
        };
        Board { me, logger: Arc::default(), view: Mutex::new(view), turns: AtomicU64::default() }
    }

    /// Shows the state of this logger.
    pub(crate) fn with_logger(self, logger: Arc<LoggerState>) -> Board {
        Board { logger, ..self }
    }

    /// Notes the state of the election after a step, and gives the events of that step to every stream.
    pub(crate) fn show(&self, role: Role, term: Term, leader: Option<NodeId>, events: &[Event]) {
        let mut view = lock(&self.view);
        (view.role, view.term, view.leader) = (role, term, leader);
        for event in events {
            view.recorder.take(event);
        }
        if !events.is_empty() {
            view.readers.retain(|reader| reader.upgrade().map(|reader| reader.offer(events)).is_some());
        }
    }

    pub(crate) fn close(&self) {
        let mut view = lock(&self.view);
        view.closed = true;
        for reader in view.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.close();
        }
    }

    pub(crate) fn events(&self) -> Events {
        lock(&self.view).subscribe(&[])
    }

    /// The present state as a first event of [`Cause::Present`], then the changes from it on. No change is lost or
    /// doubled between the two. A node that has stopped has no present state: the stream has ended.
    pub(crate) fn events_with_present(&self) -> Events {
        let mut view = lock(&self.view);
        let (role, term, leader) = (view.role, view.term, view.leader);
        let present = Event { role, term, leader, token: view.recorder.token, cause: Cause::Present };
        view.subscribe(&[present])
    }

    /// Counts the node's reply to a peer, if it refuses a pre-vote.
    pub(crate) fn answers(&self, reply: &Reply) {
        if let Reply::PreVote { verdict: Err(refusal), .. } = reply {
            lock(&self.view).recorder.counters.pre_votes_refused.add(*refusal);
        }
    }

    /// The election thread woke this long after something was due.
    pub(crate) fn late(&self, by: Duration) {
        lock(&self.view).recorder.counters.lateness.add(by);
    }

    /// A write of the vote file has ended, well or not.
    pub(crate) fn wrote(&self, took: Duration) {
        let mut view = lock(&self.view);
        view.recorder.counters.writes.add(took);
        view.slowness.wrote(took);
    }

    pub(crate) fn asks(&self, peer: NodeId) {
        self.with_peer(peer, |peer| peer.shown.requests += 1);
    }

    pub(crate) fn connected(&self, peer: NodeId, certificate_ends: Option<u64>) {
        self.with_peer(peer, |peer| {
            peer.shown.connected = true;
            peer.shown.last_error = None;
            peer.certificate_ends = certificate_ends;
        });
    }

    /// There is no connection to the peer.
    pub(crate) fn failed(&self, peer: NodeId, error: String) {
        lock(&self.view).slowness.lost(peer);
        self.with_peer(peer, |peer| {
            peer.shown.connected = false;
            peer.fail(error);
        });
    }

    /// The connection to the peer could not be renewed. The old one still stands.
    pub(crate) fn renewal_failed(&self, peer: NodeId, error: String) {
        self.with_peer(peer, |peer| peer.fail(error));
    }

    /// A connection to this node was refused or turned away.
    pub(crate) fn refused(&self) {
        lock(&self.view).recorder.counters.connections_refused += 1;
    }

    pub(crate) fn asked_by_client(&self) {
        lock(&self.view).recorder.counters.client_requests += 1;
    }

    pub(crate) fn heard(&self, peer: NodeId) {
        self.with_peer(peer, |peer| peer.heard_at = Some(clock::now()));
    }

    /// The peer has answered. Returns a warning if this node is too slow for its timing, and it is time to say so.
    #[must_use]
    pub(crate) fn answered(&self, peer: NodeId, round_trip: Duration, timing: Timing) -> Option<String> {
        let now = clock::now();
        let mut view = lock(&self.view);
        if let Some(peer) = view.peers.get_mut(&peer) {
            (peer.heard_at, peer.shown.round_trip) = (Some(now), Some(round_trip));
        }
        view.slowness.answered(peer, round_trip);
        view.slowness.warning(now, timing)
    }

    /// The snapshot. The caller reads the lease itself, because a stored one could be out of date.
    pub(crate) fn status(&self, lease: Option<(Term, Remaining)>) -> Status {
        let now = clock::now();
        let lease = lease.filter(|(_, left)| !left.is_over());
        let view = lock(&self.view);
        let counters = Counters { lines_lost: self.logger.lost(), ..view.recorder.counters.clone() };
        Status {
            id: self.me,
            role: view.role,
            term: view.term,
            leader: view.leader,
            token: lease.map(|(token, _)| token),
            lease: lease.map_or(Remaining::Over, |(_, left)| left),
            peers: view.peers.values().map(|peer| peer.status(now)).collect(),
            logger_stuck: self.logger.stuck(now),
            counters,
        }
    }

    fn with_peer(&self, peer: NodeId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = lock(&self.view).peers.get_mut(&peer) {
            change(peer);
        }
    }
}

impl View {
    fn subscribe(&mut self, first: &[Event]) -> Events {
        let reader = Arc::new(Reader::default());
        if self.closed {
            reader.close();
        } else {
            reader.offer(first);
            // In steady state there are no events. Only this line then forgets the readers that are gone.
            self.readers.retain(|reader| reader.strong_count() > 0);
            self.readers.push(Arc::downgrade(&reader));
        }
        Events { reader }
    }
}

impl Peer {
    fn fail(&mut self, error: String) {
        self.shown.failures += 1;
        self.shown.last_error = Some(error);
    }

    fn status(&self, now: Instant) -> PeerStatus {
        PeerStatus {
            last_heard: self.heard_at.map(|at| now.since(at)),
            certificate_days: self.certificate_ends.map(clock::days_until),
            ..self.shown.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Refusal, TimingSpec};

    fn board() -> Board {
        Board::new(NodeId::from(1), [(NodeId::from(2), "host:1".to_owned())])
    }

    #[test]
    fn only_refused_pre_votes_are_counted_as_such() {
        let board = board();
        let (term, candidacy, wait) = (Term(1), 1, Duration::ZERO);
        let answer = |verdict| board.answers(&Reply::PreVote { term, candidacy, verdict, wait, leader: None });
        answer(Ok(()));
        answer(Err(Refusal::LeaderHeard(2.into())));
        answer(Err(Refusal::LeaderHeard(2.into())));
        answer(Err(Refusal::TermBehind));
        board.answers(&Reply::Vote { term, candidacy, verdict: Err(Refusal::TermBehind), wait });
        let refused = board.status(None).counters.pre_votes_refused;
        assert_eq!((refused.leader_heard, refused.term_behind), (2, 1));
        assert_eq!((refused.term_too_far, refused.cannot_store), (0, 0));
    }

    #[test]
    fn every_failure_is_counted_and_the_last_one_shown_until_the_next_connection() {
        let board = board();
        let peer = NodeId::from(2);
        board.failed(peer, "refused".into());
        board.failed(peer, "silent".into());
        assert_eq!(board.status(None).to_string(), "follower term=0 leader=none, peer 2 down (silent)");
        board.connected(peer, None);
        assert_eq!(board.status(None).peers[0].last_error, None);
        board.renewal_failed(peer, "expired".into());
        let status = board.status(None);
        assert!(status.peers[0].connected, "the old connection stands");
        assert_eq!(status.peers[0].last_error.as_deref(), Some("expired"));
        assert_eq!(status.peers[0].failures, 3);
    }

    /// Twenty of the shortest election timeout are 220 ms.
    #[test]
    fn slow_writes_and_the_answers_of_a_peer_become_a_warning_when_that_has_lasted() {
        let board = board();
        let (heartbeat_interval, election_timeout) = (Duration::from_millis(3), Duration::from_millis(11));
        let spec = TimingSpec { heartbeat_interval, election_timeout, ..TimingSpec::default() };
        let timing = Timing::new(spec).expect("a timing");
        let answered = || board.answered(2.into(), Duration::from_micros(10), timing);
        let said_within = |limit| {
            let until = clock::now() + limit;
            std::iter::from_fn(|| (clock::now() < until).then(answered)).find_map(|warning| warning)
        };
        assert_eq!(said_within(election_timeout * 30), None, "before any write");
        (0..3).for_each(|_| board.wrote(Duration::from_millis(2)));
        let warning = said_within(Duration::from_secs(10)).expect("it comes");
        assert!(warning.contains("a write of its vote 2.0ms, an answer of node 2 10.0µs"), "{warning}");
        assert_eq!(answered(), None, "said once");
        assert_eq!(board.status(None).peers[0].round_trip, Some(Duration::from_micros(10)));
    }

    #[test]
    fn a_lease_is_shown_with_its_time_unless_it_is_over() {
        let board = board();
        let shown = |left| board.status(Some((Term(3), left))).to_string();
        let alone = shown(Remaining::Endless);
        assert!(alone.contains(" token=3 lease=endless, peer 2"), "{alone}");
        let led = shown(Remaining::Left(Duration::from_secs(2)));
        assert!(led.contains(" token=3 lease=2s, peer 2"), "{led}");
        let over = board.status(Some((Term(3), Remaining::Over)));
        assert_eq!((over.token, over.lease), (None, Remaining::Over));
    }

    #[test]
    fn a_dropped_reader_is_forgotten_and_a_late_one_ends_at_once() {
        let board = board();
        let (role, term) = (Role::Follower, Term(1));
        let event = Event { role, term, leader: None, token: None, cause: Cause::NoLeader };
        drop(board.events());
        board.show(role, term, None, &[event]);
        assert!(lock(&board.view).readers.is_empty());
        board.close();
        assert_eq!(board.events().next(), None);
    }

    #[test]
    fn dropped_readers_do_not_pile_up_while_there_are_no_events() {
        let board = board();
        for _ in 0..100 {
            drop(board.events());
        }
        assert_eq!(lock(&board.view).readers.len(), 1);
    }
}
