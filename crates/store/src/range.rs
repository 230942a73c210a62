use bytes::Bytes;

/// A range of keys: from its start, which belongs to it, to its end, which does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
    /// Every key of a table.
    pub const ALL: Self = Self { start: Bytes::new(), end: None };

    /// The keys from `start` up to and without `end`; with no end, all from `start` on.
    pub fn new(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self { start: start.into(), end }
    }

    /// The keys that begin with `prefix`, the prefix itself included.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        // The first key behind all that begin so: the last byte that can be raised is raised, what follows it is cut.
        let end = start.iter().rposition(|byte| *byte != u8::MAX).map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        Self { start, end }
    }

    /// The first key that may belong to the range.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The first key behind the range; none when it goes to the end of the table.
    pub fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// Whether no key can belong to the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether a key belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && self.end.as_ref().is_none_or(|end| *key < end[..])
    }

    /// The rest of the range behind a key.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        // The next key in byte order is the same one with a zero behind it.
        let start = [key, &[0]].concat().into();
        Self { start, end: self.end.clone() }
    }

    pub(crate) fn bounds(&self) -> (std::ops::Bound<Bytes>, std::ops::Bound<Bytes>) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        (Included(self.start.clone()), self.end.clone().map_or(Unbounded, Excluded))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_holds_what_begins_so(prefix in "[\\x00-\\x02ab]{0,3}", key in "[\\x00-\\x02ab]{0,4}") {
            // Bytes of 255 are what the end of a prefix has to step over.
            let high = |text: &str| text.bytes().map(|b| if b == b'b' { 255 } else { b }).collect::<Vec<u8>>();
            let (prefix, key) = (high(&prefix), high(&key));
            prop_assert_eq!(KeyRange::prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn the_rest_begins_right_behind_a_key(key: Vec<u8>, other: Vec<u8>) {
            prop_assert_eq!(KeyRange::ALL.after(&key).contains(&other), other > key);
        }
    }

    #[test]
    fn a_range_without_keys_is_empty() {
        assert!(KeyRange::new("b", Some("a".into())).is_empty());
        assert!(KeyRange::new("a", Some("a".into())).is_empty());
        assert!(!KeyRange::ALL.is_empty() && !KeyRange::prefix(vec![255]).is_empty());
    }
}
