use std::collections::VecDeque;

/// By what the outcome of a record finds its sender.
pub(crate) trait Token: Sized {
    /// Whether both are of records of the same batch.
    fn is_of_same_batch(&self, other: &Self) -> bool;

    /// The token of the record `records` places behind this one's in its batch. Only where there is one.
    fn advanced_by(&self, records: u32) -> Self;
}

/// What is kept of a record that has no entry in the queue.
#[derive(Debug)]
pub(crate) struct RecordMeta<T> {
    pub(crate) token: T,
    pub(crate) key_hash: u64,
    pub(crate) arrival: u64,
    /// The flush generation that the record belongs to.
    pub(crate) generation: u64,
}

/// The metadata of several records, in the order of their arrival.
///
/// It takes eight bytes per record (the hash of its key) as long as neighbours in a batch stay together: these share a
/// [`Span`].
#[derive(Debug)]
pub(crate) struct RecordMetas<T> {
    spans: VecDeque<Span<T>>,
    key_hashes: Vec<u64>,
}

/// Neighbours in a batch. The token and the arrival number are those of the first.
#[derive(Debug)]
pub(crate) struct Span<T> {
    pub(crate) token: T,
    pub(crate) records: u32,
    pub(crate) generation: u64,
    arrival: u64,
}

impl<T: Token> Span<T> {
    /// Removes the first records of the span and returns them.
    fn split_front(&mut self, records: u32) -> Self {
        let rest = self.token.advanced_by(records);
        let token = std::mem::replace(&mut self.token, rest);
        let front = Self { token, records, generation: self.generation, arrival: self.arrival };
        self.records -= records;
        self.arrival += u64::from(records);
        front
    }
}

impl<T: Token> RecordMetas<T> {
    pub(crate) fn with_capacity(records: usize) -> Self {
        Self { spans: VecDeque::new(), key_hashes: Vec::with_capacity(records) }
    }

    pub(crate) fn len(&self) -> usize {
        self.key_hashes.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, meta: RecordMeta<T>) {
        self.push_key(meta.key_hash);
        self.push_span(meta, 1);
    }

    /// Adds the key of the next record of a batch. [`push_span`](Self::push_span) has to follow with the rest.
    #[inline]
    pub(crate) fn push_key(&mut self, key_hash: u64) {
        self.key_hashes.push(key_hash);
    }

    /// Completes the last `records` keys: they are neighbours in a batch, and `first` is the metadata of the first.
    #[inline]
    pub(crate) fn push_span(&mut self, first: RecordMeta<T>, records: u32) {
        let RecordMeta { token, arrival, generation, .. } = first;
        // Every record takes the next arrival number, and no other sender's record comes into a batch. So records of a batch
        // that arrived one after the other are neighbours in it.
        if let Some(last) = self.spans.back_mut()
            && last.generation == generation
            && last.arrival + u64::from(last.records) == arrival
            && last.token.is_of_same_batch(&token)
        {
            last.records += records;
            return;
        }
        self.spans.push_back(Span { token, records, generation, arrival });
    }

    /// The arrival number of the first record.
    #[inline]
    pub(crate) fn first_arrival(&self) -> Option<u64> {
        Some(self.spans.front()?.arrival)
    }

    /// The arrival number of the last record.
    pub(crate) fn last_arrival(&self) -> Option<u64> {
        let last = self.spans.back()?;
        Some(last.arrival + u64::from(last.records) - 1)
    }

    pub(crate) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.spans.iter().flat_map(|span| span.arrival..span.arrival + u64::from(span.records))
    }

    pub(crate) fn key_hashes(&self) -> &[u64] {
        &self.key_hashes
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span<T>> {
        self.spans.iter()
    }

    pub(crate) fn into_spans(self) -> impl Iterator<Item = Span<T>> {
        self.spans.into_iter()
    }

    /// Moves the first records to the end of `others`.
    pub(crate) fn move_front(&mut self, records: usize, others: &mut Self) {
        others.key_hashes.extend(self.key_hashes.drain(..records));
        let mut left = records as u32;
        while left > 0
            && let Some(mut span) = self.spans.pop_front()
        {
            if span.records > left {
                let front = span.split_front(left);
                self.spans.push_front(span);
                span = front;
            }
            left -= span.records;
            others.spans.push_back(span);
        }
    }

    /// The metadata, record by record.
    pub(crate) fn into_records(self) -> impl Iterator<Item = RecordMeta<T>> {
        let (mut spans, mut key_hashes) = (self.spans, self.key_hashes.into_iter());
        std::iter::from_fn(move || {
            let mut span = spans.pop_front()?;
            if span.records > 1 {
                let first = span.split_front(1);
                spans.push_front(span);
                span = first;
            }
            let Span { token, arrival, generation, .. } = span;
            Some(RecordMeta { token, key_hash: key_hashes.next()?, arrival, generation })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch and a place in it.
    type Place = (char, u32);

    impl Token for Place {
        fn is_of_same_batch(&self, other: &Self) -> bool {
            self.0 == other.0
        }

        fn advanced_by(&self, records: u32) -> Self {
            (self.0, self.1 + records)
        }
    }

    fn metas(places: &[(Place, u64, u64)]) -> RecordMetas<Place> {
        let mut metas = RecordMetas::with_capacity(0);
        for (token, arrival, generation) in places.iter().copied() {
            metas.push(RecordMeta { token, key_hash: arrival * 10, arrival, generation });
        }
        metas
    }

    fn all(metas: RecordMetas<Place>) -> Vec<(Place, u64, u64)> {
        let each = |meta: RecordMeta<Place>| {
            assert_eq!(meta.key_hash, meta.arrival * 10);
            (meta.token, meta.arrival, meta.generation)
        };
        metas.into_records().map(each).collect()
    }

    #[test]
    fn neighbours_share_a_span_and_come_out_one_by_one_wherever_they_are_cut() {
        let places = [
            (('a', 0), 0, 0),
            (('a', 1), 1, 0),
            // Another flush generation, a gap in the batch, and another batch, also where its place would be the next one.
            (('a', 2), 2, 1),
            (('a', 5), 5, 1),
            (('b', 6), 6, 1),
            (('b', 7), 7, 1),
            (('c', 0), 8, 1),
        ];
        let whole = metas(&places);
        assert_eq!(whole.spans().map(|span| span.records).collect::<Vec<_>>(), [2, 1, 1, 2, 1]);
        assert_eq!((whole.first_arrival(), whole.last_arrival()), (Some(0), Some(8)));
        assert!(whole.arrivals().eq([0, 1, 2, 5, 6, 7, 8]));
        for cut in 0..=places.len() {
            let (mut rest, mut front) = (metas(&places), RecordMetas::with_capacity(0));
            rest.move_front(cut, &mut front);
            assert_eq!((front.len(), rest.len()), (cut, places.len() - cut));
            assert_eq!(all(front), places[..cut]);
            assert_eq!(all(rest), places[cut..]);
        }
    }
}
