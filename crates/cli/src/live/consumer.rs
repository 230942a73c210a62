//! Checks the consumer of enhanced fan-out.

use statefun_kinesis_client::{
    ConsumerPageRequest, ConsumerStatus, Error, ErrorKind, Operation, StreamConsumer, StreamMode,
};
use statefun_kinesis_types::{ConsumerName, StartPosition, StreamArn};

use super::{
    call::call,
    finding::{Problem, Verdict},
    probe::Probe,
};
use crate::failure::lines;

/// Consumers of a stream, provisioned or on-demand. On-demand Advantage gives 50 (Quotas and limits, November 2026).
pub(super) const CONSUMERS_MAX: usize = 20;

/// A shard that no stream has: shards are numbered from 0.
const NO_SHARD: &str = "shardId-999999999999";

impl Probe<'_> {
    /// Checks the consumer, and whether the stream can have another one.
    pub(super) async fn consumer(&mut self, name: &ConsumerName, managed: bool) {
        let described = self.answer.summary.as_ref().map(|summary| summary.arn.clone());
        let Some(stream) = described.or_else(|| self.answer.need.stream.arn().cloned()) else {
            let of_consumers =
                [Operation::DescribeStreamConsumer, Operation::SubscribeToShard, Operation::RegisterStreamConsumer];
            // Only a managed consumer is registered by a run.
            for operation in of_consumers.into_iter().take(if managed { 3 } else { 2 }) {
                let why = "it needs the stream's ARN, but DescribeStreamSummary failed";
                self.answer.found(operation, Verdict::untested(why));
            }
            return;
        };
        let is_registered = self.describe_consumer(&stream, name, managed).await;
        self.count_consumers(&stream, is_registered, managed).await;
        if managed {
            self.answer.found(
                Operation::RegisterStreamConsumer,
                Verdict::untested("a test would register a consumer, which costs money until it is deregistered"),
            );
        }
    }

    /// Looks the consumer up, and subscribes as it. Returns whether it is registered.
    async fn describe_consumer(&mut self, stream: &StreamArn, name: &ConsumerName, managed: bool) -> bool {
        let operation = Operation::DescribeStreamConsumer;
        let described = call(operation, async || self.client.describe_stream_consumer(stream, name).await).await;
        let error = match described {
            Ok(consumer) => {
                self.answer.found(operation, Verdict::Allowed);
                self.answer.notes.push(format!("the consumer {name} is {}", consumer.status));
                self.subscribe(&consumer).await;
                return true;
            }
            Err(error) => error,
        };
        let why = if error.kind() == ErrorKind::NotFound {
            self.answer.found(operation, Verdict::Allowed);
            self.consumer_is_missing(name, managed, &error);
            "the consumer is not registered"
        } else {
            let verdict = self.failed(operation, &error);
            self.answer.found(operation, verdict);
            "it needs the consumer's ARN, but DescribeStreamConsumer failed"
        };
        self.answer.found(Operation::SubscribeToShard, Verdict::untested(why));
        false
    }

    /// A missing consumer is a problem only if a run does not register it.
    fn consumer_is_missing(&mut self, name: &ConsumerName, managed: bool, error: &Error) {
        if managed {
            self.answer.notes.push(format!("the consumer {name} does not exist yet; a run registers it"));
            return;
        }
        self.answer.problems.push(Problem {
            message: format!("the stream has no consumer {name}"),
            because: lines(error),
            help: "register it, or set `lifecycle: managed` so that a run registers it".to_owned(),
        });
    }

    /// Subscribes to a shard that does not exist: a subscription to a real shard would end that of a running reader.
    async fn subscribe(&mut self, consumer: &StreamConsumer) {
        let operation = Operation::SubscribeToShard;
        if consumer.status != ConsumerStatus::Active {
            let why = format!("the consumer is {}", consumer.status);
            return self.answer.found(operation, Verdict::untested(why));
        }
        let shard = NO_SHARD.parse().unwrap_or_else(|_| unreachable!("a constant"));
        let subscribe =
            async || self.client.subscribe_to_shard(&consumer.arn, &shard, StartPosition::Latest).await.map(drop);
        let verdict = match call(operation, subscribe).await {
            Ok(()) => Verdict::Allowed,
            Err(error) => self.failed(operation, &error),
        };
        self.answer.found(operation, verdict);
    }

    /// Counts the stream's consumers. A run never lists them, so a missing permission is not a problem.
    async fn count_consumers(&mut self, stream: &StreamArn, registered: bool, managed: bool) {
        let operation = Operation::ListStreamConsumers;
        let mut count = 0;
        let mut page = ConsumerPageRequest::default();
        loop {
            let listed = call(operation, async || self.client.list_stream_consumers(stream, page.clone()).await).await;
            match listed {
                Ok(found) => {
                    count += found.consumers.len();
                    match found.next {
                        Some(token) => page.token = Some(token),
                        None => break,
                    }
                }
                Err(error) => {
                    let why = lines(&error).into_iter().next().unwrap_or_default();
                    self.answer.notes.push(format!("cannot count the stream's consumers: {why}"));
                    return;
                }
            }
        }
        self.answer.consumers = Some(count);
        if count < CONSUMERS_MAX || registered || !managed {
            return;
        }
        let on_demand = self.answer.summary.as_ref().is_some_and(|summary| summary.mode == StreamMode::OnDemand);
        let unless = if on_demand { ", unless its account is in the on-demand Advantage mode" } else { "" };
        self.answer.notes.push(format!("the stream has {count} consumers, which is the limit{unless}: a run polls it"));
    }
}
