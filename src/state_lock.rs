//! The exclusive lock on the state of a node.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// The exclusive lock on the state of a node. It lasts until all who hold it have dropped it, and the kernel has closed
/// every copy of it.
///
/// Whoever gets the lock next takes every process of the node for dead. So it must be held while anything can act for
/// the node: by its threads, by every [`Lease`](crate::Lease), and by every process that acts as leader.
#[derive(Debug, Clone)]
pub struct StateLock(Arc<File>);

impl StateLock {
    pub(crate) fn of(locked: File) -> StateLock {
        StateLock(Arc::new(locked))
    }
}

/// To hand it to another process.
impl AsFd for StateLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
