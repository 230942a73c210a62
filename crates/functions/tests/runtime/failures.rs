//! Functions that fail.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_dead_letter::{DeadLetterReader, Origin};
use statefun_kinesis_functions::{
    Answer, DeadLetters, Effects, GroupSettings, InvokeError, InvokeErrorKind, Request, StatefulFunctions, Value,
};
use statefun_kinesis_module::{FailureHandling, GiveUp};
use statefun_kinesis_types::{Address, LogLevel, PutRecord, StreamRef};

use crate::scene::{Code, IN, Plan, end, forward, texts};

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

pub(crate) fn after(attempts: u32) -> GiveUp {
    GiveUp { max_attempts: attempts.try_into().ok(), ..GiveUp::default() }
}

/// Fails for every batch with a message that is bad.
pub(crate) fn picky() -> Arc<Code> {
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
async fn dead_letters_without_a_writer_are_rejected_at_the_start() {
    let failures =
        FailureHandling::DeadLetter { after: after(3), stream: "dead".parse().unwrap(), log: LogLevel::Warn };
    let builder = StatefulFunctions::builder();
    let built = builder.functions("t/*".parse().unwrap(), GroupSettings::default(), failures, picky()).build().await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains("t/*") && error.contains("dead letters in dead"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_end_the_run() {
    let failures = FailureHandling::Fail { after: after(3) };
    let scene = Plan { failures, ..Plan::default() }.start(picky(), &PICKED).await;
    assert_eq!(end(scene).await, "functions failed: t/f/a failed 3 times: colour is missing");
}
