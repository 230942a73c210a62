use std::{error::Error, fmt::Debug};

use statefun_kinesis_types::{Record, ShardId, StreamArn};

use crate::MessageCollector;

/// Makes messages of records, in place of the routes of a module.
///
/// It gets the stream's ARN rather than its short name, because streams in two regions may have the same name.
///
/// ```
/// use statefun_kinesis_router::{Deserializer, DeserializeError, MessageCollector};
/// use statefun_kinesis_types::{Address, Record, ShardId, StreamArn, TypedValue};
///
/// /// Addresses each record by the text before the first comma of its payload.
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
    /// Adds any number of messages of one record to `out`. A record without messages counts as done.
    ///
    /// # Errors
    ///
    /// When the record is invalid. It is then handled as the `invalidRecordHandling` of its stream says, and messages
    /// that it has added to `out` are ignored.
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
    /// Creates an error with the reason why the record is invalid.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
