use std::fmt::Debug;

use statefun_kinesis_types::{Record, ShardId, StreamArn};

use crate::MessageCollector;

/// Makes messages of records in a way of its own, in place of the routes of a module file.
///
/// It gets the stream's ARN, not its short name: two streams of one name in two regions are two streams.
///
/// ```
/// use statefun_kinesis_router::{Deserializer, InvalidRecord, MessageCollector};
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
///     ) -> Result<(), InvalidRecord> {
///         let text = std::str::from_utf8(&record.data).map_err(|error| InvalidRecord::new("not UTF-8").because(error))?;
///         let (id, _) = text.split_once(',').ok_or_else(|| InvalidRecord::new("no comma in the payload"))?;
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
    /// When the record is not what was expected. The run ends with an error that names the record; its position does
    /// not move.
    fn deserialize(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        record: &Record,
        out: &mut MessageCollector,
    ) -> Result<(), InvalidRecord>;
}

/// Why a record cannot become a message.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidRecord {
    reason: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl InvalidRecord {
    /// An invalid record, and what is wrong with it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), source: None }
    }

    /// The same with the error that told.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
