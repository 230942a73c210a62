//! What a message costs on its whole way from a shard to a function of this process, on one core: as many messages to
//! addresses that nothing is known of at first, beside a run whose functions are done with each delivery at once.
//!
//! Shards are read as fast as they can be; time is virtual, so that nothing waits for Kinesis' limits.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardIterator, ShardPage,
    ShardPageRequest, StreamSummary,
};
use statefun_kinesis_functions::{
    BoxError, Context, Function, Message, Payload, Registry, StateSpec, StatefulFunctions, ValueSpec,
};
use statefun_kinesis_router::{Delivery, FunctionError, Functions, Ingress, Router};
use statefun_kinesis_spec::{IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_store::MemoryStore;
use statefun_kinesis_types::{
    HashKeyRange, PutRecord, Record, Shard, ShardId, StartPosition, StreamArn, StreamRef, Timestamp,
};
use tokio_util::sync::CancellationToken;

fn main() {
    divan::main();
}

const ADDRESSES: [usize; 3] = [1, 1_000, 1_000_000];
const RECORDS: usize = 50_000;
const RECORDS_PER_PAGE: usize = 1_000;
const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/numbers";

/// A shard that gives its pages one after the other.
struct Pages {
    pages: Mutex<Vec<Vec<Record>>>,
    is_over: AtomicBool,
}

impl Pages {
    /// Records for random addresses out of so many.
    fn new(addresses: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(1);
        let data = Payload::to_bytes(&1_i64);
        let mut record = |index: usize| {
            let key = format!("customer-{:07}", rng.usize(0..addresses)).parse().expect("the key is short");
            Record::new((index as u64).into(), Some(key), Timestamp::EPOCH, data.clone())
        };
        let page = |first: usize| (first..first + RECORDS_PER_PAGE).map(&mut record).collect();
        let mut pages: Vec<Vec<Record>> = (0..RECORDS).step_by(RECORDS_PER_PAGE).map(page).collect();
        pages.reverse();
        Self { pages: Mutex::new(pages), is_over: AtomicBool::new(false) }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

#[async_trait]
impl KinesisClient for Pages {
    async fn describe_stream_summary(&self, _: &StreamRef) -> Result<StreamSummary> {
        Ok(StreamSummary::new(STREAM.parse().expect("it is an ARN"), Timestamp::EPOCH, 1))
    }

    async fn list_shards(&self, _: &StreamRef, _: ShardPageRequest) -> Result<ShardPage> {
        let id: ShardId = "shardId-000000000000".parse().expect("it is an id");
        Ok(ShardPage::new(vec![Shard::new(id, HashKeyRange::FULL, 0_u64.into())], None))
    }

    async fn get_shard_iterator(&self, _: &StreamRef, _: &ShardId, _: StartPosition) -> Result<ShardIterator> {
        Ok(ShardIterator::new("next"))
    }

    async fn get_records(&self, _: &ShardIterator, _: usize) -> Result<RecordPage> {
        let page = self.pages.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.is_over.store(page.is_none(), Ordering::Relaxed);
        let behind = if page.is_some() { Duration::from_secs(1) } else { Duration::ZERO };
        Ok(RecordPage::new(page.unwrap_or_default(), Some(ShardIterator::new("next")), behind))
    }

    async fn put_records(&self, _: &StreamRef, _: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        Err(Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, "nothing is written here"))
    }
}

/// Adds numbers up.
struct Sum {
    total: ValueSpec<i64>,
}

#[async_trait]
impl Function for Sum {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> std::result::Result<(), BoxError> {
        let total = context.get(&self.total)?.unwrap_or(0) + message.read::<i64>()?;
        context.set(&self.total, &total)?;
        Ok(())
    }
}

fn registry() -> Registry {
    Registry::new().function("bench/sum".parse().expect("it is a name"), Sum { total: ValueSpec::new("total") })
}

/// Looks at each address, as whoever dispatches has to.
#[derive(Debug)]
struct DoneAtOnce;

#[async_trait]
impl Functions for DoneAtOnce {
    async fn deliver(&self, delivery: Delivery) -> std::result::Result<(), FunctionError> {
        for message in delivery.batch().messages() {
            divan::black_box(message.to_address());
        }
        delivery.done();
        Ok(())
    }
}

/// Runs until all records are done.
async fn run(pages: Pages, functions: Arc<dyn Functions>) {
    let stream: StreamArn = STREAM.parse().expect("it is an ARN");
    let targets = vec!["bench/sum".parse().expect("it is a name")];
    let route = StreamRoute::new(stream, i64::TYPENAME.parse().expect("it is a name"), targets);
    let mut ingress = IngressSpec::new("bench/numbers".parse().expect("it is a name"), vec![route]);
    ingress.startup = StartupPosition::TrimHorizon;
    let router = Router::builder(functions).ingress(Ingress::new(ingress, Arc::new(pages))).build().await;
    let router = router.expect("the ingress is right");
    let (progress, shutdown) = (router.progress(), CancellationToken::new());
    let running = tokio::spawn(router.run(shutdown.clone()));
    while progress.counts().records_done < RECORDS as u64 {
        assert!(!running.is_finished(), "the run has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    running.await.expect("no task panics").expect("the run ends as it was told to");
}

fn bench<F>(bencher: Bencher<'_, '_>, addresses: usize, functions: impl Fn() -> F + Sync)
where
    F: Future<Output = Arc<dyn Functions>>,
{
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime needs no more than memory")
    };
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| (runtime(), Pages::new(addresses)))
        .bench_local_values(|(runtime, pages)| runtime.block_on(async { run(pages, functions().await).await }));
}

#[divan::bench(args = ADDRESSES, sample_size = 1, sample_count = 10)]
fn floor_done_at_once(bencher: Bencher<'_, '_>, addresses: usize) {
    bench(bencher, addresses, || async { Arc::new(DoneAtOnce) as Arc<dyn Functions> });
}

#[divan::bench(args = ADDRESSES, sample_size = 1, sample_count = 10)]
fn in_process(bencher: Bencher<'_, '_>, addresses: usize) {
    bench(bencher, addresses, || async {
        let functions = StatefulFunctions::builder().in_process(registry()).build().await;
        Arc::new(functions.expect("they need nothing")) as Arc<dyn Functions>
    });
}

/// With a checkpoint every second of virtual time, which passes faster than any other, and at the end.
#[divan::bench(args = ADDRESSES, sample_size = 1, sample_count = 10)]
fn in_process_with_a_store_in_memory(bencher: Bencher<'_, '_>, addresses: usize) {
    bench(bencher, addresses, || async {
        let store = Arc::new(MemoryStore::new());
        let functions = StatefulFunctions::builder().in_process(registry()).store(store).build().await;
        Arc::new(functions.expect("they need nothing")) as Arc<dyn Functions>
    });
}
