//! The runtime's lock, and how tasks that take it are spawned. In unit tests both come from the model checker
//! `shuttle`, which tries many orders of the tasks; there they work only inside a test of `shuttle`.

#[cfg(not(test))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(super) use modelled::{Mutex, MutexGuard};

/// Spawns a detached task.
#[cfg(not(test))]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Spawns a detached task.
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

    /// Holds an `Option`, so that `drop` can release the lock before it lets other threads run.
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
            self.0.as_ref().expect("only drop takes the guard")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("only drop takes the guard")
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        /// Yields after the release. `shuttle` switches threads only before a lock is taken and before it is released.
        /// The code after a release may touch things that `shuttle` does not model, such as the position of a shard, so
        /// other threads have to be able to run before it.
        fn drop(&mut self) {
            drop(self.0.take());
            if !panicking() {
                thread::yield_now();
            }
        }
    }
}
