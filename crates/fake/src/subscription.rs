use std::{pin::Pin, time::Duration};

use statefun_kinesis_client::{Clock, Error, ErrorKind, Operation, Result, SubscriptionEvent};
use statefun_kinesis_types::{ConsumerArn, GET_RECORDS_MAX_RECORDS, SequenceNumber, Timestamp};
use tokio::sync::futures::OwnedNotified;

use crate::{
    FakeKinesis, SubscriptionFault,
    fake::{State, lock},
    faults::SubscriptionScript,
    numbering::Numbers,
    refusal::{Refusal, code_of},
    throughput::PushThroughput,
};

/// How long a subscription lives (API reference, SubscribeToShard).
const SUBSCRIPTION_LIFETIME: Duration = Duration::from_secs(300);

/// How long after an event the next one comes although there are no records. The service documents that such events
/// come, and not how often; a reader must do with any number of seconds.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Bytes of one event, keys included; a larger record comes by itself. The service does not document its own number.
const EVENT_MAX_BYTES: usize = 1 << 20;

/// Which subscription of the fake this is, and where it starts.
#[derive(Debug)]
pub(crate) struct Place {
    /// The stream's incarnation.
    pub(crate) stream: u64,
    pub(crate) consumer: ConsumerArn,
    /// The shard's number.
    pub(crate) shard: usize,
    /// Tells the subscription from others of its consumer and shard.
    pub(crate) serial: u64,
    /// How many records of the shard lie before the place, counted from the shard's birth.
    pub(crate) offset: u64,
    /// Where the subscription before this one has read to, as far as the call says.
    pub(crate) read_to: SequenceNumber,
}

/// The service's side of one subscription. It does its work when the reader asks for the next event, as flow control
/// has it with a slow reader.
pub(crate) struct Pusher {
    kinesis: FakeKinesis,
    place: Place,
    script: SubscriptionScript,
    throughput: Option<PushThroughput>,
    until: Timestamp,
    last_event: Timestamp,
    /// Events pushed so far.
    events: usize,
    /// The last continuation number, of an earlier subscription too.
    read_to: SequenceNumber,
    /// Whether the next event has been held up already, as the faults ask for.
    held_up: bool,
    over: bool,
}

/// What a look at the shard gives.
enum Look {
    Give(Result<SubscriptionEvent>),
    End,
    Stall,
    Wait(Duration),
    /// Nothing happens for so long, unless the shard wakes its subscriptions.
    Idle(Duration, Pin<Box<OwnedNotified>>),
}

