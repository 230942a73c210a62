use std::collections::{BTreeMap, HashMap};

use statefun_kinesis_client::{ConsumerStatus, StreamConsumer};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, StreamArn, Timestamp};

/// The consumers of a stream, by name.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    by_name: BTreeMap<ConsumerName, Consumer>,
    /// The number in the last ARN of every name that was ever used.
    numbers: HashMap<ConsumerName, u64>,
}

/// A consumer, and when it has subscribed to which shard.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) arn: ConsumerArn,
    /// Grows from one registration to the next.
    pub(crate) serial: u64,
    pub(crate) subscriptions: HashMap<usize, Subscribed>,
    created: Timestamp,
    phase: Phase,
}

/// What a consumer and a shard have had of SubscribeToShard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subscribed {
    /// The last call that was not one too many for its second.
    pub(crate) asked: Option<Timestamp>,
    /// The last call that succeeded, and the subscription that came of it.
    pub(crate) running: Option<(Timestamp, u64)>,
}

/// What is being done to a consumer, and when that is over.
#[derive(Debug)]
enum Phase {
    Creating { until: Timestamp },
    Active,
    Deleting { until: Timestamp },
}

impl Consumer {
    pub(crate) fn status(&self) -> ConsumerStatus {
        match self.phase {
            Phase::Creating { .. } => ConsumerStatus::Creating,
            Phase::Active => ConsumerStatus::Active,
            Phase::Deleting { .. } => ConsumerStatus::Deleting,
        }
    }

    pub(crate) fn describe(&self) -> StreamConsumer {
        StreamConsumer::new(self.arn.clone(), self.status(), self.created)
    }
}

impl Consumers {
    /// Carries out what was due by now.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        self.by_name.retain(|_, consumer| match consumer.phase {
            Phase::Creating { until } if until <= now => {
                consumer.phase = Phase::Active;
                true
            }
            Phase::Deleting { until } => until > now,
            Phase::Creating { .. } | Phase::Active => true,
        });
    }

    pub(crate) fn count(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn creating(&self) -> usize {
        self.by_name.values().filter(|consumer| consumer.status() == ConsumerStatus::Creating).count()
    }

    pub(crate) fn get(&self, name: &ConsumerName) -> Option<&Consumer> {
        self.by_name.get(name)
    }

    /// The consumer with exactly this ARN, and not one that was registered later under its name.
    pub(crate) fn by_arn(&mut self, arn: &ConsumerArn) -> Option<&mut Consumer> {
        self.by_name.get_mut(arn.name()).filter(|consumer| consumer.arn == *arn)
    }

    /// The consumers behind the one with this serial number, in the order of their registration.
    pub(crate) fn after(&self, serial: u64) -> Vec<&Consumer> {
        let mut consumers: Vec<_> = self.by_name.values().filter(|consumer| consumer.serial > serial).collect();
        consumers.sort_unstable_by_key(|consumer| consumer.serial);
        consumers
    }

    /// Adds a consumer whose name is free, ACTIVE at `active`.
    pub(crate) fn register(
        &mut self,
        stream: &StreamArn,
        name: &ConsumerName,
        serial: u64,
        now: Timestamp,
        active: Timestamp,
    ) {
        // The service takes many seconds from one consumer of a name to the next; here a second may not have passed.
        let seconds = u64::try_from(now.as_millis()).unwrap_or(0) / 1_000;
        let number = self.numbers.get(name).map_or(seconds, |last| seconds.max(last + 1));
        self.numbers.insert(name.clone(), number);
        let consumer = Consumer {
            arn: ConsumerArn::new(stream, name, number),
            serial,
            subscriptions: HashMap::new(),
            created: now,
            phase: Phase::Creating { until: active },
        };
        self.by_name.insert(name.clone(), consumer);
    }

    /// Has a consumer be gone at `until`.
    pub(crate) fn deregister(&mut self, arn: &ConsumerArn, until: Timestamp) {
        if let Some(consumer) = self.by_arn(arn)
            && consumer.status() != ConsumerStatus::Deleting
        {
            consumer.phase = Phase::Deleting { until };
        }
    }
}
