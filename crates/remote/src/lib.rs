//! Remote functions of Stateful Functions, called over HTTP.
//!
//! A [`RemoteEndpoint`] handles the requests of mailboxes: it posts each to the server that an
//! `io.statefun.endpoints.v2/http` document of a module names, in StateFun's own protocol, and reads the answer. So
//! programs that were written with a StateFun SDK serve functions unchanged.
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
//! The crate makes one attempt per request and keeps no state of functions. When to retry, and what else to do about a
//! failure, is decided by the runtime in the `functions` crate, which is given the endpoint.

mod answer;
mod connect;
mod endpoint;
mod tls;
mod upload;
mod url;

pub use endpoint::{EndpointError, RemoteEndpoint};
