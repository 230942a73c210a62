//! Runs whose time of day jumps, back and forth by up to an hour, while functions fail and delayed messages wait.
//!
//! `STATEFUN_KINESIS_RUNS` and `STATEFUN_KINESIS_SEED` in the environment make a longer run, or repeat one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_client::{Clock, KinesisClientExt as _};
use statefun_kinesis_functions::{Answer, Delayed, InvokeError, Request, Value};
use statefun_kinesis_types::{Address, PutRecord, Timestamp};

use crate::scene::{Code, Plan, Scene, count, forward, texts};

const RUNS: u64 = 40;
const RECORDS: u64 = 60;
const KEYS: usize = 6;

/// The longest time in which failing requests are done, whatever the time of day does: a few attempts with pauses of up
/// to 30 s.
const RETRIES_MAX: Duration = Duration::from_secs(300);

/// The largest jump.
const JUMP_MAX: i64 = 60 * 60 * 1_000;

/// The longest delay of a message.
const DELAY_MAX: u64 = 2 * 60 * 1_000;

/// The clock of a machine that somebody sets.
#[derive(Debug)]
struct Jumping {
    started: tokio::time::Instant,
    offset: AtomicI64,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_millis() as i64;
        Timestamp::from_millis(1_800_000_000_000 + elapsed + self.offset.load(Ordering::Relaxed))
    }
}

/// Counts, and sends each message to another function after a while. Every other call fails.
fn sometimes_failing(rng: Mutex<fastrand::Rng>) -> Arc<Code> {
    Code::new(move |request: Request| {
        let answered = (|| {
            let mut rng = rng.lock().unwrap();
            if rng.bool() {
                return Err(InvokeError::new("not now"));
            }
            if request.target.function.name() == "later" {
                return Ok(forward(&request));
            }
            let Answer::Handled(mut effects) = count(&request) else { return Ok(count(&request)) };
            effects.egress.clear();
            let to = Address { function: "t/later".parse().unwrap(), id: request.target.id.clone() };
            for text in texts(&request) {
                let delay = Duration::from_millis(rng.u64(..DELAY_MAX));
                let value = Value::new("t/text", text);
                effects.delayed.push(Delayed::Send { delay, to: to.clone(), value, token: None });
            }
            Ok(Answer::Handled(effects))
        })();
        async { answered }
    })
}

/// Whether a condition holds within a time. It is looked at now and then, because it waits for hours.
async fn within(limit: Duration, scene: &Scene, holds: impl Fn(&Scene) -> bool) -> bool {
    let began = tokio::time::Instant::now();
    while !holds(scene) {
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    true
}

async fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = Arc::new(Jumping { started: tokio::time::Instant::now(), offset: AtomicI64::new(0) });
    let plan = Plan { clock: Some(Arc::clone(&clock) as Arc<dyn Clock>), ..Plan::default() };
    let scene = plan.start(sometimes_failing(Mutex::new(rng.fork())), &[]).await;
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..RECORDS {
        let (key, text) = (format!("key-{}", rng.usize(..KEYS)), number.to_string());
        let record = PutRecord::new(key.parse().unwrap(), text.clone());
        scene.kinesis.put_record(&"in".parse().unwrap(), record).await.unwrap();
        sent.entry(key).or_default().push(text);
        if rng.u8(..3) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(..10_000))).await;
            clock.offset.store(rng.i64(-JUMP_MAX..=JUMP_MAX), Ordering::Relaxed);
        }
    }
    let is_done =
        |scene: &Scene| scene.progress.counts().records_done == RECORDS && scene.functions.usage().messages == 0;
    assert!(within(RETRIES_MAX, &scene, is_done).await, "seed {seed}: failing requests wait for the time of day");
    // A delayed message is due by the time of day, so a clock that was set back makes it late, by so much at most.
    let late = Duration::from_millis(2 * JUMP_MAX as u64 + DELAY_MAX) + RETRIES_MAX;
    let is_out = |scene: &Scene| scene.progress.counts().records_out == RECORDS;
    assert!(within(late, &scene, is_out).await, "seed {seed}: a delayed message is lost");
    let mut out = scene.out();
    for texts in sent.values_mut().chain(out.values_mut()) {
        texts.sort();
    }
    assert_eq!(out, sent, "seed {seed}: each message takes effect once");
    scene.stop().await;
}

#[test]
fn a_time_of_day_that_jumps_loses_nothing_and_delays_no_retry() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let (first, runs) = (number("STATEFUN_KINESIS_SEED").unwrap_or(0), number("STATEFUN_KINESIS_RUNS").unwrap_or(RUNS));
    for seed in first..first + runs {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        fastrand::seed(seed);
        runtime.block_on(run(seed));
    }
}
