//! What every store does, and what the one in memory and the one on disk do beyond that.

mod conformance;
mod contents;
mod damage;
mod directory;
mod faults;
mod model;
