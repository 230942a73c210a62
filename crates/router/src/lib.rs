//! The engine of the project. It reads records through ingresses, routes them to functions by their stream's ARN, and
//! writes what functions send through egresses.
//!
//! ```
//! use std::sync::Arc;
//!
//! use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
//! use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_router::{Echo, Ingress, Router};
//! use statefun_kinesis_module::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
//! use statefun_kinesis_types::{PutRecord, StreamArn};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kinesis = FakeKinesis::new();
//! for name in ["orders-stream", "notifications-stream"] {
//!     kinesis.create_stream(&name.parse()?, 2).await?;
//! }
//! let orders: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders-stream".parse()?;
//! let order = PutRecord::new("customer-17".parse()?, "one espresso");
//! kinesis.put_record(&orders.clone().into(), order).await?;
//!
//! let route = StreamRoute::new(orders, "example/Order".parse()?, vec!["example/order-handler".parse()?]);
//! let mut ingress = IngressSpec::new("example/orders".parse()?, vec![route]);
//! ingress.startup = StartupPosition::TrimHorizon;
//! let egress = EgressSpec::new("example/notifications".parse()?, "notifications-stream".parse()?);
//!
//! let client = Arc::new(kinesis.clone());
//! let router = Router::builder(Arc::new(Echo))
//!     .ingress(Ingress::new(ingress, client.clone()))
//!     .egress(egress, client)
//!     .clock(kinesis.clock())
//!     .build()
//!     .await?;
//! let (progress, shutdown) = (router.progress(), CancellationToken::new());
//! let running = tokio::spawn(router.run(shutdown.clone()));
//! while progress.counts().records_done < 1 {
//!     tokio::time::sleep(std::time::Duration::from_millis(100)).await;
//! }
//! shutdown.cancel();
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! The crate does not choose a backend; the program passes the clients. It keeps no state for functions; a
//! [`StatefulHandler`] does that.

mod deserializer;
mod echo;
mod egress;
mod error;
mod functions;
mod handle;
mod handler;
mod ingress;
mod ingress_reader;
mod message;
mod progress;
mod route;
mod router;
mod run;
mod unfinished;

pub use deserializer::{DeserializeError, Deserializer};
pub use echo::Echo;
pub use egress::{EgressError, EgressMetrics, EgressReceipt, EgressStreamMetrics, Egresses};
pub use error::{BuildError, RunError};
pub use functions::{Completion, Delivery, FunctionError, Functions};
pub use handle::RunHandle;
pub use handler::{Handler, StatefulHandler, Stateless};
pub use ingress::Ingress;
pub use message::{Message, MessageCollector, RoutedBatch};
pub use progress::{Counts, LatencyHistogram, LatencySummary, Progress};
pub use route::{Route, RoutingTable};
pub use router::{Router, RouterBuilder};
pub use statefun_kinesis_client::{CheckpointStore, PositionStore};
pub use statefun_kinesis_consumer::{Acknowledgement, Positions};
pub use statefun_kinesis_producer::{GivenUp, Unsendable};
pub use unfinished::Unfinished;
