//! The stream of a node's changes. It waits for no reader.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::{io, os::fd::BorrowedFd};

use super::poll_fd::PollFd;
use crate::election::Event;
use crate::sync::lock;

/// The changes of a node, from the call of [`Node::events`](crate::Node::events) until the node stops.
///
/// The node never waits for a reader, and an unread stream takes a bounded amount of memory. When more than 256 events
/// are unread, only the last event of each term is kept: the latest state wins, and no change of term is hidden. If
/// that leaves more than 128 terms, the oldest of them go, too. [`Events::missed`] says how many.
#[must_use = "a stream that nobody reads shows nothing"]
pub struct Events {
    pub(super) reader: Arc<Reader>,
}

impl Events {
    /// Waits for the next event, at most for `timeout`. Returns nothing if there is none by then, or if the node has
    /// stopped: [`Events::has_ended`] tells which.
    #[must_use]
    pub fn next_within(&mut self, timeout: Duration) -> Option<Event> {
        let unread = lock(&self.reader.unread);
        let (unread, _) = self
            .reader
            .changed
            .wait_timeout_while(unread, timeout, |unread| unread.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        self.reader.take(unread)
    }

    /// How many terms this stream will never show, because more than 128 were unread. Zero for a reader that keeps up.
    /// When the number has grown there is a gap before the next event. The state after the gap is right.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.reader.unread).missed
    }

    /// Whether the node has stopped and every event was read: no event will ever come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let unread = lock(&self.reader.unread);
        unread.closed && unread.events.is_empty()
    }

    /// A file descriptor to wait for this stream together with other things. It is readable while an event is unread,
    /// and when the stream has ended. It is made by the first call, and closed with the stream.
    ///
    /// Use it only for polling (`poll`, `epoll`, `select`), and read the events by [`Events::next_within`]. After each
    /// wake-up read until there is no event left, as below. An edge-triggered wait (`EPOLLET`) depends on that: it
    /// reports an event only once, and stays silent about what was left unread.
    ///
    /// Only on Linux and Android, where it is an eventfd. Elsewhere a thread that reads the stream can write to a pipe.
    ///
    /// ```no_run
    /// # use std::io;
    /// # use std::time::Duration;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// # fn serve(_: &std::net::UdpSocket) {}
    /// # fn watch(node: &leadelect::Node, socket: std::net::UdpSocket) -> io::Result<()> {
    /// let mut events = node.events();
    /// while !events.has_ended() {
    ///     let fd = events.poll_fd()?;
    ///     let mut both = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&socket, PollFlags::IN)];
    ///     poll(&mut both, None)?;
    ///     if both[1].revents().contains(PollFlags::IN) {
    ///         serve(&socket);
    ///     }
    ///     while let Some(event) = events.next_within(Duration::ZERO) {
    ///         println!("{event}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the process or the system has no descriptor left.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn poll_fd(&self) -> io::Result<BorrowedFd<'_>> {
        // Locked until it is made, so that an event that comes meanwhile finds it.
        let unread = lock(&self.reader.unread);
        self.reader.poll_fd.fd(!unread.is_empty())
    }
}

/// Locks nothing: who formats it may wait for a terminal, and the node does not.
impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Waits for each next event. Ends when the node has stopped.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let unread = lock(&self.reader.unread);
        let unread =
            self.reader.changed.wait_while(unread, |unread| unread.is_empty()).unwrap_or_else(PoisonError::into_inner);
        self.reader.take(unread)
    }
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    unread: Mutex<Unread>,
    changed: Condvar,
    /// Used only while `unread` is locked, so that the two always agree.
    poll_fd: PollFd,
}

#[derive(Debug, Default)]
struct Unread {
    events: VecDeque<Event>,
    /// How many terms were dropped.
    missed: u64,
    closed: bool,
}

/// When more events are unread, only the last of each term is kept. When more than half as many terms are unread, the
/// oldest terms go.
const MOST_UNREAD: usize = 256;

impl Reader {
    /// Adds events. Drops old ones if the reader is far behind.
    pub(super) fn offer(&self, events: &[Event]) {
        let mut unread = lock(&self.unread);
        unread.events.extend(events.iter().cloned());
        if unread.events.len() > MOST_UNREAD {
            unread.keep_the_last_of_each_term();
        }
        self.poll_fd.ring();
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        let mut unread = lock(&self.unread);
        unread.closed = true;
        self.poll_fd.ring();
        self.changed.notify_all();
    }

    fn take(&self, mut unread: MutexGuard<'_, Unread>) -> Option<Event> {
        let event = unread.events.pop_front();
        if unread.is_empty() {
            self.poll_fd.hush();
        }
        event
    }
}

