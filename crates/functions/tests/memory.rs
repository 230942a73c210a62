//! Messages that wait take the memory that they need, and nothing else is kept for them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use peak_alloc::PeakAlloc;
use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_functions::{Answer, Effects, GroupSettings, Invoke, InvokeError, Request, StatefulFunctions};
use statefun_kinesis_module::FailureHandling;
use statefun_kinesis_router::Handler;
use statefun_kinesis_types::{PutRecord, Record};

use crate::scene::{Pages, Run, TARGET, page};

#[path = "../benches/scene/mod.rs"]
mod scene;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Handles all messages except those of the id `bad`.
#[derive(Debug)]
struct AllButBad;

#[async_trait]
impl Invoke for AllButBad {
    async fn invoke(&self, request: &Request, _: Duration) -> Result<Answer, InvokeError> {
        if &*request.target.id == "bad" {
            return Err(InvokeError::new("out of order"));
        }
        Ok(Answer::Handled(Effects::default()))
    }
}

/// An aggregate of a small record for `bad` and a large one.
fn aggregate(number: u64) -> Vec<Record> {
    let mut aggregator = Aggregator::new(1 << 20, 10);
    for (key, bytes) in [("bad", 10), ("good", LARGE_BYTES)] {
        aggregator.push(&PutRecord::new(key.parse().unwrap(), vec![0; bytes])).unwrap();
    }
    let PutRecord { partition_key, data, .. } = aggregator.finish().unwrap();
    page(number, [partition_key], &data)
}

const LARGE_BYTES: usize = 100_000;
const AGGREGATES: u64 = 200;
/// Most bytes that a waiting message takes, with its part of everything around it.
const MESSAGE_BYTES: usize = 2_000;
/// What the run takes besides: buffers and queues.
const BESIDES_BYTES: usize = 4 << 20;

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_does_not_keep_its_aggregate() {
    let invoke = Arc::new(AllButBad);
    let functions = StatefulFunctions::builder()
        .functions(TARGET.parse().unwrap(), GroupSettings::default(), FailureHandling::KeepTrying, invoke)
        .build()
        .await
        .unwrap();
    let functions = Arc::new(functions);
    let before = PeakAlloc.current_usage();
    let mut numbers = 0..AGGREGATES;
    let pages = Pages::new(1, move || numbers.next().map(aggregate));
    let run = Run::start(pages, Handler::stateful(Arc::clone(&functions) as Arc<_>)).await;
    run.until(|_| {
        let handled: u64 = functions.counts().iter().map(|(_, counts)| counts.messages_in).sum();
        handled == 2 * AGGREGATES && functions.usage().messages == AGGREGATES
    })
    .await;
    let taken = PeakAlloc.current_usage() - before;
    let bound = AGGREGATES as usize * MESSAGE_BYTES + BESIDES_BYTES;
    assert!(taken <= bound, "{taken} bytes for {AGGREGATES} messages, more than {bound}");
    run.stop().await;
}
