//! Where the data of a run goes.

use tokio_util::sync::CancellationToken;

use crate::{args::RunArguments, failure::Failure, output::Output};

/// stdout, and the file of `--output`.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) stdout: Output,
    pub(super) file: Option<Output>,
}

impl Outputs {
    /// Opens the outputs. The file keeps its old content until [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for writing.
    pub(super) fn open(arguments: &RunArguments, shutdown: &CancellationToken) -> Result<Self, Failure> {
        let file = arguments.output.as_ref().map(|path| Output::open(path, shutdown.clone())).transpose()?;
        Ok(Self { stdout: Output::stdout(shutdown.clone()), file })
    }

    /// Removes the old content of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be changed.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        self.file.as_ref().map_or(Ok(()), Output::begin)
    }

    /// Whether everything was written.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub(super) fn result(&self) -> Result<(), Failure> {
        self.stdout.result()?;
        self.file.as_ref().map_or(Ok(()), Output::result)
    }
}
