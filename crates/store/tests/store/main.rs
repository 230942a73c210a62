//! What every store does, and what the one in memory and the one on disk do beyond that.

mod behaviours;
mod conformance;
mod damage;
mod directory;
mod faults;
mod model;
