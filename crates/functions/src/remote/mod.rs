mod answer;
mod connect;
mod endpoint;
mod upload;
mod url;

pub use endpoint::{EndpointError, RemoteEndpoint};
