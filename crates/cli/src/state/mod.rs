//! `statefun-kinesis state`: what people want to see of a state directory, and how they upgrade it or start over.

mod command;
mod entry;
mod export;
mod inspect;
mod reset;
mod store;
mod upgrade;

pub(crate) use command::state;
