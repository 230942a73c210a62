//! `statefun-kinesis run`.

mod command;
mod ending;
mod input;
mod outputs;
mod reporter;
mod requirements;
mod session;
mod stop;

pub(crate) use command::run;
