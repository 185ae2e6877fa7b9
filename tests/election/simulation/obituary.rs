//! In half of the runs processes say that the earlier ones of their node are dead. A run without that is the same as it
//! was before there were obituaries.

use std::time::Duration;

use leadelect::NodeId;

use super::{Later, Trouble};
use crate::harness::Dice;
use crate::harness::world::World;

/// Whether there are obituaries in a run; in half of these others wait for the locks. Returns how often they also are a
/// fault.
pub(super) fn choose(seed: u64, world: &mut World) -> Option<usize> {
    let mut dice = Dice(seed ^ 0x6f62_6974);
    if dice.chance(500) {
        return None;
    }
    let watchers = dice.chance(500).then(|| Duration::from_micros(dice.below(20_000)));
    world.tell_obituaries(dice.next(), watchers);
    Some(*dice.pick(&[0, 1, 3]))
}

impl Trouble {
    /// A process dies, and the next one or a watcher says so at once. Or an obituary comes late, or is untrue.
    pub(super) fn strike_with_obituary(&mut self, victim: NodeId) {
        if self.dice.chance(600) {
            return self.world.obituary_comes_late();
        }
        match self.dice.chance(300) {
            true => self.world.dies_before_its_work(victim),
            false => self.world.crash(victim),
        }
        if self.dice.chance(500) {
            self.world.watcher_speaks(victim);
        }
        let at = self.soon(self.timeout / 4);
        self.later.insert((at, victim), Later::Start);
    }
}
