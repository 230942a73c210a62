//! How far each shard was read, in [`Table::Positions`].
//!
//! An engine puts the positions into the [`Commit`] that has everything that came of the records up to them. Where
//! nothing else has to be stored with them, [`StoredCheckpoints`] gives them to a consumer.
//!
//! The values are text, and part of the format on disk. A stream has when it was made and where reading started,
//! such as `2026-04-23T00:00:00.000Z at-timestamp 2026-04-23T01:00:00.000Z`; a shard has `unread`, `finished`, a
//! sequence number when all of that record was processed, or `<sequence number>/<sub-sequence number>` inside an
//! aggregated record.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_client::{CheckpointError, CheckpointStore, PositionStore};
use statefun_kinesis_types::{
    CheckpointChanges, Extent, Position, ShardId, ShardPosition, StartPosition, StreamArn, StreamCheckpoint, TypeName,
};

use crate::{
    Commit, Entry, Error, ErrorKind, KeyRange, Result, Store, StoreExt, Table,
    key::{self, StoredKey},
};

/// Puts the beginning of reading a stream, in place of all that was stored about it for that ingress.
pub fn put_begin(commit: &mut Commit, ingress: &TypeName, stream: &StreamArn, checkpoint: &StreamCheckpoint) {
    commit.delete_prefix(Table::Positions, key::stream(ingress, stream));
    let about = format!("{} {}", checkpoint.created, start_text(checkpoint.start));
    commit.put(Table::Positions, key::stream(ingress, stream), about);
    for (shard, position) in &checkpoint.shards {
        commit.put(Table::Positions, key::shard(ingress, stream, shard), position_text(*position));
    }
}

/// Puts what has changed since the last commit.
pub fn put_changes(commit: &mut Commit, ingress: &TypeName, stream: &StreamArn, changes: &CheckpointChanges) {
    for (shard, position) in &changes.moved {
        commit.put(Table::Positions, key::shard(ingress, stream, shard), position_text(*position));
    }
    for shard in &changes.forgotten {
        commit.delete(Table::Positions, key::shard(ingress, stream, shard));
    }
}

/// Reads what is stored about a stream; none when the ingress never read it.
///
/// # Errors
///
/// When the store cannot be read, or holds something else than positions: [`ErrorKind::Damaged`].
pub async fn load(
    store: &(impl Store + ?Sized),
    ingress: &TypeName,
    stream: &StreamArn,
) -> Result<Option<StreamCheckpoint>> {
    let loaded = store.load(Table::Positions, vec![key::stream(ingress, stream)]).await?;
    let mut streams = Positions::default();
    for entry in loaded.into_iter().flatten() {
        streams.add(&entry)?;
    }
    Ok(streams.0.into_values().next())
}

/// Reads what is stored about all streams of all ingresses.
///
/// # Errors
///
/// When the store cannot be read, or holds something else than positions: [`ErrorKind::Damaged`].
pub async fn load_all(store: &(impl Store + ?Sized)) -> Result<BTreeMap<(TypeName, StreamArn), StreamCheckpoint>> {
    let mut streams = Positions::default();
    let mut entries = store.entries(Table::Positions, KeyRange::ALL);
    while let Some(entry) = entries.next().await? {
        streams.add(&entry)?;
    }
    Ok(streams.0)
}

#[derive(Default)]
struct Positions(BTreeMap<(TypeName, StreamArn), StreamCheckpoint>);

impl Positions {
    /// Takes the next entry; a stream comes before its shards.
    fn add(&mut self, entry: &Entry) -> Result<()> {
        let added = match StoredKey::parse(Table::Positions, &entry.key) {
            Some(StoredKey::Stream { ingress, stream }) => {
                parse_stream(&entry.value).map(|checkpoint| drop(self.0.insert((ingress, stream), checkpoint)))
            }
            Some(StoredKey::Shard { ingress, stream, shard }) => {
                let checkpoint = self.0.get_mut(&(ingress, stream));
                checkpoint.zip(parse_position(&entry.value)).map(|(checkpoint, position)| {
                    checkpoint.shards.insert(shard, position);
                })
            }
            Some(
                StoredKey::Meta { .. } | StoredKey::State { .. } | StoredKey::Numbered { .. } | StoredKey::Due { .. },
            )
            | None => None,
        };
        added.ok_or_else(|| {
            let (key, value) = (entry.key.escape_ascii(), entry.value.escape_ascii());
            Error::new(ErrorKind::Damaged, format!("`{value}` is not the position of `{key}`"))
        })
    }
}

fn start_text(start: StartPosition) -> String {
    match start {
        StartPosition::TrimHorizon => "trim-horizon".to_owned(),
        StartPosition::Latest => "latest".to_owned(),
        StartPosition::AtTimestamp(time) => format!("at-timestamp {time}"),
        StartPosition::AtSequenceNumber(number) => format!("at-sequence-number {number}"),
        StartPosition::AfterSequenceNumber(number) => format!("after-sequence-number {number}"),
    }
}

