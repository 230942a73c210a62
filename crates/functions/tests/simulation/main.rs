//! Simulations of the mailboxes under virtual time: functions that count, forward, delay, cancel, fail and hang, with
//! crashes between any two events.

mod durable;
mod function;
mod schedule;
