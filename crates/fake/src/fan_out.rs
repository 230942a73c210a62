//! What the store does for consumers with enhanced fan-out, and the seam's trait over it.

use std::time::Duration;

use async_trait::async_trait;
use statefun_kinesis_client::{
    ConsumerPage, ConsumerPageRequest, ConsumerStatus, FanOutClient, Operation, Result, StreamConsumer, Subscription,
};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, ShardId, StartPosition, StreamArn, StreamRef, Timestamp};

use crate::{
    FakeKinesis,
    consumers::Consumer,
    refusal::Refusal,
    store::{PAGE_TOKEN_LIFETIME, Store},
    stream::Stream,
    subscription::{Place, Pusher},
    token::ConsumerPageState,
};

/// Consumers of a stream (API reference, RegisterStreamConsumer).
const STREAM_MAX_CONSUMERS: usize = 20;

/// Consumers of an account that can be CREATING at a time (API reference, RegisterStreamConsumer).
const ACCOUNT_MAX_CREATING_CONSUMERS: usize = 5;

/// Consumers of a page when the request does not say, and the most (API reference, ListStreamConsumers).
const LIST_CONSUMERS_DEFAULT_RESULTS: usize = 100;
const LIST_CONSUMERS_MAX_RESULTS: usize = 10_000;

/// How long after a successful call another one is refused (API reference, SubscribeToShard).
const TAKEOVER_AFTER: Duration = Duration::from_secs(5);

/// Calls of a consumer for a shard are at least so far apart (API reference, SubscribeToShard).
const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);

fn missing(name: &ConsumerName, stream: &Stream) -> Refusal {
    Refusal::not_found(format!("stream {} has no consumer {name}", stream.arn))
}

impl Store {
    fn next_serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    fn register(&mut self, arn: &StreamArn, name: &ConsumerName, now: Timestamp) -> Result<StreamConsumer, Refusal> {
        let active = now.after(self.settings.status_delay);
        let stream = StreamRef::from(arn.clone());
        self.settle_all(now);
        let creating: usize = self.streams.values().map(|stream| stream.consumers.creating()).sum();
        let serial = self.next_serial();
        let (_, found) = self.stream(&stream, now)?;
        found.check_active()?;
        if found.consumers.get(name).is_some() {
            return Err(Refusal::in_use(format!("stream {arn} has a consumer {name} already")));
        }
        if found.consumers.count() >= STREAM_MAX_CONSUMERS {
            return Err(Refusal::limit_exceeded(format!(
                "stream {arn} has {} consumers, which is the most",
                found.consumers.count()
            )));
        }
        if creating >= ACCOUNT_MAX_CREATING_CONSUMERS {
            return Err(Refusal::limit_exceeded(format!("{creating} consumers are CREATING, which is the most")));
        }
        found.consumers.register(arn, name, serial, now, active);
        // The answer comes before the consumer can be ACTIVE, whatever follows.
        let consumer = found.consumers.get(name).map(Consumer::describe);
        found.consumers.settle(now);
        consumer.ok_or_else(|| missing(name, found))
    }

    fn consumer(&mut self, arn: &StreamArn, name: &ConsumerName, now: Timestamp) -> Result<StreamConsumer, Refusal> {
        let (_, found) = self.stream(&arn.clone().into(), now)?;
        found.consumers.get(name).map(Consumer::describe).ok_or_else(|| missing(name, found))
    }

    fn list_consumers(
        &mut self,
        arn: &StreamArn,
        page: &ConsumerPageRequest,
        now: Timestamp,
    ) -> Result<ConsumerPage, Refusal> {
        let seal = self.seal;
        let size = page.max_results.map_or(LIST_CONSUMERS_DEFAULT_RESULTS, |max| max.get().into());
        if size > LIST_CONSUMERS_MAX_RESULTS {
            return Err(Refusal::validation(format!("a page of {size} is over {LIST_CONSUMERS_MAX_RESULTS}")));
        }
        let (incarnation, found) = self.stream(&arn.clone().into(), now)?;
        let after = match &page.token {
            None => 0,
            Some(token) => {
                let page = seal
                    .open_consumer_page(token)
                    .filter(|page| page.stream == incarnation)
                    .ok_or_else(|| Refusal::invalid(format!("no listing of {arn} gave out this token")))?;
                if page.issued.after(PAGE_TOKEN_LIFETIME) < now {
                    return Err(Refusal::expired_token(format!(
                        "the token of {} is older than 5 minutes",
                        page.issued
                    )));
                }
                page.after
            }
        };
        let waiting = found.consumers.after(after);
        let listed = &waiting[..size.min(waiting.len())];
        let next = listed.last().filter(|_| listed.len() < waiting.len()).map(|last| {
            seal.consumer_page(&ConsumerPageState { stream: incarnation, after: last.serial, issued: now })
        });
        Ok(ConsumerPage::new(listed.iter().map(|consumer| consumer.describe()).collect(), next))
    }

