//! A cluster of real [`Engine`](leadelect::engine::Engine) values in a made-up world.
//!
//! Everything uncertain is made up here, from one seed: time and clocks ([`clock`]), what a network does
//! ([`network`]), what a disk does ([`disk`]), what a program does that believes it leads ([`world`]). Nothing else
//! is: the nodes run the shipped code. [`checker`] watches from outside, by what is said on the wire and by what the
//! programs could do, never by what a node thinks of itself.

pub(crate) mod agenda;
pub(crate) mod checker;
pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod lies;
pub(crate) mod network;
pub(crate) mod per_node;
pub(crate) mod record;
pub(crate) mod turn;
pub(crate) mod world;

/// Chance that can be repeated: SplitMix64 (Steele, Lea and Flood 2014). Own, five lines, because a seed must mean the
/// same run on every platform and for ever, which a generator that may change with its crate's version does not give.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, or zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True in `per_mille` of 1000 cases.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(from.len() as u64)).unwrap();
        &from[place]
    }
}
