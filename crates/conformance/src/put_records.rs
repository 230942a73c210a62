//! Behaviours of `KinesisClient::put_records`.

use std::collections::BTreeSet;

use bytes::Bytes;
use statefun_kinesis_client::{ErrorKind, PutOutcome};
use statefun_kinesis_types::{
    HashKey, PUT_RECORDS_MAX_RECORDS, PutRecord, RECORD_MAX_BYTES, SequenceNumber, Shard, ShardId, StartPosition,
    StreamRef,
};

use crate::{
    Backend,
    stream::{Deadline, TestStream, key, record, refused, texts},
};

fn owner(shards: &[Shard], hash: HashKey) -> &ShardId {
    &shards.iter().find(|shard| shard.hash_range.contains(hash)).expect("shards cover all hash keys").id
}

/// The outcomes are in the order of the request, one each.
pub async fn outcomes_are_in_the_order_of_the_request(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let shards = stream.open_shards().await;
    // Every other record goes to the other shard, so that a backend which sorts by shard mixes up the outcomes.
    let records: Vec<_> =
        (0..10).map(|n| record(&n.to_string()).with_explicit_hash_key(shards[n % 2].hash_range.start())).collect();
    let placements = stream.put(&records).await;
    for (n, placement) in placements.iter().enumerate() {
        assert_eq!(placement.shard, shards[n % 2].id, "record {n}");
        let at = StartPosition::AtSequenceNumber(placement.sequence_number);
        let iterator = stream.iterator(&placement.shard, at).await;
        assert_eq!(texts(&stream.read_some(&iterator, 1).await.records), [n.to_string()]);
    }
    stream.remove().await;
}

/// The MD5 of the partition key decides the shard.
pub async fn the_partition_keys_md5_decides_the_shard(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 4).await;
    let shards = stream.open_shards().await;
    let records: Vec<_> = ["a", "b", "customer-17", "ü", "🦀", "0", " "].map(record).into();
    for (record, placement) in records.iter().zip(stream.put(&records).await) {
        let expected = owner(&shards, HashKey::of(&record.partition_key));
        assert_eq!(placement.shard, *expected, "the key {}", record.partition_key);
    }
    stream.remove().await;
}

/// An explicit hash key decides in place of the partition key.
pub async fn an_explicit_hash_key_decides_in_its_place(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let shards = stream.open_shards().await;
    let edges = shards.iter().flat_map(|shard| [shard.hash_range.start(), shard.hash_range.end()]);
    let records: Vec<_> = edges.map(|edge| record("the same key").with_explicit_hash_key(edge)).collect();
    for (record, placement) in records.iter().zip(stream.put(&records).await) {
        assert_eq!(placement.shard, *owner(&shards, record.hash_key()), "the hash key {}", record.hash_key());
    }
    stream.remove().await;
}

/// Sequence numbers of one shard grow with each request.
pub async fn sequence_numbers_grow_with_each_request(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0);
    let mut highest = shard.starting_sequence_number;
    for n in 0..5 {
        let records: Vec<_> = (0..3).map(|m| record(&format!("{n}.{m}"))).collect();
        let numbers: BTreeSet<SequenceNumber> =
            stream.put(&records).await.into_iter().map(|placement| placement.sequence_number).collect();
        assert_eq!(numbers.len(), 3, "no two records have the same number");
        assert!(numbers.first() > Some(&highest), "request {n}: {numbers:?} are all above {highest}");
        highest = numbers.last().copied().unwrap_or(highest);
    }
    stream.remove().await;
}

/// A record goes to an open shard: after a split to a child.
pub async fn records_go_to_open_shards_only(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let before = stream.put_one("before").await;
    let (parent, children) = stream.split(&stream.open_shards().await[0]).await;
    assert_eq!(before.shard, parent.id);
    let records: Vec<_> = (0..8).map(|n| record(&format!("after {n}"))).collect();
    for (record, placement) in records.iter().zip(stream.put(&records).await) {
        assert_eq!(placement.shard, *owner(&children, HashKey::of(&record.partition_key)));
        assert!(placement.sequence_number > before.sequence_number, "numbers grow from parent to child");
    }
    stream.remove().await;
}

/// Any byte string is a payload, the empty one too.
pub async fn any_bytes_are_a_payload(backend: &dyn Backend) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    come_back_as_they_were_put(
        backend,
        &[
            PutRecord::new(key("empty"), Bytes::new()),
            PutRecord::new(key("all bytes"), all_bytes),
            PutRecord::new(key("text"), "\" \\ / \t ü 🦀"),
        ],
    )
    .await;
}

/// A key has up to 256 characters of any kind.
pub async fn any_256_characters_are_a_key(backend: &dyn Backend) {
    come_back_as_they_were_put(
        backend,
        &[
            PutRecord::new(key(&"x".repeat(256)), "long key"),
            PutRecord::new(key(&"ü".repeat(256)), "long key of two-byte characters"),
            PutRecord::new(key("\" \\ / \t"), "characters with a meaning in JSON"),
        ],
    )
    .await;
}

async fn come_back_as_they_were_put(backend: &dyn Backend, records: &[PutRecord]) {
    let stream = TestStream::new(backend, 1).await;
    let placements = stream.put(records).await;
    let read = stream.read_from(&placements[0].shard, StartPosition::TrimHorizon, records.len()).await;
    for (put, read) in records.iter().zip(&read) {
        assert_eq!((&put.data, Some(&put.partition_key)), (&read.data, read.partition_key.as_ref()));
    }
    stream.remove().await;
}

