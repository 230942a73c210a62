//! What a producer promises, on the in-memory Kinesis under paused time.

mod building;
mod ending;
mod failure;
mod handling;
mod scene;
mod sending;
mod streams;