impl Unread {
    /// Whether a reader waits.
    fn is_empty(&self) -> bool {
        self.events.is_empty() && !self.closed
    }

    fn keep_the_last_of_each_term(&mut self) {
        let last: BTreeMap<u64, Event> = self.events.drain(..).map(|event| (event.term.0, event)).collect();
        let too_many = last.len().saturating_sub(MOST_UNREAD / 2);
        self.missed += too_many as u64;
        self.events.extend(last.into_values().skip(too_many));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{Cause, Role, Term};
    use crate::status::Board;

    fn board() -> Board {
        Board::new(1.into(), [(2.into(), "host:1".to_owned())])
    }

    fn event(term: u64, cause: Cause) -> Event {
        Event { role: Role::Follower, term: Term(term), leader: None, token: None, cause }
    }

    #[test]
    fn a_reader_that_lags_sees_the_last_event_of_every_term() {
        let board = board();
        let mut events = board.events();
        for term in 1..=100 {
            for _ in 0..9 {
                board.show(Role::Follower, Term(term), None, &[event(term, Cause::NoLeader)]);
            }
            board.show(Role::Follower, Term(term), None, &[event(term, Cause::LeaderHeard)]);
        }
        board.close();
        let seen: Vec<Event> = events.by_ref().collect();
        assert!(seen.len() <= MOST_UNREAD, "{}", seen.len());
        let lasts = seen.iter().filter(|event| event.cause == Cause::LeaderHeard);
        assert_eq!(lasts.map(|event| event.term.0).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_never_reads_costs_a_bounded_amount() {
        let board = board();
        let events = board.events();
        for term in 1..10_000 {
            board.show(Role::Follower, Term(term), None, &[event(term, Cause::NoLeader)]);
        }
        assert!(lock(&events.reader.unread).events.len() <= MOST_UNREAD);
    }

    #[test]
    fn every_term_is_shown_or_counted_as_missed() {
        let board = board();
        let mut events = board.events();
        for term in 1..10_000 {
            board.show(Role::Follower, Term(term), None, &[event(term, Cause::NoLeader)]);
        }
        board.close();
        let seen: Vec<u64> = events.by_ref().map(|event| event.term.0).collect();
        assert!(seen.is_sorted() && seen.last() == Some(&9_999));
        assert_eq!(events.missed() + seen.len() as u64, 9_999);
        assert!(seen.len() >= MOST_UNREAD / 2);
    }

    #[test]
    fn a_reader_that_keeps_up_misses_nothing() {
        let board = board();
        let mut events = board.events();
        for term in 1..10_000 {
            board.show(Role::Follower, Term(term), None, &[event(term, Cause::NoLeader)]);
            let seen = events.next_within(Duration::ZERO);
            assert_eq!(seen.map(|event| event.term.0), Some(term));
        }
        assert_eq!(events.missed(), 0);
        assert!(!events.has_ended());
        board.close();
        assert!(events.has_ended());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_descriptor_is_readable_while_an_event_is_unread_and_when_the_stream_has_ended() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let readable = |events: &Events| {
            let fd = events.poll_fd().expect("a descriptor");
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).expect("a poll") == 1
        };
        let board = board();
        let show = || board.show(Role::Follower, Term(1), None, &[event(1, Cause::NoLeader)]);
        let (mut early, mut late) = (board.events(), board.events());
        assert!(!readable(&early));
        show();
        show();
        for events in [&mut early, &mut late] {
            assert!(readable(events), "also if first asked for now");
            assert!(events.next().is_some());
            assert!(readable(events), "one of two is unread");
            assert!(events.next().is_some());
            assert!(!readable(events));
            assert!(events.next_within(Duration::ZERO).is_none());
            assert!(!readable(events));
        }
        show();
        board.close();
        assert!(early.next().is_some());
        assert!(readable(&early), "it has ended");
        assert_eq!(early.next(), None);
        assert!(readable(&early) && readable(&board.events()));
    }

    #[test]
    fn a_stream_that_begins_with_the_present_state_misses_nothing_after_it() {
        let board = board();
        let (role, term, leader, token) = (Role::Leader, Term(3), Some(1.into()), Some(Term(3)));
        let won = Event { role, term, leader, token, cause: Cause::LeaseWon };
        board.show(role, term, leader, std::slice::from_ref(&won));
        let mut events = board.events_with_present();
        let lost = Event { role: Role::Follower, leader: None, token: None, cause: Cause::LeaseLost, ..won.clone() };
        board.show(Role::Follower, term, None, std::slice::from_ref(&lost));
        let present = Event { cause: Cause::Present, ..won };
        assert_eq!(events.next(), Some(present));
        assert_eq!(events.next(), Some(lost));
        board.close();
        assert_eq!(board.events_with_present().next(), None);
    }
}
