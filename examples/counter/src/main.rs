//! A counter for each key: it adds what it is sent, and tells each new total. What it knows is in the directory `state`.
//!
//! cargo run -p statefun-kinesis-example-counter

use std::sync::Arc;

use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_functions::{
    BoxError, Context, Function, Message, Registry, StateSpec, StatefulFunctions, ValueSpec,
};
use statefun_kinesis_router::{Handler, Ingress, Router};
use statefun_kinesis_spec::{Options, SourceFile, read_module};
use statefun_kinesis_store::{DiskSettings, DiskStore, Store};
use statefun_kinesis_types::PutRecord;
use tokio_util::sync::CancellationToken;

struct Counter {
    total: ValueSpec<i64>,
}

#[async_trait::async_trait]
impl Function for Counter {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let total = context.get(&self.total)?.unwrap_or(0) + message.read::<i64>()?;
        context.set(&self.total, &total)?;
        let key = context.self_address().id.parse()?;
        context.egress("counter.kinesis/results".parse()?, PutRecord::new(key, total.to_string()));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let kinesis = Arc::new(AwsKinesis::builder().build().await?);
    let store = Arc::new(DiskStore::open("state", DiskSettings::default()).await?);
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move { tokio::signal::ctrl_c().await.map(|()| asked.cancel()) });
    run(kinesis, store, shutdown).await
}

async fn run(
    kinesis: Arc<dyn KinesisClient>,
    store: Arc<dyn Store>,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    let file = SourceFile::new("module.yaml", include_str!("../module.yaml"));
    let module = read_module(&[file], &Options::default()).module.ok_or("the module has errors")?;
    let counter = Counter { total: ValueSpec::new("total") };
    let registry = Registry::new().function("counter.kinesis/fn".parse()?, counter);
    let functions = StatefulFunctions::builder().in_process(registry).store(store).build().await?;

    let mut router = Router::builder(Handler::stateful(Arc::new(functions)));
    for ingress in module.ingresses {
        router = router.ingress(Ingress::new(ingress, Arc::clone(&kinesis)));
    }
    for egress in module.egresses {
        router = router.egress(egress, Arc::clone(&kinesis));
    }
    // What is not done is in the store, and goes on at the next start.
    router.build().await?.run(shutdown).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
