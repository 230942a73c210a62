//! Module files of Stateful Functions, read into a checked model or into every problem at once.
//!
//! ```
//! use statefun_kinesis_spec::{Options, SourceFile, read_module};
//!
//! let file = SourceFile::new(
//!     "module.yaml",
//!     "\
//! kind: io.statefun.kinesis.v1/ingress
//! spec:
//!   id: example/orders
//!   awsRegion:
//!     type: specific
//!     id: us-east-1
//!   streams:
//!     - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
//!       valueType: example/Order
//!       targets:
//!         - example/order-handler
//! ",
//! );
//! let checked = read_module(&[file], &Options::default());
//! let module = checked.module.expect("the file has no errors");
//! assert_eq!(module.ingresses[0].streams[0].stream.name().as_str(), "orders-stream");
//! ```
//!
//! A file with problems gives all of them, in file order, each with its code, its place and what to do:
//!
//! ```
//! # use statefun_kinesis_spec::{Options, SourceFile, read_module};
//! let files = [SourceFile::new("module.yaml", "kind: io.statefun.kinesis.v1/egres\nspec: {}\n")];
//! let checked = read_module(&files, &Options::default());
//! assert_eq!(
//!     checked.diagnostics[0].to_line(&files),
//!     "module.yaml:1:7: error[SFK0007]: unknown kind `io.statefun.kinesis.v1/egres`"
//! );
//! assert_eq!(checked.diagnostics[0].help.as_deref(), Some("did you mean `io.statefun.kinesis.v1/egress`?"));
//! ```
//!
//! The crate takes text and gives data: it opens no file, reads no environment (the caller passes it as
//! [`Variables`]), asks no service and renders nothing. Whether the streams of a module exist is for others to find out.
//! The model itself is the crate `module`, and is here too. A
//! program that builds its ingresses in code needs that one only; see [`IngressSpec::new`].

mod check;
mod code;
mod decode;
mod diagnostic;
mod duration;
mod findings;
mod schema;
mod source;
mod variables;
mod yaml;

pub use check::{Checked, Options, read_module};
pub use code::{Code, UnknownCode};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use duration::parse_duration;
pub use schema::{FieldExample, assert_fields_arrive, field_examples, json_schema, reference};
pub use source::{Position, SourceFile};
pub use statefun_kinesis_module::{
    AggregationSpec, ClientProperties, ClientSpec, ConsumerLifecycle, ConsumerSpec, EgressOrder, EgressSpec,
    EndpointSpec, FailedRecordHandling, FailureHandling, FunctionPattern, GiveUp, IngressSpec, InvalidAuthority,
    InvalidPattern, InvalidRecordHandling, InvalidUrlTemplate, LogLevel, Module, OutOfRangeRecords, RecordMetadata,
    StartupPosition, StreamRoute, TransportSpec, UrlTemplate,
};
pub use variables::Variables;
pub use yaml::MODULE_MAX_BYTES;
