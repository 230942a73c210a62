//! How far a shard was read, by polling or by enhanced fan-out.

use std::time::Duration;

use statefun_kinesis_types::{Record, SequenceNumber, StartPosition};

use crate::{Extent, Position, unpack::Contents};

/// Where reading of a shard begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At a position that the service finds.
    From(StartPosition),
    /// Behind a stored position.
    Behind(Position),
}

impl Begin {
    /// The stored position, if there is one.
    pub(crate) fn done(self) -> Option<Position> {
        match self {
            Self::From(_) => None,
            Self::Behind(position) => Some(position),
        }
    }
}

/// Records of a shard as the service stores them, in order, at least one. Aggregates are still packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    pub(crate) contents: Contents,
    pub(crate) behind_latest: Duration,
}

/// How far a shard was read. It is handed over when reading switches between polling and enhanced fan-out, so that no
/// record is read twice or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    begin: Begin,
    /// The last record that was returned, in this run or an earlier one.
    last: Option<Position>,
    /// The ContinuationSequenceNumber of the last event, which moves although no records come. It need not be that of a
    /// record.
    continuation: Option<SequenceNumber>,
}

impl Cursor {
    pub(crate) fn new(begin: Begin) -> Self {
        Self { begin, last: begin.done(), continuation: None }
    }

    /// The last record that was returned.
    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<Position> {
        self.last
    }

    /// Where reading continues.
    pub(crate) fn position(&self) -> StartPosition {
        if let Some(number) = self.continuation
            && self.last <= Some(Position::behind(number))
        {
            return StartPosition::AfterSequenceNumber(number);
        }
        match self.last.map_or(self.begin, Begin::Behind) {
            Begin::From(start) => start,
            Begin::Behind(Position { sequence_number, extent: Extent::All }) => {
                StartPosition::AfterSequenceNumber(sequence_number)
            }
            // Inside an aggregate: the service gives the whole record again, and the unpacker leaves out the user records
            // that were processed.
            Begin::Behind(Position { sequence_number, extent: Extent::UpTo(_) }) => {
                StartPosition::AtSequenceNumber(sequence_number)
            }
        }
    }

    /// Everything up to this number was read, says the service.
    pub(crate) fn set_continuation(&mut self, continuation: SequenceNumber) {
        self.continuation = Some(continuation);
    }

    /// Continues behind the last record instead of the continuation; returns whether that is another position.
    pub(crate) fn forget_continuation(&mut self) -> bool {
        let before = self.position();
        self.continuation = None;
        self.position() != before
    }

    /// The records that were not returned before; `None` if there are none.
    pub(crate) fn page(
        &mut self,
        mut records: Vec<Record>,
        mut contents: Contents,
        behind_latest: Duration,
    ) -> Option<Page> {
        if !records.is_sorted_by(|one, next| one.sequence_number < next.sequence_number) {
            // The service never does this. One that repeats records, or mixes them up, must not cost any: what follows
            // removes those at the beginning that are known.
            records.sort_by_key(|record| record.sequence_number);
            records.dedup_by_key(|record| record.sequence_number);
            contents = Contents::of(&records);
        }
        if let Some(last) = self.last {
            // Not those that were processed in part: they are needed again as a whole.
            let known = records.partition_point(|record| Position::behind(record.sequence_number) <= last);
            contents.bytes -= records.drain(..known).map(|record| record.size()).sum::<usize>();
        }
        self.last = Some(Position::behind(records.last()?.sequence_number));
        Some(Page { records, contents, behind_latest })
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::Timestamp;

    use super::*;

    fn record(number: u64) -> Record {
        Record::new(number.into(), None, Timestamp::EPOCH, "12345".into())
    }

    fn after(number: u64) -> StartPosition {
        StartPosition::AfterSequenceNumber(number.into())
    }

    #[test]
    fn reading_goes_on_behind_the_last_record_or_where_the_service_says_it_does() {
        let trim_horizon = Begin::From(StartPosition::TrimHorizon);
        let mut cursor = Cursor::new(trim_horizon);
        assert_eq!(cursor.position(), StartPosition::TrimHorizon);
        cursor.set_continuation(5_u64.into());
        assert_eq!(cursor.position(), after(5));

        let page = cursor.page(vec![record(6), record(9)], Contents::of(&[record(6), record(9)]), Duration::ZERO);
        assert_eq!(page.unwrap().records.len(), 2);
        assert_eq!(cursor.position(), after(9), "what was read later goes before what the service said");
        assert!(!cursor.forget_continuation());
        cursor.set_continuation(12_u64.into());
        assert_eq!(cursor.position(), after(12));
        assert!(cursor.forget_continuation());
        assert_eq!(cursor.position(), after(9));
    }

    #[test]
    fn inside_an_aggregate_its_record_comes_again_until_the_service_is_behind_it() {
        let mut cursor = Cursor::new(Begin::Behind(Position::inside(7_u64.into(), 3)));
        assert_eq!(cursor.position(), StartPosition::AtSequenceNumber(7_u64.into()));
        cursor.set_continuation(6_u64.into());
        assert_eq!(cursor.position(), StartPosition::AtSequenceNumber(7_u64.into()));
        cursor.set_continuation(7_u64.into());
        assert_eq!(cursor.position(), after(7));
    }
}
