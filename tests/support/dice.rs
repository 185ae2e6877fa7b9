//! Chance that can be repeated.

use std::env;
use std::thread;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

/// What else a run of a random test depends on.
const LENGTHS: [&str; 2] = ["HANDOVERS", "LEADELECT_FAULTS"];

/// Draws the same numbers for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed of this test: `SEED`, or a new one. Prints it, with the command that draws the same again.
    pub(crate) fn seed() -> u64 {
        let given = env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
        let seed = given.unwrap_or_else(|| SysRng.try_next_u32().expect("the system's chance").into());
        eprintln!("seed {seed}: {}", command(seed));
        seed
    }

    /// For one of several threads of a test that prints its `seed`.
    pub(crate) fn new(seed: u64, thread: u64) -> Dice {
        Dice(seed ^ thread.wrapping_mul(0xd134_2543_de82_ef95))
    }

    // splitmix64
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(crate) fn micros_below(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit))
    }
}

/// What runs the test of this thread again, with this seed.
fn command(seed: u64) -> String {
    let lengths = LENGTHS.iter().filter_map(|name| Some(format!("{name}={} ", env::var(name).ok()?)));
    let lengths: String = lengths.collect();
    // target/<profile>/deps/<program>-<hash>
    let binary = env::current_exe().expect("this binary");
    let binary = binary.file_stem().and_then(|name| name.to_str()).expect("UTF-8");
    let program = binary.rsplit_once('-').map_or(binary, |(program, _)| program);
    let thread = thread::current();
    // A test that runs alone runs in the main thread, which has no test's name.
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    format!("{lengths}SEED={seed} cargo test --all-features --test {program} -- --nocapture {test}")
}