impl Pusher {
    pub(crate) fn new(
        kinesis: FakeKinesis,
        place: Place,
        script: SubscriptionScript,
        enforce_throughput: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            read_to: place.read_to,
            kinesis,
            place,
            script,
            throughput: enforce_throughput.then(|| PushThroughput::new(now)),
            until: now.after(SUBSCRIPTION_LIFETIME),
            last_event: now,
            events: 0,
            held_up: false,
            over: false,
        }
    }

    /// The next item, for `unfold`.
    pub(crate) async fn next(mut self) -> Option<(Result<SubscriptionEvent>, Self)> {
        while !self.over {
            match self.look() {
                Look::Give(item) => {
                    self.over = item.as_ref().is_ok_and(|event| event.continuation.is_none());
                    return Some((item, self));
                }
                Look::End => return None,
                Look::Stall => std::future::pending().await,
                Look::Wait(time) => tokio::time::sleep(time).await,
                Look::Idle(time, woken) => {
                    // Woken or not, the next look tells.
                    let _ = tokio::time::timeout(time, woken).await;
                }
            }
        }
        None
    }

    fn look(&mut self) -> Look {
        let faults = self.kinesis.faults.clone();
        let mut state = lock(&faults.state);
        let now = self.kinesis.clock.now();
        if let Some(fault) = state.faults.due(&self.script, self.events) {
            return fail(fault);
        }
        match self.look_at(&mut state, now) {
            Ok(look) => look,
            Err(refusal) => Look::Give(Err(refusal.into_error(Operation::SubscribeToShard))),
        }
    }

    fn look_at(&mut self, state: &mut State, now: Timestamp) -> std::result::Result<Look, Refusal> {
        let stream = state.store.subscribed(&self.place, now)?;
        if self.until <= now {
            return Ok(Look::End);
        }
        let reshards_at = stream.reshards_at();
        let shard = stream.shard_mut(self.place.shard, now)?;
        let read = shard.read(self.place.offset, GET_RECORDS_MAX_RECORDS, EVENT_MAX_BYTES, now);
        let heartbeat = self.last_event.after(HEARTBEAT);
        if read.records.is_empty() && read.next.is_some() && now < heartbeat {
            let until = [Some(heartbeat), Some(self.until), reshards_at].into_iter().flatten().min();
            let idle = until.unwrap_or(heartbeat).since(now).max(Duration::from_millis(1));
            let mut woken = Box::pin(shard.wakes().notified_owned());
            // From here on it is woken, and the shard changes only under the lock that is held.
            woken.as_mut().enable();
            return Ok(Look::Idle(idle, woken));
        }
        if let Some(throughput) = &mut self.throughput {
            let wait = throughput.wait(now);
            if !wait.is_zero() {
                return Ok(Look::Wait(wait));
            }
        }
        let delay = state.faults.event_delay();
        if !delay.is_zero() && !self.held_up {
            self.held_up = true;
            return Ok(Look::Wait(delay));
        }
        self.held_up = false;
        if let Some(fault) = state.faults.drawn_for_event() {
            return Ok(fail(fault));
        }
        self.place.offset = read.next.unwrap_or(self.place.offset);
        self.last_event = now;
        self.events += 1;
        if let Some(throughput) = &mut self.throughput {
            throughput.count(read.bytes);
        }
        let event = match read.next {
            Some(next) => {
                self.read_to = read_to(shard.number_before(next), self.read_to, read.records.is_empty());
                SubscriptionEvent::new(read.records, self.read_to, read.behind)
            }
            None => SubscriptionEvent::end(read.records, stream.children(self.place.shard)),
        };
        Ok(Look::Give(Ok(event)))
    }
}

/// The continuation number of an event. An event without records has one that no record has: it tells of time that has
/// passed, and a reader must be able to start behind it all the same.
fn read_to(last_record: SequenceNumber, before: SequenceNumber, empty: bool) -> SequenceNumber {
    let least = before.max(last_record);
    if !empty {
        return least;
    }
    match least.checked_add(1) {
        Some(number) if number < Numbers::next(last_record) => number,
        _ => least,
    }
}

fn fail(fault: SubscriptionFault) -> Look {
    let error = |kind, words| Error::new(Operation::SubscribeToShard, kind, words);
    match fault {
        SubscriptionFault::Close => Look::End,
        SubscriptionFault::Stall => Look::Stall,
        SubscriptionFault::Drop => {
            Look::Give(Err(error(ErrorKind::Unavailable, "a fault breaks the connection of this subscription")))
        }
        SubscriptionFault::Fail(kind) => {
            let error = error(kind, "a fault ends this subscription");
            Look::Give(Err(match code_of(kind) {
                Some(code) => error.with_code(code),
                None => error,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_moves_without_records_and_never_onto_the_next_one() {
        let number = |count: u64| SequenceNumber::from(1_000_000_000_000 * count);
        let plus = |number: SequenceNumber, more| number.checked_add(more).unwrap();
        assert_eq!(read_to(number(3), number(2), false), number(3));
        assert_eq!(read_to(number(3), number(3), true), plus(number(3), 1));
        assert_eq!(read_to(number(3), plus(number(3), 7), true), plus(number(3), 8));
        assert_eq!(read_to(number(4), plus(number(3), 7), true), plus(number(4), 1));
        let last = plus(number(3), 999_999_999_999);
        assert_eq!(read_to(number(3), last, true), last);
    }
}