fn parse_stream(value: &Bytes) -> Option<StreamCheckpoint> {
    let (created, start) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let start = match start.split_once(' ') {
        None if start == "trim-horizon" => StartPosition::TrimHorizon,
        None if start == "latest" => StartPosition::Latest,
        Some(("at-timestamp", time)) => StartPosition::AtTimestamp(time.parse().ok()?),
        Some(("at-sequence-number", number)) => StartPosition::AtSequenceNumber(number.parse().ok()?),
        Some(("after-sequence-number", number)) => StartPosition::AfterSequenceNumber(number.parse().ok()?),
        _ => return None,
    };
    Some(StreamCheckpoint::new(created.parse().ok()?, start))
}

fn position_text(position: ShardPosition) -> String {
    match position {
        ShardPosition::At(Position { sequence_number, extent: Extent::All }) => sequence_number.to_string(),
        ShardPosition::At(Position { sequence_number, extent: Extent::UpTo(sub) }) => {
            format!("{sequence_number}/{sub}")
        }
        ShardPosition::Finished => "finished".to_owned(),
        ShardPosition::Unread => "unread".to_owned(),
    }
}

fn parse_position(value: &Bytes) -> Option<ShardPosition> {
    match std::str::from_utf8(value).ok()? {
        "unread" => Some(ShardPosition::Unread),
        "finished" => Some(ShardPosition::Finished),
        text => {
            let position = match text.split_once('/') {
                None => Position::behind(text.parse().ok()?),
                Some((number, sub)) => Position::inside(number.parse().ok()?, sub.parse().ok()?),
            };
            Some(ShardPosition::At(position))
        }
    }
}

/// The positions of an ingress in a store.
///
/// As a [`PositionStore`] it is for an engine that commits positions together with what came of the records. As a
/// [`CheckpointStore`] each save is a commit of its own.
#[derive(Clone, Debug)]
pub struct StoredCheckpoints {
    store: Arc<dyn Store>,
    ingress: TypeName,
}

impl StoredCheckpoints {
    /// The positions of this ingress in this store.
    pub fn new(store: Arc<dyn Store>, ingress: TypeName) -> Self {
        Self { store, ingress }
    }

    async fn commit(&self, stream: &StreamArn, commit: Commit) -> Result<(), CheckpointError> {
        let committed = self.store.commit(commit).await;
        committed.map(|_| ()).map_err(|error| failed("store", stream, error))
    }
}

fn failed(what: &str, stream: &StreamArn, error: Error) -> CheckpointError {
    CheckpointError::new(format!("cannot {what} the positions of {stream}")).with_source(error)
}

#[async_trait]
impl PositionStore for StoredCheckpoints {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        load(&*self.store, &self.ingress, stream).await.map_err(|error| failed("read", stream, error))
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        let mut commit = Commit::new();
        put_begin(&mut commit, &self.ingress, stream, &checkpoint);
        self.commit(stream, commit).await
    }
}

#[async_trait]
impl CheckpointStore for StoredCheckpoints {
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError> {
        let begun = self.store.get_one(Table::Positions, key::stream(&self.ingress, stream)).await;
        if begun.map_err(|error| failed("read", stream, error))?.is_none() {
            return Err(CheckpointError::new(format!("reading of {stream} was never begun")));
        }
        let mut commit = Commit::new();
        put_changes(&mut commit, &self.ingress, stream, changes);
        self.commit(stream, commit).await
    }
}

/// Removes what is stored about a stream, so that it is read as one that never was.
pub fn forget(commit: &mut Commit, ingress: &TypeName, stream: &StreamArn) {
    commit.delete_prefix(Table::Positions, key::stream(ingress, stream));
}

