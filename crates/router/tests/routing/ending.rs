//! Positions, failures of functions, and the end of a run.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{ErrorKind, KinesisClientExt, Operation};
use statefun_kinesis_consumer::{MemoryCheckpoints, Position};
use statefun_kinesis_module::{EgressSpec, IngressSpec};
use statefun_kinesis_router::{Delivery, Echo, FunctionError, Functions, Ingress, Router, RunError};
use tokio_util::sync::CancellationToken;

use crate::scene::{arn, echo, ingress, kept_in, kinesis_with, payloads, record, route, run_until_done, stream};

#[tokio::test(start_paused = true)]
async fn a_position_does_not_move_before_the_egress_has_acknowledged() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    kinesis.faults().fail_next(Operation::PutRecords, ErrorKind::InvalidArgument);
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let spec = ingress(vec![route("orders", &["example/a"])]);
    let build = |spec: IngressSpec| {
        let client = Arc::new(kinesis.clone());
        let egress = EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap());
        Router::builder(kept_in(Arc::new(Echo), &checkpoints))
            .ingress(Ingress::new(spec, client.clone()))
            .egress(egress, client)
            .clock(kinesis.clock())
            .build()
    };
    let error = build(spec.clone()).await.unwrap().run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RunError::Egress(_)), "{error}");
    assert!(payloads(&kinesis, "out").is_empty());
    // The record was not done, so that the next start reads it again.
    run_until_done(build(spec).await.unwrap(), 1).await;
    assert_eq!(payloads(&kinesis, "out"), BTreeMap::from([("k".to_owned(), vec!["1".to_owned()])]));
}

/// Accepts every delivery and completes it later, like remote functions.
#[derive(Debug)]
struct Later(Duration);

#[async_trait]
impl Functions for Later {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let (_, completion) = delivery.into_parts();
        let delay = self.0;
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            completion.done();
        });
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_what_is_in_hand() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let run = async |delay| {
        let spec = ingress(vec![route("orders", &["example/a"])]);
        let router = Router::builder(Arc::new(Later(delay)))
            .ingress(Ingress::new(spec, Arc::new(kinesis.clone())))
            .clock(kinesis.clock())
            .drain(Duration::from_secs(30));
        let router = router.build().await.unwrap();
        let (progress, shutdown) = (router.progress(), CancellationToken::new());
        let running = tokio::spawn(router.run(shutdown.clone()));
        while progress.counts().messages < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
        progress.counts().records_done
    };
    assert_eq!(run(Duration::from_secs(20)).await, 1, "the stop waits for in-flight records");
    assert_eq!(run(Duration::from_secs(40)).await, 0, "but not beyond the deadline");
}

/// Takes the first delivery, and is stuck with the second.
#[derive(Debug, Default)]
struct StuckAfterOne(AtomicBool);

#[async_trait]
impl Functions for StuckAfterOne {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        if self.0.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        delivery.done();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn functions_that_take_nothing_more_do_not_hold_up_stopping_for_ever() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    let checkpoints = Arc::new(MemoryCheckpoints::default());
    let spec = ingress(vec![route("orders", &["example/a"])]);
    let ingress = Ingress::new(spec, Arc::new(kinesis.clone()));
    let router = Router::builder(kept_in(Arc::new(StuckAfterOne::default()), &checkpoints))
        .ingress(ingress)
        .clock(kinesis.clock());
    let router = router.drain(Duration::from_secs(30)).build().await.unwrap();
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    let mut placements = Vec::new();
    for number in 1..=2 {
        placements.push(kinesis.put_record(&stream("orders"), record("k", number.to_string())).await.unwrap());
        while progress.counts().messages < number {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let stopped = tokio::time::Instant::now();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(stopped.elapsed().as_secs(), 30, "one deadline for all that stopping has to do");
    // Positions of completed records are kept, and the others are read again.
    let stored = checkpoints.get(&arn("orders")).unwrap();
    let position = stored.shards[&placements[0].shard];
    assert!(position.covers(Position::behind(placements[0].sequence_number)));
    assert!(!position.covers(Position::behind(placements[1].sequence_number)));
}

#[tokio::test(start_paused = true)]
async fn functions_that_fail_end_the_run() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let spec = ingress(vec![route("orders", &["example/a"])]);
    // Echo fails without an egress.
    let router =
        Router::builder(Arc::new(Echo)).ingress(Ingress::new(spec, Arc::new(kinesis.clone()))).clock(kinesis.clock());
    let error = router.build().await.unwrap().run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RunError::Functions(_)), "{error}");
}

/// Takes deliveries and forgets them.
#[derive(Debug)]
struct Forgetful;

#[async_trait]
impl Functions for Forgetful {
    async fn deliver(&self, _: Delivery) -> Result<(), FunctionError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_ends_the_run_instead_of_holding_its_shard_for_ever() {
    let kinesis = kinesis_with(&[("orders", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "one")).await.unwrap();
    let ingress = Ingress::new(ingress(vec![route("orders", &["example/a"])]), Arc::new(kinesis.clone()));
    let router = Router::builder(Arc::new(Forgetful)).ingress(ingress).clock(kinesis.clock()).build().await.unwrap();
    let progress = router.progress();
    let ended = router.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(&ended, RunError::Dropped { stream, .. } if *stream == arn("orders")), "{ended:?}");
    assert_eq!(progress.counts().records_done, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_any_length_ends_when_all_is_done() {
    let kinesis = kinesis_with(&[("orders", 1), ("out", 1)]).await;
    kinesis.put_record(&stream("orders"), record("k", "1")).await.unwrap();
    let router = echo(&kinesis, ingress(vec![route("orders", &["example/a"])])).drain(Duration::MAX);
    run_until_done(router.build().await.unwrap(), 1).await;
    assert_eq!(payloads(&kinesis, "out")["k"], ["1"]);
}
