//! `statefun-kinesis state`: inspects, exports, resets and upgrades a state directory.

mod command;
mod entry;
mod export;
mod inspect;
mod reset;
mod store;
mod upgrade;

pub(crate) use command::state;
