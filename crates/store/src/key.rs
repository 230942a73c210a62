//! Keys, and what they mean.
//!
//! Keys are ordered byte by byte, so the encodings are made to sort as they are read. They are part of the format on
//! disk: what is written here stays readable.
//!
//! * A *text* is its UTF-8 bytes with each byte 00 written as `00 FF`, and `00 01` behind. Texts sort as they do
//!   without it, no text is the beginning of another one, and what follows in a key cannot be taken for a part.
//! * A *number* is 8 bytes, the most significant first. A time is its milliseconds since 1970 as such a number, with
//!   the highest bit flipped, so that times before 1970 come first.
//! * A *hash* is 16 bytes, the most significant first: the MD5 of an address' id, which is the
//!   [`HashKey`] of a record with that partition key. An address therefore lies beside all others of the part of the
//!   hash key space that one shard owns, and moves with it.
//!
//! | table | key |
//! |---|---|
//! | `meta` | name, as it is |
//! | `positions` | text of the ingress, text of the stream's ARN, then the shard's id as it is; without a shard, the stream itself |
//! | `state` | hash of the id, text of the function type, text of the id, then the value's name as it is |
//! | `mailboxes` | hash of the target's id, number |
//! | `timers`, `egress`, `cancellations` | hash of the sender's id, number |
//! | `due` | time at which the delayed message is due, hash of the sender's id, number |
//!
//! Keys that begin with a hash can be cut by ranges of the hash key space: all that belongs to the addresses of a range
//! is one range of each of these tables ([`hash_range`]), so that it can be copied out without a look at the values.
//! Within an id, entries sort by number, which is the order in which they came.

use bytes::{BufMut, Bytes, BytesMut};
use statefun_kinesis_types::{Address, HashKey, HashKeyRange, ShardId, StreamArn, Timestamp, TypeName};

use crate::{KeyRange, Table};

const HASH_BYTES: usize = 16;
const NUMBER_BYTES: usize = 8;
const END_OF_TEXT: [u8; 2] = [0, 1];
const ZERO_IN_TEXT: [u8; 2] = [0, u8::MAX];
const SIGN: u64 = 1 << 63;

/// Where an address lies in the hash key space: where the service puts a record whose partition key is the id.
///
/// Ids of addresses may be empty or longer than partition keys; they have a place too.
pub fn hash(id: &str) -> HashKey {
    HashKey::of_text(id)
}

