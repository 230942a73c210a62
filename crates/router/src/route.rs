use std::{collections::HashMap, sync::Arc};

use statefun_kinesis_module::{IngressSpec, RecordMetadata, StreamRoute};
use statefun_kinesis_types::{FunctionType, StreamArn, StreamName, StreamRef, TypeName};

use crate::BuildError;

/// The route of a stream: the functions that get its records, in order, and the type of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub(crate) ingress: TypeName,
    pub(crate) stream: StreamArn,
    pub(crate) value_type: TypeName,
    pub(crate) targets: Box<[FunctionType]>,
    pub(crate) record_metadata: RecordMetadata,
}

impl Route {
    /// Creates the route of one stream of an ingress. `stream` is the ARN of the stream that `route` names.
    pub fn new(ingress: &IngressSpec, stream: StreamArn, route: &StreamRoute) -> Self {
        Self {
            ingress: ingress.id.clone(),
            stream,
            value_type: route.value_type.clone(),
            targets: route.targets.as_slice().into(),
            record_metadata: ingress.record_metadata,
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

    /// The type of the messages' values.
    pub fn value_type(&self) -> &TypeName {
        &self.value_type
    }

    /// The functions that get a message for each record, in order.
    pub fn targets(&self) -> &[FunctionType] {
        &self.targets
    }
}

/// The routes of an ingress, by exact stream ARN.
///
/// ```
/// use statefun_kinesis_router::RoutingTable;
/// use statefun_kinesis_module::{IngressSpec, StreamRoute};
/// use statefun_kinesis_types::{StreamArn, StreamRef};
///
/// let orders = "orders-stream".parse::<StreamRef>()?;
/// let route = StreamRoute::new(orders, "example/Order".parse()?, vec!["example/order-handler".parse()?]);
/// let ingress = IngressSpec::new("example/orders".parse()?, vec![route]);
///
/// let here: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream".parse()?;
/// let table = RoutingTable::new(&ingress, std::slice::from_ref(&here))?;
/// assert!(table.get(&here).is_some());
/// assert!(table.get(&"arn:aws:kinesis:eu-west-1:123456789012:stream/orders-stream".parse()?).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RoutingTable(HashMap<StreamArn, Arc<Route>>);

impl RoutingTable {
    /// Creates the routes of an ingress. `streams` are the ARNs of the streams that it names by short names. A short
    /// name that is not among `streams` gets no route.
    ///
    /// # Errors
    ///
    /// When two routes are for the same stream, one by its short name and one by its ARN.
    pub fn new(ingress: &IngressSpec, streams: &[StreamArn]) -> Result<Self, BuildError> {
        let mut routes = HashMap::with_capacity(ingress.streams.len());
        for route in &ingress.streams {
            let named = |name: &StreamName| streams.iter().find(|stream| stream.name() == *name).cloned();
            let arn = match &route.stream {
                StreamRef::Arn(arn) => Some(arn.clone()),
                StreamRef::Name(name) => named(name),
            };
            let Some(arn) = arn else { continue };
            let first = routes.insert(arn.clone(), Arc::new(Route::new(ingress, arn.clone(), route)));
            if first.is_some() {
                return Err(BuildError::DuplicateStream { ingress: ingress.id.clone(), stream: arn });
            }
        }
        Ok(Self(routes))
    }

    /// Returns the route of a stream. The router looks it up once per batch, not per record.
    pub fn get(&self, stream: &StreamArn) -> Option<&Arc<Route>> {
        self.0.get(stream)
    }
}
