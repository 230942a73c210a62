//! The lock of a runtime, and the start of the tasks that take it. Unit tests have both from the model checker `shuttle`,
//! which tries many orders of the tasks; there they work in its tests only.

#[cfg(not(test))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(super) use modelled::{Mutex, MutexGuard};

/// Starts a task that nobody waits for.
#[cfg(not(test))]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Starts a task that nobody waits for.
#[cfg(test)]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(shuttle::future::spawn(task));
}

#[cfg(test)]
mod modelled {
    use std::{
        ops::{Deref, DerefMut},
        sync::PoisonError,
        thread::panicking,
    };

    use shuttle::thread;

    #[derive(Debug)]
    pub(in crate::runtime) struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// The guard is gone by the end of `drop`, before other threads get their turn.
    pub(in crate::runtime) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(in crate::runtime) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(in crate::runtime) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            match self.0.lock() {
                Ok(guard) => Ok(MutexGuard(Some(guard))),
                Err(poisoned) => Err(PoisonError::new(MutexGuard(Some(poisoned.into_inner())))),
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("it is there until it is dropped")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("it is there until it is dropped")
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        /// `shuttle` changes threads before a lock is taken and before it is released. What is done right after a release
        /// may touch things that `shuttle` knows nothing of, such as the position of a shard, and other threads have to be
        /// able to come before it.
        fn drop(&mut self) {
            drop(self.0.take());
            if !panicking() {
                thread::yield_now();
            }
        }
    }
}
