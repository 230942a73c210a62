//! Functions between an ingress and an egress, on Kinesis in memory and under paused time.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient};
use statefun_kinesis_dead_letter::{DeadLetterReader, Origin};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    Answer, BlockReason, DeadLetters, Delayed, Effects, EgressMessage, Expiration, GroupSettings, Invoke, InvokeError,
    InvokeErrorKind, Limits, Request, StateChange, StateSpec, StatefulFunctions, Value,
};
use statefun_kinesis_module::{EgressSpec, FailureHandling, GiveUp, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{Handler, Ingress, Progress, Router, RunError, Unfinished};
use statefun_kinesis_types::{Address, ErrorChain, LogLevel, PutRecord, StreamArn, StreamRef};
use tokio::task::JoinHandle;
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

fn to_out(key: &str, data: String) -> EgressMessage {
    EgressMessage { egress: "t/out".parse().unwrap(), stream: None, record: PutRecord::new(key.parse().unwrap(), data) }
}

/// Counts the messages of an address, and sends each count to the egress.
fn count(request: &Request) -> Answer {
    let Some((_, total)) = request.states.iter().find(|(name, _)| &**name == "total") else {
        let spec = StateSpec { name: "total".into(), typename: "t/text".into(), expiration: Expiration::Never };
        return Answer::StatesMissing(vec![spec]);
    };
    let mut total: usize = total.as_ref().map_or(0, |value| text(value).parse().unwrap());
    let mut effects = Effects::default();
    for _ in request.messages.iter() {
        total += 1;
        effects.egress.push(to_out(&request.target.id, total.to_string()));
    }
    let value = Some(Value::new("t/text", total.to_string()));
    effects.states.push(StateChange { name: "total".into(), value });
    Answer::Handled(effects)
}

fn forward(request: &Request) -> Answer {
    let egress = texts(request).into_iter().map(|text| to_out(&request.target.id, text)).collect();
    Answer::Handled(Effects { egress, ..Effects::default() })
}

struct Scene {
    kinesis: FakeKinesis,
    functions: Arc<StatefulFunctions>,
    progress: Arc<Progress>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<Unfinished, RunError>>,
}

struct Plan {
    settings: GroupSettings,
    failures: FailureHandling,
    limits: Limits,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    targets: Vec<&'static str>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: GroupSettings::default(),
            failures: FailureHandling::KeepTrying,
            limits: Limits::default(),
            dead_letters: None,
            targets: vec!["t/f"],
        }
    }
}

impl Plan {
    async fn start(self, code: Arc<Code>, records: &[(&str, &str)]) -> Scene {
        let kinesis = FakeKinesis::new();
        for name in ["in", "out"] {
            kinesis.create_stream(&name.parse().unwrap(), 2).await.unwrap();
        }
        let stream: StreamArn = IN.parse().unwrap();
        for records in records.chunks(500) {
            let puts: Vec<_> =
                records.iter().map(|(key, data)| PutRecord::new(key.parse().unwrap(), data.to_string())).collect();
            for put in kinesis.put_records(&stream.clone().into(), &puts).await.unwrap() {
                put.unwrap();
            }
        }
        let targets = self.targets.iter().map(|target| target.parse().unwrap()).collect();
        let route = StreamRoute::new(stream, "t/text".parse().unwrap(), targets);
        let mut ingress = IngressSpec::new("t/in".parse().unwrap(), vec![route]);
        ingress.startup = StartupPosition::TrimHorizon;
        let mut builder = StatefulFunctions::builder().limits(self.limits);
        if let Some(dead_letters) = self.dead_letters {
            builder = builder.dead_letters(dead_letters);
        }
        let functions = builder.functions("t/*".parse().unwrap(), self.settings, self.failures, code);
        let functions = Arc::new(functions.build().await.unwrap());
        let client = Arc::new(kinesis.clone());
        let egress = EgressSpec::new("t/out".parse().unwrap(), "out".parse().unwrap());
        let router = Router::builder(Handler::stateful(Arc::clone(&functions) as Arc<_>))
            .ingress(Ingress::new(ingress, client.clone()))
            .egress(egress, client)
            .clock(kinesis.clock())
            .build()
            .await
            .unwrap();
        let (progress, shutdown) = (router.progress(), CancellationToken::new());
        let running = tokio::spawn(router.run(shutdown.clone()));
        Scene { kinesis, functions, progress, shutdown, running }
    }
}

