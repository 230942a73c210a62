use statefun_kinesis_types::{SequenceNumber, ShardId, Timestamp};

use super::*;

fn stream() -> StreamArn {
    "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap()
}

fn shard(number: u64) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

fn at(number: u64) -> ShardPosition {
    ShardPosition::At(Position::behind(number.into()))
}

fn checkpoint() -> StreamCheckpoint {
    let mut checkpoint = StreamCheckpoint::new(Timestamp::from_millis(1), StartPosition::TrimHorizon);
    checkpoint.shards.insert(shard(0), ShardPosition::Unread);
    checkpoint
}

fn moved(shard: ShardId, position: ShardPosition) -> CheckpointChanges {
    CheckpointChanges { moved: [(shard, position)].into(), forgotten: Vec::new() }
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("statefun-kinesis-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart() {
    let directory = Directory::new("restart");
    let number: SequenceNumber = "9".repeat(129).parse().unwrap();
    for start in [
        StartPosition::TrimHorizon,
        StartPosition::AtTimestamp(Timestamp::from_millis(1_234_567)),
        StartPosition::AtSequenceNumber(number),
        StartPosition::AfterSequenceNumber(number),
    ] {
        let store = FileCheckpoints::open(&directory.0).unwrap();
        let mut expected = StreamCheckpoint { start, ..checkpoint() };
        expected.shards.insert(shard(4), at(4));
        store.begin(&stream(), expected.clone()).await.unwrap();
        let mut changes = moved(shard(0), ShardPosition::Finished);
        changes.moved.insert(shard(1), ShardPosition::At(Position::behind(number)));
        changes.moved.insert(shard(2), ShardPosition::At(Position::inside(number, 0)));
        changes.forgotten.push(shard(4));
        store.save(&stream(), &changes).await.unwrap();
        drop(store);
        expected.shards.remove(&shard(4));
        expected.shards.extend(changes.moved);
        let store = FileCheckpoints::open(&directory.0).unwrap();
        assert_eq!(store.load(&stream()).await.unwrap(), Some(expected));
    }
    let other = "arn:aws:kinesis:us-east-1:123456789012:stream/other".parse().unwrap();
    let store = FileCheckpoints::open(&directory.0).unwrap();
    assert_eq!(store.load(&other).await.unwrap(), None);
    assert!(store.save(&other, &moved(shard(0), at(1))).await.is_err(), "reading was never begun");
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let directory = Directory::new("second");
    let first = FileCheckpoints::open(&directory.0).unwrap();
    let error = FileCheckpoints::open(&directory.0).unwrap_err();
    assert!(error.to_string().contains("used by another process"), "{error}");
    assert!(error.to_string().contains(&directory.0.display().to_string()), "{error}");
    drop(first);
    FileCheckpoints::open(&directory.0).unwrap();
}

#[tokio::test]
async fn a_file_that_is_damaged_in_any_byte_is_refused_by_name() {
    let directory = Directory::new("damage");
    let store = FileCheckpoints::open(&directory.0).unwrap();
    store.begin(&stream(), checkpoint()).await.unwrap();
    store.save(&stream(), &moved(shard(1), at(77))).await.unwrap();
    let path = store.0.path(&stream());
    let good = fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        damages.push(bytes);
    }
    for bad in damages {
        fs::write(&path, &bad).unwrap();
        let error = store.load(&stream()).await.unwrap_err().to_string();
        assert!(error.contains("us-east-1_123456789012_orders.json"), "{error}");
        assert!(error.contains("put a good copy in its place, or remove it"), "{error}");
    }
    let newer = String::from_utf8(good).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(&path, newer).unwrap();
    let error = store.load(&stream()).await.unwrap_err().to_string();
    assert!(error.contains("is of version 2"), "{error}");
}

