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
use statefun_kinesis_client::{FanOutClient, KinesisAdmin};
use statefun_kinesis_conformance::{Backend, Capabilities, conformance};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::StreamName;

struct FakeBackend {
    kinesis: Arc<dyn KinesisAdmin>,
    fan_out: Arc<dyn FanOutClient>,
    names: AtomicU64,
}

impl FakeBackend {
    fn new() -> Self {
        let kinesis = awkward();
        Self::over(kinesis.clone(), kinesis)
    }

    /// The same through two more layers of pointers, whose forwarding is thereby tested too.
    fn boxed() -> Self {
        let kinesis = awkward();
        let boxed: Box<dyn KinesisAdmin> = Box::new(kinesis.clone());
        let fan_out: Box<dyn FanOutClient> = Box::new(kinesis);
        Self::over(Arc::new(boxed), Arc::new(fan_out))
    }

    fn over(kinesis: impl KinesisAdmin, fan_out: impl FanOutClient) -> Self {
        Self { kinesis: Arc::new(kinesis), fan_out: Arc::new(fan_out), names: AtomicU64::new(0) }
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

    fn fan_out(&self) -> Arc<dyn FanOutClient> {
        Arc::clone(&self.fan_out)
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