impl Scene {
    /// Waits until a condition holds. The time is paused, so a day is long enough for everything.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(86_400), waiting).await;
        assert!(waited.is_ok(), "{what}: {:?}, {:?}", self.progress.counts(), self.functions.usage());
    }

    async fn until_done(&self, records: u64) {
        let is_done = |scene: &Self| {
            let usage = scene.functions.usage();
            scene.progress.counts().records_done == records && usage.messages == 0 && usage.egress_records == 0
        };
        self.until("all is done", is_done).await;
    }

    /// What the egress stream holds, by key.
    fn out(&self) -> BTreeMap<String, Vec<String>> {
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, record) in self.kinesis.records(&"out".parse().unwrap()) {
            let data = String::from_utf8(record.data.to_vec()).unwrap();
            out.entry(record.partition_key.unwrap().to_string()).or_default().push(data);
        }
        out
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_counted_once_and_counts_come_out_in_order() {
    let keys: Vec<String> = (0..7).map(|key| format!("counter-{key}")).collect();
    let records: Vec<(&str, &str)> = (0..700).map(|index| (keys[index % 7].as_str(), "1")).collect();
    let code = Code::new(|request| async move {
        tokio::time::sleep(Duration::from_millis(u64::from(request.target.id.len() as u32 % 3))).await;
        Ok(count(&request))
    });
    let scene = Plan::default().start(code, &records).await;
    scene.until_done(700).await;
    let expect: Vec<String> = (1..=100).map(|count| count.to_string()).collect();
    let out = scene.out();
    assert_eq!(out.keys().collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(out.values().all(|counts| *counts == expect), "{out:?}");
    assert_eq!(scene.progress.counts().records_out, 700);
    let (function, counts) = scene.functions.counts().remove(0);
    assert_eq!((function.as_str(), counts.messages_in, counts.egress_out), ("t/f", 700, 700));
    assert_eq!((counts.backlog, counts.in_flight, counts.failures), (0, 0, 0));
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_with_several_targets_counts_once() {
    let plan = Plan { targets: vec!["t/f", "t/g", "t/h"], ..Plan::default() };
    let code = Code::new(|request| async move { Ok(forward(&request)) });
    let scene = plan.start(code, &[("a", "1"), ("a", "2"), ("b", "3")]).await;
    scene.until_done(3).await;
    assert_eq!(scene.progress.counts().records_out, 9);
    scene.stop().await;
}

/// A copy for each of a million waiting messages would take much memory.
#[tokio::test(start_paused = true)]
async fn messages_of_a_batch_share_the_name_of_their_type() {
    let code = Code::new(|request: Request| async move {
        let names: HashSet<_> = request.messages.iter().map(|message| message.value.typename.as_ptr()).collect();
        let messages = format!("{} with {}", request.messages.len(), names.len());
        Ok(Answer::Handled(Effects { egress: vec![to_out("out", messages)], ..Effects::default() }))
    });
    let scene = Plan::default().start(code, &[("a", "1"); 20]).await;
    scene.until_done(20).await;
    assert_eq!(scene.out()["out"], ["20 with 1"]);
    scene.stop().await;
}

/// Counts the messages of an address, and sends each count to the egress a minute later.
fn count_and_delay(request: &Request) -> Answer {
    if request.target.function.name() == "later" {
        return forward(request);
    }
    let Answer::Handled(mut effects) = count(request) else { return count(request) };
    let to = Address { function: "t/later".parse().unwrap(), id: request.target.id.clone() };
    for message in effects.egress.drain(..) {
        let value = Value::new("t/text", message.record.data);
        let delay = Duration::from_secs(60);
        effects.delayed.push(Delayed::Send { delay, to: to.clone(), value, token: None });
    }
    Answer::Handled(effects)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_ends_with_the_process_is_written_only_when_memory_is_short() {
    let all = Limits::default();
    let cases = [
        ("nothing is short", all, false),
        ("states", Limits { state_bytes: 5_000, ..all }, true),
        ("changed states", Limits { unsaved_bytes: 2_000, ..all }, true),
        ("messages", Limits { messages: 40, ..all }, true),
        ("bytes of messages", Limits { bytes: 4_000, ..all }, true),
        ("delayed messages", Limits { timers: 30, ..all }, true),
        ("bytes of delayed messages", Limits { timer_bytes: 100, ..all }, true),
    ];
    let keys: Vec<String> = (0..70).map(|key| format!("counter-{key}")).collect();
    let records: Vec<(&str, &str)> = (0..700).map(|index| (keys[index % 70].as_str(), "1")).collect();
    let expected: Vec<String> = (1..=10).map(|count| count.to_string()).collect();
    for (what, limits, is_short) in cases {
        let code = Code::new(|request| async move { Ok(count_and_delay(&request)) });
        let scene = Plan { limits, ..Plan::default() }.start(code, &records).await;
        scene.until(what, |scene| scene.progress.counts().records_out == 700).await;
        let out = scene.out();
        assert_eq!(out.len(), 70, "{what}");
        for (key, mut counts) in out {
            counts.sort_by_key(|count| count.parse::<u32>().unwrap());
            assert_eq!(counts, expected, "{what}: {key}");
        }
        assert_eq!(scene.functions.checkpoint().commits > 0, is_short, "{what}");
        let functions = Arc::clone(&scene.functions);
        scene.stop().await;
        assert_eq!(functions.checkpoint().commits > 0, is_short, "{what}: the end of the run needs no commit");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_is_tried_again_while_others_go_on() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&attempts);
    let code = Code::new(move |request: Request| {
        let attempts = Arc::clone(&seen);
        async move {
            if &*request.target.id == "bad" && attempts.fetch_add(1, Ordering::Relaxed) < 30 {
                return Err(InvokeError::new("out of order"));
            }
            Ok(forward(&request))
        }
    });
    let records = [("bad", "1"), ("good", "2"), ("fine", "3"), ("bad", "4")];
    let scene = Plan::default().start(code, &records).await;
    scene.until("others go on", |scene| scene.progress.counts().records_out == 2).await;
    assert!(attempts.load(Ordering::Relaxed) < 30);
    scene.until_done(4).await;
    assert_eq!(scene.out()["bad"], ["1", "4"]);
    // 29 delays of at most 30 s each. Without the limit they would add up to years.
    assert!(scene.functions.counts()[0].1.failures == 30);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_one_invocation() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let code = Code::new(move |request: Request| {
        let attempts = Arc::clone(&attempts);
        async move {
            assert!(attempts.fetch_add(1, Ordering::Relaxed) > 0, "at first");
            Ok(forward(&request))
        }
    });
    let scene = Plan::default().start(code, &[("a", "1")]).await;
    scene.until_done(1).await;
    assert_eq!(scene.out()["a"], ["1"]);
    scene.stop().await;
}

fn after(attempts: u32) -> GiveUp {
    GiveUp { max_attempts: attempts.try_into().ok(), ..GiveUp::default() }
}

/// Fails for every batch with a message that is bad.
fn picky() -> Arc<Code> {
    Code::new(|request: Request| async move {
        if texts(&request).iter().any(|text| text == "bad") {
            return Err(InvokeError::new("colour is missing"));
        }
        Ok(forward(&request))
    })
}

/// A12: good and bad messages of the same addresses, while failing messages are retried for ever.
#[tokio::test(start_paused = true)]
async fn a_bad_message_keeps_back_only_what_is_behind_it_at_its_address() {
    let records: Vec<(String, String)> = (0..55)
        .map(|index| {
            let (key, place) = (index % 5, index / 5);
            // The bad message of each address is at another place.
            (format!("key-{key}"), if place == 2 * key { "bad".to_owned() } else { place.to_string() })
        })
        .collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, data)| (key.as_str(), data.as_str())).collect();
    let scene = Plan::default().start(picky(), &records).await;
    scene.until("what is before the bad messages is handled", |scene| scene.progress.counts().records_out == 20).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let before = |bad: usize| (0..bad).map(|place| place.to_string()).collect::<Vec<_>>();
    let expect: BTreeMap<_, _> = (1..5).map(|key| (format!("key-{key}"), before(2 * key))).collect();
    assert_eq!(scene.out(), expect);
    let counts = scene.functions.counts().remove(0).1;
    assert_eq!((counts.failing, counts.backlog + counts.in_flight), (5, 35));
    assert!(counts.oldest.unwrap() >= Duration::from_secs(3_600), "{counts:?}");
    scene.shutdown.cancel();
    assert!(scene.running.await.unwrap().is_ok());
}

/// A14: 3 000 addresses, and a server that has been down for half a minute.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_available_is_asked_a_few_times_and_then_gets_everything() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let began = tokio::time::Instant::now();
    let code = Code::new(move |request: Request| {
        seen.lock().unwrap().push(began.elapsed());
        async move {
            if began.elapsed() < Duration::from_secs(31) {
                let error = InvokeError::new("503 Service Unavailable").of_kind(InvokeErrorKind::Unavailable);
                return Err(error.retry_after(Some(Duration::from_secs(2))));
            }
            Ok(forward(&request))
        }
    });
    let records: Vec<(String, &str)> = (0..3_000).map(|key| (format!("key-{key}"), "x")).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, data)| (key.as_str(), *data)).collect();
    let scene = Plan::default().start(code, &records).await;
    scene.until_done(3_000).await;
    assert_eq!(scene.out().len(), 3_000);
    let requests = requests.lock().unwrap().clone();
    let during = requests.iter().filter(|at| **at < Duration::from_secs(31)).collect::<Vec<_>>();
    assert!((10..=25).contains(&during.len()), "{} requests", during.len());
    // After the first few, each request waits as long as the server asks.
    let pauses = during.windows(2).skip(5).map(|pair| *pair[1] - *pair[0]);
    assert!(pauses.clone().all(|pause| pause >= Duration::from_secs(2)), "{:?}", pauses.collect::<Vec<_>>());
    let last = requests.last().unwrap();
    assert!(*last < Duration::from_secs(65), "everything is handled soon afterwards: {last:?}");
    scene.stop().await;
}