    fn deregister(&mut self, arn: &ConsumerArn, now: Timestamp) -> Result<(), Refusal> {
        let until = now.after(self.settings.status_delay);
        let (_, found) = self.stream(&arn.stream().clone().into(), now)?;
        if found.consumers.by_arn(arn).is_none() {
            return Err(missing(arn.name(), found));
        }
        found.consumers.deregister(arn, until);
        found.consumers.settle(now);
        found.wake();
        Ok(())
    }

    fn subscribe(
        &mut self,
        arn: &ConsumerArn,
        shard: &ShardId,
        from: StartPosition,
        now: Timestamp,
    ) -> Result<Place, Refusal> {
        let (serial, enforce) = (self.next_serial(), self.settings.enforce_throughput);
        let (incarnation, found) = self.usable(&arn.stream().clone().into(), now)?;
        let number = found.number(shard, now);
        let Some(consumer) = found.consumers.by_arn(arn) else { return Err(missing(arn.name(), found)) };
        if consumer.status() != ConsumerStatus::Active {
            return Err(Refusal::in_use(format!("consumer {arn} is {}, not ACTIVE", consumer.status())));
        }
        let number = number?;
        let had = consumer.subscriptions.entry(number).or_default();
        if enforce && had.asked.is_some_and(|asked| asked.after(SUBSCRIBE_INTERVAL) > now) {
            return Err(Refusal::limit_exceeded(format!("rate of subscriptions exceeded for {arn} and shard {shard}")));
        }
        had.asked = Some(now);
        if had.running.is_some_and(|(since, _)| since.after(TAKEOVER_AFTER) > now) {
            return Err(Refusal::in_use(format!("another subscription of {arn} to shard {shard} is younger than 5 s")));
        }
        let log = found.shard_mut(number, now)?;
        let offset = log.offset(from, now)?;
        let read_to = match from {
            StartPosition::AfterSequenceNumber(number) => number,
            StartPosition::TrimHorizon
            | StartPosition::Latest
            | StartPosition::AtTimestamp(_)
            | StartPosition::AtSequenceNumber(_) => log.number_before(offset),
        };
        if let Some(consumer) = found.consumers.by_arn(arn) {
            consumer.subscriptions.entry(number).or_default().running = Some((now, serial));
        }
        // The older subscription, if there is one, learns that it is over.
        found.shards[number].wake();
        Ok(Place { stream: incarnation, consumer: arn.clone(), shard: number, serial, offset, read_to })
    }

    /// The stream of a subscription that is still the one of its consumer and shard.
    pub(crate) fn subscribed(&mut self, place: &Place, now: Timestamp) -> Result<&mut Stream, Refusal> {
        self.settle(place.stream, now);
        let arn = &place.consumer;
        let stream = self
            .streams
            .get_mut(&place.stream)
            .filter(|stream| stream.status().is_usable())
            .ok_or_else(|| Refusal::not_found(format!("stream {} has been removed", arn.stream())))?;
        let Some(consumer) = stream.consumers.by_arn(arn).filter(|it| it.status() == ConsumerStatus::Active) else {
            return Err(Refusal::not_found(format!("consumer {arn} has been deregistered")));
        };
        let running = consumer.subscriptions.get(&place.shard).and_then(|had| had.running);
        if running.is_none_or(|(_, serial)| serial != place.serial) {
            return Err(Refusal::in_use(format!("another subscription of {arn} has taken over")));
        }
        Ok(stream)
    }
}

#[async_trait]
impl FanOutClient for FakeKinesis {
    async fn register_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer> {
        self.call(Operation::RegisterStreamConsumer, |state, now| state.store.register(stream, name, now)).await
    }

    async fn describe_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer> {
        self.call(Operation::DescribeStreamConsumer, |state, now| state.store.consumer(stream, name, now)).await
    }

    async fn list_stream_consumers(&self, stream: &StreamArn, page: ConsumerPageRequest) -> Result<ConsumerPage> {
        self.call(Operation::ListStreamConsumers, |state, now| state.store.list_consumers(stream, &page, now)).await
    }

    async fn deregister_stream_consumer(&self, consumer: &ConsumerArn) -> Result<()> {
        self.call(Operation::DeregisterStreamConsumer, |state, now| state.store.deregister(consumer, now)).await
    }

    async fn subscribe_to_shard(
        &self,
        consumer: &ConsumerArn,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<Subscription> {
        let pusher = self
            .call(Operation::SubscribeToShard, |state, now| {
                let place = state.store.subscribe(consumer, shard, from, now)?;
                let enforce = state.store.settings.enforce_throughput;
                Ok(Pusher::new(self.clone(), place, state.faults.subscription(), enforce, now))
            })
            .await?;
        Ok(Subscription::new(futures::stream::unfold(pusher, Pusher::next)))
    }
}
