//! The endpoint of `run --admin`, for monitoring.
//!
//! `/metrics` returns OpenMetrics text, `/healthz` whether the process is alive, `/readyz` whether the run is working. The
//! numbers are read on request, from counters that the other crates have anyway: without requests, this costs nothing.

mod address;
mod answer;
mod catalogue;
mod exposition;
mod health;
mod process;
mod server;
mod snapshot;

#[cfg(test)]
mod tests;

pub(crate) use address::AdminAddress;
pub(crate) use server::Admin;
pub(crate) use snapshot::Sources;
