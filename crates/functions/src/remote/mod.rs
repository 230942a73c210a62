mod answer;
mod connect;
mod endpoint;
mod tls;
mod upload;
mod url;

pub use endpoint::{EndpointError, RemoteEndpoint};
