//! A situation is known again by 128 bits of it. That two different ones among a thousand million have the same is less
//! likely than one in 10^20.

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
        Shared {
            print: Fingerprint::of(&value),
            value: Arc::new(value),
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared {
            print: self.print,
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
