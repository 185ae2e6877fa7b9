//! What can be seen of a node from outside its election thread: a snapshot, and a stream of changes.

mod counters;
mod events;
mod poll_fd;
#[cfg(feature = "prometheus")]
mod prometheus;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use self::counters::Recorder;
pub use self::counters::{Counters, LeasesLost, Measured, PreVotesRefused};
pub use self::events::Events;
use self::events::Reader;
use crate::clock;
use crate::election::{Event, Instant, NodeId, Reply, Role};

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
    /// How long the node may still act as leader if nobody answers any more; zero if it may not. Centuries where it has
    /// no end, in a cluster of one node.
    pub lease: Duration,
    /// The other nodes, by id.
    pub peers: Vec<PeerStatus>,
    /// What the node has counted since it started.
    pub counters: Counters,
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
    /// How often this node has asked it something since the start, whether it is still there included.
    pub requests: u64,
    /// How often since the start this node could not reach it, got no answer in time, or was refused.
    pub failures: u64,
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
            write!(f, " token={token} lease=")?;
            match self.peers.as_slice() {
                [] => f.write_str("endless")?,
                _ => write!(f, "{:.0?}", self.lease)?,
            }
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
    recorder: Recorder,
    readers: Vec<Weak<Reader>>,
    closed: bool,
}

#[derive(Debug)]
struct PeerView {
    addr: String,
    connected: bool,
    heard_at: Option<Instant>,
    round_trip: Option<Duration>,
    requests: u64,
    failures: u64,
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
                requests: 0,
                failures: 0,
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
            recorder: Recorder::default(),
            readers: Vec::new(),
            closed: false,
        };
        Board { me, view: Mutex::new(view) }
    }

    /// What the election says after a step.
    pub(crate) fn show(&self, role: Role, term: u64, leader: Option<NodeId>, events: &[Event]) {
        let mut view = self.view();
        (view.role, view.term, view.leader) = (role, term, leader);
        for event in events {
            view.recorder.take(event);
        }
        if !events.is_empty() {
            view.readers.retain(|reader| reader.upgrade().map(|reader| reader.offer(events)).is_some());
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
        Events::of(reader)
    }

    /// What this node answers to a peer.
    pub(crate) fn answers(&self, reply: &Reply) {
        if let Reply::PreVote { verdict: Err(refusal), .. } = reply {
            self.view().recorder.refused(*refusal);
        }
    }

    /// The election thread has woken so long after something was due.
    pub(crate) fn late(&self, by: Duration) {
        self.view().recorder.counters.lateness.add(by);
    }

    /// A write of the vote file has ended.
    pub(crate) fn wrote(&self, took: Duration) {
        self.view().recorder.counters.writes.add(took);
    }

    /// A request is on its way to `peer`.
    pub(crate) fn asks(&self, peer: NodeId) {
        self.with_peer(peer, |view| view.requests += 1);
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
            view.failures += 1;
            news = view.logged.as_ref().is_none_or(|(last, at)| {
                let again = if *last == error { SAME_FAILURE_AGAIN } else { OTHER_FAILURE_AGAIN };
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
            requests: peer.requests,
            failures: peer.failures,
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
            counters: view.recorder.counters.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Refusal, Term};

    fn board() -> Board {
        Board::new(NodeId::from(1), [(NodeId::from(2), "host:1".to_owned())])
    }

    #[test]
    fn only_refused_pre_votes_are_counted_as_such() {
        let board = board();
        let answer = |verdict| {
            board.answers(&Reply::PreVote { term: Term(1), candidacy: 1, verdict, wait: Duration::ZERO, leader: None });
        };
        answer(Ok(()));
        answer(Err(Refusal::LeaderHeard(2.into())));
        answer(Err(Refusal::LeaderHeard(2.into())));
        answer(Err(Refusal::TermBehind));
        board.answers(&Reply::Vote {
            term: Term(1),
            candidacy: 1,
            verdict: Err(Refusal::TermBehind),
            wait: Duration::ZERO,
        });
        let refused = board.status(None, Duration::ZERO).counters.pre_votes_refused;
        assert_eq!((refused.leader_heard, refused.term_behind), (2, 1));
        assert_eq!((refused.term_too_far, refused.cannot_store), (0, 0));
    }

    #[test]
    fn a_failure_that_comes_again_and_again_is_news_once() {
        let board = board();
        let peer = NodeId::from(2);
        assert!(board.failed(peer, "refused".into()));
        assert!(!board.failed(peer, "refused".into()));
        board.connected(peer, None);
        assert!(!board.failed(peer, "refused".into()), "also if it connects in between");
        assert!(!board.failed(peer, "silent".into()), "at most once a second");
        let status = board.status(None, Duration::ZERO);
        assert_eq!(status.to_string(), "follower term=0 leader=none, peer 2 down (silent)");
        assert_eq!(status.peers[0].failures, 4, "news or not");
    }

    #[test]
    fn a_lease_is_shown_with_its_end_unless_the_node_is_alone() {
        let (one, more) = (Board::new(NodeId::from(1), []), board());
        let shown = |board: &Board| board.status(Some(3), Duration::from_secs(2)).to_string();
        let alone = shown(&one);
        assert!(alone.ends_with(" token=3 lease=endless"), "{alone}");
        let led = shown(&more);
        assert!(led.contains(" token=3 lease=2s, peer 2"), "{led}");
    }

    #[test]
    fn days_are_whole_and_negative_after_the_end() {
        assert_eq!(days_until(86_400 * 3 + 5, 0), 3);
        assert_eq!(days_until(100, 101), -1);
    }
}
