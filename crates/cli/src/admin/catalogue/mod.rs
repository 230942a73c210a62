//! Every family of metrics. The page of the documentation is made of this table.

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
