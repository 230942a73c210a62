use std::{sync::Arc, time::Duration};

use statefun_kinesis_module::{IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{Handler, Ingress, Progress, Router, RunError, Unfinished};
use statefun_kinesis_types::StreamArn;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::shard::Pages;

pub(super) const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/numbers";

/// The ingress that reads the stream.
const INGRESS: &str = "bench/numbers";

/// The function that each record is a message for.
pub(crate) const TARGET: &str = "bench/sum";

/// A router at work.
pub(crate) struct Run {
    progress: Arc<Progress>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<Unfinished, RunError>>,
}

impl Run {
    /// Gives a handler what the shard has.
    pub(crate) async fn start(pages: Pages, handler: impl Into<Handler>) -> Self {
        let value_type = "io.statefun.types/long".parse().expect("it is a name");
        let targets = vec![TARGET.parse().expect("it is a name")];
        let stream: StreamArn = STREAM.parse().expect("it is an ARN");
        let route = StreamRoute::new(stream, value_type, targets);
        let mut spec = IngressSpec::new(INGRESS.parse().expect("it is a name"), vec![route]);
        spec.startup = StartupPosition::TrimHorizon;
        let ingress = Ingress::new(spec, Arc::new(pages));
        // What is not handled at the end is in the last checkpoint, or of no interest.
        let router = Router::builder(handler).ingress(ingress).drain(Duration::ZERO).build().await;
        let router = router.expect("the ingress is right");
        let (progress, shutdown) = (router.progress(), CancellationToken::new());
        let running = tokio::spawn(router.run(shutdown.clone()));
        Self { progress, shutdown, running }
    }

    /// Waits until the run is as far as that.
    pub(crate) async fn until(&self, far_enough: impl Fn(&Progress) -> bool) {
        while !far_enough(&self.progress) {
            assert!(!self.running.is_finished(), "the run has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.expect("no task panics").expect("the run ends as it was told to");
    }
}
