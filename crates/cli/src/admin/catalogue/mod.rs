//! All families of metrics. The page of the documentation is generated from these tables.

mod credentials;
mod egress;
mod families;
mod family;
mod functions;
mod kind;
mod process;
mod reading;
mod samples;

pub(super) use families::families;
#[cfg(test)]
pub(super) use family::{Family, Section};
#[cfg(test)]
pub(super) use kind::Kind;
pub(super) use samples::Samples;
