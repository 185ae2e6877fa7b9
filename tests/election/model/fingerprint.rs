//! A situation is known again by a hash of it. If hashes are as good as chance, two different ones among a thousand
//! million share the 98 bits that are kept with a probability below one in 10^11.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Multiply and shift, word by word, each step of which can be undone: two inputs that differ in one word differ.
#[derive(Debug, Clone)]
pub(super) struct Fingerprint(u128);

/// Odd, and half of its bits set: from the digits of pi.
const FACTOR: u128 = 0x2438_6a30_85a3_08d3_1319_8a2e_0370_7345;

impl Fingerprint {
    pub(super) fn new() -> Self {
        Fingerprint(0xa409_3822_299f_31d0_082e_fa98_ec4e_6c89)
    }

    pub(super) fn of(value: &impl Hash) -> u128 {
        let mut print = Fingerprint::new();
        value.hash(&mut print);
        print.whole()
    }

    pub(super) fn word(&mut self, word: u128) {
        let mixed = (self.0 ^ word).wrapping_mul(FACTOR);
        self.0 = mixed ^ (mixed >> 61);
    }

    pub(super) fn whole(&self) -> u128 {
        let mixed = self.0.wrapping_mul(FACTOR);
        mixed ^ (mixed >> 67)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.whole() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(16) {
            let mut word = [0; 16];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u128::from_le_bytes(word));
        }
        self.word(bytes.len() as u128);
    }

    fn write_u8(&mut self, number: u8) {
        self.word(u128::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.word(u128::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.word(u128::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u128);
    }

    fn write_isize(&mut self, number: isize) {
        self.word(number as u128);
    }
}

/// A value with its fingerprint, shared by all the situations that it is part of.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) print: u128,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Shared { print: Fingerprint::of(&value), value: Arc::new(value) }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { print: self.print, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[test]
fn prints_of_what_differs_in_little_differ_in_much() {
    let near: Vec<u128> = (0..300_000u64).map(|number| Fingerprint::of(&(1u8, number))).collect();
    for part in [|print: &u128| print >> 64, |print: &u128| print & u128::from(u64::MAX)] {
        let mut parts: Vec<u128> = near.iter().map(part).collect();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), near.len());
    }
    let bits: u32 = near.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
    let mean = bits / (near.len() as u32 - 1);
    assert!((60..=68).contains(&mean), "{mean} of 128 bits differ");
    // Order and boundaries count, too.
    assert_ne!(Fingerprint::of(&(1u64, 2u64)), Fingerprint::of(&(2u64, 1u64)));
    assert_ne!(Fingerprint::of(&("ab", "c")), Fingerprint::of(&("a", "bc")));
    assert_ne!(Fingerprint::of(&vec![0u64]), Fingerprint::of(&vec![0u64, 0]));
}
