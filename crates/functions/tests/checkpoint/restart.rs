//! What a restart continues with, and what happens when writes to a store fail; one promise per test.

use std::{
    fmt,
    future::{Future, pending, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, Operation};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    Answer, BoxError, CheckpointStatus, Context, Delayed, Effects, EgressMessage, Expiration, Function, GroupSettings,
    Invoke, InvokeError, Message, NumberedEntry, Registry, Request, StartError, StateChange, StateSpec,
    StatefulFunctions, StoredMessage, StoredValue, Value, ValueSpec,
};
use statefun_kinesis_module::{EgressSpec, FailureHandling, GiveUp, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{Handler, Ingress, Router, RunError, Unfinished};
use statefun_kinesis_store::{Commit, KeyRange, MemoryDisk, Store, StoreExt, Table, key, positions};
use statefun_kinesis_types::{Address, ErrorChain, PutRecord, StreamArn};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

const IN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/in";

type Handling = Pin<Box<dyn Future<Output = Result<Answer, InvokeError>> + Send>>;

/// Functions made of a closure.
struct Code(Box<dyn Fn(Request) -> Handling + Send + Sync>);

impl Code {
    fn new<F>(code: impl Fn(Request) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Answer, InvokeError>> + Send + 'static,
    {
        Arc::new(Self(Box::new(move |request| Box::pin(code(request)))))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

#[async_trait]
impl Invoke for Code {
    async fn invoke(&self, request: &Request, _: Duration) -> Result<Answer, InvokeError> {
        (self.0)(request.clone()).await
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(value.bytes.clone().unwrap_or_default().to_vec()).unwrap()
}

fn texts(request: &Request) -> Vec<String> {
    request.messages.iter().map(|message| text(&message.value)).collect()
}

fn address(function: &str, id: &str) -> Address {
    Address { function: function.parse().unwrap(), id: id.into() }
}

fn to_out(key: &str, data: &str) -> EgressMessage {
    let record = PutRecord::new(key.parse().unwrap(), data.to_owned());
    EgressMessage::Record { egress: "t/out".parse().unwrap(), stream: None, record }
}

fn set(name: &str, value: String) -> StateChange {
    StateChange { name: name.into(), value: Some(Value::new("t/text", value)) }
}

/// Appends the texts of all messages to the state `seen`.
fn remember(request: &Request, expiration: Expiration) -> Answer {
    let Some((name, seen)) = request.states.first() else {
        let spec = StateSpec { name: "seen".into(), typename: "t/text".into(), expiration };
        return Answer::StatesMissing(vec![spec]);
    };
    let seen = seen.as_ref().map_or_else(String::new, text) + &texts(request).join(" ") + " ";
    Answer::Handled(Effects { states: vec![set(name, seen)], ..Effects::default() })
}

fn remembering() -> Arc<Code> {
    Code::new(|request| ready(Ok(remember(&request, Expiration::Never))))
}

struct World {
    kinesis: FakeKinesis,
    disk: MemoryDisk,
    failures: FailureHandling,
}

struct Engine {
    functions: std::sync::Weak<StatefulFunctions>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<Unfinished, RunError>>,
}

impl World {
    async fn new() -> Self {
        let kinesis = FakeKinesis::new();
        for name in ["in", "out"] {
            kinesis.create_stream(&name.parse().unwrap(), 1).await.unwrap();
        }
        Self { kinesis, disk: MemoryDisk::new(), failures: FailureHandling::KeepTrying }
    }

    async fn put(&self, key: &str, data: &str) {
        let record = PutRecord::new(key.parse().unwrap(), data.to_owned());
        self.kinesis.put_record(&arn().into(), record).await.unwrap();
    }

    async fn functions(&self, store: Arc<dyn Store>, code: Arc<Code>) -> Result<StatefulFunctions, StartError> {
        StatefulFunctions::builder()
            .functions("t/*".parse().unwrap(), GroupSettings::default(), self.failures.clone(), code)
            .store(store)
            .build()
            .await
    }

    async fn start(&self, code: Arc<Code>) -> Engine {
        let store: Arc<dyn Store> = Arc::new(self.disk.open().unwrap());
        let functions = self.functions(Arc::clone(&store), code).await.unwrap();
        self.run(functions).await
    }

    async fn run(&self, functions: StatefulFunctions) -> Engine {
        let functions = Arc::new(functions);
        let watched = Arc::downgrade(&functions);
        let route = StreamRoute::new(arn(), "t/text".parse().unwrap(), vec!["t/f".parse().unwrap()]);
        let mut ingress = IngressSpec::new("t/in".parse().unwrap(), vec![route]);
        ingress.startup = StartupPosition::TrimHorizon;
        let client = Arc::new(self.kinesis.clone());
        let router = Router::builder(Handler::stateful(functions))
            .ingress(Ingress::new(ingress, client.clone()))
            .egress(EgressSpec::new("t/out".parse().unwrap(), "out".parse().unwrap()), client)
            .clock(self.kinesis.clock())
            .drain(Duration::from_secs(5))
            .build()
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(router.run(shutdown.clone()));
        Engine { functions: watched, shutdown, running }
    }

    async fn kill(&self, engine: Engine) {
        self.disk.crash();
        engine.running.abort();
        let _ = engine.running.await;
    }

    async fn state(&self, id: &str) -> Option<String> {
        let store = self.disk.open().unwrap();
        let stored = store.get_one(Table::State, key::state(&address("t/f", id), "seen")).await.unwrap();
        stored.map(|stored| text(&StoredValue::decode(stored).unwrap().value))
    }

    /// The messages that are not handled.
    async fn messages(&self) -> Vec<String> {
        let store = self.disk.open().unwrap();
        let mut entries = store.entries(Table::Mailboxes, KeyRange::ALL);
        let mut messages = Vec::new();
        while let Some(entry) = entries.next().await.unwrap() {
            messages.push(text(&StoredMessage::decode(0, entry.value).unwrap().message.value));
        }
        messages
    }

    /// The number of records that the stored position covers.
    async fn records_read(&self) -> usize {
        let store = self.disk.open().unwrap();
        let stored = positions::load(&store, &"t/in".parse().unwrap(), &arn()).await.unwrap().unwrap();
        let records = self.kinesis.records(&arn().into());
        let of_stream = format!("{stored:?}");
        let read = records.iter().rposition(|(_, record)| of_stream.contains(&format!("{:?}", record.sequence_number)));
        read.map_or(0, |last| last + 1)
    }

    fn came_out(&self) -> Vec<String> {
        let records = self.kinesis.records(&"out".parse().unwrap());
        records.iter().map(|(_, record)| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    }
}

impl Engine {
    fn status(&self) -> CheckpointStatus {
        self.functions.upgrade().unwrap().checkpoint()
    }

    async fn stop(self) -> Result<Unfinished, RunError> {
        self.shutdown.cancel();
        self.running.await.unwrap()
    }
}

fn arn() -> StreamArn {
    IN.parse().unwrap()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_goes_out_again_and_what_was_handled_does_not() {
    let world = World::new().await;
    for (key, data) in [("a", "1"), ("b", "hang"), ("a", "2")] {
        world.put(key, data).await;
    }
    let engine = world
        .start(Code::new(|request| async move {
            if texts(&request) == ["hang"] && !request.states.is_empty() {
                pending::<()>().await;
            }
            Ok(remember(&request, Expiration::Never))
        }))
        .await;
    seconds(10).await;
    world.kill(engine).await;
    assert_eq!(world.state("a").await.unwrap(), "1 2 ");
    assert_eq!(world.messages().await, ["hang"]);
    assert_eq!(world.records_read().await, 3, "nothing is read again");

    let engine = world.start(remembering()).await;
    world.put("a", "3").await;
    seconds(10).await;
    engine.stop().await.unwrap();
    assert_eq!(world.state("a").await.unwrap(), "1 2 3 ");
    assert_eq!(world.state("b").await.unwrap(), "hang ");
    assert_eq!(world.messages().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_asks_once_which_states_there_are() {
    let world = World::new().await;
    world.put("a", "1").await;
    let engine = world.start(remembering()).await;
    seconds(3).await;
    world.kill(engine).await;

    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    for key in ["a", "b", "c"] {
        world.put(key, "2").await;
    }
    let engine = world
        .start(Code::new(move |request| {
            seen.lock().unwrap().push((request.target.id.to_string(), request.states.len()));
            ready(Ok(remember(&request, Expiration::Never)))
        }))
        .await;
    seconds(3).await;
    engine.stop().await.unwrap();
    let expected = [("a", 0), ("a", 1), ("b", 1), ("c", 1)].map(|(id, states)| (id.to_owned(), states));
    assert_eq!(*asked.lock().unwrap(), expected);
    assert_eq!(world.state("a").await.unwrap(), "1 2 ");
}

/// Keeps its last message.
struct Last(ValueSpec<String>);

#[async_trait]
impl Function for Last {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.0).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        context.set(&self.0, &text(&message.value))?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn functions_in_process_need_not_be_asked() {
    let world = World::new().await;
    for number in 1..3 {
        world.put("a", &number.to_string()).await;
        let store: Arc<dyn Store> = Arc::new(world.disk.open().unwrap());
        let registry = Registry::new().function("t/f".parse().unwrap(), Last(ValueSpec::new("seen")));
        let functions = StatefulFunctions::builder().in_process(registry).store(Arc::clone(&store));
        let engine = world.run(functions.build().await.unwrap()).await;
        seconds(3).await;
        let latencies = engine.functions.upgrade().unwrap().latencies();
        assert_eq!(latencies.iter().map(|(_, latency)| latency.requests()).sum::<u64>(), 1, "start {number}");
        world.kill(engine).await;
        // The encoding of a character is a tag, a length and the character.
        assert_eq!(world.state("a").await.unwrap(), format!("\n\u{1}{number}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_expiration_applies_after_a_restart() {
    let hour = Expiration::AfterWrite(Duration::from_secs(3_600));
    let minute = Expiration::AfterWrite(Duration::from_secs(60));
    let code = |expiration| Code::new(move |request| ready(Ok(remember(&request, expiration))));
    for first in [hour, Expiration::Never] {
        let world = World::new().await;
        world.put("a", "1").await;
        world.put("b", "1").await;
        let engine = world.start(code(first)).await;
        seconds(3).await;
        world.kill(engine).await;

        world.put("a", "2").await;
        let engine = world.start(code(minute)).await;
        seconds(3).await;
        world.kill(engine).await;
        assert_eq!(world.state("a").await.unwrap(), "1 2 ");

        // No message loads either of them in this run, so the last declaration applies.
        seconds(60).await;
        let engine = world.start(code(minute)).await;
        seconds(20).await;
        world.kill(engine).await;
        assert_eq!(world.state("a").await, None, "{first:?}");
        assert_eq!(world.state("b").await.unwrap(), "1 ", "it was set in the first run: {first:?}");

        // Now it is set again.
        world.put("b", "2").await;
        let engine = world.start(code(minute)).await;
        seconds(3).await;
        assert_eq!(engine.functions.upgrade().unwrap().usage().instances, 1);
        seconds(60).await;
        world.kill(engine).await;
        assert_eq!(world.state("b").await, None, "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_that_became_due_meanwhile_come_at_once_and_cancelled_ones_never() {
    let world = World::new().await;
    world.put("a", "begin").await;
    let code = Code::new(|request| {
        let send = |delay: u64, what: &str| Delayed::Send {
            delay: Duration::from_secs(delay),
            to: request.target.clone(),
            value: Value::new("t/text", what.to_owned()),
            token: Some(what.into()),
        };
        let Answer::Handled(mut effects) = remember(&request, Expiration::Never) else {
            return ready(Ok(remember(&request, Expiration::Never)));
        };
        if texts(&request) == ["begin"] {
            effects.delayed = vec![send(60, "soon"), send(90, "never"), send(600, "later")];
            effects.delayed.push(Delayed::Cancel { token: "never".into() });
        }
        ready(Ok(Answer::Handled(effects)))
    });
    let engine = world.start(Arc::clone(&code)).await;
    seconds(3).await;
    world.kill(engine).await;
    seconds(120).await;

    let engine = world.start(Arc::clone(&code)).await;
    seconds(3).await;
    world.kill(engine).await;
    assert_eq!(world.state("a").await.unwrap(), "begin soon ");

    let engine = world.start(code).await;
    seconds(600).await;
    engine.stop().await.unwrap();
    assert_eq!(world.state("a").await.unwrap(), "begin soon later ");
}

#[tokio::test(start_paused = true)]
async fn records_that_no_egress_acknowledged_are_sent_again_in_order() {
    let world = World::new().await;
    world.put("a", "1").await;
    // No request succeeds until the crash.
    world.kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1_000));
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let code = Code::new(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let egress = ["x", "y", "z"].map(|what| to_out(&request.target.id, what)).to_vec();
        ready(Ok(Answer::Handled(Effects { egress, ..Effects::default() })))
    });
    let engine = world.start(Arc::clone(&code)).await;
    seconds(3).await;
    world.kill(engine).await;
    assert_eq!((world.came_out().len(), world.messages().await.len()), (0, 0));

    world.kinesis.faults().clear();
    let engine = world.start(Arc::clone(&code)).await;
    seconds(3).await;
    engine.stop().await.unwrap();
    assert_eq!(world.came_out(), ["x", "y", "z"]);
    assert_eq!(handled.load(Ordering::Relaxed), 1);

    let engine = world.start(code).await;
    seconds(3).await;
    engine.stop().await.unwrap();
    assert_eq!(world.came_out(), ["x", "y", "z"], "what was acknowledged is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_intake_loses_nothing_and_goes_on() {
    let world = World::new().await;
    world.put("a", "1").await;
    let engine = world.start(remembering()).await;
    seconds(3).await;
    world.disk.set_full(true);
    world.put("a", "2").await;
    seconds(60).await;
    let status = engine.status();
    assert!(status.failing_since.is_some() && status.failures > 5 && status.failures < 40, "{status:?}");
    for number in 3..100 {
        world.put("b", &number.to_string()).await;
    }
    seconds(60).await;
    let usage = engine.functions.upgrade().unwrap().usage();
    assert_eq!((usage.messages, usage.instances), (0, 1), "nothing is taken in");
    assert_eq!(engine.status().commits, status.commits);

    world.disk.set_full(false);
    seconds(10).await;
    let status = engine.status();
    assert!(status.failing_since.is_none() && status.commits > 1, "{status:?}");
    engine.stop().await.unwrap();
    assert_eq!(world.state("a").await.unwrap(), "1 2 ");
    assert_eq!(world.state("b").await.unwrap().split(' ').count(), 98);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_at_the_end_is_said() {
    let world = World::new().await;
    world.put("a", "1").await;
    let engine = world.start(remembering()).await;
    seconds(3).await;
    world.disk.set_full(true);
    world.put("a", "2").await;
    seconds(3).await;
    let error = engine.stop().await.unwrap_err();
    let RunError::Functions(error) = error else { panic!("{error}") };
    assert!(error.to_string().starts_with("the last checkpoint could not be written"), "{error}");

    world.disk.set_full(false);
    assert_eq!(world.state("a").await.unwrap(), "1 ");
    let engine = world.start(remembering()).await;
    seconds(3).await;
    engine.stop().await.unwrap();
    assert_eq!(world.state("a").await.unwrap(), "1 2 ");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_ends_the_run() {
    let world = World::new().await;
    let engine = world.start(remembering()).await;
    world.disk.crash();
    world.put("a", "1").await;
    let error = engine.running.await.unwrap().unwrap_err();
    let RunError::Functions(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), "cannot write the checkpoint");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_ends_the_run_stays_in_its_mailbox() {
    let mut world = World::new().await;
    let after = GiveUp { max_attempts: 2.try_into().ok(), ..GiveUp::default() };
    world.failures = FailureHandling::Fail { after };
    world.put("a", "bad").await;
    world.put("b", "good").await;
    let engine = world
        .start(Code::new(|request| {
            let bad = texts(&request) == ["bad"] && !request.states.is_empty();
            ready(if bad { Err(InvokeError::new("no")) } else { Ok(remember(&request, Expiration::Never)) })
        }))
        .await;
    let began = tokio::time::Instant::now();
    let error = engine.running.await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Functions(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for what is not done any more");
    assert_eq!(world.messages().await, ["bad"]);
    assert_eq!(world.state("b").await.unwrap(), "good ");
    assert_eq!(world.records_read().await, 2);

    let engine = world.start(remembering()).await;
    seconds(3).await;
    engine.stop().await.unwrap();
    assert_eq!(world.state("a").await.unwrap(), "bad ");
    assert_eq!(world.state("b").await.unwrap(), "good ");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_handled_by_the_deadline_is_in_the_last_checkpoint() {
    let world = World::new().await;
    let engine = world.start(Code::new(|_| pending())).await;
    world.put("a", "1").await;
    sleep(Duration::from_millis(300)).await;
    engine.stop().await.unwrap();
    assert_eq!(world.messages().await, ["1"]);
    assert_eq!(world.records_read().await, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_while_nothing_changes() {
    let world = World::new().await;
    world.put("a", "1").await;
    let engine = world.start(remembering()).await;
    seconds(5).await;
    let before = engine.status();
    seconds(60).await;
    let after = engine.status();
    assert_eq!(after.commits, before.commits);
    assert!(before.commits > 0 && before.last_changes > 0 && before.bytes >= before.last_bytes, "{before:?}");
    let age = after.age(world.kinesis.clock().now()).unwrap();
    assert!(age <= Duration::from_secs(1), "what is durable is up to date: {age:?}");
    engine.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_for_unknown_functions_are_reported_at_the_start() {
    let world = World::new().await;
    let engine = world.start(Code::new(|_| pending())).await;
    world.put("a", "1").await;
    seconds(3).await;
    world.kill(engine).await;
    let store = Arc::new(world.disk.open().unwrap());
    let others = StatefulFunctions::builder()
        .functions("other/*".parse().unwrap(), GroupSettings::default(), FailureHandling::KeepTrying, remembering())
        .store(store.clone());
    let error = others.build().await.unwrap_err();
    let StartError::Unserved(unknown) = &error else { panic!("{error}") };
    assert_eq!(unknown.function.as_str(), "t/f");

    // A record for an egress is read at the start, and a message when its turn comes.
    let damage = async |table, number| {
        let mut commit = Commit::new();
        commit.put(table, key::numbered("a", number), "what is this?");
        store.commit(commit).await.unwrap();
    };
    damage(Table::Egress, 7).await;
    let error = world.functions(store.clone(), remembering()).await.unwrap_err();
    assert!(matches!(error, StartError::Store(_)), "{error}");
    let mut commit = Commit::new();
    commit.delete(Table::Egress, key::numbered("a", 7));
    store.commit(commit).await.unwrap();
    damage(Table::Mailboxes, 0).await;
    drop(store);
    let engine = world.start(remembering()).await;
    let error = engine.running.await.unwrap().unwrap_err();
    assert!(ErrorChain(&error).to_string().contains("cannot decode the entry"), "{}", ErrorChain(&error));
}

#[tokio::test(start_paused = true)]
async fn expired_values_leave_the_store_without_a_request() {
    let world = World::new().await;
    let expiring = || {
        let expiration = Expiration::AfterWrite(Duration::from_secs(60));
        Code::new(move |request| ready(Ok(remember(&request, expiration))))
    };
    world.put("a", "1").await;
    let engine = world.start(expiring()).await;
    seconds(3).await;
    world.kill(engine).await;
    seconds(600).await;
    assert!(world.state("a").await.is_some());

    let engine = world.start(expiring()).await;
    seconds(20).await;
    world.kill(engine).await;
    assert_eq!(world.state("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_no_key_has_room_for_is_a_failure_of_its_message() {
    let world = World::new().await;
    world.put("a", "1").await;
    let code = Code::new(|request| {
        let mut answer = remember(&request, Expiration::Never);
        if let Answer::Handled(effects) = &mut answer
            && &*request.target.id == "a"
        {
            effects.messages = vec![(address("t/f", &"x".repeat(70_000)), Value::new("t/text", "2"))];
        }
        ready(Ok(answer))
    });
    let engine = world.start(code).await;
    seconds(10).await;
    assert!(!engine.running.is_finished());
    let failures: u64 = engine.functions.upgrade().unwrap().counts().iter().map(|(_, counts)| counts.failures).sum();
    assert!(failures > 0);
    engine.stop().await.unwrap();
    assert_eq!(world.messages().await, ["2"]);
    assert_eq!(world.state("a").await.unwrap(), "1 ");
}
