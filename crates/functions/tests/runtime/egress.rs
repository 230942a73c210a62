//! Records that an egress cannot send.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_dead_letter::{DeadLetterReader, Origin};
use statefun_kinesis_functions::{Answer, Effects, EgressMessage, Request, Value};
use statefun_kinesis_module::FailureHandling;
use statefun_kinesis_router::{GivenUp, RunError};
use statefun_kinesis_types::{ErrorChain, InvalidRecordHandling, LogLevel, PutRecord};

use crate::{
    failures::after,
    scene::{Code, Plan, Scene, end, texts, to_out},
};

#[tokio::test(start_paused = true)]
async fn a_record_for_no_egress_is_a_failure() {
    let code = |egress: &'static str, stream: Option<&'static str>| {
        Code::new(move |_| async move {
            let record = PutRecord::new("k".parse().unwrap(), "v");
            let stream = stream.map(|stream| stream.parse().unwrap());
            let egress = vec![EgressMessage::Record { egress: egress.parse().unwrap(), stream, record }];
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

/// Sends to the egress: the message, something that is not a record, and the message again.
fn sends_an_invalid_record() -> Arc<Code> {
    Code::new(|request: Request| async move {
        let mut egress = Vec::new();
        for text in texts(&request) {
            egress.push(to_out(&request.target.id, text.clone()));
            let value = Value::new("example/no record", text.clone());
            egress.push(EgressMessage::Invalid { egress: "t/out".parse().unwrap(), value, error: "no key".into() });
            egress.push(to_out(&request.target.id, text));
        }
        Ok(Answer::Handled(Effects { egress, ..Effects::default() }))
    })
}

const RECORDS: [(&str, &str); 4] = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")];

fn given_up(scene: &Scene) -> GivenUp {
    let [(egress, given_up)] = &scene.egresses.given_up()[..] else { panic!("there is one egress") };
    assert_eq!(egress.as_str(), "t/out");
    *given_up
}

async fn with(failed_records: InvalidRecordHandling) -> Scene {
    Plan { failed_records, ..Plan::default() }.start(sends_an_invalid_record(), &RECORDS).await
}

fn assert_all_valid_ones_are_stored(scene: &Scene) {
    let twice = |texts: &[&str]| texts.iter().flat_map(|text| [(*text).to_owned(), (*text).to_owned()]).collect();
    let expect = [("a", twice(&["1", "3"])), ("b", twice(&["2"])), ("c", twice(&["4"]))];
    assert_eq!(scene.out(), expect.map(|(key, texts)| (key.to_owned(), texts)).into());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_record_may_be_skipped_and_the_rest_of_its_answer_counts() {
    let scene = with(InvalidRecordHandling::Skip { log: LogLevel::Debug }).await;
    scene.until_done(4).await;
    assert_all_valid_ones_are_stored(&scene);
    assert_eq!(given_up(&scene), GivenUp { skipped: 4, ..GivenUp::default() });
    assert_eq!(scene.functions.counts()[0].1.failures, 0, "the function did not fail");
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_record_may_become_a_dead_letter_with_what_was_sent() {
    let stream = "dead".parse().unwrap();
    let scene = with(InvalidRecordHandling::DeadLetter { stream, log: LogLevel::Debug }).await;
    scene.until_done(4).await;
    assert_all_valid_ones_are_stored(&scene);
    assert_eq!(given_up(&scene), GivenUp { dead_lettered: 4, ..GivenUp::default() });
    let mut reader = DeadLetterReader::new();
    let mut sent = Vec::new();
    for (_, record) in scene.kinesis.records(&"dead".parse().unwrap()) {
        let letter = reader.read(&record.data).unwrap().unwrap();
        assert_eq!((letter.reason(), letter.partition_key()), ("invalid-record", None));
        assert_eq!(letter.value_type().unwrap().as_str(), "example/no record");
        let Origin::Egress(origin) = letter.origin() else { panic!("{letter:?}") };
        assert_eq!((origin.egress.as_ref().unwrap().as_str(), &origin.stream), ("t/out", &None));
        let (said, sender) = (letter.message(), "what t/f/");
        assert!(
            said.starts_with(sender) && said.contains(" to the egress t/out ") && said.ends_with(": no key"),
            "{said}"
        );
        sent.push(String::from_utf8(letter.into_data().unwrap().to_vec()).unwrap());
    }
    sent.sort();
    assert_eq!(sent, ["1", "2", "3", "4"]);
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_record_may_end_the_run_before_its_answer_counts() {
    let scene = with(InvalidRecordHandling::Fail).await;
    let functions = Arc::clone(&scene.functions);
    let kinesis = scene.kinesis.clone();
    let said = end(scene).await;
    assert!(said.contains("t/out") && said.contains("t/f/") && said.ends_with(": no key"), "{said}");
    assert!(kinesis.records(&"out".parse().unwrap()).is_empty(), "no answer had effects");
    assert_eq!(functions.usage().messages, 4, "a corrected function gets them again");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_exist_ends_the_run_at_once() {
    let code = Code::new(|_| async move {
        let (egress, stream) = ("t/out".parse().unwrap(), Some("nowhere".parse().unwrap()));
        let record = PutRecord::new("k".parse().unwrap(), "v");
        let egress = vec![EgressMessage::Record { egress, stream, record }];
        Ok(Answer::Handled(Effects { egress, ..Effects::default() }))
    });
    let scene = Plan::default().start(code, &RECORDS).await;
    let began = tokio::time::Instant::now();
    let error = scene.running.await.unwrap().unwrap_err();
    let said = ErrorChain(&error).to_string();
    assert!(matches!(error, RunError::Egress(_)), "{error:?}");
    assert!(said.contains("t/out") && said.contains("nowhere") && said.contains("does not exist"), "{said}");
    // Other work gets a second to finish.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn records_of_one_answer_go_each_to_the_stream_that_it_names() {
    let code = Code::new(|request: Request| async move {
        let to = |stream: Option<&str>, text: String| EgressMessage::Record {
            egress: "t/out".parse().unwrap(),
            stream: stream.map(|stream| stream.parse().unwrap()),
            record: PutRecord::new("k".parse().unwrap(), text),
        };
        let streams = [None, None, Some("dead"), Some("dead"), Some("out"), None, Some("dead")];
        let records = |text| streams.iter().zip(1..).map(move |(stream, n)| to(*stream, format!("{text}.{n}")));
        let egress = texts(&request).into_iter().flat_map(records).collect();
        Ok(Answer::Handled(Effects { egress, ..Effects::default() }))
    });
    let scene = Plan::default().start(code, &[("a", "1"), ("a", "2")]).await;
    scene.until_done(2).await;
    let stored = |stream: &str| -> Vec<String> {
        let records = scene.kinesis.records(&stream.parse().unwrap()).into_iter();
        records.map(|(_, record)| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    };
    assert_eq!(stored("out"), ["1.1", "1.2", "1.5", "1.6", "2.1", "2.2", "2.5", "2.6"]);
    assert_eq!(stored("dead"), ["1.3", "1.4", "1.7", "2.3", "2.4", "2.7"]);
    scene.stop().await;
}
