//! Remote functions of Stateful Functions, called over HTTP.
//!
//! A [`RemoteEndpoint`] posts each request to the server that an `io.statefun.endpoints.v2/http` document of a module
//! names, in StateFun's protocol, and decodes the answer. Programs that use a StateFun SDK work unchanged.
//!
//! ```
//! use statefun_kinesis_module::EndpointSpec;
//! use statefun_kinesis_remote::RemoteEndpoint;
//!
//! let spec = EndpointSpec::new("example/*".parse()?, "http://localhost:8000/statefun".parse()?);
//! let endpoint = RemoteEndpoint::new(&spec)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate makes one attempt per request and keeps no state of functions. The runtime in the `functions` crate
//! decides when to retry and how to handle failures.

mod answer;
mod body;
mod connect;
mod endpoint;
mod probe;
mod tls;
mod upload;
mod url;

pub use endpoint::{EndpointError, RemoteEndpoint};
pub use probe::Probed;
