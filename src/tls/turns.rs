//! At most one handshake of a node computes at a time.
//!
//! A handshake costs a signature. On a slow processor that takes longer than a heartbeat interval, and a stranger can
//! begin many handshakes for next to nothing. So they take turns, and the processor is left to the connections that
//! stand. Nobody holds a turn while it waits for the network. Who computes for long rests for as long, and nobody has a
//! turn in that time: a process that has used up its share of the processor gets nothing for a while, and then its
//! heartbeats come first.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::clock;
use crate::election::Instant;
use crate::sync::lock;

/// Who comes first. Within a rank, it is who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// This node dials.
    Dialled,
    /// A connection from an address of a member.
    Member,
    /// Any other connection.
    Stranger,
}

/// The handshakes of one node that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    holder: Option<u64>,
    waiting: BTreeMap<(Rank, u64), Thread>,
}

/// The right to compute, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// What takes this long computes on a processor that is slow, busy, or limited to a share.
const LONG: Duration = Duration::from_millis(20);

/// The longest rest, half of the default election timeout.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Rests after a computation that took `took`, for as long, if that was long. Where a process has only a share of a
/// processor, such a computation has used up the share of all its threads. In the rest the heartbeats get theirs.
pub(crate) fn rest_after(took: Duration) {
    let over = clock::now() + if took < LONG { Duration::ZERO } else { took.min(LONGEST_REST) };
    let mut left = over.since(clock::now());
    // Somebody may wake this thread for another reason.
    while !left.is_zero() {
        thread::park_timeout(left);
        left = over.since(clock::now());
    }
}

impl Turns {
    /// Waits for a turn, at most until `deadline`.
    pub(super) fn wait(&self, rank: Rank, deadline: Instant) -> Option<Turn<'_>> {
        let mut queue = lock(&self.0);
        queue.last += 1;
        let number = queue.last;
        if queue.holder.is_none() {
            queue.holder = Some(number);
            return Some(Turn(self));
        }
        queue.waiting.insert((rank, number), thread::current());
        loop {
            drop(queue);
            let left = deadline.since(clock::now());
            thread::park_timeout(left);
            queue = lock(&self.0);
            if queue.holder == Some(number) {
                return Some(Turn(self));
            }
            if left.is_zero() {
                queue.waiting.remove(&(rank, number));
                return None;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.0);
        let next = queue.waiting.pop_first();
        queue.holder = next.as_ref().map(|((_, number), _)| *number);
        if let Some((_, thread)) = next {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn in_millis(millis: u64) -> Instant {
        clock::now() + Duration::from_millis(millis)
    }

    #[test]
    fn members_come_before_strangers_and_dials_before_both() {
        let turns = Turns::default();
        let first = turns.wait(Rank::Stranger, in_millis(0)).expect("the first");
        let (done, order) = channel();
        thread::scope(|scope| {
            for (count, rank) in [Rank::Stranger, Rank::Member, Rank::Dialled, Rank::Stranger].into_iter().enumerate() {
                let (done, turns) = (done.clone(), &turns);
                scope.spawn(move || {
                    let _turn = turns.wait(rank, in_millis(30_000)).expect("a turn");
                    done.send(rank).expect("read below");
                });
                while lock(&turns.0).waiting.len() <= count {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        let order: Vec<Rank> = order.try_iter().collect();
        assert_eq!(order, [Rank::Dialled, Rank::Member, Rank::Stranger, Rank::Stranger]);
        assert!(lock(&turns.0).holder.is_none());
    }

    #[test]
    fn what_took_long_rests_as_long_within_a_limit() {
        let rests = |took: Duration| {
            let began = clock::now();
            rest_after(took);
            clock::now().since(began)
        };
        assert!(rests(LONG * 3) >= LONG * 3);
        assert!(rests(Duration::from_secs(3600)) >= LONGEST_REST);
        // With generous limits: this machine may be busy, too.
        assert!(rests(Duration::from_secs(3600)) < Duration::from_secs(60));
        let short = (0..1000).map(|_| rests(LONG / 2)).sum::<Duration>();
        assert!(short < LONG / 2 * 1000, "{short:?}");
    }

    #[test]
    fn a_wait_for_a_turn_ends_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.wait(Rank::Dialled, in_millis(0)).expect("the first");
        assert!(turns.wait(Rank::Dialled, in_millis(10)).is_none());
        assert!(lock(&turns.0).waiting.is_empty());
        drop(first);
        assert!(turns.wait(Rank::Stranger, in_millis(0)).is_some());
    }
}