/// A server may ask for any wait; the runtime waits two minutes at most.
#[tokio::test(start_paused = true)]
async fn a_wait_that_the_server_asks_for_is_kept_and_limited() {
    for (asked, least, most) in [(7, 7, 8), (u64::MAX, 120, 121)] {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&attempts);
        let code = Code::new(move |request: Request| {
            let mut seen = seen.lock().unwrap();
            seen.push(tokio::time::Instant::now());
            let is_first = seen.len() == 1;
            async move {
                if is_first {
                    return Err(InvokeError::new("not now").retry_after(Some(Duration::from_secs(asked))));
                }
                Ok(forward(&request))
            }
        });
        let scene = Plan::default().start(code, &[("a", "1")]).await;
        scene.until_done(1).await;
        let attempts = attempts.lock().unwrap().clone();
        let waited = attempts[1] - attempts[0];
        assert!(waited >= Duration::from_secs(least) && waited <= Duration::from_secs(most), "{waited:?}");
        scene.stop().await;
    }
}

const PICKED: [(&str, &str); 5] = [("a", "1"), ("a", "bad"), ("a", "3"), ("b", "4"), ("a", "5")];

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_may_be_skipped() {
    let failures = FailureHandling::Skip { after: after(3), log: LogLevel::Info };
    let scene = Plan { failures, ..Plan::default() }.start(picky(), &PICKED).await;
    scene.until_done(5).await;
    assert_eq!((scene.out()["a"].join(","), scene.out()["b"].join(",")), ("1,3,5".to_owned(), "4".to_owned()));
    let counts = scene.functions.counts().remove(0).1;
    assert_eq!((counts.skipped, counts.dead_lettered, counts.failing), (1, 0, 0));
    scene.stop().await;
}

