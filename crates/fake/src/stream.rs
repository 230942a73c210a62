use std::time::Duration;

use statefun_kinesis_client::{
    ChildShard, ErrorKind, Placement, PutFailure, PutOutcome, RecordDistribution, ShardFilter, StreamMode,
    StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{
    HashKey, HashKeyRange, PutRecord, RECORD_MAX_BYTES, RETENTION_DEFAULT, ShardId, StreamArn, Timestamp,
};

use crate::{
    consumers::Consumers,
    numbering::Generations,
    refusal::{Refusal, code_of},
    shard::{ShardLog, shard_number},
};

/// A stream: its settings, its shards by number, and what is being done to it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) arn: StreamArn,
    pub(crate) created: Timestamp,
    pub(crate) retention: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) distribution: RecordDistribution,
    pub(crate) kms_key: Option<String>,
    pub(crate) consumers: Consumers,
    /// A shard's index is its number; shards that left retention stay as empty shells.
    pub(crate) shards: Vec<ShardLog>,
    /// The open shards by the start of their ranges, which together cover the whole space.
    open: Vec<(HashKey, usize)>,
    phase: Phase,
    /// The next open shard that AUTO distribution writes to.
    turn: usize,
}

/// What is being done to a stream, and when that is over.
#[derive(Debug)]
enum Phase {
    Creating { until: Timestamp },
    Active,
    Updating { until: Timestamp, change: Reshard },
    Deleting { until: Timestamp },
}

/// A change of shards that was checked and accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reshard {
    Split { shard: usize, at: HashKey },
    Merge { shard: usize, adjacent: usize },
}

impl Stream {
    /// A stream with shards of equal ranges, which is ACTIVE at `active`.
    pub(crate) fn new(
        arn: StreamArn,
        shards: usize,
        now: Timestamp,
        active: Timestamp,
        generations: &mut Generations,
    ) -> Self {
        let shards: Vec<_> = equal_ranges(shards)
            .enumerate()
            .map(|(number, range)| ShardLog::open(number, Vec::new(), range, generations.numbers(now, number), now))
            .collect();
        let mut stream = Self {
            arn,
            created: now,
            retention: RETENTION_DEFAULT,
            max_record_bytes: RECORD_MAX_BYTES,
            distribution: RecordDistribution::UserPartitionKey,
            kms_key: None,
            consumers: Consumers::default(),
            shards,
            open: Vec::new(),
            phase: Phase::Creating { until: active },
            turn: 0,
        };
        stream.index_open_shards();
        stream
    }

    fn index_open_shards(&mut self) {
        let open = self.shards.iter().enumerate().filter(|(_, shard)| shard.closed.is_none());
        self.open = open.map(|(number, shard)| (shard.range.start(), number)).collect();
        self.open.sort_unstable();
    }

    /// Carries out what was due by now. Returns false once the stream is gone.
    pub(crate) fn settle(&mut self, now: Timestamp, generations: &mut Generations) -> bool {
        self.consumers.settle(now);
        match self.phase {
            Phase::Creating { until } if until <= now => self.phase = Phase::Active,
            Phase::Updating { until, change } if until <= now => {
                self.phase = Phase::Active;
                self.reshard(change, until, generations);
            }
            Phase::Deleting { until } if until <= now => return false,
            Phase::Creating { .. } | Phase::Active | Phase::Updating { .. } | Phase::Deleting { .. } => {}
        }
        true
    }

    fn reshard(&mut self, change: Reshard, now: Timestamp, generations: &mut Generations) {
        let range = |start, end| HashKeyRange::new(start, end).expect("the change was checked when it was accepted");
        let (parents, ranges) = match change {
            Reshard::Split { shard, at } => {
                let whole = self.shards[shard].range;
                let below = HashKey::new(at.get() - 1);
                (vec![shard], vec![range(whole.start(), below), range(at, whole.end())])
            }
            Reshard::Merge { shard, adjacent } => {
                let (a, b) = (self.shards[shard].range, self.shards[adjacent].range);
                (vec![shard, adjacent], vec![range(a.start().min(b.start()), a.end().max(b.end()))])
            }
        };
        let first = self.shards.len();
        let children: Vec<usize> = (first..first + ranges.len()).collect();
        for &parent in &parents {
            self.shards[parent].closed = Some(now);
            self.shards[parent].children.clone_from(&children);
            self.shards[parent].wake();
        }
        for (number, range) in children.into_iter().zip(ranges) {
            let numbers = generations.numbers(now, number);
            self.shards.push(ShardLog::open(number, parents.clone(), range, numbers, now));
        }
        self.index_open_shards();
    }

