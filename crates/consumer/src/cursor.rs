//! Where the reading of a shard is, whichever way it is read.

use std::time::Duration;

use statefun_kinesis_types::{Record, SequenceNumber, StartPosition};

use crate::{Extent, Position, unpack::Contents};

/// Where reading of a shard begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Where the service finds it.
    From(StartPosition),
    /// Behind what was processed.
    Behind(Position),
}

impl Begin {
    /// What was processed before.
    pub(crate) fn done(self) -> Option<Position> {
        match self {
            Self::From(_) => None,
            Self::Behind(position) => Some(position),
        }
    }
}

/// Records of a shard as the service keeps them, in order and at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    pub(crate) contents: Contents,
    pub(crate) behind_latest: Duration,
}

/// How far a shard was read. One way of reading leaves it to the next one, which goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    begin: Begin,
    /// The last record that was given on, in this run or before it.
    last: Option<Position>,
    /// Where the service says that a subscription goes on; it moves although no record comes.
    continuation: Option<SequenceNumber>,
}

impl Cursor {
    pub(crate) fn new(begin: Begin) -> Self {
        Self { begin, last: begin.done(), continuation: None }
    }

    /// The last record that was given on.
    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<Position> {
        self.last
    }

    /// Where the next record is.
    pub(crate) fn position(&self) -> StartPosition {
        match self.continuation {
            Some(number) if self.last <= Some(Position::behind(number)) => StartPosition::AfterSequenceNumber(number),
            _ => match self.last.map_or(self.begin, Begin::Behind) {
                Begin::From(start) => start,
                Begin::Behind(Position { sequence_number, extent: Extent::All }) => {
                    StartPosition::AfterSequenceNumber(sequence_number)
                }
                // Inside an aggregate: it comes again, and what was processed of it is left out when it is unpacked.
                Begin::Behind(last) => StartPosition::AtSequenceNumber(last.sequence_number),
            },
        }
    }

    /// The service says that nothing is left to read up to this number.
    pub(crate) fn set_continuation(&mut self, continuation: SequenceNumber) {
        self.continuation = Some(continuation);
    }

    /// Forgets what the service said, and goes on behind the last record; whether that makes a difference.
    pub(crate) fn forget_continuation(&mut self) -> bool {
        let before = self.position();
        self.continuation = None;
        self.position() != before
    }

    /// What is new in these records; nothing when all were given on before.
    pub(crate) fn page(
        &mut self,
        mut records: Vec<Record>,
        mut contents: Contents,
        behind_latest: Duration,
    ) -> Option<Page> {
        if let Some(last) = self.last {
            // A record that was processed in part comes again as a whole.
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
