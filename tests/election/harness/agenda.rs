//! What happens next: the earliest first, and of one moment what was put down first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clock::Real;

/// Only places move about in the heap: what happens may be large, and stays where it was put.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    due: BinaryHeap<Reverse<(Real, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    serial: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Agenda { due: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), serial: 0 }
    }

    pub(crate) fn add(&mut self, at: Real, thing: T) {
        self.serial += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.things[place] = Some(thing);
                place
            }
            None => {
                self.things.push(Some(thing));
                self.things.len() - 1
            }
        };
        self.due.push(Reverse((at, self.serial, place)));
    }

    /// The earliest, unless that is later than `end`.
    pub(crate) fn take_until(&mut self, end: Real) -> Option<(Real, T)> {
        let Reverse((at, _, place)) = *self.due.peek().filter(|next| next.0.0 <= end)?;
        self.due.pop();
        self.free.push(place);
        let thing = self.things[place].take().expect("what is due is there");
        Some((at, thing))
    }

    /// All, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.things.iter().flatten()
    }
}

#[test]
fn what_is_due_first_happens_first_and_at_one_moment_what_was_put_down_first() {
    let mut agenda = Agenda::new();
    for (at, thing) in [(3, 'd'), (1, 'a'), (2, 'b'), (2, 'c')] {
        agenda.add(Real(at), thing);
    }
    let mut seen = Vec::new();
    while let Some((at, thing)) = agenda.take_until(Real(2)) {
        seen.push((at.0, thing));
    }
    assert_eq!(seen, [(1, 'a'), (2, 'b'), (2, 'c')]);
    agenda.add(Real(3), 'e'); // takes a place that has become free, and not the turn that went with it
    assert_eq!(agenda.values().count(), 2);
    assert_eq!(agenda.take_until(Real(9)), Some((Real(3), 'd')));
    assert_eq!(agenda.take_until(Real(9)), Some((Real(3), 'e')));
    assert_eq!(agenda.take_until(Real(9)), None);
}
