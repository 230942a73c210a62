//! Where records are stored.

use std::sync::Arc;

use statefun_kinesis_client::{Placement, PutOutcome};
use statefun_kinesis_types::{SequenceNumber, ShardId};

use crate::SendError;

/// Where a record is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Stored {
    /// The shard.
    pub shard: ShardId,
    /// The position in the shard. All records of one aggregate have the same.
    pub sequence_number: SequenceNumber,
    /// The position in the aggregate with the record, from 0; 0 for a record that was sent by itself.
    pub sub_sequence_number: u64,
}

/// The outcome of a batch: each record is stored, or was skipped or dead-lettered as [`OnFailure`](crate::OnFailure)
/// says.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    records: usize,
    /// Where the stored records are, in the order of the batch.
    runs: Vec<Run>,
    handled: Vec<(usize, SendError)>,
}

/// Neighbours in a batch that were stored.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The position of the first of them in the batch.
    pub(crate) first: u32,
    pub(crate) records: u32,
    pub(crate) location: Location,
}

/// Where a run is stored.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// Successive records of one aggregate, the first of which has this sub-sequence number.
    Aggregate { placement: Arc<Placement>, sub_sequence_number: u64 },
    /// Successive records of one request, the first of which has the outcome `from`. Answers are shared and never copied.
    Request { outcomes: Arc<Vec<PutOutcome>>, from: u32 },
}

impl Run {
    /// Whether `next` continues this run: both are of the same aggregate.
    fn is_continued_by(&self, next: &Self) -> bool {
        let (
            Location::Aggregate { placement, sub_sequence_number },
            Location::Aggregate { placement: other, sub_sequence_number: sub },
        ) = (&self.location, &next.location)
        else {
            return false;
        };
        self.first + self.records == next.first
            && sub_sequence_number + u64::from(self.records) == *sub
            && Arc::ptr_eq(placement, other)
    }

    /// Where a record of the run is.
    fn get(&self, offset: u32) -> Option<Stored> {
        let (placement, sub_sequence_number) = match &self.location {
            Location::Aggregate { placement, sub_sequence_number } => {
                (&**placement, sub_sequence_number + u64::from(offset))
            }
            Location::Request { outcomes, from } => (outcomes.get((from + offset) as usize)?.as_ref().ok()?, 0),
        };
        let Placement { shard, sequence_number } = placement.clone();
        Some(Stored { shard, sequence_number, sub_sequence_number })
    }
}

impl Delivered {
    /// A batch of which no record is stored, since all of them were skipped or dead-lettered.
    pub(crate) fn all_handled(errors: Vec<SendError>) -> Self {
        Self { records: errors.len(), runs: Vec::new(), handled: errors.into_iter().enumerate().collect() }
    }

    /// A batch of so many records, of which no outcome is known yet.
    pub(crate) fn pending(records: usize) -> Self {
        Self { records, ..Self::default() }
    }

    /// Adds records that were stored.
    pub(crate) fn add_stored(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.is_continued_by(&run) => last.records += run.records,
            _ => self.runs.push(run),
        }
    }

    /// Adds a record that was skipped or dead-lettered.
    pub(crate) fn add_handled(&mut self, index: u32, error: SendError) {
        self.handled.push((index as usize, error));
    }

    /// All outcomes were added: puts the stored records into the order of the batch.
    pub(crate) fn sort(&mut self) {
        // Answers come in any order. The runs of one answer are sorted already, which a stable sort makes use of.
        self.runs.sort_by_key(|run| run.first);
    }

    /// How many records the batch had.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether the batch had no records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Where a record of the batch is stored; `None` when it was skipped or dead-lettered, or the batch has no such record.
    pub fn get(&self, index: usize) -> Option<Stored> {
        let index = u32::try_from(index).ok()?;
        let run = self.runs.get(self.runs.partition_point(|run| run.first <= index).checked_sub(1)?)?;
        let offset = index - run.first;
        if offset < run.records { run.get(offset) } else { None }
    }

    /// Where the stored records are, in the order of the batch.
    pub fn stored(&self) -> impl Iterator<Item = Stored> {
        self.runs.iter().flat_map(|run| (0..run.records).filter_map(|offset| run.get(offset)))
    }

    /// The records that were skipped or dead-lettered, each with its position in the batch.
    pub fn handled(&self) -> &[(usize, SendError)] {
        &self.handled
    }

    /// As [`handled`](Self::handled), by value.
    pub fn into_handled(self) -> Vec<(usize, SendError)> {
        self.handled
    }
}
