use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::{
    operation::subscribe_to_shard::SubscribeToShardOutput,
    types::{ShardIteratorType, StartingPosition, SubscribeToShardEventStream as Event},
};
use futures::FutureExt;
use statefun_kinesis_client::{
    ConsumerPage, ConsumerPageRequest, Error, ErrorKind, FanOutClient, Operation, Result, StreamConsumer, Subscription,
    SubscriptionEvent,
};
use statefun_kinesis_types::{ConsumerArn, ConsumerName, ShardId, StartPosition, StreamArn};

use crate::{AwsKinesis, answer, client::date_time, event_fields::EventFields, failure::Call};

#[async_trait]
impl FanOutClient for AwsKinesis {
    async fn register_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer> {
        let call = Call::on_stream(Operation::RegisterStreamConsumer, stream);
        let request = self.sdk.register_stream_consumer().stream_arn(stream.as_str()).consumer_name(name.as_str());
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::registered_consumer(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn describe_stream_consumer(&self, stream: &StreamArn, name: &ConsumerName) -> Result<StreamConsumer> {
        let call = Call::on_stream(Operation::DescribeStreamConsumer, stream);
        let request = self.sdk.describe_stream_consumer().stream_arn(stream.as_str()).consumer_name(name.as_str());
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::described_consumer(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn list_stream_consumers(&self, stream: &StreamArn, page: ConsumerPageRequest) -> Result<ConsumerPage> {
        let call = Call::on_stream(Operation::ListStreamConsumers, stream);
        // Unlike ListShards, this call needs the stream together with the token.
        let request = self
            .sdk
            .list_stream_consumers()
            .stream_arn(stream.as_str())
            .set_next_token(page.token.map(|token| token.as_str().to_owned()))
            .set_max_results(page.max_results.map(|most| most.get().into()));
        let output = request.send().await.map_err(|error| self.failed(&call, error))?;
        answer::consumer_page(output).map_err(|invalid| call.makes_no_sense(invalid))
    }

    async fn deregister_stream_consumer(&self, consumer: &ConsumerArn) -> Result<()> {
        let call = Call::on_consumer(Operation::DeregisterStreamConsumer, consumer);
        let request = self.sdk.deregister_stream_consumer().consumer_arn(consumer.as_str());
        request.send().await.map_err(|error| self.failed(&call, error))?;
        Ok(())
    }

    async fn subscribe_to_shard(
        &self,
        consumer: &ConsumerArn,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<Subscription> {
        let call = Call::on_subscription(consumer, shard);
        let position = starting_position(from).map_err(|error| {
            // All fields that the SDK requires are set, so only a change of the SDK can cause this error.
            Error::new(call.operation, ErrorKind::Unexpected, "the SDK refused the position").with_source(error)
        })?;
        let fields = EventFields::default();
        let request = self
            .sdk
            .subscribe_to_shard()
            .consumer_arn(consumer.as_str())
            .shard_id(shard.as_str())
            .starting_position(position)
            .customize()
            .interceptor(fields.clone());
        // The SDK's time limit of the call ends with the head of the answer, but the SDK also waits for the first
        // event.
        let sent = match self.sdk.config().timeout_config().and_then(|timeouts| timeouts.operation_timeout()) {
            Some(limit) => tokio::time::timeout(limit, request.send()).await.map_err(|_| call.silent(limit))?,
            None => request.send().await,
        };
        let output = sent.map_err(|error| self.failed(&call, error))?;
        let mut subscription = Receiving {
            output,
            fields,
            consumer: consumer.clone(),
            shard: shard.clone(),
            silence: self.event_timeout,
            first: None,
            over: false,
        };
        // An event that came with the head is in memory now. If it is an error, the call fails with it, because
        // kinesis-mock reports errors of the call this way.
        subscription.first = match subscription.receive().now_or_never() {
            Some(Some(Err(refusal))) => return Err(refusal),
            Some(Some(Ok(event))) => Some(event),
            // The subscription has ended already, or has no event yet. The next `receive` finds out.
            Some(None) | None => None,
        };
        Ok(Subscription::new(futures::stream::unfold(subscription, Receiving::next)))
    }
}

fn starting_position(from: StartPosition) -> Result<StartingPosition, aws_sdk_kinesis::error::BuildError> {
    let position = StartingPosition::builder();
    match from {
        StartPosition::TrimHorizon => position.r#type(ShardIteratorType::TrimHorizon),
        StartPosition::Latest => position.r#type(ShardIteratorType::Latest),
        StartPosition::AtTimestamp(time) => position.r#type(ShardIteratorType::AtTimestamp).timestamp(date_time(time)),
        StartPosition::AtSequenceNumber(number) => {
            position.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(number.to_string())
        }
        StartPosition::AfterSequenceNumber(number) => {
            position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(number.to_string())
        }
    }
    .build()
}

/// A running subscription.
struct Receiving {
    output: SubscribeToShardOutput,
    fields: EventFields,
    consumer: ConsumerArn,
    shard: ShardId,
    silence: Duration,
    /// An event that came together with the head of the answer.
    first: Option<SubscriptionEvent>,
    over: bool,
}

impl Receiving {
    /// The next item, for `unfold`.
    async fn next(mut self) -> Option<(Result<SubscriptionEvent>, Self)> {
        if self.over {
            return None;
        }
        let item = match self.first.take() {
            Some(event) => Ok(event),
            None => self.receive().await?,
        };
        // The end of a shard is the last item. Anything that the server sends after it is ignored.
        self.over = item.as_ref().is_ok_and(|event| event.continuation.is_none());
        Some((item, self))
    }

    async fn receive(&mut self) -> Option<Result<SubscriptionEvent>> {
        let call = Call::on_subscription(&self.consumer, &self.shard);
        loop {
            // The limit counts only while the reader waits for the event, because a slow reader must not end its
            // subscription.
            let received = match tokio::time::timeout(self.silence, self.output.event_stream.recv()).await {
                Ok(received) => received,
                Err(_) => return Some(Err(call.silent(self.silence))),
            };
            return Some(match received {
                Ok(Some(Event::SubscribeToShardEvent(event))) => match self.fields.missing_in_next() {
                    Some(field) => Err(answer::Invalid::absent(field)),
                    None => answer::subscription_event(event),
                }
                .map_err(|invalid| call.makes_no_sense(invalid)),
                // A kind of event that is newer than this SDK.
                Ok(Some(_)) => continue,
                Ok(None) => return None,
                Err(error) => Err(call.broke_off(error)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use futures::StreamExt;
    use serde_json::{Value, json};
    use statefun_kinesis_client::{ConsumerStatus, PageToken};
    use statefun_kinesis_types::{ErrorChain, Timestamp};

    use super::*;
    use crate::{
        EVENT_TIMEOUT, OPERATION_TIMEOUT,
        replay::{Bit, Replay, Reply},
    };

    const STREAM: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    const CONSUMER: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/billing:1713830400";

    fn stream() -> StreamArn {
        STREAM.parse().unwrap()
    }

    fn consumer() -> ConsumerArn {
        CONSUMER.parse().unwrap()
    }

    fn name() -> ConsumerName {
        "billing".parse().unwrap()
    }

    fn shard() -> ShardId {
        "shardId-000000000003".parse().unwrap()
    }

    /// Makes one call. Returns the request and the result of the answer.
    async fn call<T>(answer: Value, make: impl AsyncFnOnce(AwsKinesis) -> Result<T>) -> (String, Value, Result<T>) {
        let replay = Replay::new([Reply::json(answer)]);
        let result = make(replay.kinesis()).await;
        let asked = replay.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        (asked[0].operation().to_owned(), asked[0].body.clone(), result)
    }

    fn described(status: &str) -> Value {
        json!({
            "ConsumerName": "billing", "ConsumerARN": CONSUMER, "ConsumerStatus": status,
            "ConsumerCreationTimestamp": 1_713_830_400.5, "StreamARN": STREAM,
        })
    }

    #[tokio::test]
    async fn consumers_are_named_and_read_as_the_api_has_them() {
        let created = Timestamp::from_millis(1_713_830_400_500);
        let expected = |status| StreamConsumer::new(consumer(), status, created);

        let register = async |c: AwsKinesis| c.register_stream_consumer(&stream(), &name()).await;
        let (operation, sent, registered) = call(json!({"Consumer": described("CREATING")}), register).await;
        assert_eq!(operation, "RegisterStreamConsumer");
        assert_eq!(sent, json!({"StreamARN": STREAM, "ConsumerName": "billing"}));
        assert_eq!(registered.unwrap(), expected(ConsumerStatus::Creating));

        let describe = async |c: AwsKinesis| c.describe_stream_consumer(&stream(), &name()).await;
        for (status, read) in [("ACTIVE", ConsumerStatus::Active), ("DELETING", ConsumerStatus::Deleting)] {
            let (operation, sent, told) = call(json!({"ConsumerDescription": described(status)}), describe).await;
            assert_eq!(operation, "DescribeStreamConsumer");
            assert_eq!(sent, json!({"StreamARN": STREAM, "ConsumerName": "billing"}));
            assert_eq!(told.unwrap(), expected(read));
        }

        let list = async |c: AwsKinesis| {
            let page =
                ConsumerPageRequest { token: Some(PageToken::new("t")), max_results: std::num::NonZeroU16::new(7) };
            c.list_stream_consumers(&stream(), page).await
        };
        let (operation, sent, page) = call(json!({"Consumers": [described("ACTIVE")], "NextToken": "u"}), list).await;
        assert_eq!(operation, "ListStreamConsumers");
        assert_eq!(sent, json!({"StreamARN": STREAM, "NextToken": "t", "MaxResults": 7}));
        let next = Some(PageToken::new("u"));
        assert_eq!(page.unwrap(), ConsumerPage::new(vec![expected(ConsumerStatus::Active)], next));

        let deregister = async |c: AwsKinesis| c.deregister_stream_consumer(&consumer()).await;
        let (operation, sent, gone) = call(json!({}), deregister).await;
        assert_eq!((operation.as_str(), sent), ("DeregisterStreamConsumer", json!({"ConsumerARN": CONSUMER})));
        gone.unwrap();
    }

    #[tokio::test]
    async fn a_consumer_that_makes_no_sense_is_named_by_its_field() {
        let describe = async |c: AwsKinesis| c.describe_stream_consumer(&stream(), &name()).await;
        for (field, value) in
            [("ConsumerARN", json!("billing")), ("ConsumerName", json!("")), ("ConsumerStatus", json!("SLEEPING"))]
        {
            let mut consumer = described("ACTIVE");
            consumer[field] = value;
            let error = call(json!({"ConsumerDescription": consumer}), describe).await.2.unwrap_err();
            let kind = if field == "ConsumerName" { ErrorKind::Incomplete } else { ErrorKind::Unexpected };
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
        }
    }

    /// A frame of the event stream.
    fn frame(headers: &[(&'static str, &str)], payload: Value) -> Bit {
        let mut message = Message::new(payload.to_string().into_bytes());
        for (name, value) in headers {
            message = message.add_header(Header::new(*name, HeaderValue::String(value.to_string().into())));
        }
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        Bit::Data(bytes)
    }

    fn initial() -> Bit {
        frame(&[(":message-type", "event"), (":event-type", "initial-response")], json!({}))
    }

    fn event(payload: Value) -> Bit {
        frame(&[(":message-type", "event"), (":event-type", "SubscribeToShardEvent")], payload)
    }

    /// An event that continues at this sequence number.
    fn to(number: u64) -> Bit {
        event(json!({
            "Records": [], "ContinuationSequenceNumber": number.to_string(), "MillisBehindLatest": 0,
        }))
    }

    fn exception(name: &str) -> Bit {
        let headers = [(":message-type", "exception"), (":exception-type", name)];
        frame(&headers, json!({"message": "the service's words"}))
    }

    async fn subscribe(bits: Vec<Bit>) -> Result<Subscription> {
        let kinesis = Replay::new([Reply::Stream(bits)]).kinesis();
        kinesis.subscribe_to_shard(&consumer(), &shard(), StartPosition::TrimHorizon).await
    }

    /// The sequence numbers at which the events continue, and the error that was the last item.
    async fn items(bits: Vec<Bit>) -> (Vec<String>, Option<Error>) {
        let mut subscription = subscribe(bits).await.unwrap();
        let mut numbers = Vec::new();
        while let Some(item) = subscription.next().await {
            match item {
                Ok(event) => {
                    numbers.push(event.continuation.map_or_else(|| "end".to_owned(), |number| number.to_string()));
                }
                Err(error) => {
                    assert!(subscription.next().await.is_none(), "an error is the last item");
                    return (numbers, Some(error));
                }
            }
        }
        assert!(subscription.next().await.is_none(), "a subscription that is over stays over");
        (numbers, None)
    }

    #[tokio::test]
    async fn all_five_positions_are_sent() {
        for (from, position) in [
            (StartPosition::TrimHorizon, json!({"Type": "TRIM_HORIZON"})),
            (StartPosition::Latest, json!({"Type": "LATEST"})),
            (
                StartPosition::AtTimestamp(Timestamp::from_millis(1_776_902_400_001)),
                json!({"Type": "AT_TIMESTAMP", "Timestamp": 1_776_902_400.001}),
            ),
            (
                StartPosition::AtSequenceNumber(7_u64.into()),
                json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": "7"}),
            ),
            (
                StartPosition::AfterSequenceNumber(7_u64.into()),
                json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "7"}),
            ),
        ] {
            let replay = Replay::new([Reply::Stream(vec![initial()])]);
            let subscription = replay.kinesis().subscribe_to_shard(&consumer(), &shard(), from).await;
            drop(subscription.unwrap());
            let asked = replay.asked();
            assert_eq!(asked[0].operation(), "SubscribeToShard");
            let shard = "shardId-000000000003";
            let body = json!({"ConsumerARN": CONSUMER, "ShardId": shard, "StartingPosition": position});
            assert_eq!(asked[0].body, body);
        }
    }

    #[tokio::test]
    async fn events_are_read_to_the_end_of_the_shard() {
        let child = json!({
            "ShardId": "shardId-000000000004", "ParentShards": ["shardId-000000000003"],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"},
        });
        let record = json!({
            "SequenceNumber": "7", "ApproximateArrivalTimestamp": 1_776_902_400.001, "Data": "AP8=",
            "PartitionKey": "k",
        });
        let first = json!({"Records": [record], "ContinuationSequenceNumber": "8", "MillisBehindLatest": 1_500});
        // Like the service, without a sequence number at the end. Items after it are not read.
        let last = json!({"Records": [], "MillisBehindLatest": 0, "ChildShards": [child]});
        let bits = vec![initial(), event(first), event(last), to(9)];
        let mut subscription = subscribe(bits).await.unwrap();

        let event = subscription.next().await.unwrap().unwrap();
        assert_eq!((event.continuation, event.behind_latest), (Some(8_u64.into()), Duration::from_millis(1_500)));
        assert_eq!(event.records[0].data.as_ref(), b"\x00\xff");
        assert_eq!(event.records[0].sequence_number, 7_u64.into());
        assert_eq!(event.records[0].partition_key, Some("k".parse().unwrap()));
        assert_eq!(event.children, []);

        let event = subscription.next().await.unwrap().unwrap();
        assert_eq!((event.continuation, event.records.len()), (None, 0));
        assert_eq!(event.children[0].id.as_str(), "shardId-000000000004");
        assert_eq!(event.children[0].parents, [shard()]);
        assert!(subscription.next().await.is_none());
    }

    #[tokio::test]
    async fn an_event_is_read_in_whatever_pieces_it_comes() {
        let (Bit::Data(first), Bit::Data(second)) = (to(1), to(2)) else { unreachable!() };
        let all = [first, second].concat();
        for size in [1, 7, 100, all.len()] {
            let bits = [initial()].into_iter().chain(all.chunks(size).map(|piece| Bit::Data(piece.to_vec())));
            let (numbers, error) = items(bits.collect()).await;
            assert_eq!(numbers, ["1", "2"]);
            assert!(error.is_none(), "{error:?}");
        }
        // Like kinesis-mock, without a separate frame for the head.
        assert_eq!(items(vec![to(1), to(2)]).await.0, ["1", "2"]);
    }

    #[tokio::test]
    async fn an_error_in_the_stream_has_its_kind_by_the_variant() {
        for (name, kind) in [
            ("InternalFailureException", ErrorKind::Unavailable),
            ("KMSAccessDeniedException", ErrorKind::Encryption),
            ("KMSDisabledException", ErrorKind::Encryption),
            ("KMSInvalidStateException", ErrorKind::Encryption),
            ("KMSNotFoundException", ErrorKind::Encryption),
            ("KMSOptInRequired", ErrorKind::Encryption),
            ("KMSThrottlingException", ErrorKind::Throttled),
            ("ResourceInUseException", ErrorKind::InUse),
            ("ResourceNotFoundException", ErrorKind::NotFound),
        ] {
            let (numbers, error) = items(vec![initial(), to(1), exception(name), to(2)]).await;
            let error = error.expect(name);
            assert_eq!(numbers, ["1"]);
            assert_eq!((error.kind(), error.code()), (kind, Some(name)), "{error}");
            assert_eq!(error.operation(), Operation::SubscribeToShard);
            let says = format!("consumer {CONSUMER}, shard shardId-000000000003: the service's words");
            assert!(error.to_string().contains(&says), "{error}");
        }
    }

    #[tokio::test]
    async fn whatever_else_ends_a_subscription_is_an_error_too() {
        let Bit::Data(whole) = to(2) else { unreachable!() };
        let half = Bit::Data(whole[..whole.len() / 2].to_vec());
        let mut spoilt = whole;
        spoilt[20] ^= 1;
        let refused = frame(
            &[(":message-type", "error"), (":error-code", "ThrottlingException"), (":error-message", "slowly")],
            json!({}),
        );
        let wrong = event(json!({"Records": [], "ContinuationSequenceNumber": "two", "MillisBehindLatest": 0}));
        let garbage = frame(&[(":message-type", "event"), (":event-type", "SubscribeToShardEvent")], json!("x"));
        for (bit, kind, says) in [
            (Bit::Break, ErrorKind::Unavailable, "the connection of the subscription broke"),
            (half, ErrorKind::Unavailable, "broke off in the middle of an event"),
            (Bit::Data(spoilt), ErrorKind::Unavailable, "broke off in the middle of an event"),
            (exception("SomethingNewException"), ErrorKind::Unavailable, "the service"),
            (refused, ErrorKind::Throttled, "slowly (ThrottlingException)"),
            (wrong, ErrorKind::Unexpected, "`ContinuationSequenceNumber` of the answer"),
            (garbage, ErrorKind::Unexpected, "an event of the subscription is invalid"),
        ] {
            let (numbers, error) = items(vec![initial(), to(1), bit]).await;
            let error = error.expect(says);
            assert_eq!(
                (numbers.as_slice(), error.kind()),
                (["1".to_owned()].as_slice(), kind),
                "{}",
                ErrorChain(&error)
            );
            assert!(error.to_string().contains(says), "{error}");
        }
        let new = frame(&[(":message-type", "event"), (":event-type", "SomethingNew")], json!({}));
        assert_eq!(items(vec![initial(), to(1), new, to(2)]).await.0, ["1", "2"], "a new kind of event is left out");
    }

    /// The events behind it would make its records lost.
    #[tokio::test]
    async fn an_event_that_cannot_be_used_is_the_last_item() {
        for (lacking, says) in [
            (json!({"ContinuationSequenceNumber": "2", "MillisBehindLatest": 0}), "the answer has no `Records`"),
            (json!({"Records": [], "ContinuationSequenceNumber": "two"}), "`ContinuationSequenceNumber` of the answer"),
        ] {
            let (numbers, error) = items(vec![initial(), to(1), event(lacking), to(3)]).await;
            assert_eq!(numbers, ["1"]);
            let error = error.expect("an event is not left out").to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refusal_at_once_is_one_of_the_call() {
        let kinesis = Replay::new([Reply::error(400, "ResourceInUseException")]).kinesis();
        let refused = kinesis.subscribe_to_shard(&consumer(), &shard(), StartPosition::Latest).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InUse);
        for bits in [vec![exception("ResourceInUseException")], vec![initial(), exception("ResourceInUseException")]] {
            let refused = subscribe(bits).await.unwrap_err();
            assert_eq!((refused.kind(), refused.code()), (ErrorKind::InUse, Some("ResourceInUseException")));
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn no_limit_on_a_call_cuts_a_subscription_off() {
        // Five minutes with few events, which are too far apart for the SDK's protection against stalled streams.
        let mut bits = vec![initial()];
        for number in 0..6 {
            bits.extend([Bit::Wait(50 * SECOND), to(number)]);
        }
        let (numbers, error) = items(bits).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(numbers.len(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_subscription_and_a_slow_reader_does_not() {
        let mut subscription = subscribe(vec![initial(), to(1), to(2), Bit::Never]).await.unwrap();
        for _ in 0..2 {
            subscription.next().await.unwrap().unwrap();
            tokio::time::sleep(10 * EVENT_TIMEOUT).await;
        }
        let started = tokio::time::Instant::now();
        let error = subscription.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Timeout, EVENT_TIMEOUT.as_secs()));
        assert!(error.to_string().contains("no event came within 60s"), "{error}");
        assert!(subscription.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_begins_in_time_or_fails() {
        for reply in [Reply::Never, Reply::Stream(vec![Bit::Never])] {
            let kinesis = Replay::new([reply]).kinesis();
            let started = tokio::time::Instant::now();
            let error = kinesis.subscribe_to_shard(&consumer(), &shard(), StartPosition::Latest).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert_eq!(started.elapsed().as_secs(), OPERATION_TIMEOUT.as_secs());
        }
    }

    #[test]
    fn a_client_has_fan_out_behind_the_seam() {
        fn takes(_: Arc<dyn FanOutClient>) {}
        takes(Arc::new(Replay::new([]).kinesis()));
    }
}
