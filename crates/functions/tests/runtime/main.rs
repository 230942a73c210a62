//! Functions between an ingress and an egress, on Kinesis in memory and under paused time.

mod clock;
mod egress;
mod failures;
mod scene;

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_client::{KinesisClient, KinesisClientExt as _};
use statefun_kinesis_functions::{Answer, BlockReason, Delayed, Effects, InvokeError, Limits, Origin, Request, Value};
use statefun_kinesis_module::RecordMetadata;
use statefun_kinesis_types::{Address, HashKey, PutRecord};

use crate::{
    failures::picky,
    scene::{Code, Plan, count, end, forward, to_out},
};

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
        let value = Value::new("t/text", message.record().unwrap().data.clone());
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
async fn a_target_without_a_function_ends_the_run() {
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

#[tokio::test(start_paused = true)]
async fn a_message_knows_the_record_that_it_came_from() {
    for (record_metadata, is_sent) in [(RecordMetadata::Omit, false), (RecordMetadata::Send, true)] {
        let seen: Arc<Mutex<Vec<Arc<Origin>>>> = Arc::default();
        let log = Arc::clone(&seen);
        let code = Code::new(move |request: Request| {
            log.lock().unwrap().extend(request.messages.iter().filter_map(|message| message.origin.clone()));
            async { Ok(Answer::Handled(Effects::default())) }
        });
        let scene = Plan { record_metadata, ..Plan::default() }.start(code, &[]).await;
        // Two records in one aggregate, the second with an explicit hash key, and a record by itself.
        let mut aggregator = Aggregator::new(1 << 20, 100);
        let record = |key: &str| PutRecord::new(key.parse().unwrap(), "1");
        aggregator.push(&record("a")).unwrap();
        aggregator.push(&record("b").with_explicit_hash_key(HashKey::of_text("a"))).unwrap();
        let stream = "in".parse().unwrap();
        for put in [aggregator.finish().unwrap(), record("a")] {
            scene.kinesis.put_record(&stream, put).await.unwrap();
        }
        scene.until_done(3).await;
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_by_key(|origin| (origin.sequence_number, origin.sub_sequence_number));
        let stored: Vec<_> = scene.kinesis.records(&stream).into_iter().collect();
        let places = [(0, 0, None), (0, 1, Some(HashKey::of_text("a"))), (1, 0, None)];
        for (origin, (record, sub_sequence_number, hash)) in seen.iter().zip(places) {
            let (shard, record) = &stored[record];
            assert_eq!((origin.stream.name().as_str(), &origin.shard), ("in", shard));
            assert_eq!(origin.sequence_number, record.sequence_number);
            assert_eq!(
                (origin.sub_sequence_number, origin.explicit_hash_key.as_deref().copied()),
                (sub_sequence_number, hash)
            );
            assert_eq!((origin.arrival, origin.is_sent), (record.approximate_arrival, is_sent));
        }
        assert_eq!(seen.len(), 3);
        scene.stop().await;
    }
}
