//! Answers that lack something, at each point of a shard's life: absence is not an event.
//!
//! Each loss takes something from a few answers of one operation, beginning with any of them. Whatever it takes, every
//! record is delivered, in the order of its key, and reading goes on.

use std::{
    collections::BTreeMap,
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use statefun_kinesis_client::{
    Error, ErrorKind, Operation, RecordPage, Result, ShardIterator, ShardPage, ShardPageRequest, StreamSummary,
    Subscription, SubscriptionEvent, forward_client,
};
use statefun_kinesis_consumer::{Consumer, FanOut};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{ConsumerArn, HashKey, ShardId, StartPosition, StartupPosition, StreamRef};
use tokio::time::{Instant, sleep, timeout_at};

use crate::scene::{Scene, texts};

/// What is missing from an answer, or is in it twice.
#[derive(Clone, Copy, Debug)]
struct Loss {
    name: &'static str,
    of: Answer,
    /// Nothing in the answer says any more that a child has parents, so that it may come before them.
    may_cost_order: bool,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Page(fn(&mut RecordPage)),
    Shards(fn(&mut ShardPage)),
    Event(fn(&mut SubscriptionEvent)),
    Summary(fn(&mut StreamSummary)),
    /// It has no shard iterator.
    NoIterator,
    /// It says that something does not exist.
    NotFound(Operation),
}

impl Answer {
    fn operation(self) -> Operation {
        match self {
            Self::Page(_) => Operation::GetRecords,
            Self::Shards(_) => Operation::ListShards,
            Self::Event(_) => Operation::SubscribeToShard,
            Self::Summary(_) => Operation::DescribeStreamSummary,
            Self::NoIterator => Operation::GetShardIterator,
            Self::NotFound(operation) => operation,
        }
    }
}

const fn loss(name: &'static str, of: Answer) -> Loss {
    Loss { name, of, may_cost_order: false }
}

const POLLING: [Loss; 19] = [
    // Everything, as in `{"Records":[]}`. The next call starts at the same place.
    loss("an empty page", Answer::Page(|page| *page = RecordPage::new(Vec::new(), None, Duration::ZERO))),
    loss("no next iterator", Answer::Page(|page| page.next_iterator = None)),
    loss("no child shards", Answer::Page(|page| page.child_shards.clear())),
    loss(
        "neither an iterator nor child shards",
        Answer::Page(|page| (page.next_iterator, page.child_shards) = (None, Vec::new())),
    ),
    loss(
        "no parents of child shards",
        Answer::Page(|page| page.child_shards.iter_mut().for_each(|child| child.parents.clear())),
    ),
    loss("each record twice", Answer::Page(|page| twice(&mut page.records))),
    loss("each child shard twice", Answer::Page(|page| twice(&mut page.child_shards))),
    loss("no iterator", Answer::NoIterator),
    loss("no shards", Answer::Shards(|page| page.shards.clear())),
    loss("not the oldest shard", Answer::Shards(|page| drop(page.shards.drain(..page.shards.len().min(1))))),
    loss("only the oldest shard", Answer::Shards(|page| page.shards.truncate(1))),
    loss(
        "no ending sequence numbers",
        Answer::Shards(|page| page.shards.iter_mut().for_each(|shard| shard.ending_sequence_number = None)),
    ),
    Loss {
        name: "no parents",
        of: Answer::Shards(|page| {
            page.shards.iter_mut().for_each(|shard| (shard.parent, shard.adjacent_parent) = (None, None));
        }),
        may_cost_order: true,
    },
    loss("no token", Answer::Shards(|page| page.next = None)),
    loss("each shard twice", Answer::Shards(|page| twice(&mut page.shards))),
    loss("no open shards", Answer::Summary(|summary| summary.open_shards = 0)),
    loss("no place", Answer::NotFound(Operation::GetRecords)),
    loss("no shard", Answer::NotFound(Operation::GetShardIterator)),
    loss("no stream", Answer::NotFound(Operation::ListShards)),
];

const FAN_OUT: [Loss; 6] = [
    loss("an empty event", Answer::Event(|event| *event = SubscriptionEvent::end(Vec::new(), Vec::new()))),
    loss("no continuation", Answer::Event(|event| event.continuation = None)),
    loss("no children", Answer::Event(|event| event.children.clear())),
    loss(
        "neither a continuation nor children",
        Answer::Event(|event| (event.continuation, event.children) = (None, Vec::new())),
    ),
    loss("each record twice", Answer::Event(|event| twice(&mut event.records))),
    loss("no shard", Answer::NotFound(Operation::SubscribeToShard)),
];

fn twice<T: Clone>(items: &mut Vec<T>) {
    *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
}

/// A client around the fake that takes something from some answers.
#[derive(Clone, Debug)]
struct LossyClient {
    fake: FakeKinesis,
    loss: Loss,
    /// The first answer that lacks something, and how many do.
    first: usize,
    count: usize,
    answers: Arc<AtomicUsize>,
}

impl LossyClient {
    /// Counts an answer of the operation. Says whether it is one that lacks something.
    fn is_lossy(&self) -> bool {
        let answer = self.answers.fetch_add(1, Ordering::Relaxed);
        (self.first..self.first + self.count).contains(&answer)
    }

    fn found(&self, operation: Operation) -> Result<()> {
        if matches!(self.loss.of, Answer::NotFound(lost) if lost == operation) && self.is_lossy() {
            return Err(Error::new(operation, ErrorKind::NotFound, "the test hides it"));
        }
        Ok(())
    }
}

forward_client! {
    impl KinesisClient for LossyClient {
        |this| this.fake => put_records;

        async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
            let mut summary = self.fake.describe_stream_summary(stream).await?;
            if let Answer::Summary(change) = self.loss.of && self.is_lossy() {
                change(&mut summary);
            }
            Ok(summary)
        }

        async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
            self.found(Operation::ListShards)?;
            let page = match page {
                // Listings have several pages.
                ShardPageRequest::First { filter, .. } => ShardPageRequest::First { filter, max_results: NonZeroU16::new(2) },
                page @ ShardPageRequest::Next { .. } => page,
            };
            let mut page = self.fake.list_shards(stream, page).await?;
            if let Answer::Shards(change) = self.loss.of && self.is_lossy() {
                change(&mut page);
            }
            Ok(page)
        }

        async fn get_shard_iterator(&self, stream: &StreamRef, shard: &ShardId, from: StartPosition) -> Result<ShardIterator> {
            self.found(Operation::GetShardIterator)?;
            if matches!(self.loss.of, Answer::NoIterator) && self.is_lossy() {
                return Err(Error::new(Operation::GetShardIterator, ErrorKind::Incomplete, "the answer has no `ShardIterator`"));
            }
            self.fake.get_shard_iterator(stream, shard, from).await
        }

        async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
            self.found(Operation::GetRecords)?;
            let mut page = self.fake.get_records(iterator, limit).await?;
            if let Answer::Page(change) = self.loss.of && self.is_lossy() {
                change(&mut page);
            }
            Ok(page)
        }
    }
}