/// The key of a fact in [`Table::Meta`]. A name must not be empty.
pub fn meta(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// The beginning of every key of an ingress, in [`Table::Positions`].
pub fn ingress(ingress: &TypeName) -> Bytes {
    let mut key = BytesMut::with_capacity(ingress.as_str().len() + END_OF_TEXT.len());
    put_text(&mut key, ingress.as_str());
    key.freeze()
}

/// The key of what is stored about a stream as a whole, as an ingress reads it, and the beginning of those of its
/// shards. Two ingresses may read the same stream; each has positions of its own.
pub fn stream(ingress: &TypeName, stream: &StreamArn) -> Bytes {
    stream_with(ingress, stream, 0).freeze()
}

/// The key of one shard's position.
pub fn shard(ingress: &TypeName, stream: &StreamArn, shard: &ShardId) -> Bytes {
    let mut key = stream_with(ingress, stream, shard.as_str().len());
    key.put_slice(shard.as_str().as_bytes());
    key.freeze()
}

/// The beginning of every key of an address, in [`Table::State`].
pub fn address(address: &Address) -> Bytes {
    address_with(address, 0).freeze()
}

/// The key of one value of an address. The name may be empty.
pub fn state(address: &Address, name: &str) -> Bytes {
    let mut key = address_with(address, name.len());
    key.put_slice(name.as_bytes());
    key.freeze()
}

/// The beginning of the keys of everything that is numbered and belongs to an id: of its messages in
/// [`Table::Mailboxes`], and of what it has sent in [`Table::Timers`], [`Table::Egress`] and [`Table::Cancellations`].
///
/// Two ids with the same hash share it; the values tell them apart.
pub fn id(id: &str) -> Bytes {
    Bytes::copy_from_slice(&hash(id).get().to_be_bytes())
}

/// The key of a message (with the id of its target), or of a delayed message, a record for an egress or a cancellation
/// (with the id of its sender). Keys of one id sort by their numbers.
pub fn numbered(id: &str, number: u64) -> Bytes {
    numbered_at(hash(id), number)
}

/// The key of [`numbered`](numbered()), for callers that have the hash of the id already.
pub fn numbered_at(hash: HashKey, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(HASH_BYTES + NUMBER_BYTES);
    key.put_u128(hash.get());
    key.put_u64(number);
    key.freeze()
}

/// The part of a table whose ids lie in a part of the hash key space: in [`Table::State`], [`Table::Mailboxes`],
/// [`Table::Timers`], [`Table::Egress`] and [`Table::Cancellations`].
pub fn hash_range(range: HashKeyRange) -> KeyRange {
    let end = range.end().get().checked_add(1);
    KeyRange::new(range.start().get().to_be_bytes().to_vec(), end.map(|end| end.to_be_bytes().to_vec().into()))
}

/// The key of a delayed message in [`Table::Due`]. `id` is the id of its sender and `number` its number, as in
/// [`Table::Timers`]. Keys sort by when messages are due.
pub fn due(at: Timestamp, id: &str, number: u64) -> Bytes {
    due_at(at, hash(id), number)
}

/// The key of [`due`], for callers that have the hash of the id already.
pub fn due_at(at: Timestamp, hash: HashKey, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(2 * NUMBER_BYTES + HASH_BYTES);
    put_time(&mut key, at);
    key.put_u128(hash.get());
    key.put_u64(number);
    key.freeze()
}

/// The delayed messages that are due before an instant, in [`Table::Due`].
///
/// Those of them that come after one that is known already are [`KeyRange::after`] its key.
pub fn due_before(instant: Timestamp) -> KeyRange {
    let mut end = BytesMut::with_capacity(NUMBER_BYTES);
    put_time(&mut end, instant);
    KeyRange::new(Bytes::new(), Some(end.freeze()))
}

/// The delayed messages that are due at an instant or later, in [`Table::Due`].
pub fn due_from(instant: Timestamp) -> KeyRange {
    let mut start = BytesMut::with_capacity(NUMBER_BYTES);
    put_time(&mut start, instant);
    KeyRange::new(start.freeze(), None)
}

/// A parsed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredKey {
    /// Of [`meta`].
    Meta {
        /// The fact's name.
        name: String,
    },
    /// Of [`stream`].
    Stream {
        /// Who reads it.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// Of [`shard`].
    Shard {
        /// Who reads it.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
        /// The shard.
        shard: ShardId,
    },
    /// Of [`state`].
    State {
        /// Whose value it is.
        address: Address,
        /// The value's name.
        name: String,
    },
    /// Of [`numbered`](numbered()).
    Numbered {
        /// The hash of the id that it belongs to.
        hash: HashKey,
        /// The number.
        number: u64,
    },
    /// Of [`due`].
    Due {
        /// When the delayed message is due.
        at: Timestamp,
        /// The hash of its sender's id.
        hash: HashKey,
        /// Its number.
        number: u64,
    },
}

impl StoredKey {
    /// Parses a key of a table; none when it is not one that this module makes.
    pub fn parse(table: Table, key: &[u8]) -> Option<Self> {
        let rest = &mut &key[..];
        let parsed = match table {
            Table::Meta => Self::Meta { name: take_all(rest)? },
            Table::Positions => {
                let (ingress, stream) = (take_text(rest)?.parse().ok()?, take_text(rest)?.parse().ok()?);
                if rest.is_empty() {
                    Self::Stream { ingress, stream }
                } else {
                    Self::Shard { ingress, stream, shard: take_all(rest)?.parse().ok()? }
                }
            }
            Table::State => Self::State { address: take_address(rest)?, name: take_all(rest)? },
            Table::Mailboxes | Table::Timers | Table::Egress | Table::Cancellations => {
                Self::Numbered { hash: take_hash(rest)?, number: take_number(rest)? }
            }
            Table::Due => Self::Due { at: take_time(rest)?, hash: take_hash(rest)?, number: take_number(rest)? },
        };
        rest.is_empty().then_some(parsed)
    }
}

fn stream_with(ingress: &TypeName, stream: &StreamArn, more: usize) -> BytesMut {
    let texts = ingress.as_str().len() + stream.as_str().len() + 2 * END_OF_TEXT.len();
    let mut key = BytesMut::with_capacity(texts + more);
    put_text(&mut key, ingress.as_str());
    put_text(&mut key, stream.as_str());
    key
}

fn address_with(address: &Address, more: usize) -> BytesMut {
    let texts = address.function.as_str().len() + address.id.len() + 2 * END_OF_TEXT.len();
    let mut key = BytesMut::with_capacity(HASH_BYTES + texts + more);
    key.put_u128(hash(&address.id).get());
    put_text(&mut key, address.function.as_str());
    put_text(&mut key, &address.id);
    key
}

fn put_text(key: &mut BytesMut, text: &str) {
    for (index, part) in text.as_bytes().split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            key.put_slice(&ZERO_IN_TEXT);
        }
        key.put_slice(part);
    }
    key.put_slice(&END_OF_TEXT);
}