    pub(crate) fn status(&self) -> StreamStatus {
        match self.phase {
            Phase::Creating { .. } => StreamStatus::Creating,
            Phase::Active => StreamStatus::Active,
            Phase::Updating { .. } => StreamStatus::Updating,
            Phase::Deleting { .. } => StreamStatus::Deleting,
        }
    }

    pub(crate) fn summary(&self) -> StreamSummary {
        let mut summary = StreamSummary::new(self.arn.clone(), self.created, self.open.len());
        summary.status = self.status();
        summary.retention = self.retention;
        summary.max_record_bytes = self.max_record_bytes;
        summary.distribution = self.distribution;
        summary.consumers = self.consumers.count();
        summary.kms_key.clone_from(&self.kms_key);
        // Only on-demand streams can let the service distribute records.
        if self.distribution == RecordDistribution::Auto {
            summary.mode = StreamMode::OnDemand;
        }
        summary
    }

    /// Refuses what the service takes only while nothing else is being done to the stream.
    pub(crate) fn check_active(&self) -> Result<(), Refusal> {
        match self.status() {
            StreamStatus::Active => Ok(()),
            status @ (StreamStatus::Creating | StreamStatus::Updating | StreamStatus::Deleting) => {
                Err(Refusal::in_use(format!("stream {} is {status}, not ACTIVE", self.arn)))
            }
        }
    }

    pub(crate) fn delete(&mut self, until: Timestamp) {
        self.phase = Phase::Deleting { until };
    }

