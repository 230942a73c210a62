//! How a consumer behaves on the in-memory Kinesis, under paused time.

mod absence;
mod api;
mod failure;
mod fan_out;
mod invalid;
mod log;
mod pressure;
mod resharding;
mod scene;
mod simulation;
mod start;
mod stop;
mod tap;
