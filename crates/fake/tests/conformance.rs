//! The fake shows every behaviour that the seam's traits promise, at its most awkward: throughput is enforced, and
//! streams take half a second to change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::KinesisAdmin;
use statefun_kinesis_conformance::{Backend, Capabilities, conformance};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::StreamName;

struct FakeBackend {
    kinesis: Arc<dyn KinesisAdmin>,
    names: AtomicU64,
}

impl FakeBackend {
    fn new() -> Self {
        Self::over(awkward())
    }

    /// The same through two more layers of pointers, whose forwarding is thereby tested too.
    fn boxed() -> Self {
        let boxed: Box<dyn KinesisAdmin> = Box::new(awkward());
        Self::over(Arc::new(boxed))
    }

    fn over(kinesis: impl KinesisAdmin) -> Self {
        Self { kinesis: Arc::new(kinesis), names: AtomicU64::new(0) }
    }
}

fn awkward() -> FakeKinesis {
    FakeKinesis::builder().enforce_throughput(true).status_delay(Duration::from_millis(500)).build()
}

#[async_trait]
impl Backend for FakeBackend {
    fn client(&self) -> Arc<dyn KinesisAdmin> {
        Arc::clone(&self.kinesis)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::FAKE
    }

    async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    fn fresh_name(&self) -> StreamName {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        format!("conformance-{number}").parse().expect("the name is valid")
    }
}

conformance! { mod fake_conforms = FakeBackend::new() }
conformance! { mod boxed_fake_conforms = FakeBackend::boxed() }
