use std::time::Instant;

use statefun_kinesis_aggregation::Unsealed;
use statefun_kinesis_types::PutRecord;

use crate::queue::EntryId;

/// One PutRecords request: at most 500 records and 10 MiB, and, where order is kept, no partition key in two of its
/// records.
///
/// The machine makes it, and takes it back with its answer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) content: Content,
    /// The key of what the machine keeps of the untracked records, if there are any; they come first in the content.
    pub(crate) untracked: Option<usize>,
    /// The entries of the other user records, in the order of the content.
    pub(crate) ids: Vec<EntryId>,
    /// The version of the shard map with which it was made.
    pub(crate) map_version: u32,
    /// When it was sent.
    pub(crate) sent: Instant,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Records as they are: untracked ones, then one per entry. They are moved and never copied.
    Plain(Vec<PutRecord>),
    /// Aggregates. Their user records stay in the queue.
    Aggregates(Vec<AggregateInFlight>),
}

/// An aggregate in a request. It has the user records of the next so many entries.
#[derive(Clone, Debug)]
pub(crate) struct AggregateInFlight {
    pub(crate) unsealed: Option<Unsealed>,
    pub(crate) records: usize,
    /// The queue of the shard to which all of them belong.
    pub(crate) shard_queue: usize,
}

impl Request {
    /// The number of records as the service counts them: an aggregate is one.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::Plain(records) => records.len(),
            Content::Aggregates(aggregates) => aggregates.len(),
        }
    }

    /// Removes the aggregates from the request to send them; none when its records are sent as they are. The machine does
    /// not need them when the request comes back.
    pub(crate) fn take_aggregates(&mut self) -> Vec<Unsealed> {
        match &mut self.content {
            Content::Plain(_) => Vec::new(),
            Content::Aggregates(aggregates) => {
                aggregates.iter_mut().filter_map(|aggregate| aggregate.unsealed.take()).collect()
            }
        }
    }

    /// The records that are sent as they are.
    pub(crate) fn plain(&self) -> &[PutRecord] {
        match &self.content {
            Content::Plain(records) => records,
            Content::Aggregates(_) => &[],
        }
    }
}