/// Puts one record and sees that nothing lies before it.
async fn nothing_was_stored(stream: &TestStream) {
    let mark = stream.put_one("mark").await;
    let iterator = stream.iterator(&mark.shard, StartPosition::TrimHorizon).await;
    let first = stream.read_some(&iterator, 1).await.records;
    assert_eq!(texts(&first), ["mark"], "nothing of a refused request is stored");
}

/// A request without records is an invalid argument.
pub async fn a_request_without_records_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let outcomes = stream.client.put_records(&stream.stream, &[]).await;
    refused(outcomes, ErrorKind::InvalidArgument, "a request without records");
    stream.remove().await;
}

/// A record over the stream's limit is an invalid argument, and the other records are not stored either.
pub async fn a_record_over_the_limit_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let records = [record("small"), PutRecord::new(key("large"), vec![b'x'; RECORD_MAX_BYTES + 1])];
    let outcomes = stream.client.put_records(&stream.stream, &records).await;
    refused(outcomes, ErrorKind::InvalidArgument, "a record of more than 1 MiB");
    nothing_was_stored(&stream).await;
    stream.remove().await;
}

fn one_too_many() -> Vec<PutRecord> {
    (0..=PUT_RECORDS_MAX_RECORDS).map(|n| record(&n.to_string())).collect()
}

/// A request with 501 records is an invalid argument, and nothing is stored.
pub async fn a_request_with_501_records_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let outcomes = stream.client.put_records(&stream.stream, &one_too_many()).await;
    refused(outcomes, ErrorKind::InvalidArgument, "a request with 501 records");
    nothing_was_stored(&stream).await;
    stream.remove().await;
}

/// A known mistake: no records, 501 records and a record over the limit are all taken.
pub async fn a_request_of_any_size_is_taken(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let too_large = vec![PutRecord::new(key("large"), vec![b'x'; RECORD_MAX_BYTES + 1])];
    for records in [Vec::new(), one_too_many(), too_large] {
        let outcomes = stream.client.put_records(&stream.stream, &records).await;
        assert!(outcomes.is_ok(), "this backend has learnt the limits of PutRecords: {outcomes:?}");
    }
    stream.remove().await;
}

/// A request of more than 10 MiB, keys included, is an invalid argument, and nothing is stored.
pub async fn a_request_over_ten_mebibytes_is_refused(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    // Ten records of 1 MiB fill the request to the last byte; the eleventh has one byte of key and no data.
    let data = Bytes::from(vec![b'x'; RECORD_MAX_BYTES - 1]);
    let mut records = vec![PutRecord::new(key("k"), data); 10];
    records.push(PutRecord::new(key("k"), Bytes::new()));
    let outcomes = stream.client.put_records(&stream.stream, &records).await;
    refused(outcomes, ErrorKind::InvalidArgument, "a request of 10 MiB and a byte");
    nothing_was_stored(&stream).await;
    stream.remove().await;
}

/// Single records may fail while others are stored; a failed one was not stored.
pub async fn a_failed_record_among_others_was_not_stored(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    // Two and a half times what a shard takes in a second. Small records stand between the large ones, so that some
    // fit behind one that did not.
    let large = "x".repeat(10_000);
    let records: Vec<_> = (0..PUT_RECORDS_MAX_RECORDS)
        .map(|n| PutRecord::new(key("k"), if n % 2 == 0 { format!("{n} {large}") } else { n.to_string() }))
        .collect();
    let outcomes: Vec<PutOutcome> =
        stream.client.put_records(&stream.stream, &records).await.expect("a request can succeed in part");
    assert_eq!(outcomes.len(), records.len());
    let mut stored = BTreeSet::new();
    for (outcome, record) in outcomes.iter().zip(&records) {
        match outcome {
            Ok(_) => {
                stored.insert(record.data.clone());
            }
            Err(failure) => assert_eq!(failure.kind, ErrorKind::Throttled, "{failure}"),
        }
    }
    assert!(!stored.is_empty() && stored.len() < records.len(), "{} of {} were stored", stored.len(), records.len());

    // A mark behind them ends the reading: what was stored lies before it.
    let deadline = Deadline::for_("the shard to take records again");
    let mark = PutRecord::new(key("k"), "mark");
    while stream.client.put_records(&stream.stream, std::slice::from_ref(&mark)).await.expect("a mark")[0].is_err() {
        deadline.pause().await;
    }
    let shard = stream.open_shards().await.remove(0).id;
    let read = stream.read_from(&shard, StartPosition::TrimHorizon, stored.len() + 1).await;
    let mut read: Vec<_> = read.into_iter().map(|record| record.data).collect();
    assert_eq!(read.pop().as_deref(), Some(&b"mark"[..]));
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), stored);
    stream.remove().await;
}

/// Records for a stream that does not exist are not found.
pub async fn records_for_a_missing_stream_are_not_found(backend: &dyn Backend) {
    let missing = StreamRef::from(backend.fresh_name());
    let outcomes = backend.client().put_records(&missing, &[record("a")]).await;
    refused(outcomes, ErrorKind::NotFound, "records for a missing stream");
}
