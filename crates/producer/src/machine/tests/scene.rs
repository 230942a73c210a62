//! What the tests of the machine share.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use bytes::Bytes;
use statefun_kinesis_client::{Backoff, Error, ErrorKind, Operation, Placement, PutFailure, PutOutcome};
use statefun_kinesis_types::{HashKey, HashKeyRange, LogLevel, PUT_RECORDS_MAX_BYTES, PutRecord, Shard, ShardId};

use crate::{
    Aggregation, Handling, Reason, SendError, Settings, Stored,
    machine::{Limits, Machine, Outcome},
    policy::Policy,
    record_meta::Token,
    request::{Content, Request},
    shard_map::ShardMap,
};

pub(super) const MIB: usize = 1 << 20;
pub(super) static PAYLOAD: [u8; 3 * MIB] = [0; 3 * MIB];
pub(super) const MILLI: Duration = Duration::from_millis(1);

pub(super) fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(super) const SKIP: Policy = Policy::Skip { log: LogLevel::Debug };
pub(super) const DEAD_LETTER: Policy = Policy::DeadLetter { log: LogLevel::Debug };

/// No lingering and delays of exactly known bounds, so that a test sees one thing at a time.
pub(super) fn plain() -> Settings {
    Settings {
        linger: Duration::ZERO,
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        seed: Some(1),
        ..Settings::default()
    }
}

pub(super) fn record(key: &str, bytes: usize) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), Bytes::from_static(&PAYLOAD[..bytes]))
}

pub(super) fn machine<T: Token, W>(settings: Settings) -> Machine<T, W> {
    let limits = Limits { max_record_bytes: PUT_RECORDS_MAX_BYTES, hash_decides: true };
    Machine::new("orders".parse().unwrap(), settings, Policy::Fail, limits)
}

pub(super) fn placement() -> Placement {
    Placement { shard: "shardId-000000000000".parse().unwrap(), sequence_number: 1_u64.into() }
}

pub(super) fn stored() -> PutOutcome {
    Ok(placement())
}

pub(super) fn throttled() -> PutOutcome {
    Err(PutFailure::new(ErrorKind::Throttled, "ProvisionedThroughputExceededException", "slow down"))
}

pub(super) fn internal() -> PutOutcome {
    Err(PutFailure::new(ErrorKind::Unavailable, "InternalFailure", "try again"))
}

pub(super) fn call_error(kind: ErrorKind) -> Error {
    Error::new(Operation::PutRecords, kind, "as the test wants it")
}

/// Records by name: each was sent by itself.
impl Token for &'static str {
    fn is_of_same_batch(&self, _: &Self) -> bool {
        false
    }

    fn advanced_by(&self, _: u32) -> Self {
        unreachable!("no name is of a batch")
    }
}

/// Records by number: all of one batch.
impl Token for u64 {
    fn is_of_same_batch(&self, _: &Self) -> bool {
        true
    }

    fn advanced_by(&self, records: u32) -> Self {
        *self + u64::from(records)
    }
}

/// A machine with its time, and a token per record that says which one it is.
pub(super) struct Rig {
    pub(super) machine: Machine<&'static str, &'static str>,
    pub(super) now: Instant,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        Self { machine: machine(settings), now: Instant::now() }
    }

    /// Queues records of a few bytes whose keys are the first letters of their tokens.
    #[track_caller]
    pub(super) fn send(&mut self, tokens: &[&'static str]) {
        for token in tokens {
            let record = record(&token[..1], 10);
            assert!(self.machine.admits(record.size()), "{token} has no room");
            self.machine.submit(self.now, record, token);
            self.machine.check_invariants();
        }
    }

    #[track_caller]
    pub(super) fn request(&mut self) -> Request {
        let request = self.machine.next_request(self.now).expect("there must be something to send");
        self.machine.check_invariants();
        request
    }

    /// The next request, which must carry exactly these keys, in this order: first those that have waited for nothing.
    #[track_caller]
    pub(super) fn request_of(&mut self, keys: &str) -> Request {
        let request = self.request();
        let found: String = request.plain().iter().map(|record| record.partition_key.as_str()).collect();
        assert_eq!(found, keys);
        request
    }

    #[track_caller]
    pub(super) fn nothing_to_send(&mut self) {
        let request = self.machine.next_request(self.now);
        assert!(request.is_none(), "{request:?}");
    }

    pub(super) fn answer(&mut self, request: Request, answer: impl IntoIterator<Item = PutOutcome>) {
        self.machine.answered(self.now, request, Ok(answer.into_iter().collect()));
        self.machine.check_invariants();
    }

    pub(super) fn fail(&mut self, request: Request, error: Error) {
        self.machine.answered(self.now, request, Err(error));
        self.machine.check_invariants();
    }

    /// Goes on to the time that the machine asked for, and returns how long that was.
    #[track_caller]
    pub(super) fn wait(&mut self) -> Duration {
        let wake_at = self.machine.wake_at().expect("the machine must wait for something");
        let waited = wake_at.saturating_duration_since(self.now);
        self.now += waited;
        waited
    }

    /// The tokens whose outcome came since the last call, each with `stored` or the name of its error.
    pub(super) fn outcomes(&mut self) -> Vec<String> {
        let name = |error: SendError| match (error.handling(), error.reason()) {
            (Handling::Skipped, _) => "skipped",
            (Handling::DeadLettered, _) => "dead-lettered",
            (_, Reason::TooLarge { .. }) => "too large",
            (_, Reason::GaveUp { .. }) => "gave up",
            (_, Reason::Rejected { .. }) => "rejected",
            (_, Reason::PredecessorFailed) => "predecessor failed",
            (_, Reason::Closed) => "closed",
            (_, other) => panic!("{other:?}"),
        };
        let outcomes = all_outcomes(&mut self.machine).into_iter();
        outcomes.map(|(token, result)| format!("{token} {}", result.map_or_else(name, |_| "stored"))).collect()
    }
}