/// Puts the position of one shard, wherever it was before: for people, who know what they do.
pub fn put(commit: &mut Commit, ingress: &TypeName, stream: &StreamArn, shard: &ShardId, position: ShardPosition) {
    commit.put(Table::Positions, key::shard(ingress, stream, shard), position_text(position));
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::Timestamp;

    use super::*;
    use crate::MemoryStore;

    fn stream(name: &str) -> StreamArn {
        format!("arn:aws:kinesis:us-east-1:123456789012:stream/{name}").parse().unwrap()
    }

    fn ingress() -> TypeName {
        "example/in".parse().unwrap()
    }

    fn shard(number: u8) -> ShardId {
        format!("shardId-{number:012}").parse().unwrap()
    }

    /// Every kind of position.
    fn positions() -> [ShardPosition; 4] {
        let number = "49590338271490256608559692538361571095921575989136588898".parse().unwrap();
        [
            ShardPosition::Unread,
            ShardPosition::Finished,
            ShardPosition::At(Position::behind(number)),
            ShardPosition::At(Position::inside(number, 3)),
        ]
    }

    /// Values are on disks: these may not change.
    #[test]
    fn texts_stay_as_they_are() {
        let texts = ["unread", "finished", "49590338271490256608559692538361571095921575989136588898"];
        let texts = texts.map(str::to_owned).into_iter().chain([format!("{}/3", texts[2])]);
        for (position, text) in positions().into_iter().zip(texts) {
            assert_eq!(position_text(position), text);
            assert_eq!(parse_position(&text.into()), Some(position));
        }
        for (start, text) in [
            (StartPosition::TrimHorizon, "1970-01-01T00:00:00.000Z trim-horizon"),
            (StartPosition::Latest, "1970-01-01T00:00:00.000Z latest"),
            (
                StartPosition::AtTimestamp(Timestamp::from_millis(1)),
                "1970-01-01T00:00:00.000Z at-timestamp 1970-01-01T00:00:00.001Z",
            ),
            (StartPosition::AtSequenceNumber(5_u64.into()), "1970-01-01T00:00:00.000Z at-sequence-number 5"),
            (StartPosition::AfterSequenceNumber(5_u64.into()), "1970-01-01T00:00:00.000Z after-sequence-number 5"),
        ] {
            assert_eq!(format!("{} {}", Timestamp::EPOCH, start_text(start)), text);
            assert_eq!(parse_stream(&text.into()), Some(StreamCheckpoint::new(Timestamp::EPOCH, start)));
        }
    }

    #[tokio::test]
    async fn a_consumer_finds_what_it_saved() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let checkpoints = StoredCheckpoints::new(Arc::clone(&store), ingress());
        let (orders, other) = (stream("orders"), stream("orders-2"));
        assert_eq!(checkpoints.load(&orders).await.unwrap(), None);
        let moved = CheckpointChanges::default();
        assert!(checkpoints.save(&orders, &moved).await.unwrap_err().to_string().contains("never begun"));

        let mut expected = StreamCheckpoint::new(Timestamp::from_millis(7), StartPosition::TrimHorizon);
        expected.shards.extend([(shard(0), positions()[0]), (shard(1), positions()[1])]);
        checkpoints.begin(&orders, expected.clone()).await.unwrap();
        checkpoints.begin(&other, expected.clone()).await.unwrap();
        assert_eq!(checkpoints.load(&orders).await.unwrap(), Some(expected.clone()));

        let mut changes = CheckpointChanges::default();
        changes.moved.extend([(shard(0), positions()[3]), (shard(2), positions()[2])]);
        changes.forgotten.push(shard(1));
        checkpoints.save(&orders, &changes).await.unwrap();
        let mut after = expected.clone();
        after.shards = [(shard(0), positions()[3]), (shard(2), positions()[2])].into();
        assert_eq!(checkpoints.load(&orders).await.unwrap(), Some(after.clone()));
        // Another ingress reads the same stream from elsewhere.
        let second: TypeName = "example/in-2".parse().unwrap();
        let of_second = StoredCheckpoints::new(Arc::clone(&store), second.clone());
        assert_eq!(of_second.load(&orders).await.unwrap(), None);
        of_second.begin(&orders, expected.clone()).await.unwrap();
        let all = BTreeMap::from([
            ((ingress(), orders.clone()), after),
            ((ingress(), other.clone()), expected.clone()),
            ((second, orders.clone()), expected.clone()),
        ]);
        assert_eq!(load_all(&*store).await.unwrap(), all);

        // A new beginning replaces everything, and of this stream only.
        let again = StreamCheckpoint::new(Timestamp::from_millis(9), StartPosition::TrimHorizon);
        checkpoints.begin(&orders, again.clone()).await.unwrap();
        assert_eq!(checkpoints.load(&orders).await.unwrap(), Some(again));
        let mut commit = Commit::new();
        forget(&mut commit, &ingress(), &orders);
        put(&mut commit, &ingress(), &other, &shard(1), positions()[2]);
        store.commit(commit).await.unwrap();
        assert_eq!(checkpoints.load(&orders).await.unwrap(), None);
        assert_eq!(of_second.load(&orders).await.unwrap(), Some(expected));
        assert_eq!(checkpoints.load(&other).await.unwrap().unwrap().shards[&shard(1)], positions()[2]);
    }

    #[tokio::test]
    async fn an_invalid_position_is_reported_as_damage() {
        let orders = stream("orders");
        let about = (key::stream(&ingress(), &orders), "1970-01-01T00:00:00.000Z trim-horizon");
        let wrong = [
            vec![(key::stream(&ingress(), &orders), "yesterday")],
            vec![about.clone(), (key::shard(&ingress(), &orders, &shard(0)), "somewhere")],
            // A shard of a stream that is not there.
            vec![(key::shard(&ingress(), &orders, &shard(0)), "unread")],
        ];
        for entries in wrong {
            let store = MemoryStore::new();
            let mut commit = Commit::new();
            for (key, value) in entries {
                commit.put(Table::Positions, key, value);
            }
            store.commit(commit).await.unwrap();
            assert_eq!(load(&store, &ingress(), &orders).await.unwrap_err().kind(), ErrorKind::Damaged);
            assert_eq!(load_all(&store).await.unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}
