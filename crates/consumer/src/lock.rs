//! The mutex of positions. A test may replace it by one of the model checker `shuttle`.

use std::sync::PoisonError;

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};

/// Locks a mutex whose content is whole at any time: no code panics while it holds the lock, so that a poisoned one
/// is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
