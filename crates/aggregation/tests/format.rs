//! The format against bytes written out by hand, and against itself.

use bytes::Bytes;
use md5::{Digest, Md5};
use proptest::{collection::vec, prelude::*};
use statefun_kinesis_aggregation::{Aggregate, Aggregator, Decoded, Full, MAGIC, OVERHEAD_BYTES, decode};
use statefun_kinesis_types::{HashKey, HashKeyRange, PutRecord};

/// Two records: key `k1` with `one`; key `k2` with explicit hash key `0` and no payload.
const TWO_RECORDS: &[u8] = &[
    0xF3, 0x89, 0x9A, 0xC2, // magic
    0x0A, 0x02, b'k', b'1', // partition key 0
    0x0A, 0x02, b'k', b'2', // partition key 1
    0x12, 0x01, b'0', // explicit hash key 0
    0x1A, 0x07, 0x08, 0x00, 0x1A, 0x03, b'o', b'n', b'e', // partition key 0, payload
    0x1A, 0x06, 0x08, 0x01, 0x10, 0x00, 0x1A, 0x00, // partition key 1, explicit hash key 0, payload
    0xD2, 0x01, 0x2F, 0xDD, 0xDA, 0xA8, 0x04, 0x08, 0xCD, 0x2A, 0xC1, 0x61, 0x47, 0xAB, 0x0E, 0x4D, // MD5
];

fn record(key: &str, data: impl Into<Bytes>) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), data)
}

/// A message as the payload of an aggregated record.
fn sealed(message: &[u8]) -> Bytes {
    [&MAGIC, message, &Md5::digest(message)[..]].concat().into()
}

#[track_caller]
fn aggregate(data: &Bytes) -> Aggregate {
    match decode(data) {
        Decoded::Aggregate(aggregate) => aggregate,
        other => panic!("not an aggregate: {other:?}"),
    }
}

/// Each user record as `index key[/hash key]=payload`.
fn shown(aggregate: &Aggregate) -> Vec<String> {
    let hash = |key: HashKey| format!("/{key}");
    let show = |user: statefun_kinesis_aggregation::UserRecord| {
        let (key, hash) = (user.partition_key, user.explicit_hash_key.map(hash).unwrap_or_default());
        format!("{} {key}{hash}={}", user.index, String::from_utf8_lossy(&user.data))
    };
    aggregate.iter().map(show).collect()
}

#[track_caller]
fn check(message: &[u8], expect: &[&str]) {
    assert_eq!(shown(&aggregate(&sealed(message))), expect);
}

#[track_caller]
fn check_corrupt(message: &[u8], says: &str) {
    match decode(&sealed(message)) {
        Decoded::Corrupt(corrupt) => assert!(corrupt.to_string().contains(says), "{corrupt}"),
        other => panic!("not corrupt: {other:?}"),
    }
}

#[track_caller]
fn check_plain(data: &[u8]) {
    let decoded = decode(&Bytes::copy_from_slice(data));
    assert!(matches!(decoded, Decoded::Plain), "{decoded:?}");
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let read = aggregate(&Bytes::from_static(TWO_RECORDS));
    assert_eq!(shown(&read), ["0 k1=one", "1 k2/0="]);

    let mut aggregator = Aggregator::new(1_000, 10);
    aggregator.push(&record("k1", "one")).unwrap();
    aggregator.push(&record("k2", "").with_explicit_hash_key(HashKey::MIN)).unwrap();
    let written = aggregator.finish().unwrap();
    assert_eq!(written.data, TWO_RECORDS);
    assert_eq!(written.partition_key.as_str(), "a");
    assert_eq!(written.explicit_hash_key, Some(HashKey::of(&"k1".parse().unwrap())));
}

#[test]
fn what_does_not_look_like_an_aggregate_is_plain() {
    check_plain(b"");
    check_plain(b"an order of one cup and no sugar");
    check_plain(&MAGIC);
    check_plain(&TWO_RECORDS[..TWO_RECORDS.len() - 1]);
    // The MD5 of no message at all: KCL asks for more than the magic bytes and 16 others.
    check_plain(&sealed(b""));
    for place in [3, 5, TWO_RECORDS.len() - 1] {
        let mut changed = TWO_RECORDS.to_vec();
        changed[place] ^= 1;
        check_plain(&changed);
    }
}

