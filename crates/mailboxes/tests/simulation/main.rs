//! Simulations of the mailboxes under virtual time: functions that count, forward, delay, cancel, fail and hang, with
//! crashes between any two events. `STATEFUN_KINESIS_RUNS` sets the number of runs of those that a store backs.

mod durable;
mod function;
mod schedule;
