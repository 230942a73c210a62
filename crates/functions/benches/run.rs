//! What a message costs on its whole way from a shard to a function of this process, on one core: as many messages to
//! addresses that nothing is known of at first, beside a run whose functions are done with each delivery at once.
//!
//! Shards are read as fast as they can be; time is virtual, so that nothing waits for Kinesis' limits.

use std::sync::Arc;

use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use statefun_kinesis_functions::{
    BoxError, Context, Function, Message, Payload, Registry, StateSpec, StatefulFunctions, ValueSpec,
};
use statefun_kinesis_router::{Delivery, FunctionError, Functions, Handler};

use crate::scene::{Pages, Run, TARGET, page};

mod scene;

fn main() {
    divan::main();
}

const ADDRESSES: [usize; 3] = [1, 1_000, 1_000_000];
const RECORDS: usize = 50_000;
const RECORDS_PER_PAGE: usize = 1_000;

/// Records for random addresses out of so many.
fn pages(addresses: usize) -> Pages {
    let mut rng = fastrand::Rng::with_seed(1);
    let data = Payload::to_bytes(&1_i64);
    let mut key = |_| format!("customer-{:07}", rng.usize(0..addresses)).parse().expect("the key is short");
    let page = |first: usize| page(first as u64, (0..RECORDS_PER_PAGE).map(&mut key), &data);
    let pages: Vec<_> = (0..RECORDS).step_by(RECORDS_PER_PAGE).map(page).collect();
    let mut pages = pages.into_iter();
    Pages::new(1, move || pages.next())
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

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let total = context.get(&self.total)?.unwrap_or(0) + message.read::<i64>()?;
        context.set(&self.total, &total)?;
        Ok(())
    }
}

fn registry() -> Registry {
    Registry::new().function(TARGET.parse().expect("it is a name"), Sum { total: ValueSpec::new("total") })
}

/// Looks at each address, as whoever dispatches has to.
#[derive(Debug)]
struct DoneAtOnce;

#[async_trait]
impl Functions for DoneAtOnce {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        for message in delivery.batch().messages() {
            divan::black_box(message.to_address());
        }
        delivery.done();
        Ok(())
    }
}

/// Runs until all records are done.
async fn run(pages: Pages, handler: impl Into<Handler>) {
    let run = Run::start(pages, handler).await;
    run.until(|progress| progress.counts().records_done >= RECORDS as u64).await;
    run.stop().await;
}

fn bench(bencher: Bencher<'_, '_>, addresses: usize, run: impl AsyncFn(Pages) + Sync) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime needs no more than memory")
    };
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| (runtime(), pages(addresses)))
        .bench_local_values(|(runtime, pages)| runtime.block_on(run(pages)));
}

#[divan::bench(args = ADDRESSES, sample_size = 1, sample_count = 10)]
fn floor_done_at_once(bencher: Bencher<'_, '_>, addresses: usize) {
    bench(bencher, addresses, |pages| run(pages, Arc::new(DoneAtOnce)));
}

#[divan::bench(args = ADDRESSES, sample_size = 1, sample_count = 10)]
fn in_process(bencher: Bencher<'_, '_>, addresses: usize) {
    bench(bencher, addresses, async |pages| {
        let functions = StatefulFunctions::builder().in_process(registry()).build().await;
        run(pages, Handler::stateful(Arc::new(functions.expect("they need nothing")))).await;
    });
}