#[test]
fn what_newer_writers_add_is_skipped_and_the_order_of_fields_is_free() {
    // A number, eight bytes, four bytes, a group and unknown bytes, around a record before its key. The
    // record has a tag and a number of its own.
    let strange = [
        &[0x50, 0x05, 0x59, 1, 2, 3, 4, 5, 6, 7, 8, 0x65, 1, 2, 3, 4, 0x6B, 0x08, 0x01, 0x6C, 0x72, 0x01, 0xFF][..],
        &[0x1A, 0x10, 0x48, 0x07, 0x22, 0x06, 0x0A, 0x01, b't', 0x12, 0x01, b'v', 0x1A, 0x02, b'h', b'i', 0x08, 0x00],
        &[0x0A, 0x01, b'k', 0x50, 0x05],
    ];
    check(&strange.concat(), &["0 k=hi"]);
    // No records, an unused key, and a field number of the format with a value of another kind.
    check(&[0x0A, 0x01, b'k'], &[]);
    check(&[0x08, 0x05, 0x0A, 0x01, b'k', 0x1A, 0x04, 0x08, 0x00, 0x1A, 0x00], &["0 k="]);
    // A hash key with leading zeros, as BigInteger reads it; zero itself; and a field that stands there twice.
    check(
        &[0x0A, 0x01, b'k', 0x12, 0x03, b'0', b'0', b'7', 0x1A, 0x06, 0x08, 0x00, 0x10, 0x00, 0x1A, 0x00],
        &["0 k/7="],
    );
    check(&[0x0A, 0x01, b'k', 0x12, 0x02, b'0', b'0', 0x1A, 0x06, 0x08, 0x00, 0x10, 0x00, 0x1A, 0x00], &["0 k/0="]);
    check(&[0x0A, 0x01, b'k', 0x1A, 0x07, 0x08, 0x09, 0x1A, 0x01, b'x', 0x08, 0x00], &["0 k=x"]);
}

#[test]
fn a_true_md5_over_a_message_without_sense_is_corrupt() {
    let key: &[u8] = &[0x0A, 0x01, b'k'];
    check_corrupt(&[0x1A], "malformed");
    check_corrupt(&[0x0A, 0x05, b'k'], "malformed");
    check_corrupt(&[0x1A, 0x03, 0x08, 0x00, 0x1A], "malformed");
    check_corrupt(
        &[key, &[0x1A, 0x02, 0x1A, 0x00]].concat(),
        "user record 0 of the aggregated record lacks its partition key",
    );
    check_corrupt(&[key, &[0x1A, 0x02, 0x08, 0x00]].concat(), "lacks its payload");
    let good: &[u8] = &[0x1A, 0x04, 0x08, 0x00, 0x1A, 0x00];
    check_corrupt(
        &[key, good, &[0x1A, 0x04, 0x08, 0x01, 0x1A, 0x00]].concat(),
        "user record 1 of the aggregated record names partition key 1 of 1",
    );
    check_corrupt(&[key, &[0x1A, 0x06, 0x08, 0x00, 0x10, 0x00, 0x1A, 0x00]].concat(), "names explicit hash key 0 of 0");
    let endless = [0x1A, 0x0D, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x1A, 0x00];
    check_corrupt(&[key, &endless].concat(), "names partition key 18446744073709551615 of 1");
}

