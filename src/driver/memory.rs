//! Where a node keeps what it must not forget, and how long it takes to write it down.

use crate::clock;
use crate::election::{HardState, Store};
use crate::status::Board;
use crate::store::{StoreError, VoteFile};

/// Where a node keeps what it must not forget.
#[derive(Debug)]
pub(crate) enum Memory {
    /// In a file.
    File(Box<VoteFile>),
    /// Nowhere: the node was configured without a state folder.
    Nowhere,
}

impl Store for Memory {
    type Error = StoreError;

    fn save(&mut self, state: &HardState) -> Result<(), StoreError> {
        match self {
            Memory::File(file) => file.save(state),
            Memory::Nowhere => Ok(()),
        }
    }
}

/// Tells the board how long each write takes.
pub(super) struct Timed<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) board: &'a Board,
}

impl Store for Timed<'_> {
    type Error = StoreError;

    fn save(&mut self, state: &HardState) -> Result<(), StoreError> {
        let began = clock::now();
        let saved = self.memory.save(state);
        if let Memory::File(_) = self.memory {
            self.board.wrote(clock::now().since(began));
        }
        saved
    }
}
