//! What can be seen of a node from outside its election thread: a snapshot, and a stream of changes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock;
use crate::election::{Event, Instant, NodeId, Role};

/// A node as it sees itself and its peers, at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader it knows of, itself included.
    pub leader: Option<NodeId>,
    /// The fencing token, if the node holds a lease that has not run out.
    pub token: Option<u64>,
    /// How long the node may still act as leader if nobody answers any more; zero if it may not.
    pub lease: Duration,
    /// The other nodes, by id.
    pub peers: Vec<PeerStatus>,
}

/// What a node knows of one of its peers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// Where it is dialled, as `host:port`.
    pub addr: String,
    /// Whether this node has a connection to it.
    pub connected: bool,
    /// How long ago the peer was last heard, in either direction.
    pub last_heard: Option<Duration>,
    /// The time from the last request to its answer.
    pub round_trip: Option<Duration>,
    /// Whole days until the peer's certificate ends; negative if it has. Nothing without TLS or before the first
    /// connection.
    pub certificate_days: Option<i64>,
    /// What last went wrong between the two. Forgotten when a connection is made.
    pub last_error: Option<String>,
}

/// Without a line break, as the example logs it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} term={}", self.role, self.term)?;
        match self.leader {
            Some(leader) => write!(f, " leader={leader}")?,
            None => f.write_str(" leader=none")?,
        }
        if let Some(token) = self.token {
            write!(f, " token={token} lease={:.0?}", self.lease)?;
        }
        for peer in &self.peers {
            write!(f, ", {}", peer)?;
        }
        Ok(())
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.connected, self.round_trip, &self.last_error) {
            (true, Some(round_trip), _) => write!(f, "peer {} up ({round_trip:.1?})", self.id),
            (true, None, _) => write!(f, "peer {} up", self.id),
            (false, _, Some(error)) => write!(f, "peer {} down ({error})", self.id),
            (false, _, None) => write!(f, "peer {} down", self.id),
        }
    }
}

/// Where the threads of a node write what they see.
#[derive(Debug)]
pub(crate) struct Board {
    me: NodeId,
    view: Mutex<View>,
}

#[derive(Debug)]
struct View {
    role: Role,
    term: u64,
    leader: Option<NodeId>,
    peers: BTreeMap<NodeId, PeerView>,
    readers: Vec<Weak<Reader>>,
    closed: bool,
}

#[derive(Debug)]
struct PeerView {
    addr: String,
    connected: bool,
    heard_at: Option<Instant>,
    round_trip: Option<Duration>,
    certificate_ends: Option<u64>,
    last_error: Option<String>,
    /// What was last said of the peer in the log, and when.
    logged: Option<(String, Instant)>,
}

/// A failure is logged again after so much time if it is the same, and at most so often if it is another.
const SAME_FAILURE_AGAIN: Duration = Duration::from_secs(60);
const OTHER_FAILURE_AGAIN: Duration = Duration::from_secs(1);

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

impl Board {
    /// A board for `me`, whose peers are dialled at these addresses.
    pub(crate) fn new(me: NodeId, peers: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        let peers = peers.into_iter().map(|(id, addr)| {
            let view = PeerView {
                addr,
                connected: false,
                heard_at: None,
                round_trip: None,
                certificate_ends: None,
                last_error: None,
                logged: None,
            };
            (id, view)
        });
        let view = View {
            role: Role::Follower,
            term: 0,
            leader: None,
            peers: peers.collect(),
            readers: Vec::new(),
            closed: false,
        };
        Board {
            me,
            view: Mutex::new(view),
        }
    }

    /// What the election says after a step.
    pub(crate) fn show(&self, role: Role, term: u64, leader: Option<NodeId>, events: &[Event]) {
        let mut view = self.view();
        (view.role, view.term, view.leader) = (role, term, leader);
        if !events.is_empty() {
            view.readers.retain(|reader| {
                reader
                    .upgrade()
                    .map(|reader| reader.offer(events))
                    .is_some()
            });
        }
    }