forward_client! {
    impl FanOutClient for LossyClient {
        |this| this.fake =>
            register_stream_consumer, describe_stream_consumer, list_stream_consumers, deregister_stream_consumer;

        async fn subscribe_to_shard(&self, consumer: &ConsumerArn, shard: &ShardId, from: StartPosition) -> Result<Subscription> {
            self.found(Operation::SubscribeToShard)?;
            let events = self.fake.subscribe_to_shard(consumer, shard, from).await?;
            let client = self.clone();
            Ok(Subscription::new(events.map(move |event| {
                let mut event = event?;
                if let Answer::Event(change) = client.loss.of && client.is_lossy() {
                    change(&mut event);
                }
                Ok(event)
            })))
        }
    }
}

/// Keys whose hashes lie in the four quarters of the hash key space.
const KEYS: usize = 4;

/// A life of shards: start, records, a split, a restart, a merge, another restart, records again.
struct Life {
    scene: Scene,
    client: LossyClient,
    fan_out: bool,
    written: usize,
    delivered: Vec<String>,
}

impl Life {
    async fn put(&mut self) {
        for key in 0..KEYS {
            let quarter = u128::MAX / KEYS as u128;
            self.scene.put_at(HashKey::new(quarter * key as u128 + 7), &format!("{key}: {:03}", self.written)).await;
        }
        self.written += 1;
    }

