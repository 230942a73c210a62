use std::{error::Error, fmt::Debug};

use statefun_kinesis_types::{Record, ShardId, StreamArn};

use crate::MessageCollector;

/// Makes messages of records in a way of its own, in place of the routes of a module file.
///
/// It gets the stream's ARN, not its short name: two streams of one name in two regions are two streams.
///
/// ```
/// use statefun_kinesis_router::{Deserializer, DeserializeError, MessageCollector};
/// use statefun_kinesis_types::{Address, Record, ShardId, StreamArn, TypedValue};
///
/// /// Addresses each record by the text in front of the first comma of its payload.
/// #[derive(Debug)]
/// struct ByFirstColumn;
///
/// impl Deserializer for ByFirstColumn {
///     fn deserialize(
///         &self,
///         _stream: &StreamArn,
///         _shard: &ShardId,
///         record: &Record,
///         out: &mut MessageCollector,
///     ) -> Result<(), DeserializeError> {
///         let text = std::str::from_utf8(&record.data).map_err(|error| DeserializeError::new("not UTF-8").because(error))?;
///         let (id, _) = text.split_once(',').ok_or_else(|| DeserializeError::new("no comma in the payload"))?;
///         let to = Address { function: "example/rows".parse().unwrap(), id: id.into() };
///         out.push(to, TypedValue { typename: "example/Row".parse().unwrap(), value: Some(record.data.clone()) });
///         Ok(())
///     }
/// }
/// ```
pub trait Deserializer: Debug + Send + Sync + 'static {
    /// Makes any number of messages of one record, and gives them to `out`. No message means that the record is done.
    ///
    /// # Errors
    ///
    /// When the record is not what was expected. It is dealt with as the `invalidRecordHandling` of its stream says; what
    /// it gave to `out` before counts for nothing.
    fn deserialize(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        record: &Record,
        out: &mut MessageCollector,
    ) -> Result<(), DeserializeError>;
}

/// Why a record could not become messages.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct DeserializeError {
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl DeserializeError {
    /// What is wrong with the record.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), source: None }
    }

    /// Adds the error that was the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
