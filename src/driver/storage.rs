//! Where a node keeps what it must not forget, and how long it takes to write it down.

use crate::clock;
use crate::election::{HardState, Store, Term};
use crate::recording::Recorder;
use crate::status::Board;
use crate::store::{StoreError, VoteFile};

/// Where a node keeps what it must not forget.
#[derive(Debug)]
pub(crate) enum Storage {
    /// In a file.
    File(Box<VoteFile>),
    /// Nowhere: the node was configured without a state folder.
    Nowhere,
}

impl Storage {
    /// The term up to which no earlier process of the node can act any more, if that is certain.
    pub(crate) fn obituary(&self) -> Option<Term> {
        match self {
            Storage::File(file) => file.obituary().ok(),
            Storage::Nowhere => None,
        }
    }
}

impl Store for Storage {
    type Error = StoreError;

    fn save(&mut self, state: &HardState) -> Result<(), StoreError> {
        match self {
            Storage::File(file) => file.save(state),
            Storage::Nowhere => Ok(()),
        }
    }
}

/// Tells the board how long each write takes, and the recorder what was written.
pub(super) struct Timed<'a> {
    pub(super) storage: &'a mut Storage,
    pub(super) board: &'a Board,
    pub(super) recorder: &'a mut Recorder,
}

impl Store for Timed<'_> {
    type Error = StoreError;

    fn save(&mut self, state: &HardState) -> Result<(), StoreError> {
        let began = clock::now();
        let saved = self.storage.save(state);
        if let Storage::File(_) = self.storage {
            self.board.wrote(clock::now().since(began));
        }
        self.recorder.wrote(state, saved.is_ok());
        saved
    }
}