    /// Ends every stream of events.
    pub(crate) fn close(&self) {
        let mut view = self.view();
        view.closed = true;
        for reader in view.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.close();
        }
    }

    pub(crate) fn events(&self) -> Events {
        let reader = Arc::new(Reader::default());
        let mut view = self.view();
        if view.closed {
            reader.close();
        } else {
            // In steady state there are no events, and nothing else would forget the readers that are gone.
            view.readers.retain(|reader| reader.strong_count() > 0);
            view.readers.push(Arc::downgrade(&reader));
        }
        Events { reader }
    }

    pub(crate) fn connected(&self, peer: NodeId, certificate_ends: Option<u64>) {
        self.with_peer(peer, |view| {
            view.connected = true;
            view.last_error = None;
            view.certificate_ends = certificate_ends;
        });
    }

    /// Notes a failure, and tells whether it is worth a line in the log.
    pub(crate) fn failed(&self, peer: NodeId, error: String) -> bool {
        let now = clock::now();
        let mut news = false;
        self.with_peer(peer, |view| {
            view.connected = false;
            news = view.logged.as_ref().is_none_or(|(last, at)| {
                let again = if *last == error {
                    SAME_FAILURE_AGAIN
                } else {
                    OTHER_FAILURE_AGAIN
                };
                now.since(*at) >= again
            });
            if news {
                view.logged = Some((error.clone(), now));
            }
            view.last_error = Some(error);
        });
        news
    }

    pub(crate) fn heard(&self, peer: NodeId, round_trip: Option<Duration>) {
        self.with_peer(peer, |view| {
            view.heard_at = Some(clock::now());
            view.round_trip = round_trip.or(view.round_trip);
        });
    }

    /// The snapshot, with a lease that was read apart: it is nobody's to store.
    pub(crate) fn status(&self, token: Option<u64>, lease: Duration) -> Status {
        let (now, wall) = (clock::now(), clock::wall_seconds());
        let view = self.view();
        let peers = view.peers.iter().map(|(id, peer)| PeerStatus {
            id: *id,
            addr: peer.addr.clone(),
            connected: peer.connected,
            last_heard: peer.heard_at.map(|at| now.since(at)),
            round_trip: peer.round_trip,
            certificate_days: peer.certificate_ends.map(|ends| days_until(ends, wall)),
            last_error: peer.last_error.clone(),
        });
        Status {
            id: self.me,
            role: view.role,
            term: view.term,
            leader: view.leader,
            token,
            lease,
            peers: peers.collect(),
        }
    }

    fn with_peer(&self, peer: NodeId, change: impl FnOnce(&mut PeerView)) {
        if let Some(view) = self.view().peers.get_mut(&peer) {
            change(view);
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole days from `now` to `end`, both in seconds since 1970.
pub(crate) fn days_until(end: u64, now: u64) -> i64 {
    let left = i128::from(end) - i128::from(now);
    i64::try_from(left.div_euclid(i128::from(SECONDS_PER_DAY))).unwrap_or(i64::MAX)
}

/// The changes of a node, from when [`Node::events`](crate::Node::events) was called until the node stops.
///
/// A reader that is slow, or absent, holds up nobody and costs a bounded amount of memory: of the events that it has
/// not read, only the last of each term is kept when they become many, so that the latest state wins and no term is
/// hidden.
#[derive(Debug)]
pub struct Events {
    reader: Arc<Reader>,
}

impl Events {
    /// The next event; nothing if there is none within `timeout`, or if the node has stopped.
    #[must_use]
    pub fn next_within(&mut self, timeout: Duration) -> Option<Event> {
        let unread = self.reader.unread();
        let (mut unread, _) = self
            .reader
            .changed
            .wait_timeout_while(unread, timeout, |unread| {
                unread.events.is_empty() && !unread.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        unread.events.pop_front()
    }
}

/// Waits for the next event; ends when the node has stopped.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let unread = self.reader.unread();
        let mut unread = self
            .reader
            .changed
            .wait_while(unread, |unread| unread.events.is_empty() && !unread.closed)
            .unwrap_or_else(PoisonError::into_inner);
        unread.events.pop_front()
    }
}

#[derive(Debug, Default)]
struct Reader {
    unread: Mutex<Unread>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Unread {
    events: VecDeque<Event>,
    closed: bool,
}

/// When so many events are unread, those that a later one of the same term makes out of date are dropped; when so
/// many terms are, the oldest.
const MOST_UNREAD: usize = 256;

impl Reader {
    fn offer(&self, events: &[Event]) {
        let mut unread = self.unread();
        unread.events.extend(events.iter().cloned());
        if unread.events.len() > MOST_UNREAD {
            unread.keep_the_last_of_each_term();
        }
        self.changed.notify_all();
    }

    fn close(&self) {
        self.unread().closed = true;
        self.changed.notify_all();
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unread {
    fn keep_the_last_of_each_term(&mut self) {
        let last: BTreeMap<u64, Event> = self
            .events
            .drain(..)
            .map(|event| (event.term.0, event))
            .collect();
        let too_many = last.len().saturating_sub(MOST_UNREAD / 2);
        self.events.extend(last.into_values().skip(too_many));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Cause, Term};

    fn board() -> Board {
        Board::new(NodeId::from(1), [(NodeId::from(2), "host:1".to_owned())])
    }

    fn event(term: u64, cause: Cause) -> Event {
        Event {
            role: Role::Follower,
            term: Term(term),
            leader: None,
            token: None,
            cause,
        }
    }

    #[test]
    fn a_reader_that_lags_sees_the_last_event_of_every_term() {
        let board = board();
        let mut events = board.events();
        for term in 1..=100 {
            for _ in 0..9 {
                board.show(Role::Follower, term, None, &[event(term, Cause::NoLeader)]);
            }
            board.show(
                Role::Follower,
                term,
                None,
                &[event(term, Cause::LeaderHeard)],
            );
        }
        board.close();
        let seen: Vec<Event> = events.by_ref().collect();
        assert!(seen.len() <= MOST_UNREAD, "{}", seen.len());
        let lasts = seen
            .iter()
            .filter(|event| event.cause == Cause::LeaderHeard);
        assert_eq!(
            lasts.map(|event| event.term.0).collect::<Vec<_>>(),
            (1..=100).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_reader_that_never_reads_costs_a_bounded_amount() {
        let board = board();
        let events = board.events();
        for term in 1..10_000 {
            board.show(Role::Follower, term, None, &[event(term, Cause::NoLeader)]);
        }
        assert!(events.reader.unread().events.len() <= MOST_UNREAD);
    }

    #[test]
    fn a_dropped_reader_is_forgotten_and_a_late_one_ends_at_once() {
        let board = board();
        drop(board.events());
        board.show(Role::Follower, 1, None, &[event(1, Cause::NoLeader)]);
        assert!(board.view().readers.is_empty());
        board.close();
        assert_eq!(board.events().next(), None);
    }

    #[test]
    fn dropped_readers_do_not_pile_up_while_there_are_no_events() {
        let board = board();
        for _ in 0..100 {
            drop(board.events());
        }
        assert_eq!(board.view().readers.len(), 1);
    }

    #[test]
    fn a_failure_that_comes_again_and_again_is_news_once() {
        let board = board();
        let peer = NodeId::from(2);
        assert!(board.failed(peer, "refused".into()));
        assert!(!board.failed(peer, "refused".into()));
        board.connected(peer, None);
        assert!(
            !board.failed(peer, "refused".into()),
            "also if it connects in between"
        );
        assert!(
            !board.failed(peer, "silent".into()),
            "at most once a second"
        );
        let status = board.status(None, Duration::ZERO);
        assert_eq!(
            status.to_string(),
            "follower term=0 leader=none, peer 2 down (silent)"
        );
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        assert_eq!(days_until(86_400 * 3 + 5, 0), 3);
        assert_eq!(days_until(100, 101), -1);
    }
}
