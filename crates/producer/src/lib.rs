//! Kinesis producer.

mod driver;
mod error;
mod flush;
mod machine;
mod producer;
mod queue;
mod receipt;
mod request;
mod settings;
mod shared;

pub use error::{Failure, ProducerError, SendError};
pub use producer::{Producer, ProducerBuilder};
pub use receipt::{BatchReceipt, Receipt};
pub use settings::Settings;
