//! Where the values that threads share take their locks and atomics from: `std` here. The test `tests/shared_state`
//! builds the same values on a scheduler of its own, which tries every order in which threads can run.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{ThreadId, current as current_thread};

/// Locks. Also after a panic of the thread that held the lock: no change here is left half done by one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
