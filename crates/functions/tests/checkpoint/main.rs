//! Stateful functions whose checkpoints are kept in a store: on Kinesis in memory, on a disk in memory, and under
//! paused time. The simulation also has them behind HTTP, and on the machine's own disk.

mod disk;
mod functions;
mod pressure;
mod restart;
mod scene;
mod server;
mod simulation;
