//! What every store does, and what the one in memory and the one on disk do beyond that.

mod conformance;
mod contents;
mod damage;
mod directory;
mod faults;
#[path = "../format_1/mod.rs"]
mod format_1;
mod model;
mod moment;
mod upgrade;
