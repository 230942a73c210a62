use statefun_kinesis_aggregation::Unsealed;
use statefun_kinesis_types::PutRecord;

/// One PutRecords request: at most 500 records and 10 MiB, and, where order is kept, no partition key in two of its
/// records.
///
/// The machine gives it out and takes it back with its answer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) load: Load,
    /// What the machine remembers of the loose records, if there are any; they come first in the load.
    pub(crate) loose: Option<u32>,
    /// The places of the other user records in the machine's queue, in the order of the load.
    pub(crate) places: Vec<u32>,
    /// The shard map under which it was put together.
    pub(crate) map_version: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Records as they are: loose ones, then one per place. They are moved and never copied.
    Plain(Vec<PutRecord>),
    /// Aggregates. Their user records stay in the queue.
    Aggregates(Vec<Item>),
}

/// An aggregate on its way. The next so many places are in it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) unsealed: Option<Unsealed>,
    pub(crate) records: usize,
    /// The lane of the shard that all of them belong to.
    pub(crate) lane: usize,
}

impl Request {
    /// The records of the request as the service knows them.
    pub(crate) fn len(&self) -> usize {
        match &self.load {
            Load::Plain(records) => records.len(),
            Load::Aggregates(items) => items.len(),
        }
    }

    /// The aggregates of the request, for whoever carries it; none when the records are sent as they are. The machine
    /// has no use for them when the request comes back.
    pub(crate) fn take_aggregates(&mut self) -> Vec<Unsealed> {
        match &mut self.load {
            Load::Plain(_) => Vec::new(),
            Load::Aggregates(items) => items.iter_mut().filter_map(|item| item.unsealed.take()).collect(),
        }
    }

    /// The records that are sent as they are.
    pub(crate) fn plain(&self) -> &[PutRecord] {
        match &self.load {
            Load::Plain(records) => records,
            Load::Aggregates(_) => &[],
        }
    }
}