#[test]
fn only_a_key_that_a_record_names_has_to_be_valid() {
    let long = [&[0x0A, 0x81, 0x02], "k".repeat(257).as_bytes()].concat();
    let invalid: [&[u8]; 5] = [&[0x0A, 0x00], &[0x0A, 0x01, 0xFF], &long, &[0x12, 0x01, b'x'], &[0x12, 0x00]];
    for invalid in invalid {
        check(invalid, &[]);
        // Valid keys in front of it and behind it keep their places.
        let table = if invalid[0] == 0x0A { "partition key" } else { "explicit hash key" };
        let keys: [&[u8]; 4] =
            [&[0x0A, 0x01, b'a', 0x12, 0x01, b'1'], invalid, &[0x0A, 0x01, b'b'], &[0x12, 0x01, b'2']];
        let of = |partition_key: u8, hash_key: u8| [0x1A, 0x06, 0x08, partition_key, 0x10, hash_key, 0x1A, 0x00];
        let (last_partition_key, last_hash_key) = if table == "partition key" { (2, 1) } else { (1, 2) };
        check(&[&keys.concat()[..], &of(0, 0), &of(last_partition_key, last_hash_key)].concat(), &["0 a/1=", "1 b/2="]);
        let named = if table == "partition key" { of(1, 0) } else { of(0, 1) };
        let says = format!("user record 1 of the aggregated record names {table} 1, which is not a valid key");
        check_corrupt(&[&keys.concat()[..], &of(0, 0), &named].concat(), &says);
    }
}

#[test]
fn payloads_are_slices_of_what_was_read() {
    let data = Bytes::from_static(TWO_RECORDS);
    let range = data.as_ptr_range();
    let user = aggregate(&data).iter().next().unwrap();
    assert!(range.contains(&user.data.as_ptr()));
}

#[test]
fn user_records_can_be_passed_over() {
    let read = aggregate(&Bytes::from_static(TWO_RECORDS));
    let indices = |passed: usize| read.iter().skip(passed).map(|user| user.index).collect::<Vec<_>>();
    assert_eq!((read.iter().len(), read.iter().skip(1).len()), (read.iter().count(), read.iter().count() - 1));
    assert_eq!([0, 1, 2, 3].map(indices), [vec![0, 1], vec![1], vec![], vec![]]);
}

#[test]
fn a_single_record_is_sent_as_it_is() {
    let mut aggregator = Aggregator::new(10, 10);
    assert!(aggregator.finish().is_none());
    let large = record("customer-17", vec![0; 100]).with_explicit_hash_key(HashKey::MAX);
    aggregator.push(&large).unwrap();
    assert_eq!((aggregator.len(), aggregator.size()), (1, large.size()));
    assert_eq!(aggregator.finish(), Some(large));
    assert!(aggregator.is_empty() && aggregator.size() == 0);
}

#[test]
fn an_aggregator_starts_anew_after_each_record() {
    let mut aggregator = Aggregator::new(1_000, 10);
    for keys in [["a", "b"], ["b", "c"]] {
        keys.iter().for_each(|key| aggregator.push(&record(key, *key)).unwrap());
        let written = aggregator.finish().unwrap();
        let expect: Vec<_> = (0..).zip(keys).map(|(index, key)| format!("{index} {key}={key}")).collect();
        assert_eq!(shown(&aggregate(&written.data)), expect);
    }
}

#[test]
fn an_aggregate_holds_so_many_records_and_bytes() {
    let mut aggregator = Aggregator::new(1_000, 3);
    for _ in 0..3 {
        aggregator.push(&record("k", "x")).unwrap();
    }
    assert_eq!(aggregator.push(&record("k", "x")), Err(Full));
    assert_eq!(aggregator.len(), 3);

    let full = 1 + TWO_RECORDS.len();
    for (max_bytes, fits) in [(full, true), (full - 1, false)] {
        let mut aggregator = Aggregator::new(max_bytes, 3);
        aggregator.push(&record("k1", "one")).unwrap();
        let second = aggregator.push(&record("k2", "").with_explicit_hash_key(HashKey::MIN));
        assert_eq!(second.is_ok(), fits);
        assert_eq!(aggregator.len(), if fits { 2 } else { 1 });
    }
}

