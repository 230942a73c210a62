use std::{fmt, panic::AssertUnwindSafe};

use futures::{FutureExt, future::BoxFuture};

use crate::{Backend, Capabilities};

/// One behaviour that every backend must show: a function of this crate and the bullet that it checks.
pub struct Behaviour {
    /// The function's name, unique among all behaviours.
    pub name: &'static str,
    /// The function's module, which has the name of the method that it is about.
    pub method: &'static str,
    /// How the bullet in the method's `# Behavior` list begins.
    pub bullet: &'static str,
    pub(crate) requires: &'static [Requirement],
    pub(crate) run: for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, ()>,
}

impl Behaviour {
    /// What makes the behaviour not applicable to a backend with these capabilities; none when it is applicable.
    pub fn not_applicable(&self, capabilities: &Capabilities) -> Option<&'static Requirement> {
        self.requires.iter().find(|requirement| (requirement.has)(capabilities) != requirement.wanted)
    }

    /// Holds a backend to the behaviour.
    ///
    /// # Panics
    ///
    /// When the backend does not show the behaviour, or when it is not applicable to it.
    pub async fn check(&self, backend: &dyn Backend) {
        if let Some(requirement) = self.not_applicable(&backend.capabilities()) {
            panic!("{self} is not applicable: it asks for a backend {requirement}");
        }
        // The behaviour's own message comes first, by the panic hook; what it was about comes with the test's failure.
        if AssertUnwindSafe((self.run)(backend)).catch_unwind().await.is_err() {
            panic!("the backend does not do what {} promises: {}", self.method, self.bullet);
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

/// A capability that a backend must have, or must lack, for a behaviour to be applicable.
pub struct Requirement {
    /// The capability's name: the field of [`Capabilities`].
    pub capability: &'static str,
    /// Whether the backend must have it. Behaviours that hold an emulator to a known mistake ask for its lack.
    pub wanted: bool,
    pub(crate) has: fn(&Capabilities) -> bool,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", if self.wanted { "with" } else { "without" }, self.capability)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requirement").field("capability", &self.capability).field("wanted", &self.wanted).finish()
    }
}
