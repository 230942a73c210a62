use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{Error, ErrorKind, KeyRange, Result, Table};

/// Most bytes of a key: what the embedded store can hold.
pub const KEY_MAX_BYTES: usize = 65_535;

/// Most bytes of a value: what the embedded store can hold.
pub const VALUE_MAX_BYTES: usize = u32::MAX as usize;

/// The number of a commit: 1 for the first one of a store, then one more each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitNumber(pub u64);

/// Changes that become durable together or not at all.
///
/// Adding a change costs no more than a push, so that a commit can be filled while everything else waits; the store
/// sorts and merges the changes later. Of several changes to one key the last one counts.
///
/// ```
/// use statefun_kinesis_store::{Commit, KeyRange, Table};
///
/// let mut commit = Commit::new();
/// commit.put(Table::State, "a", "1");
/// commit.delete_range(Table::State, KeyRange::prefix("a"));
/// commit.put(Table::State, "ab", "2");
/// let changes = commit.into_changes()?;
/// let found: Vec<_> = changes.entries().iter().map(|change| (&change.key[..], change.value.as_deref())).collect();
/// assert_eq!(found, [(&b"a"[..], None), (&b"ab"[..], Some(&b"2"[..]))]);
/// # Ok::<(), statefun_kinesis_store::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Commit {
    entries: Vec<Change>,
    /// Ranges to delete, each with how many entries came before it.
    ranges: Vec<(Table, KeyRange, usize)>,
    /// Those who add more, in their order, when the store takes the commit.
    later: Vec<Arc<Later>>,
}

/// Adds changes to a commit.
type Later = dyn Fn(&mut Commit) + Send + Sync;

impl Commit {
    /// A commit without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A commit with room for so many puts and deletes.
    pub fn with_capacity(changes: usize) -> Self {
        Self { entries: Vec::with_capacity(changes), ..Self::default() }
    }

    /// Sets the value of a key.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.entries.push(Change { table, key: key.into(), value: Some(value.into()) });
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.entries.push(Change { table, key: key.into(), value: None });
    }

    /// Removes every key of a range: what is stored, and what this commit has put so far.
    pub fn delete_range(&mut self, table: Table, range: KeyRange) {
        self.ranges.push((table, range, self.entries.len()));
    }

    /// Removes every key that begins with `prefix`.
    pub fn delete_prefix(&mut self, table: Table, prefix: impl Into<Bytes>) {
        self.delete_range(table, KeyRange::prefix(prefix));
    }

    /// Lets changes be added when the store takes the commit, behind all that were added at once: for changes that are
    /// many, or take long to write. [`DiskStore`](crate::DiskStore) does that where it writes to the disk, and not on a
    /// thread that others wait for.
    ///
    /// ```
    /// use statefun_kinesis_store::{Commit, Table};
    ///
    /// let totals = vec![("anna", 3_u64), ("ben", 5)];
    /// let mut commit = Commit::new();
    /// commit.later(move |commit| {
    ///     for (name, total) in &totals {
    ///         commit.put(Table::State, *name, total.to_string());
    ///     }
    /// });
    /// assert_eq!(commit.into_changes()?.entries().len(), 2);
    /// # Ok::<(), statefun_kinesis_store::Error>(())
    /// ```
    pub fn later(&mut self, add: impl Fn(&mut Self) + Send + Sync + 'static) {
        self.later.push(Arc::new(add));
    }

    /// Adds the changes of another commit behind those of this one.
    pub fn append(&mut self, other: Self) {
        let before = self.entries.len();
        self.entries.extend(other.entries);
        self.ranges.extend(other.ranges.into_iter().map(|(table, range, at)| (table, range, at + before)));
        self.later.extend(other.later);
    }

    /// How many puts and deletes there are; a range counts as one, and so does whatever is added
    /// [later](Self::later) at a time.
    pub fn len(&self) -> usize {
        self.entries.len() + self.ranges.len() + self.later.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves the commit into at most one change per key: for a store to apply.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when a key or a value is one that no store takes.
    pub fn into_changes(mut self) -> Result<Changes> {
        while !self.later.is_empty() {
            for add in std::mem::take(&mut self.later) {
                add(&mut self);
            }
        }
        for change in &self.entries {
            check(change)?;
        }
        let mut numbered: Vec<(usize, Change)> = self.entries.into_iter().enumerate().collect();
        numbered.sort_by(|(a_at, a), (b_at, b)| (a.table, &a.key).cmp(&(b.table, &b.key)).then(b_at.cmp(a_at)));
        // The latest change of a key stands first now.
        numbered.dedup_by(|(_, later), (_, first)| (later.table, &later.key) == (first.table, &first.key));
        if !self.ranges.is_empty() {
            for (at, change) in &mut numbered {
                let deleted = |(table, range, before): &(Table, KeyRange, usize)| {
                    *table == change.table && *at < *before && range.contains(&change.key)
                };
                if self.ranges.iter().any(deleted) {
                    change.value = None;
                }
            }
        }
        let entries = numbered.into_iter().map(|(_, change)| change).collect();
        Ok(Changes { entries, ranges: self.ranges.into_iter().map(|(table, range, _)| (table, range)).collect() })
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, ranges, later } = self;
        let mut shown = f.debug_struct("Commit");
        shown.field("entries", entries).field("ranges", ranges).field("later", &later.len()).finish()
    }
}

