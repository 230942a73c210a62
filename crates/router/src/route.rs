use std::{collections::HashMap, sync::Arc};

use statefun_kinesis_spec::{IngressSpec, StreamRoute};
use statefun_kinesis_types::{FunctionType, StreamArn, TypeName};

/// Where the records of one stream go: to these functions, in this order, as values of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub(crate) ingress: TypeName,
    pub(crate) stream: StreamArn,
    pub(crate) value_type: TypeName,
    pub(crate) targets: Box<[FunctionType]>,
}

impl Route {
    /// The route of one stream of an ingress.
    pub fn new(ingress: TypeName, stream: &StreamRoute) -> Self {
        Self {
            ingress,
            stream: stream.stream_arn.clone(),
            value_type: stream.value_type.clone(),
            targets: stream.targets.as_slice().into(),
        }
    }

    /// The ingress that the stream belongs to.
    pub fn ingress(&self) -> &TypeName {
        &self.ingress
    }

    /// The stream.
    pub fn stream(&self) -> &StreamArn {
        &self.stream
    }

    /// The type that every message's value carries.
    pub fn value_type(&self) -> &TypeName {
        &self.value_type
    }

    /// The functions that get a message for each record, in this order.
    pub fn targets(&self) -> &[FunctionType] {
        &self.targets
    }
}

/// The routes of an ingress, by exact stream ARN.
///
/// ```
/// use statefun_kinesis_router::RoutingTable;
/// use statefun_kinesis_spec::{IngressSpec, StreamRoute};
///
/// let orders = StreamRoute::new(
///     "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream".parse()?,
///     "example/Order".parse()?,
///     vec!["example/order-handler".parse()?],
/// );
/// let table = RoutingTable::new(&IngressSpec::new("example/orders".parse()?, vec![orders]));
/// assert!(table.get(&"arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream".parse()?).is_some());
/// assert!(table.get(&"arn:aws:kinesis:eu-west-1:123456789012:stream/orders-stream".parse()?).is_none());
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RoutingTable(HashMap<StreamArn, Arc<Route>>);

impl RoutingTable {
    /// The routes of an ingress. Where two of them name the same stream, the last one counts; a module file in which
    /// that happens is refused before.
    pub fn new(ingress: &IngressSpec) -> Self {
        let route = |stream: &StreamRoute| Arc::new(Route::new(ingress.id.clone(), stream));
        Self(ingress.streams.iter().map(|stream| (stream.stream_arn.clone(), route(stream))).collect())
    }

    /// The route of a stream. Looked up once per batch of records of one shard, not per record.
    pub fn get(&self, stream: &StreamArn) -> Option<&Arc<Route>> {
        self.0.get(stream)
    }
}