/// The outcomes since the last call, record by record.
pub(super) fn all_outcomes<T: Token, W>(machine: &mut Machine<T, W>) -> Vec<(T, Result<Stored, SendError>)> {
    machine.check_invariants();
    let each = |outcome| match outcome {
        Outcome::Record(token, result) => vec![(token, result)],
        Outcome::Aggregate(tokens, Placement { shard, sequence_number }) => {
            let stored =
                |sub_sequence_number| Ok(Stored { shard: shard.clone(), sequence_number, sub_sequence_number });
            (0..).zip(tokens).map(|(index, token)| (token, stored(index))).collect()
        }
        Outcome::Untracked(metas, outcomes) => {
            assert_eq!(metas.len(), outcomes.len());
            let stored = |outcome: PutOutcome| {
                let Placement { shard, sequence_number } = outcome.unwrap();
                Ok(Stored { shard, sequence_number, sub_sequence_number: 0 })
            };
            metas.into_records().zip(outcomes).map(|(meta, outcome)| (meta.token, stored(outcome))).collect()
        }
    };
    machine.take_outcomes().flat_map(each).collect()
}

/// A machine that knows these shards, each with the first hash key of its range.
pub(super) fn with_shards(mut rig: Rig, starts: &[u128]) -> Rig {
    rig.list(starts, 0);
    rig
}

impl Rig {
    pub(super) fn with_policy(settings: Settings, policy: Policy, max_record_bytes: usize) -> Self {
        let limits = Limits { max_record_bytes, hash_decides: true };
        Self { machine: Machine::new("orders".parse().unwrap(), settings, policy, limits), now: Instant::now() }
    }

    /// Tells the machine which shards are open; they are numbered from `first` on.
    pub(super) fn list(&mut self, starts: &[u128], first: usize) {
        let ends = starts[1..].iter().map(|start| start - 1).chain([u128::MAX]);
        let shards = (first..).zip(starts.iter().zip(ends)).map(|(number, (start, end))| (number, *start, end));
        self.list_ranges(&shards.collect::<Vec<_>>());
    }

    /// Tells the machine which shards are open: their numbers and the first and last hash keys of their ranges.
    pub(super) fn list_ranges(&mut self, shards: &[(usize, u128, u128)]) {
        let shards = shards.iter().map(|(number, start, end)| {
            let range = HashKeyRange::new(HashKey::new(*start), HashKey::new(*end)).unwrap();
            Shard::new(shard_id(*number), range, 1_u64.into())
        });
        self.machine.listed(self.now, Some(ShardMap::new(shards)));
        self.machine.check_invariants();
    }

    /// Queues records that go where their explicit hash keys say; the first letter of a token is its key.
    pub(super) fn send_to(&mut self, hash: u128, tokens: &[&'static str]) {
        for token in tokens {
            let record = record(&token[..1], 10).with_explicit_hash_key(HashKey::new(hash));
            self.machine.submit(self.now, record, token);
        }
    }

    /// The next request, which must carry aggregates of so many records.
    #[track_caller]
    pub(super) fn aggregates(&mut self, sizes: &[usize]) -> Request {
        let request = self.request();
        let Content::Aggregates(aggregates) = &request.content else { panic!("not aggregated: {request:?}") };
        assert_eq!(aggregates.iter().map(|aggregate| aggregate.records).collect::<Vec<_>>(), sizes);
        request
    }
}

pub(super) fn shard_id(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

pub(super) fn stored_in(shard: usize) -> PutOutcome {
    Ok(Placement { shard: shard_id(shard), sequence_number: 1_u64.into() })
}

pub(super) fn aggregated() -> Settings {
    Settings { aggregation: Some(Aggregation::default()), ..plain() }
}

pub(super) const HALF: u128 = 1 << 127;
