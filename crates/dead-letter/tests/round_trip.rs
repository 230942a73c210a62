//! Everything that is encoded can be decoded, in parts of any size.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use statefun_kinesis_dead_letter::{
    DeadLetter, DeadLetterReader, EgressOrigin, EncodeError, FunctionOrigin, IngressOrigin, MESSAGE_MAX_CHARS,
};
use statefun_kinesis_types::{Address, HashKey, PartitionKey, SequenceNumber, Timestamp, TypeName};

fn key() -> impl Strategy<Value = PartitionKey> {
    vec(any::<char>(), 1..256).prop_map(|chars| String::from_iter(chars).parse().unwrap())
}

fn type_name() -> impl Strategy<Value = TypeName> {
    "[a-zA-Z.]{1,20}/[^/]{1,20}".prop_map(|name| name.parse().unwrap())
}

fn address() -> impl Strategy<Value = Address> {
    (type_name(), any::<String>()).prop_map(|(function, id)| Address { function, id: id.into() })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    // The years that the text form has.
    (-60_000_000_000_000..250_000_000_000_000_i64).prop_map(Timestamp::from_millis)
}

fn ingress() -> impl Strategy<Value = IngressOrigin> {
    let number = "[1-9][0-9]{0,55}".prop_map(|number| number.parse::<SequenceNumber>().unwrap());
    ("[a-zA-Z0-9_.-]{1,128}", 0..1_000_u32, number, any::<u64>(), timestamp()).prop_map(
        |(name, shard, sequence_number, sub_sequence_number, arrival)| IngressOrigin {
            stream: format!("arn:aws:kinesis:eu-central-1:123456789012:stream/{name}").parse().unwrap(),
            shard: format!("shardId-{shard:012}").parse().unwrap(),
            sequence_number,
            sub_sequence_number,
            arrival,
        },
    )
}

fn function() -> impl Strategy<Value = FunctionOrigin> {
    (address(), option::of(address()), option::of(ingress()), any::<u32>(), option::of(timestamp())).prop_map(
        |(function, caller, ingress, attempts, first_attempt)| FunctionOrigin {
            function,
            caller,
            ingress,
            attempts,
            first_attempt,
        },
    )
}

fn egress() -> impl Strategy<Value = EgressOrigin> {
    let hash = option::of(any::<u128>().prop_map(HashKey::new));
    (option::of(type_name()), option::of("[a-zA-Z0-9_.-]{1,128}"), hash, any::<u32>(), any::<bool>()).prop_map(
        |(egress, stream, explicit_hash_key, attempts, may_be_stored)| EgressOrigin {
            egress,
            stream: stream.map(|stream| stream.parse().unwrap()),
            explicit_hash_key,
            attempts,
            may_be_stored,
        },
    )
}

fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..20_000)].prop_map(Bytes::from)
}

fn letter() -> impl Strategy<Value = DeadLetter> {
    prop_oneof![
        (ingress(), option::of(key()), data(), any::<String>()).prop_map(|(origin, key, data, message)| {
            DeadLetter::from_ingress(origin, key, data, "corrupt-aggregate", &message)
        }),
        (function(), option::of(type_name()), option::of(data()), any::<String>()).prop_map(
            |(origin, typename, value, message)| { DeadLetter::from_function(origin, typename, value, &message) }
        ),
        (egress(), key(), data(), "(?s).{0,1200}").prop_map(|(origin, key, data, message)| {
            DeadLetter::from_egress(origin, key, data, "gave-up", &message)
        }),
        (egress(), option::of(type_name()), option::of(data()), any::<String>()).prop_map(
            |(origin, typename, value, message)| DeadLetter::from_invalid_record(origin, typename, value, &message)
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_letter_comes_back_in_envelopes_that_never_exceed_the_limit(
        letter in letter(),
        limit in prop_oneof![0..4_000_usize, 2_000..20_000_usize, Just(usize::MAX)],
    ) {
        prop_assert!(letter.message().chars().count() <= MESSAGE_MAX_CHARS);
        let most = match letter.encode(limit) {
            Ok(_) => limit,
            // The error says exactly what it takes.
            Err(EncodeError::LimitTooSmall { needed, .. }) => {
                prop_assert!(needed > limit && letter.encode(needed - 1).is_err());
                needed
            }
            Err(error) => panic!("{error}"),
        };
        let envelopes = letter.encode(most).unwrap();
        let mut reader = DeadLetterReader::new();
        let (last, before) = envelopes.split_last().unwrap();
        for envelope in before {
            prop_assert!(envelope.len() <= most, "{} bytes exceed {most}", envelope.len());
            prop_assert_eq!(reader.read(envelope).unwrap(), None);
        }
        prop_assert!(last.len() <= most, "{} bytes exceed {most}", last.len());
        prop_assert_eq!(reader.read(last).unwrap(), Some(letter));
        prop_assert_eq!(reader.incomplete(), 0);
    }

    #[test]
    fn records_never_exceed_the_limit_with_their_key(letter in letter(), limit in 0..20_000_usize) {
        match letter.to_records(limit) {
            Ok(records) => {
                prop_assert!(records.iter().all(|record| record.size() <= limit));
                let keys = records.windows(2).all(|two| two[0].partition_key == two[1].partition_key);
                prop_assert!(keys, "a letter has one key");
            }
            Err(EncodeError::LimitTooSmall { needed, .. }) => {
                prop_assert!(letter.to_records(needed).is_ok());
                prop_assert!(letter.to_records(needed - 1).is_err());
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(DeadLetterReader::new().read(&bytes).is_err());
    }
}
