//! Stateful functions whose checkpoints are kept in a store: on Kinesis in memory, on a disk in memory, and under paused
//! time.

mod pressure;
mod restart;
mod scene;
mod simulation;