#[tokio::test]
async fn version_1_is_read_for_ever() {
    let text = r#"{"version":1,"checksum":"CHECKSUM","stream":"arn:aws:kinesis:us-east-1:123456789012:stream/orders","created":"1970-01-01T00:00:00.001Z","start":{"atTimestamp":"2026-11-23T02:00:00.000Z"},"shards":{"shardId-000000000000":"finished","shardId-000000000001":{"at":{"sequenceNumber":"7"}},"shardId-000000000002":{"at":{"sequenceNumber":"8","subSequenceNumber":3}},"shardId-000000000003":"unread"}}"#;
    let text = text.replace("CHECKSUM", "625b4cc2fcac76e7");
    let start = StartPosition::AtTimestamp("2026-11-23T02:00:00.000Z".parse().unwrap());
    let mut expected = StreamCheckpoint { start, ..checkpoint() };
    expected.shards = [
        (shard(0), ShardPosition::Finished),
        (shard(1), at(7)),
        (shard(2), ShardPosition::At(Position::inside(8_u64.into(), 3))),
        (shard(3), ShardPosition::Unread),
    ]
    .into();
    assert_eq!(String::from_utf8(render(&stream(), &expected)).unwrap(), text);
    assert_eq!(parse(text.as_bytes(), &stream()), Ok(expected));
}

/// A file system that can be full, and that forgets in a crash what was not flushed.
#[derive(Debug, Default)]
struct Forgetful(Mutex<Memory>);

#[derive(Clone, Debug, Default)]
struct Memory {
    /// What programs see.
    seen: HashMap<PathBuf, Vec<u8>>,
    /// What a crash leaves: names as they were when the directory was last flushed, or any later.
    durable: HashMap<PathBuf, Vec<u8>>,
    /// Steps from now until one fails.
    steps: Option<usize>,
}

impl Memory {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps {
            Some(0) => Err(io::Error::from(ErrorKind::StorageFull)),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Forgetful {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

impl Files for Arc<Forgetful> {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.memory().seen.get(path).cloned())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut memory = self.memory();
        let half = content[..content.len() / 2].to_vec();
        memory.seen.insert(path.into(), half);
        memory.step()?;
        memory.seen.insert(path.into(), content.into());
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut memory = self.memory();
        memory.step()?;
        let content = memory.seen.remove(from).ok_or(ErrorKind::NotFound)?;
        memory.seen.insert(to.into(), content);
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut memory = self.memory();
        memory.step()?;
        memory.durable = memory.seen.clone();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory().seen.remove(path);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_or_a_crash_at_any_step_loses_nothing() {
    let directory = PathBuf::from("checkpoints");
    let open = |files: &Arc<Forgetful>| {
        let files = Box::new(Arc::clone(files));
        let store = Store { directory: directory.clone(), files, streams: Mutex::default(), _lock: None };
        FileCheckpoints(Arc::new(store))
    };
    for step in 0..4 {
        let files = Arc::<Forgetful>::default();
        let store = open(&files);
        store.begin(&stream(), checkpoint()).await.unwrap();
        store.save(&stream(), &moved(shard(0), at(1))).await.unwrap();
        files.memory().steps = Some(step);
        let second = store.save(&stream(), &moved(shard(0), at(2))).await;
        assert_eq!(second.is_err(), step < 3, "{step}");

        // A crash: whatever was flushed is there, and it is whole.
        let crashed = Arc::new(Forgetful::default());
        crashed.memory().seen = files.memory().durable.clone();
        let position = open(&crashed).load(&stream()).await.unwrap().unwrap().shards[&shard(0)];
        assert_eq!(position, if second.is_ok() { at(2) } else { at(1) }, "{step}");

        // No crash: there is room again, and the same is saved.
        files.memory().steps = None;
        store.save(&stream(), &moved(shard(0), at(2))).await.unwrap();
        assert_eq!(open(&files).load(&stream()).await.unwrap().unwrap().shards[&shard(0)], at(2));
        assert_eq!(files.memory().seen.len(), 1, "nothing is left over");
    }
}
