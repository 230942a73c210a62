//! A stream, and a router that reads it: what the benchmarks of whole runs share.

mod run;
mod shard;

pub(crate) use run::{Run, TARGET};
pub(crate) use shard::{Pages, page};
