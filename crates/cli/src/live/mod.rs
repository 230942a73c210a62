//! `check --live`: checks by calls that the service and the endpoints have everything that a module needs.

mod call;
mod check;
mod connect;
mod consumer;
mod endpoint;
mod finding;
mod findings;
mod json;
mod probe;
mod reading;
mod refusal;
mod stream;
mod table;
mod writing;

#[cfg(test)]
mod tests;

pub(crate) use endpoint::warn_of_silent_endpoints;
pub(crate) use findings::Findings;
pub(crate) use json::LiveJson;
#[cfg(test)]
pub(crate) use tests::examples;
