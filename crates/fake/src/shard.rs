use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use statefun_kinesis_client::ChildShard;
use statefun_kinesis_types::{
    HashKeyRange, PartitionKey, Record, SequenceNumber, Shard, ShardId, StartPosition, Timestamp,
};
use tokio::sync::Notify;

use crate::{numbering::Numbers, refusal::Refusal, throughput::ShardThroughput};

/// A shard: a log of records that is trimmed at the front, and closed at the back when it is split or merged.
///
/// A place in it is an offset: the count of records before it since the shard's birth. Offsets stay right when the
/// front is trimmed.
#[derive(Clone, Debug)]
pub(crate) struct ShardLog {
    pub(crate) id: ShardId,
    /// None, one (split) or two (merge), as numbers in the stream.
    pub(crate) parents: Vec<usize>,
    pub(crate) children: Vec<usize>,
    pub(crate) range: HashKeyRange,
    pub(crate) opened: Timestamp,
    pub(crate) closed: Option<Timestamp>,
    /// Set once the shard has left retention, so that a longer retention does not bring it back.
    pub(crate) gone: bool,
    pub(crate) throughput: ShardThroughput,
    numbers: Numbers,
    newest: SequenceNumber,
    records: VecDeque<Record>,
    trimmed: u64,
    /// Where the shard was trimmed to.
    last_trimmed: SequenceNumber,
    /// Wakes the shard's subscriptions. There is none before the first one.
    wake: Option<Arc<Notify>>,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) records: Vec<Record>,
    /// Bytes of the records, keys included.
    pub(crate) bytes: usize,
    /// Where to go on; none at the end of a closed shard.
    pub(crate) next: Option<u64>,
    pub(crate) behind: Duration,
}

impl ShardLog {
    pub(crate) fn open(
        number: usize,
        parents: Vec<usize>,
        range: HashKeyRange,
        numbers: Numbers,
        now: Timestamp,
    ) -> Self {
        Self {
            id: shard_id(number),
            parents,
            children: Vec::new(),
            range,
            opened: now,
            closed: None,
            gone: false,
            throughput: ShardThroughput::new(now),
            numbers,
            newest: numbers.first,
            records: VecDeque::new(),
            trimmed: 0,
            last_trimmed: numbers.first,
            wake: None,
        }
    }

    /// What [`wake`](Self::wake) wakes.
    pub(crate) fn wakes(&mut self) -> Arc<Notify> {
        Arc::clone(self.wake.get_or_insert_default())
    }

    /// Has the shard's subscriptions look again.
    pub(crate) fn wake(&self) {
        if let Some(wake) = &self.wake {
            wake.notify_waiters();
        }
    }

    /// The shard as ListShards describes it.
    pub(crate) fn describe(&self) -> Shard {
        let mut shard = Shard::new(self.id.clone(), self.range, self.numbers.first);
        let mut parents = self.parents.iter().copied().map(shard_id);
        shard.parent = parents.next();
        shard.adjacent_parent = parents.next();
        shard.ending_sequence_number = self.closed.map(|_| self.numbers.last);
        shard
    }

    /// The shard as GetRecords tells of it at the end of its parents.
    pub(crate) fn describe_as_child(&self) -> ChildShard {
        ChildShard::new(self.id.clone(), self.parents.iter().copied().map(shard_id).collect(), self.range)
    }

    pub(crate) fn append(&mut self, key: PartitionKey, data: Bytes, now: Timestamp) -> SequenceNumber {
        self.newest = Numbers::next(self.newest);
        self.records.push_back(Record::new(self.newest, Some(key), now, data));
        self.wake();
        self.newest
    }

