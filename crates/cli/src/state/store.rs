use std::{
    io::{self, BufWriter, StdoutLock, Write},
    path::Path,
};

use statefun_kinesis_store::{DiskSettings, DiskStore, Error};

use crate::{
    ExitCode,
    failure::Failure,
    state_directory::{self, UsedBy},
};

/// Opens the store of a directory. Does not create one.
pub(super) async fn open(directory: &Path) -> Result<DiskStore, Failure> {
    DiskStore::open_existing(directory, DiskSettings::default()).await.map_err(|error| unusable(&error))
}

/// Why the store cannot be used, with a hint for `state`.
pub(super) fn unusable(error: &Error) -> Failure {
    state_directory::unusable(error, UsedBy::State)
}

/// stdout, buffered.
pub(super) struct Stdout(BufWriter<StdoutLock<'static>>);

impl Stdout {
    pub(super) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(|error| unwritten(&error))
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| unwritten(&error))
    }
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Output, "cannot write to stdout").because(error)
}
