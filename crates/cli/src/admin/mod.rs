//! The endpoint of `run --admin`: what the run does, for those who watch over it.
//!
//! `/metrics` is OpenMetrics text, `/healthz` says that the process is alive, `/readyz` that it does its work. Numbers are
//! taken when somebody asks, from what the other crates count anyway: a run that nobody asks pays nothing.

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
