//! Where a node's state becomes durable, and what may go wrong there.

use std::time::Duration;

use leadelect::election::{HardState, Store};

use super::Dice;

/// What the next writes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Works,
    /// Every write takes this long; the node does nothing else meanwhile.
    Slow(Duration),
    /// Every write returns an error, and may or may not have happened.
    Fails,
}

/// What a crash in the middle of a write leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Old,
    New,
    /// The old state, and a damaged slot beside it.
    Torn,
}

/// A disk with two slots: the newest state that is whole, and perhaps a damaged one beside it.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) mood: Mood,
    /// What a crash or an error in the middle of a write leaves, if it is not left to chance.
    pub(crate) half: Option<Half>,
    /// A write has failed since the node started.
    pub(crate) failed: bool,
    pub(crate) torn: bool,
    /// Something was written since the host started.
    pub(crate) written_in_this_boot: bool,
    durable: Option<HardState>,
    /// The other slot: what was durable before.
    older: Option<HardState>,
    writing: Option<HardState>,
}

impl Disk {
    pub(crate) fn empty() -> Self {
        Disk {
            mood: Mood::Works,
            half: None,
            failed: false,
            torn: false,
            written_in_this_boot: false,
            durable: None,
            older: None,
            writing: None,
        }
    }

    /// What would survive a power cut now.
    pub(crate) fn durable(&self) -> Option<HardState> {
        self.durable
    }

    /// How long the write takes that has just begun.
    pub(crate) fn busy_for(&self) -> Duration {
        match (self.writing, self.mood) {
            (Some(_), Mood::Slow(span)) => span,
            (Some(_), Mood::Works | Mood::Fails) | (None, _) => Duration::ZERO,
        }
    }

    pub(crate) fn finish_write(&mut self) {
        if let Some(state) = self.writing.take() {
            self.older = self.durable.replace(state);
            self.torn = false;
            self.written_in_this_boot = true;
        }
    }

    /// The slot that was written last goes bad, after it was durable: the other one is found, and the damage seen.
    pub(crate) fn rot(&mut self) {
        self.durable = self.older;
        self.torn = true;
    }

    /// The power goes, or the write fails: what was being written is there, or not, or damaged.
    pub(crate) fn break_write(&mut self, dice: &mut Dice) {
        let Some(state) = self.writing.take() else {
            return;
        };
        let half = self.half.unwrap_or_else(|| *dice.pick(&[Half::Old, Half::New, Half::Torn]));
        match half {
            Half::Old => {}
            Half::New => self.older = self.durable.replace(state),
            Half::Torn => self.torn = true,
        }
    }
}

impl Store for Disk {
    type Error = ();

    fn save(&mut self, state: &HardState) -> Result<(), ()> {
        self.writing = Some(*state);
        match self.mood {
            Mood::Works | Mood::Slow(_) => Ok(()),
            Mood::Fails => {
                self.failed = true;
                Err(())
            }
        }
    }
}
