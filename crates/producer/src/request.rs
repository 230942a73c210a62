use statefun_kinesis_types::PutRecord;

/// One PutRecords request: at most 500 records and 10 MiB, and no partition key twice.
///
/// The machine gives it out and takes it back with its answer, so that the records are moved and never copied.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(super) records: Vec<PutRecord>,
    /// The places of the records in the machine's queue, in the same order.
    pub(super) places: Vec<usize>,
}

impl Request {
    pub(crate) fn records(&self) -> &[PutRecord] {
        &self.records
    }
}
