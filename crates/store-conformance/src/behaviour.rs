use std::{fmt, panic::AssertUnwindSafe};

use futures::{FutureExt, future::BoxFuture};
use statefun_kinesis_store::Store;

use crate::Backend;

/// One behaviour that every store must show: a function of this crate and the bullet that it checks.
pub struct Behaviour {
    /// The function's name, unique among all behaviours.
    pub name: &'static str,
    /// The function's module, which has the name of the method that it is about.
    pub method: &'static str,
    /// How the bullet in the method's `# Behavior` list begins.
    pub bullet: &'static str,
    pub(crate) run: Run,
}

/// What a behaviour is given.
pub(crate) enum Run {
    /// An empty store.
    Store(for<'a> fn(&'a dyn Store) -> BoxFuture<'a, ()>),
    /// Empty data.
    Backend(for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>),
}

impl Behaviour {
    /// Holds a backend to the behaviour. Its data must be empty.
    ///
    /// # Panics
    ///
    /// When the backend does not show the behaviour.
    pub async fn check(&self, backend: &dyn Backend) {
        let run = async {
            match self.run {
                Run::Store(run) => run(&*backend.open().await).await,
                Run::Backend(run) => run(backend).await,
            }
        };
        // The behaviour's own message comes first, by the panic hook; what it was about comes with the test's failure.
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
