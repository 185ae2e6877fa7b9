//! Which situations are known, and with which rests of departures. Sixteen bytes each: 98 bits of the print, and one
//! bit for each rest.

use std::sync::Mutex;

use super::moves::Left;

pub(super) struct Visited {
    parts: Vec<Mutex<Part>>,
    /// For each rest, those that allow as much or more.
    covers: [u128; RESTS],
}

/// How many rests there are: crashes, orders and others that may be left.
const RESTS: usize = 30;
const MASK: u128 = (1 << RESTS) - 1;

#[derive(Default)]
struct Part {
    /// Empty is zero. A print stands at the place that its first bits say, or behind it.
    slots: Vec<u128>,
    used: usize,
}

const OTHERS: u8 = 5;

fn bit(left: Left) -> usize {
    assert!(left.crashes < 3 && left.orders < 2 && left.others < OTHERS);
    usize::from((left.crashes * 2 + left.orders) * OTHERS + left.others)
}

/// The rest that has a bit. What is left of all together follows from it.
fn rest(bit: usize) -> (usize, usize, usize) {
    let (both, others) = (bit / usize::from(OTHERS), bit % usize::from(OTHERS));
    (both / 2, both % 2, others)
}

impl Visited {
    /// Parts are locked and grow one by one.
    const PARTS: usize = 256;

    pub(super) fn new() -> Self {
        let mut covers = [0; RESTS];
        for (less, covers) in covers.iter_mut().enumerate() {
            for more in 0..RESTS {
                let (few, many) = (rest(less), rest(more));
                if few.0 <= many.0 && few.1 <= many.1 && few.2 <= many.2 {
                    *covers |= 1 << more;
                }
            }
        }
        Visited { parts: (0..Self::PARTS).map(|_| Mutex::default()).collect(), covers }
    }

    /// Notes the situation; false if it was known with as many departures left.
    pub(super) fn claim(&self, print: u128, left: Left) -> bool {
        let mut part = self.part(print).lock().expect("no panic");
        part.make_room();
        let place = part.place(print);
        let slot = &mut part.slots[place];
        let (new, known) = (*slot == 0, *slot & self.covers[bit(left)] != 0);
        *slot = (*slot | (print & !MASK)) | 1 << bit(left);
        part.used += usize::from(new);
        !known
    }

    pub(super) fn knows(&self, print: u128, left: Left) -> bool {
        let part = self.part(print).lock().expect("no panic");
        !part.slots.is_empty() && part.slots[part.place(print)] & self.covers[bit(left)] != 0
    }

    pub(super) fn len(&self) -> usize {
        let used = |part: &Mutex<Part>| part.lock().expect("no panic").used;
        self.parts.iter().map(used).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        let bytes = |part: &Mutex<Part>| part.lock().expect("no panic").slots.len() * 16;
        self.parts.iter().map(bytes).sum()
    }

    fn part(&self, print: u128) -> &Mutex<Part> {
        // Not the bits that say the place in the part.
        &self.parts[(print >> RESTS) as usize % Self::PARTS]
    }
}

impl Part {
    /// Where the print stands, or is to stand.
    fn place(&self, print: u128) -> usize {
        let len = self.slots.len();
        let high = print >> 64;
        let mut place = ((high * len as u128) >> 64) as usize;
        while self.slots[place] != 0 && (self.slots[place] ^ print) & !MASK != 0 {
            place = if place + 1 == len { 0 } else { place + 1 };
        }
        place
    }

    /// Keeps every sixth slot empty, and grows in small steps: memory is what bounds a search.
    fn make_room(&mut self) {
        if (self.used + 1) * 6 < self.slots.len() * 5 {
            return;
        }
        let larger = vec![0; self.slots.len() + self.slots.len() / 4 + 64];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot != 0 {
                let place = self.place(slot);
                self.slots[place] = slot;
            }
        }
    }
}

#[test]
fn a_situation_is_known_with_as_many_departures_left_or_fewer() {
    let left = |crashes, orders, others| Left { crashes, orders, others, together: 9 };
    let visited = Visited::new();
    for number in 1..10_000u128 {
        let print = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        assert!(!visited.knows(print, left(0, 0, 0)));
        assert!(visited.claim(print, left(1, 0, 2)));
        assert!(!visited.claim(print, left(1, 0, 1)));
        assert!(!visited.claim(print, left(0, 0, 2)));
        assert!(visited.claim(print, left(0, 1, 0)));
        assert!(visited.claim(print, left(2, 0, 0)));
        assert!(visited.knows(print, left(2, 0, 0)) && !visited.knows(print, left(2, 1, 0)));
    }
    assert_eq!(visited.len(), 9_999);
}
