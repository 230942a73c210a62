//! The machine without its I/O, one behaviour at a time.

mod bounds;
mod handling;
mod lingering;
mod metrics;
mod model;
mod releases;
mod requests;
mod retries;
mod scene;
mod shards;
