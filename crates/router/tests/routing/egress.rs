//! Which stream a record of an egress goes to.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::KinesisClientExt;
use statefun_kinesis_module::EgressSpec;
use statefun_kinesis_router::{Delivery, FunctionError, Functions, Ingress, Router, RunError};
use statefun_kinesis_types::{ErrorChain, InvalidRecordHandling, LogLevel, PutRecord, StreamRef};
use tokio_util::sync::CancellationToken;

use crate::scene::{arn, ingress, kinesis_with, out, record, route, stream};

/// Sends each message to the stream that its payload names, or to the egress' own for the payload `-`.
#[derive(Debug)]
struct ByPayload;

#[async_trait]
impl Functions for ByPayload {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let egress = "example/out".parse().unwrap();
        let mut receipts = Vec::new();
        for message in delivery.batch().messages() {
            let payload = message.payload().unwrap();
            let named = std::str::from_utf8(payload).unwrap();
            let stream: Option<StreamRef> = (named != "-").then(|| named.parse().unwrap());
            let record = PutRecord::new(message.partition_key().unwrap(), payload.clone());
            let sent = async {
                delivery.egresses().check(&egress, stream.as_ref(), &record)?;
                delivery.egresses().send_to(&egress, stream.as_ref(), vec![record]).await
            };
            receipts.push(sent.await.map_err(|error| FunctionError::new("cannot send").because(error))?);
        }
        delivery.done_after(receipts);
        Ok(())
    }
}

/// Sends records for `names` through an egress. Returns their number by stream, or the error of the run.
async fn sent_to(names: &[&str], egress: EgressSpec) -> Result<Vec<(&'static str, usize)>, RunError> {
    let streams = ["orders", "out", "other", "dead"];
    let kinesis = kinesis_with(&streams.map(|name| (name, 1))).await;
    for name in names {
        kinesis.put_record(&stream("orders"), record("k", name.to_string())).await.unwrap();
    }
    let client = Arc::new(kinesis.clone());
    let router = Router::builder(Arc::new(ByPayload))
        .ingress(Ingress::new(ingress(vec![route("orders", &["example/a"])]), client.clone()))
        .egress(egress, client)
        .clock(kinesis.clock())
        .build()
        .await
        .unwrap();
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    while progress.counts().records_done < names.len() as u64 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.cancel();
    running.await.unwrap()?;
    let counts = streams[1..].iter().map(|name| (*name, kinesis.records(&stream(name)).len()));
    Ok(counts.filter(|(_, records)| *records > 0).collect())
}

#[tokio::test(start_paused = true)]
async fn a_record_goes_to_the_stream_that_it_names_or_else_to_that_of_its_egress() {
    let other = arn("other");
    let went = sent_to(&["-", "other", other.as_str(), "out"], out()).await.unwrap();
    assert_eq!(went, [("out", 2), ("other", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_egress_does_not_allow_is_dealt_with_as_it_says() {
    let mut spec = out();
    spec.allowed_streams = Some(Vec::new());
    let refused = sent_to(&["-", "other"], spec.clone()).await.unwrap_err();
    let RunError::Functions(error) = &refused else { panic!("{refused:?}") };
    let cause = std::error::Error::source(error).unwrap().to_string();
    assert!(cause.contains("is for other, which allowedStreams of egress example/out does not list"), "{cause}");

    spec.failed_records.given_up = InvalidRecordHandling::Skip { log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec.clone()).await.unwrap(), [("out", 2)]);

    spec.failed_records.given_up = InvalidRecordHandling::DeadLetter { stream: stream("dead"), log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec).await.unwrap(), [("out", 2), ("dead", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_egress_without_a_stream_needs_records_that_name_one() {
    let mut spec = out();
    spec.stream_name = None;
    assert_eq!(sent_to(&["other", "out"], spec.clone()).await.unwrap(), [("out", 1), ("other", 1)]);
    let refused = sent_to(&["-"], spec.clone()).await.unwrap_err();
    let RunError::Functions(error) = &refused else { panic!("{refused:?}") };
    let cause = ErrorChain(std::error::Error::source(error).unwrap()).to_string();
    assert!(cause.contains("names no stream, and there is no default stream"), "{cause}");

    spec.failed_records.given_up = InvalidRecordHandling::Skip { log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec.clone()).await.unwrap(), [("other", 1)]);

    spec.failed_records.given_up = InvalidRecordHandling::DeadLetter { stream: stream("dead"), log: LogLevel::Debug };
    assert_eq!(sent_to(&["-", "other", "-"], spec).await.unwrap(), [("other", 1), ("dead", 2)]);
}
