use std::{fmt, panic::AssertUnwindSafe};

use futures::{FutureExt, future::BoxFuture};
use statefun_kinesis_store::Store;

use crate::Backend;

/// A behaviour that every store must have: a function of this crate and the bullet that it checks.
pub struct Behaviour {
    /// The function's name, unique among all behaviours.
    pub name: &'static str,
    /// The function's module, which has the name of the tested method.
    pub method: &'static str,
    /// The beginning of the bullet in the method's `# Behavior` list.
    pub bullet: &'static str,
    pub(crate) run: Run,
}

/// The argument of a behaviour's function.
pub(crate) enum Run {
    /// An empty store.
    Store(for<'a> fn(&'a dyn Store) -> BoxFuture<'a, ()>),
    /// Empty data.
    Backend(for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>),
}

impl Behaviour {
    /// Checks the behaviour on a backend. Its data must be empty.
    ///
    /// # Panics
    ///
    /// When the backend does not have the behaviour.
    pub async fn check(&self, backend: &dyn Backend) {
        let run = async {
            match self.run {
                Run::Store(run) => run(&*backend.open().await).await,
                Run::Backend(run) => run(backend).await,
            }
        };
        // The panic hook prints the behaviour's own message first. This one adds which behaviour it was.
        if AssertUnwindSafe(run).catch_unwind().await.is_err() {
            panic!("the store does not do what {} promises: {}", self.method, self.bullet);
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.method, self.name)
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").field("name", &self.name).field("method", &self.method).finish_non_exhaustive()
    }
}
