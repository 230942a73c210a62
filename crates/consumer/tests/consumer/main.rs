//! How a consumer behaves on the in-memory Kinesis, under paused time.

mod failure;
mod pressure;
mod resharding;
mod scene;
mod simulation;
mod start;
mod stop;
mod tap;