#[test]
fn records_of_another_shard_are_left_out_and_the_others_keep_their_place() {
    let half = u128::MAX / 2;
    let lower = HashKeyRange::new(HashKey::MIN, HashKey::new(half)).unwrap();
    // MD5("a") begins with 0c, MD5("b") with 92.
    let mut aggregator = Aggregator::new(1_000, 10);
    aggregator.push(&record("b", "1")).unwrap();
    aggregator.push(&record("a", "2")).unwrap();
    aggregator.push(&record("a", "3").with_explicit_hash_key(HashKey::MAX)).unwrap();
    aggregator.push(&record("b", "4").with_explicit_hash_key(HashKey::new(half))).unwrap();
    let data = aggregator.finish().unwrap().data;
    let mut found = aggregate(&data);
    assert_eq!(found.retain_within(HashKeyRange::FULL), 0);
    assert_eq!(found.retain_within(lower), 2);
    assert_eq!(shown(&found), ["1 a=2".to_owned(), format!("3 b/{half}=4")]);
    assert!(found.iter().all(|user| lower.contains(user.hash_key())));
}

fn any_record() -> impl Strategy<Value = PutRecord> {
    let key = prop_oneof![4 => "[a-d]", 1 => "[a-zäöü🦀]{1,40}", 1 => "x{120,256}"];
    let hash = prop_oneof![3 => Just(None), 1 => prop::sample::select(vec![0, 7, u128::MAX]).prop_map(Some), 1 => any::<u128>().prop_map(Some)];
    let data = prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 100..400)];
    (key, hash, data).prop_map(|(key, hash, data)| {
        let record = record(&key, data);
        match hash {
            Some(hash) => record.with_explicit_hash_key(HashKey::new(hash)),
            None => record,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_unpacked_and_has_the_predicted_size(
        records in vec(any_record(), 1..80),
        max_bytes in 1..3_000_usize,
        max_records in 1..50_usize,
    ) {
        let mut aggregator = Aggregator::new(max_bytes, max_records);
        let mut waiting: Vec<PutRecord> = Vec::new();
        let finish = |aggregator: &mut Aggregator, waiting: &mut Vec<PutRecord>| {
            let foretold = aggregator.size();
            let written = aggregator.finish().unwrap();
            assert_eq!(written.size(), foretold);
            assert!(waiting.len() <= max_records);
            if waiting.len() == 1 {
                assert_eq!(&written, &waiting[0]);
            } else {
                assert!(written.size() <= max_bytes);
                assert_eq!(written.hash_key(), waiting[0].hash_key());
                let read = aggregate(&written.data);
                assert_eq!(read.len(), waiting.len());
                for (index, (user, sent)) in read.iter().zip(waiting.iter()).enumerate() {
                    assert_eq!(user.index, index as u64);
                    assert_eq!(&user.partition_key, &sent.partition_key);
                    assert_eq!(user.explicit_hash_key, sent.explicit_hash_key);
                    assert_eq!(user.data, sent.data.clone());
                }
            }
            waiting.clear();
        };
        for record in records {
            let before = aggregator.size();
            if aggregator.push(&record).is_err() {
                prop_assert_eq!(aggregator.size(), before);
                finish(&mut aggregator, &mut waiting);
                aggregator.push(&record).unwrap();
            }
            waiting.push(record);
        }
        finish(&mut aggregator, &mut waiting);
    }

    #[test]
    fn no_bytes_make_the_reader_fail(message in vec(any::<u8>(), 0..200)) {
        _ = decode(&Bytes::from(message.clone()));
        _ = decode(&sealed(&message));
    }

    #[test]
    fn no_damage_to_a_message_makes_the_reader_panic(
        records in vec(any_record(), 2..10),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut aggregator = Aggregator::new(usize::MAX, usize::MAX);
        records.iter().for_each(|record| aggregator.push(record).unwrap());
        let data = aggregator.finish().unwrap().data;
        let mut message = data[MAGIC.len()..data.len() - (OVERHEAD_BYTES - MAGIC.len())].to_vec();
        for (place, byte) in damage {
            let place = place.index(message.len());
            message[place] = byte;
        }
        message.truncate(cut.index(message.len()) + 1);
        if let Decoded::Aggregate(mut read) = decode(&sealed(&message)) {
            let count = read.len();
            prop_assert_eq!(read.iter().count(), count);
            read.retain_within(HashKeyRange::new(HashKey::MIN, HashKey::new(u128::MAX / 2)).unwrap());
        }
    }
}