/// Lines that this thread logs, on which the test's whole runtime runs.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_line_about_a_failure_names_the_record() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let failures = FailureHandling::Skip { after: after(3), log: LogLevel::Error };
    let scene = Plan { failures, ..Plan::default() }.start(picky(), &[("a", "bad")]).await;
    scene.until_done(1).await;
    scene.stop().await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    for (level, says) in [("WARN", "will be retried"), ("ERROR", "skipped a message")] {
        let line = text.lines().find(|line| line.contains(says)).unwrap_or_else(|| panic!("{says}: {text}"));
        for part in [level, "function=t/f", "id=a", &format!("stream={IN}"), "shard=shardId-", "sequence_number=4"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}

#[derive(Debug, Default)]
struct Letters {
    put: Mutex<Vec<(String, PutRecord)>>,
    refusals: AtomicUsize,
}

#[async_trait]
impl DeadLetters for Letters {
    async fn put(
        &self,
        stream: &StreamRef,
        records: Vec<PutRecord>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.refusals.fetch_add(1, Ordering::Relaxed) < 2 {
            return Err("the stream is busy".into());
        }
        self.put.lock().unwrap().extend(records.into_iter().map(|record| (stream.to_string(), record)));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_may_become_a_dead_letter() {
    let letters = Arc::new(Letters::default());
    let stream: StreamRef = "dead".parse().unwrap();
    let failures = FailureHandling::DeadLetter { after: after(3), stream, log: LogLevel::Warn };
    let plan = Plan { failures, dead_letters: Some(Arc::clone(&letters) as Arc<_>), ..Plan::default() };
    let scene = plan.start(picky(), &PICKED).await;
    scene.until_done(5).await;
    assert_eq!(scene.out()["a"], ["1", "3", "5"]);
    let counts = scene.functions.counts().remove(0).1;
    assert_eq!((counts.skipped, counts.dead_lettered, counts.failing), (0, 1, 0));
    scene.stop().await;
    let letters = letters.put.lock().unwrap();
    let [(stream, record)] = &letters[..] else {
        panic!("a letter that was refused is not lost, and not put twice: {letters:?}")
    };
    let letter = DeadLetterReader::new().read(&record.data).unwrap().expect("one record is the whole letter");
    assert_eq!((&**stream, letter.reason(), letter.data().unwrap().as_ref()), ("dead", "function-failed", &b"bad"[..]));
    assert!(letter.message().contains("colour is missing"), "{}", letter.message());
    let Origin::Function(origin) = letter.origin() else { panic!("{letter:?}") };
    assert_eq!((origin.function.to_string(), &origin.caller), ("t/f/a".to_owned(), &None));
    let ingress = origin.ingress.as_ref().expect("its record is named");
    assert!(ingress.stream.to_string().ends_with(":stream/in"), "{ingress:?}");
    assert!(origin.attempts >= 3 && origin.first_attempt.is_some(), "{origin:?}");
}

/// The SDKs let a function send any text as a type.
#[tokio::test(start_paused = true)]
async fn a_message_of_any_type_may_become_a_dead_letter() {
    let code = Code::new(|request: Request| async move {
        if request.target.function.name() == "g" {
            return Err(InvokeError::new("colour is missing"));
        }
        let to = Address { function: "t/g".parse().unwrap(), id: "b".into() };
        let messages = vec![(to, Value::new("no type name", "bad"))];
        Ok(Answer::Handled(Effects { messages, ..Effects::default() }))
    });
    let letters = Arc::new(Letters::default());
    let stream: StreamRef = "dead".parse().unwrap();
    let failures = FailureHandling::DeadLetter { after: after(3), stream, log: LogLevel::Warn };
    let plan = Plan { failures, dead_letters: Some(Arc::clone(&letters) as Arc<_>), ..Plan::default() };
    let scene = plan.start(code, &[("a", "1")]).await;
    scene.until("the letter is put", |_| !letters.put.lock().unwrap().is_empty()).await;
    scene.stop().await;
    let record = letters.put.lock().unwrap()[0].1.clone();
    let letter = DeadLetterReader::new().read(&record.data).unwrap().expect("one record is the whole letter");
    assert_eq!((letter.value_type(), letter.data().unwrap().as_ref()), (None, &b"bad"[..]));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_nobody_takes_are_told_at_the_start() {
    let failures =
        FailureHandling::DeadLetter { after: after(3), stream: "dead".parse().unwrap(), log: LogLevel::Warn };
    let builder = StatefulFunctions::builder();
    let built = builder.functions("t/*".parse().unwrap(), GroupSettings::default(), failures, picky()).build().await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains("t/*") && error.contains("dead letters in dead"), "{error}");
}

/// The errors of a run that ends by itself, from the outermost to the innermost.
async fn end(scene: Scene) -> String {
    let error = scene.running.await.unwrap().unwrap_err();
    ErrorChain(&error).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_end_the_run() {
    let failures = FailureHandling::Fail { after: after(3) };
    let scene = Plan { failures, ..Plan::default() }.start(picky(), &PICKED).await;
    assert_eq!(end(scene).await, "functions failed: t/f/a failed 3 times: colour is missing");
}

#[tokio::test(start_paused = true)]
async fn a_record_for_no_egress_is_a_failure() {
    let code = |egress: &'static str, stream: Option<&'static str>| {
        Code::new(move |_| async move {
            let record = PutRecord::new("k".parse().unwrap(), "v");
            let stream = stream.map(|stream| stream.parse().unwrap());
            let egress = vec![EgressMessage { egress: egress.parse().unwrap(), stream, record }];
            Ok(Answer::Handled(Effects { egress, ..Effects::default() }))
        })
    };
    let failures = FailureHandling::Fail { after: after(2) };
    let plan = Plan { failures, ..Plan::default() };
    let scene = plan.start(code("t/nowhere", None), &[("a", "1")]).await;
    let said = end(scene).await;
    assert!(said.contains("t/f/a failed 2 times") && said.contains("no egress t/nowhere"), "{said}");
    let scene = Plan::default().start(code("t/out", Some("out")), &[("a", "1")]).await;
    scene.until_done(1).await;
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_nobody_serves_ends_the_run() {
    let plan = Plan { targets: vec!["t/f", "u/g"], ..Plan::default() };
    let said = end(plan.start(picky(), &[("a", "1")]).await).await;
    assert!(said.contains("no function is registered for a target") && said.contains("serves u/g"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn functions_that_all_hang_slow_reading_down() {
    let code = Code::new(|_| std::future::pending());
    let records = [("one key", "x"); 100];
    let limits = Limits { messages: 50, ..Limits::default() };
    let scene = Plan { limits, ..Plan::default() }.start(code, &records).await;
    scene.until("something is in flight", |scene| scene.functions.usage().messages == 100).await;
    let more: Vec<_> = (0..100).map(|_| PutRecord::new("one key".parse().unwrap(), "y")).collect();
    for put in scene.kinesis.put_records(&"in".parse().unwrap(), &more).await.unwrap() {
        put.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    // A batch is taken as a whole; the next one waits for room.
    assert_eq!((scene.functions.usage().messages, scene.progress.counts().records_done), (100, 0));
    assert_eq!(scene.functions.counts()[0].1.in_flight, 1);
    let blocked = scene.functions.blocked().unwrap();
    assert_eq!((blocked.reason, blocked.messages), (BlockReason::Busy, 100));
    assert_eq!(blocked.function, Some("t/f".parse().unwrap()));
    scene.shutdown.cancel();
    // The store is in memory, so the stop reports the hanging messages as unfinished when its time is over.
    let unfinished = scene.running.await.unwrap().unwrap();
    assert_eq!(unfinished.messages, [("t/f".parse().unwrap(), 100)]);
}

/// A function that handles all messages except those of one address, or of one function.
fn all_but(bad: &'static str) -> Arc<Code> {
    Code::new(move |request: Request| async move {
        if request.target.to_string() == bad || request.target.function.as_str() == bad {
            return Err(InvokeError::new("out of order"));
        }
        Ok(forward(&request))
    })
}

#[tokio::test(start_paused = true)]
async fn a_failing_address_never_holds_up_another_one() {
    // Far more messages wait for it than memory has room for.
    let records: Vec<(String, &str)> = (0..4_000)
        .map(|index| (if index % 2 == 0 { "bad".to_owned() } else { format!("good-{}", index % 50) }, "1"))
        .collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, data)| (key.as_str(), *data)).collect();
    let limits = Limits { messages: 300, ..Limits::default() };
    let scene = Plan { limits, ..Plan::default() }.start(all_but("t/f/bad"), &records).await;
    scene.until("all others are handled", |scene| scene.progress.counts().records_out == 2_000).await;
    let usage = scene.functions.usage();
    assert_eq!((usage.messages, scene.functions.counts()[0].1.backlog > 1_000), (2_000, true));
    assert!(usage.messages_in_memory <= 1_300, "{usage:?}");
    assert_eq!(scene.functions.blocked(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_function_never_holds_up_another_one() {
    let records: Vec<(String, &str)> = (0..4_000).map(|index| (format!("key-{}", index % 700), "1")).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(key, data)| (key.as_str(), *data)).collect();
    let limits = Limits { messages: 300, ..Limits::default() };
    let plan = Plan { limits, targets: vec!["t/bad", "t/good"], ..Plan::default() };
    let scene = plan.start(all_but("t/bad"), &records).await;
    scene.until("all others are handled", |scene| scene.progress.counts().records_out == 4_000).await;
    let usage = scene.functions.usage();
    assert_eq!(usage.messages, 4_000);
    assert!(usage.messages_in_memory < 1_500 && usage.mailboxes <= 310, "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_go_from_function_to_function_and_come_later() {
    // Each message passes three functions, and reaches the egress a minute after it arrived.
    let code = Code::new(|request: Request| async move {
        let next = match request.target.function.name() {
            "f" => "t/g",
            "g" => "t/h",
            _ => return Ok(forward(&request)),
        };
        let to = Address { function: next.parse().unwrap(), id: request.target.id.clone() };
        let mut effects = Effects::default();
        for message in request.messages.iter() {
            let value = message.value.clone();
            if next == "t/g" {
                effects.messages.push((to.clone(), value));
            } else {
                assert_eq!(message.caller.as_ref().unwrap().function.as_str(), "t/f");
                let delay = Duration::from_secs(60);
                effects.delayed.push(Delayed::Send { delay, to: to.clone(), value, token: None });
            }
        }
        Ok(Answer::Handled(effects))
    });
    let scene = Plan::default().start(code, &[("a", "1"), ("b", "2"), ("a", "3")]).await;
    scene.until_done(3).await;
    assert!(scene.out().is_empty(), "a delayed message holds up no position");
    let before = tokio::time::Instant::now();
    scene.until("they come out", |scene| scene.progress.counts().records_out == 3).await;
    assert!(before.elapsed() > Duration::from_secs(50) && before.elapsed() < Duration::from_secs(70));
    let out: BTreeSet<String> = scene.out().into_values().flatten().collect();
    assert_eq!(out, ["1", "2", "3"].map(str::to_owned).into());
    scene.stop().await;
}