    async fn consumer(&self) -> Consumer {
        let builder = self.scene.builder_on(Arc::new(self.client.clone()), StartupPosition::TrimHorizon);
        let fan_out = FanOut::managed("billing".parse().unwrap());
        let builder = if self.fan_out { builder.fan_out(Arc::new(self.client.clone()), fan_out) } else { builder };
        builder.build().await.unwrap_or_else(|error| panic!("{}: {error:?}", self.about()))
    }

    /// Takes what comes for so long, or until everything has come.
    async fn take(&mut self, consumer: &mut Consumer, time: Duration, until_all: bool) {
        let until = Instant::now() + time;
        while let Ok(item) = timeout_at(until, consumer.next()).await {
            match item {
                Some(Ok(batch)) => {
                    self.delivered.extend(texts(&batch));
                    batch.done();
                }
                other => panic!("{}: {other:?}", self.about()),
            }
            if until_all && self.delivered.len() >= KEYS * self.written {
                return;
            }
        }
    }

    fn about(&self) -> String {
        let LossyClient { loss, first, count, .. } = &self.client;
        format!(
            "{count} {:?} answers from number {first} with {}, fan-out {}",
            loss.of.operation(),
            loss.name,
            self.fan_out
        )
    }

    fn check(&self) {
        let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for text in &self.delivered {
            let (key, number) = text.split_once(": ").unwrap();
            by_key.entry(key).or_default().push(number);
        }
        let expected: Vec<String> = (0..self.written).map(|number| format!("{number:03}")).collect();
        assert_eq!(by_key.len(), KEYS, "{}", self.about());
        for (key, mut numbers) in by_key {
            if self.client.loss.may_cost_order {
                numbers.sort_unstable();
            }
            assert_eq!(numbers, expected, "{}: key {key}", self.about());
        }
    }
}

/// Lives once with the loss. Returns how many answers of the operation there were.
async fn live(loss: Loss, first: usize, count: usize, fan_out: bool) -> usize {
    let scene = Scene::with_shards(2).await;
    let client = LossyClient { fake: scene.fake.clone(), loss, first, count, answers: Arc::default() };
    let mut life = Life { scene, client, fan_out, written: 0, delivered: Vec::new() };
    let second = Duration::from_secs(1);
    life.put().await;
    let mut consumer = life.consumer().await;
    life.take(&mut consumer, second, false).await;
    life.put().await;
    life.scene.split(0).await;
    life.put().await;
    life.take(&mut consumer, 3 * second, false).await;
    consumer.close().await.unwrap();
    life.put().await;

    let mut consumer = life.consumer().await;
    life.take(&mut consumer, second, false).await;
    // 1 is the upper half, and 3 the second quarter.
    life.scene.merge(3, 1).await;
    life.put().await;
    consumer.close().await.unwrap();
    sleep(second).await;

    let mut consumer = life.consumer().await;
    life.take(&mut consumer, 3 * second, false).await;
    life.put().await;
    life.take(&mut consumer, 300 * second, true).await;
    // Whatever came twice comes within this time.
    life.take(&mut consumer, 30 * second, false).await;
    life.check();
    consumer.close().await.unwrap();
    life.client.answers.load(Ordering::Relaxed)
}

/// Every loss at every answer of a life, once and several times in a row.
fn every_loss_at_every_answer(losses: &[Loss], counts: &[usize], fan_out: bool) {
    for &loss in losses {
        for &count in counts {
            // Two listings some time apart are believed.
            if matches!(loss.of, Answer::Shards(_)) && count > 2 {
                continue;
            }
            for first in 0.. {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
                let answers = runtime.block_on(live(loss, first, count, fan_out).boxed());
                if first + 1 >= answers.min(40) {
                    break;
                }
            }
        }
    }
}

#[test]
fn nothing_is_lost_when_answers_to_polling_lack_something() {
    every_loss_at_every_answer(&POLLING, &[1, 2, 5], false);
}

#[test]
fn nothing_is_lost_when_events_of_fan_out_lack_something() {
    // A shard can be subscribed to every five seconds, so that two are a long time.
    every_loss_at_every_answer(&FAN_OUT, &[1, 2], true);
}