fn put_time(key: &mut BytesMut, time: Timestamp) {
    key.put_u64(time.as_millis().cast_unsigned() ^ SIGN);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take_hash(rest: &mut &[u8]) -> Option<HashKey> {
    take(rest).map(|bytes| HashKey::new(u128::from_be_bytes(bytes)))
}

fn take_time(rest: &mut &[u8]) -> Option<Timestamp> {
    let millis = (take_number(rest)? ^ SIGN).cast_signed();
    let time = Timestamp::from_millis(millis);
    (time.as_millis() == millis).then_some(time)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        *rest = &rest[zero..];
        match take(rest)? {
            END_OF_TEXT => return String::from_utf8(text).ok(),
            ZERO_IN_TEXT => text.push(0),
            _ => return None,
        }
    }
}

fn take_all(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(std::mem::take(rest).to_vec()).ok()
}

fn take_address(rest: &mut &[u8]) -> Option<Address> {
    let stored = u128::from_be_bytes(take(rest)?);
    let address = Address { function: take_text(rest)?.parse().ok()?, id: take_text(rest)?.into() };
    (hash(&address.id).get() == stored).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(function: &str, id: &str) -> Address {
        Address { function: function.parse().unwrap(), id: id.into() }
    }

    /// Any address, with zeros and other rarities in it.
    fn addresses() -> impl Strategy<Value = Address> {
        let text = "[a-c\\x00\\x01ÿ/]{0,6}";
        (text, text, text).prop_map(|(namespace, name, id)| at(&format!("n{namespace}/{name}f"), &id))
    }

    #[test]
    fn an_address_lies_where_the_service_puts_its_records() {
        for id in ["a", "customer-17", "ä\0b"] {
            assert_eq!(hash(id), HashKey::of(&id.parse().unwrap()));
        }
        assert_eq!(hash("").get(), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    }

    /// Keys are on disks: these may not change.
    #[test]
    fn encodings_stay_as_they_are() {
        let hex = |key: Bytes| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let arn: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/s".parse().unwrap();
        let a = at("n/f", "a\0");
        let md5 = "4144e195f46de78a3623da7364d04f11";
        assert_eq!(hex(state(&a, "v")), format!("{md5}6e2f66000161{}76", "00ff0001"));
        assert_eq!(hex(id(&a.id)), md5);
        assert_eq!(hex(numbered(&a.id, 258)), format!("{md5}0000000000000102"));
        let at = Timestamp::from_millis(-1);
        assert_eq!(hex(due(at, &a.id, 2)), format!("7fffffffffffffff{md5}0000000000000002"));
        let ingress: TypeName = "n/in".parse().unwrap();
        let text = format!("n/in\0\u{1}{arn}\0\u{1}shardId-1");
        assert_eq!(&shard(&ingress, &arn, &"shardId-1".parse().unwrap())[..], text.as_bytes());
        assert_eq!(&meta("module")[..], b"module");
    }

    proptest! {
        #[test]
        fn keys_come_apart_as_they_were_put_together(
            address in addresses(), name in "[a\\x00]{0,3}", number: u64, millis in -1_000_i64..4_000_000_000_000,
        ) {
            let (at, hash) = (Timestamp::from_millis(millis), hash(&address.id));
            prop_assert_eq!(
                StoredKey::parse(Table::Due, &due(at, &address.id, number)),
                Some(StoredKey::Due { at, hash, number })
            );
            for table in [Table::Mailboxes, Table::Timers, Table::Egress, Table::Cancellations] {
                let parsed = StoredKey::parse(table, &numbered(&address.id, number));
                prop_assert_eq!(parsed, Some(StoredKey::Numbered { hash, number }));
            }
            prop_assert_eq!(
                StoredKey::parse(Table::State, &state(&address, &name)),
                Some(StoredKey::State { address, name })
            );
        }

        #[test]
        fn no_address_holds_keys_of_another(a in addresses(), b in addresses(), name in "[a\\x00\\x01ÿ]{0,3}") {
            let inside = KeyRange::prefix(address(&a)).contains(&state(&b, &name));
            prop_assert_eq!(inside, a == b);
        }

        #[test]
        fn keys_sort_as_what_they_mean(
            a in (any::<i32>(), any::<u128>(), any::<u64>()), b in (any::<i32>(), any::<u128>(), any::<u64>()),
        ) {
            let due = |(at, hash, number): (i32, u128, u64)| {
                due_at(Timestamp::from_millis(at.into()), HashKey::new(hash), number)
            };
            let numbered = |(_, hash, number): (i32, u128, u64)| numbered_at(HashKey::new(hash), number);
            prop_assert_eq!(due(a).cmp(&due(b)), a.cmp(&b));
            prop_assert_eq!(numbered(a).cmp(&numbered(b)), (a.1, a.2).cmp(&(b.1, b.2)));
            let instant = Timestamp::from_millis(b.0.into());
            prop_assert_eq!(due_before(instant).contains(&due(a)), a.0 < b.0);
            prop_assert_eq!(due_from(instant).contains(&due(a)), a.0 >= b.0);
        }

        #[test]
        fn an_id_holds_what_belongs_to_it(a in "[a-c]{0,2}", b in "[a-c]{0,2}", number: u64) {
            let inside = KeyRange::prefix(id(&a)).contains(&numbered(&b, number));
            prop_assert_eq!(inside, a == b);
        }

        #[test]
        fn texts_sort_as_they_are(a in "[a-b\\x00\\x01ÿ]{0,4}", b in "[a-b\\x00\\x01ÿ]{0,4}") {
            let encoded = |text: &str| { let mut key = BytesMut::new(); put_text(&mut key, text); key };
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b));
        }

        #[test]
        fn a_hash_range_holds_its_addresses(address in addresses(), number: u64, start: u128, end: u128) {
            let (start, end) = (HashKey::new(start.min(end)), HashKey::new(start.max(end)));
            let range = HashKeyRange::new(start, end).unwrap();
            let inside = range.contains(hash(&address.id));
            prop_assert_eq!(hash_range(range).contains(&state(&address, "v")), inside);
            prop_assert_eq!(hash_range(range).contains(&numbered(&address.id, number)), inside);
        }

        #[test]
        fn any_bytes_are_a_key_or_rejected(bytes: Vec<u8>) {
            for table in Table::ALL {
                let _ = StoredKey::parse(table, &bytes);
            }
        }
    }

    #[test]
    fn positions_of_a_stream_stand_together() {
        let arn = |name: &str| format!("arn:aws:kinesis:us-east-1:123456789012:stream/{name}").parse().unwrap();
        let (orders, longer): (StreamArn, StreamArn) = (arn("orders"), arn("orders-2"));
        let id: ShardId = "shardId-000000000003".parse().unwrap();
        let ingress: TypeName = "example/in".parse().unwrap();
        let range = KeyRange::prefix(stream(&ingress, &orders));
        let (key, of_shard) = (stream(&ingress, &orders), shard(&ingress, &orders, &id));
        assert!(range.contains(&key) && range.contains(&of_shard));
        assert!(!range.contains(&stream(&ingress, &longer)) && !range.contains(&shard(&ingress, &longer, &id)));
        let all = KeyRange::prefix(super::ingress(&ingress));
        assert!(all.contains(&key) && all.contains(&stream(&ingress, &longer)));
        assert!(!all.contains(&stream(&"example/in2".parse().unwrap(), &orders)));
        let parsed = |key: &Bytes| StoredKey::parse(Table::Positions, key);
        let (ingress, stream) = (ingress, orders);
        let expected = StoredKey::Shard { ingress: ingress.clone(), stream: stream.clone(), shard: id };
        assert_eq!(parsed(&of_shard), Some(expected));
        assert_eq!(parsed(&key), Some(StoredKey::Stream { ingress, stream }));
    }

    #[test]
    fn the_whole_hash_range_is_every_address() {
        let whole = hash_range(HashKeyRange::FULL);
        assert!(whole.contains(&[0; 16]) && whole.contains(&[255; 40]));
    }
}