    /// Forgets records that arrived before `horizon`.
    pub(crate) fn trim(&mut self, horizon: Timestamp) {
        while let Some(record) = self.records.pop_front_if(|record| record.approximate_arrival < horizon) {
            self.last_trimmed = record.sequence_number;
            self.trimmed += 1;
        }
        if self.closed.is_some_and(|closed| closed < horizon) {
            self.gone = true;
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The offset behind the newest record.
    fn end(&self) -> u64 {
        self.trimmed + self.records.len() as u64
    }

    /// The offset of a start position.
    ///
    /// A sequence number must be one that this shard could have given by now, as a continuation too. The record itself
    /// need not be there any more: behind or at a trimmed record reading goes on at the trim horizon.
    pub(crate) fn offset(&self, from: StartPosition, now: Timestamp) -> Result<u64, Refusal> {
        let index = match from {
            StartPosition::TrimHorizon => 0,
            StartPosition::Latest => self.records.len(),
            // Arrival times never go back here, which is more than the service promises.
            StartPosition::AtTimestamp(time) if time <= now => {
                self.records.partition_point(|record| record.approximate_arrival < time)
            }
            StartPosition::AtTimestamp(time) => {
                return Err(Refusal::invalid(format!("the timestamp {time} lies in the future: it is {now}")));
            }
            StartPosition::AtSequenceNumber(number) => {
                self.check_number(number)?;
                self.records.partition_point(|record| record.sequence_number < number)
            }
            StartPosition::AfterSequenceNumber(number) => {
                self.check_number(number)?;
                self.records.partition_point(|record| record.sequence_number <= number)
            }
        };
        Ok(self.trimmed + index as u64)
    }

    fn check_number(&self, number: SequenceNumber) -> Result<(), Refusal> {
        let past =
            if self.closed.is_some() { number <= self.numbers.last } else { number < Numbers::next(self.newest) };
        if self.numbers.first <= number && past {
            return Ok(());
        }
        Err(Refusal::invalid(format!("the sequence number {number} did not come from {}", self.id)))
    }

    /// The number of the record before `offset`, or one below all records when there never was one.
    pub(crate) fn number_before(&self, offset: u64) -> SequenceNumber {
        match usize::try_from(offset.saturating_sub(self.trimmed)) {
            Ok(index @ 1..) => self.records.get(index - 1).map_or(self.newest, |record| record.sequence_number),
            _ => self.last_trimmed,
        }
    }

    /// Up to `limit` records and `max_bytes` (but a larger record by itself) from `offset` on, or from the trim horizon
    /// if that lies behind it.
    pub(crate) fn read(&self, offset: u64, limit: usize, max_bytes: usize, now: Timestamp) -> Read {
        let start = offset.saturating_sub(self.trimmed) as usize;
        let waiting = self.records.len().saturating_sub(start);
        let mut records = Vec::with_capacity(waiting.min(limit));
        let mut bytes = 0;
        for record in self.records.range(self.records.len() - waiting..).take(limit) {
            bytes += record.size();
            if bytes > max_bytes && !records.is_empty() {
                bytes -= record.size();
                break;
            }
            records.push(record.clone());
        }
        let next = offset.max(self.trimmed) + records.len() as u64;
        let at_end = next >= self.end();
        // While records wait, a reader must not be told that it is at the tip, even within the same millisecond.
        let behind = match records.last() {
            Some(record) if !at_end => now.since(record.approximate_arrival).max(Duration::from_millis(1)),
            _ => Duration::ZERO,
        };
        Read { records, bytes, next: (!at_end || self.closed.is_none()).then_some(next), behind }
    }
}

/// The id of the shard with this number in its stream.
pub(crate) fn shard_id(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().expect("a number makes a valid shard id")
}

/// The number of the shard with this id, if the id has the service's form.
pub(crate) fn shard_number(id: &ShardId) -> Option<usize> {
    let digits = id.as_str().strip_prefix("shardId-")?;
    let plain = digits.len() >= 12 && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_number_of_its_shard_and_one_form() {
        for number in [0, 7, 999_999_999_999, 1_000_000_000_000] {
            assert_eq!(shard_number(&shard_id(number)), Some(number));
        }
        for other in ["shardId-7", "shardId-", "shardId-00000000000x", "other-000000000007", "000000000007"] {
            assert_eq!(shard_number(&other.parse().unwrap()), None, "{other}");
        }
    }
}