fn check(change: &Change) -> Result<()> {
    let Change { table, key, value } = change;
    let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, format!("{what} in the table `{table}`")));
    if key.is_empty() || key.len() > KEY_MAX_BYTES {
        return invalid(format!("a key of {} bytes, where 1 to {KEY_MAX_BYTES} are possible,", key.len()));
    }
    if let Some(value) = value.as_ref().filter(|value| value.len() > VALUE_MAX_BYTES) {
        return invalid(format!("a value of {} bytes, where {VALUE_MAX_BYTES} are possible,", value.len()));
    }
    Ok(())
}

/// The new value of a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: Table,
    /// The key.
    pub key: Bytes,
    /// Its new value; none when it is removed.
    pub value: Option<Bytes>,
}

/// A resolved [`Commit`]: at most one change per key, in order, and ranges to clear of all other keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    entries: Vec<Change>,
    ranges: Vec<(Table, KeyRange)>,
}

impl Changes {
    /// The keys that change, ordered by table and key, each once.
    pub fn entries(&self) -> &[Change] {
        &self.entries
    }

    /// The ranges in which every stored key is removed that has no entry of its own.
    pub fn ranges(&self) -> &[(Table, KeyRange)] {
        &self.ranges
    }

    /// Whether a key has an entry of its own.
    pub fn has_entry(&self, table: Table, key: &[u8]) -> bool {
        self.entries.binary_search_by(|change| (change.table, &change.key[..]).cmp(&(table, key))).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(&'static str, u8),
        Delete(&'static str),
        Prefix(&'static str),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = || proptest::sample::select(vec!["a", "ab", "abc", "b", "ba"]);
        let step = prop_oneof![
            (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
            key().prop_map(Step::Delete),
            key().prop_map(Step::Prefix),
        ];
        proptest::collection::vec(step, 0..12)
    }

    proptest! {
        #[test]
        fn changes_do_what_the_steps_did_one_by_one(before in steps(), steps in steps(), split in 0_usize..12) {
            let apply = |map: &mut BTreeMap<&'static str, u8>, steps: &[Step]| for step in steps {
                match step {
                    Step::Put(key, value) => { map.insert(key, *value); }
                    Step::Delete(key) => { map.remove(key); }
                    Step::Prefix(prefix) => map.retain(|key, _| !key.starts_with(prefix)),
                }
            };
            let commit = |steps: &[Step]| {
                let mut commit = Commit::new();
                for step in steps {
                    match step {
                        Step::Put(key, value) => commit.put(Table::State, *key, vec![*value]),
                        Step::Delete(key) => commit.delete(Table::State, *key),
                        Step::Prefix(prefix) => commit.delete_prefix(Table::State, *prefix),
                    }
                }
                commit
            };
            let mut expected = BTreeMap::new();
            apply(&mut expected, &before);
            let mut stored: BTreeMap<Bytes, Bytes> =
                expected.iter().map(|(key, value)| ((*key).into(), vec![*value].into())).collect();
            apply(&mut expected, &steps);

            let (first, second) = steps.split_at(split.min(steps.len()));
            let mut whole = commit(first);
            whole.append(commit(second));
            let changes = whole.into_changes().unwrap();
            for (table, range) in changes.ranges() {
                stored.retain(|key, _| !range.contains(key) || changes.has_entry(*table, key));
            }
            for Change { key, value, .. } in changes.entries() {
                match value {
                    Some(value) => { stored.insert(key.clone(), value.clone()); }
                    None => { stored.remove(key); }
                }
            }
            let expected: BTreeMap<Bytes, Bytes> =
                expected.iter().map(|(key, value)| ((*key).into(), vec![*value].into())).collect();
            prop_assert_eq!(stored, expected);
        }
    }

    #[test]
    fn additions_follow_existing_entries() {
        let mut commit = Commit::new();
        assert!(commit.is_empty());
        commit.later(|commit| {
            commit.put(Table::State, "a", "later");
            commit.later(|commit| commit.put(Table::State, "b", "last"));
        });
        commit.put(Table::State, "a", "at once");
        let mut other = Commit::new();
        other.later(|commit| {
            commit.delete_prefix(Table::State, "a");
            commit.put(Table::State, "ab", "kept");
        });
        other.put(Table::State, "b", "at once");
        commit.append(other);
        assert_eq!(commit.len(), 4);
        // As often as it is tried.
        for _ in 0..2 {
            let changes = commit.clone().into_changes().unwrap();
            let found: Vec<_> =
                changes.entries().iter().map(|entry| (&entry.key[..], entry.value.as_deref())).collect();
            let expected: [(&[u8], Option<&[u8]>); 3] = [(b"a", None), (b"ab", Some(b"kept")), (b"b", Some(b"last"))];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_key_that_no_store_takes_is_refused() {
        for (key, valid) in [(0, false), (1, true), (KEY_MAX_BYTES, true), (KEY_MAX_BYTES + 1, false)] {
            let mut commit = Commit::new();
            commit.put(Table::State, vec![b'k'; key], "");
            assert_eq!(commit.into_changes().map_err(|error| error.kind()).is_ok(), valid, "{key}");
        }
    }
}
