//! The mutex of positions. In the tests that the model checker `shuttle` runs, that decides who gets it.

use std::sync::PoisonError;

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use modelled::{Mutex, MutexGuard};

/// Locks a mutex whose content is whole at any time: no code panics while it holds the lock, so that a poisoned one
/// is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod modelled {
    use std::{
        ops::{Deref, DerefMut},
        sync::{self, LockResult, PoisonError},
    };

    use shuttle::current::try_get_current_task;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T> {
        /// Who may lock `content`, among the threads of the model. Other threads leave it alone.
        turn: shuttle::sync::Mutex<()>,
        content: sync::Mutex<T>,
    }

    /// The fields are dropped in their order: the turn ends when the content is free.
    pub(crate) struct MutexGuard<'a, T> {
        content: sync::MutexGuard<'a, T>,
        _turn: Option<shuttle::sync::MutexGuard<'a, ()>>,
    }

    impl<T> Mutex<T> {
        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let is_modelled = try_get_current_task().is_some();
            let turn = is_modelled.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            match self.content.lock() {
                Ok(content) => Ok(MutexGuard { content, _turn: turn }),
                Err(poisoned) => Err(PoisonError::new(MutexGuard { content: poisoned.into_inner(), _turn: turn })),
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.content
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.content
        }
    }
}