    /// When the shards change, if that was accepted already.
    pub(crate) fn reshards_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Updating { until, .. } => Some(until),
            Phase::Creating { .. } | Phase::Active | Phase::Deleting { .. } => None,
        }
    }

    /// Has all subscriptions look again.
    pub(crate) fn wake(&self) {
        self.shards.iter().for_each(ShardLog::wake);
    }

    /// The child shards of a shard, as its end tells of them.
    pub(crate) fn children(&self, number: usize) -> Vec<ChildShard> {
        self.shards[number].children.iter().map(|&child| self.shards[child].describe_as_child()).collect()
    }

    pub(crate) fn update(&mut self, change: Reshard, until: Timestamp) {
        self.phase = Phase::Updating { until, change };
    }

    pub(crate) fn open_shards(&self) -> usize {
        self.open.len()
    }

    /// Records that arrived before this have left retention.
    pub(crate) fn horizon(&self, now: Timestamp) -> Timestamp {
        now.before(self.retention)
    }

    /// Forgets all that has left retention.
    pub(crate) fn trim(&mut self, now: Timestamp) {
        let horizon = self.horizon(now);
        for shard in &mut self.shards {
            shard.trim(horizon);
        }
    }

    /// A shard by its number, trimmed; refused when there is none or it has left retention.
    pub(crate) fn shard_mut(&mut self, number: usize, now: Timestamp) -> Result<&mut ShardLog, Refusal> {
        let horizon = self.horizon(now);
        if let Some(shard) = self.shards.get_mut(number) {
            shard.trim(horizon);
        }
        match self.shards.get_mut(number) {
            Some(shard) if !shard.gone => Ok(shard),
            _ => Err(Refusal::not_found(format!("stream {} has no shard with the number {number}", self.arn))),
        }
    }

    /// The number of the shard with this id.
    pub(crate) fn number(&mut self, id: &ShardId, now: Timestamp) -> Result<usize, Refusal> {
        shard_number(id)
            .filter(|&number| self.shard_mut(number, now).is_ok_and(|shard| shard.id == *id))
            .ok_or_else(|| Refusal::not_found(format!("stream {} has no shard {id}", self.arn)))
    }

    /// The number of an open shard that is about to be split or merged.
    pub(crate) fn open_number(&mut self, id: &ShardId, now: Timestamp) -> Result<usize, Refusal> {
        let number = self.number(id, now)?;
        if self.shards[number].closed.is_some() {
            return Err(Refusal::invalid(format!("shard {id} of stream {} is not open", self.arn)));
        }
        Ok(number)
    }

    /// The shards that the filter names and whose number is above `after`, by number.
    pub(crate) fn list(
        &mut self,
        filter: &ShardFilter,
        after: Option<usize>,
        now: Timestamp,
    ) -> impl Iterator<Item = (usize, &ShardLog)> {
        self.trim(now);
        // A young stream's horizon is its creation. Times before the horizon count as the horizon; the API reference
        // says so of FROM_TIMESTAMP.
        let horizon = self.horizon(now).max(self.created);
        let filter = filter.clone();
        self.shards.iter().enumerate().filter(move |(number, shard)| {
            let open_at = |time: Timestamp| {
                let time = time.max(horizon);
                shard.opened <= time && shard.closed.is_none_or(|closed| closed >= time)
            };
            !shard.gone
                && after.is_none_or(|after| *number > after)
                && match &filter {
                    ShardFilter::AtTrimHorizon => open_at(horizon),
                    ShardFilter::AtLatest => shard.closed.is_none(),
                    ShardFilter::AtTimestamp(time) => open_at(*time),
                    ShardFilter::FromTimestamp(time) => shard.closed.is_none_or(|closed| closed >= *time),
                    ShardFilter::AfterShardId(id) => shard.id > *id,
                    ShardFilter::FromTrimHorizon => true,
                }
        })
    }

    fn route(&mut self, record: &PutRecord) -> usize {
        match self.distribution {
            RecordDistribution::Auto => {
                self.turn = (self.turn + 1) % self.open.len();
                self.open[self.turn].1
            }
            RecordDistribution::UserPartitionKey => {
                let key = record.hash_key();
                // The first open shard starts at zero, so that at least one starts at or below any key.
                self.open[self.open.partition_point(|&(start, _)| start <= key) - 1].1
            }
        }
    }

    /// Stores one record in the shard that it belongs to.
    pub(crate) fn put(&mut self, record: &PutRecord, now: Timestamp, enforce_throughput: bool) -> PutOutcome {
        let number = self.route(record);
        let horizon = self.horizon(now);
        let shard = &mut self.shards[number];
        if enforce_throughput && !shard.throughput.admit_write(record.size(), now) {
            return Err(PutFailure::new(
                ErrorKind::Throttled,
                code_of(ErrorKind::Throttled).unwrap_or_default(),
                format!("rate exceeded for shard {} of stream {}", shard.id, self.arn),
            ));
        }
        shard.trim(horizon);
        let sequence_number = shard.append(record.partition_key.clone(), record.data.clone(), now);
        Ok(Placement { shard: shard.id.clone(), sequence_number })
    }
}

/// The hash key space in `count` parts of equal size; the last one takes what division leaves over, as the service's
/// does.
fn equal_ranges(count: usize) -> impl Iterator<Item = HashKeyRange> {
    let parts = count as u128;
    // 2^128 does not fit: its quotient is that of 2^128 - 1, and one more when the remainder is one short.
    let size = if parts == 1 { 0 } else { u128::MAX / parts + u128::from(u128::MAX % parts == parts - 1) };
    (0..parts).map(move |part| {
        let start = HashKey::new(part * size);
        let end = if part + 1 == parts { HashKey::MAX } else { HashKey::new((part + 1) * size - 1) };
        HashKeyRange::new(start, end).expect("a part of the space is not empty")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The starts and the last end of `count` ranges, which are checked to leave no gap.
    fn starts(count: usize) -> Vec<u128> {
        let ranges: Vec<_> = equal_ranges(count).collect();
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end().get() + 1, pair[1].start().get(), "{count} ranges");
        }
        assert_eq!(ranges[0].start(), HashKey::MIN);
        assert_eq!(ranges[count - 1].end(), HashKey::MAX);
        ranges.iter().map(|range| range.start().get()).collect()
    }

    #[test]
    fn ranges_are_those_that_the_service_gives() {
        assert_eq!(starts(1), [0]);
        assert_eq!(starts(2), [0, 1 << 127]);
        let third = 113_427_455_640_312_821_154_458_202_477_256_070_485;
        assert_eq!(starts(3), [0, third, 2 * third]);
        assert_eq!(starts(4), [0, 1 << 126, 2 << 126, 3 << 126]);
        for count in [5, 7, 1_000, 20_000] {
            assert_eq!(starts(count).len(), count);
        }
    }
}
