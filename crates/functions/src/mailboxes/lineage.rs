//! What a message came of.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Deliveries that are finished: nothing that came of them is left.
#[derive(Debug)]
pub(super) struct Finished<T>(Arc<Mutex<Vec<T>>>);

impl<T> Finished<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    /// A new delivery, which is finished when the last clone of the lineage is dropped.
    pub(super) fn begin(&self, ticket: T) -> Lineage<T> {
        let root = Root { ticket: Some(ticket), finished: Arc::downgrade(&self.0) };
        Lineage(Some(Arc::new(vec![Arc::new(root)])))
    }

    pub(super) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The deliveries of which a message came: those of all the messages of the batch that sent it.
///
/// The deliveries in it are counted, and the set itself is shared by the messages that a batch sends, so that a message
/// costs one counter whatever it came of.
#[derive(Debug)]
pub(super) struct Lineage<T>(Option<Arc<Roots<T>>>);

/// Deliveries, each once.
type Roots<T> = Vec<Arc<Root<T>>>;

impl<T> Clone for Lineage<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Lineage<T> {
    /// That of a message which no delivery waits for.
    pub(super) const NONE: Self = Self(None);

    /// The deliveries of all these lineages.
    pub(super) fn union<'a>(lineages: impl Iterator<Item = &'a Self>) -> Self
    where
        T: 'a,
    {
        let mut sets: Vec<&Arc<Roots<T>>> = lineages.filter_map(|lineage| lineage.0.as_ref()).collect();
        sets.dedup_by(|a, b| Arc::ptr_eq(a, b));
        match sets[..] {
            [] => return Self::NONE,
            [only] => return Self(Some(Arc::clone(only))),
            _ => {}
        }
        sets.sort_unstable_by_key(|set| Arc::as_ptr(set));
        sets.dedup_by(|a, b| Arc::ptr_eq(a, b));
        if let [only] = sets[..] {
            return Self(Some(Arc::clone(only)));
        }
        let mut roots: Vec<&Arc<Root<T>>> = sets.into_iter().flat_map(|set| set.iter()).collect();
        roots.sort_unstable_by_key(|root| Arc::as_ptr(root));
        roots.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Self(Some(Arc::new(roots.into_iter().map(Arc::clone).collect())))
    }
}

/// A delivery. Its drop tells that it is finished, unless the mailboxes themselves went first.
#[derive(Debug)]
struct Root<T> {
    ticket: Option<T>,
    finished: Weak<Mutex<Vec<T>>>,
}

impl<T> Drop for Root<T> {
    fn drop(&mut self) {
        if let (Some(finished), Some(ticket)) = (self.finished.upgrade(), self.ticket.take()) {
            finished.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
        }
    }
}
