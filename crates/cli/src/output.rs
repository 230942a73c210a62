//! Output of data to stdout or to a file, whole lines at a time.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use crate::{ExitCode, args::is_standard_stream, failure::Failure};

/// An output for lines of data, shared by all that write to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output(Arc<Inner>);

struct Inner {
    name: PathBuf,
    /// The file, if it may have old content to remove.
    old: Option<File>,
    writer: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    error: OnceLock<io::Error>,
    /// Cancelled when writing fails: a run whose results are lost has to stop.
    stop: CancellationToken,
}

impl Output {
    /// Opens stdout (`-`) or a file, which is created if it does not exist. Its old content stays until
    /// [`begin`](Self::begin), so that a run that fails to start destroys nothing.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for writing.
    pub(crate) fn open(path: &Path, stop: CancellationToken) -> Result<Self, Failure> {
        if is_standard_stream(path) {
            return Ok(Self::stdout(stop));
        }
        let open = || {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            // A pipe or a device has no old content.
            let old = if file.metadata()?.is_file() { Some(file.try_clone()?) } else { None };
            Ok((file, old))
        };
        let (file, old) = open().map_err(|error: io::Error| {
            let message = format!("cannot write the output file {}", path.display());
            let failure = Failure::new(ExitCode::Output, message).because(&error);
            match error.kind() {
                io::ErrorKind::NotFound => failure.hint("create its directory first; `--output -` writes to stdout"),
                io::ErrorKind::IsADirectory => failure.hint("name a file in it; `--output -` writes to stdout"),
                _ => failure,
            }
        })?;
        Ok(Self::to(path.to_owned(), old, Box::new(tokio::fs::File::from_std(file)), stop))
    }

    /// stdout.
    pub(crate) fn stdout(stop: CancellationToken) -> Self {
        Self::to(PathBuf::from("stdout"), None, Box::new(tokio::io::stdout()), stop)
    }

    fn to(
        name: PathBuf,
        old: Option<File>,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner { name, old, writer: Mutex::new(writer), error: OnceLock::new(), stop }))
    }

    /// Removes the old content of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be changed.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        self.0.old.as_ref().map_or(Ok(()), |file| file.set_len(0)).map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(ExitCode::Output, format!("cannot write to {}", self.0.name.display())).because(error)
    }

    /// Writes whole lines. A failure stops the run, and [`Output::result`] returns it. It is returned here too, so that
    /// the caller does not count the lines as written.
    pub(crate) async fn write(&self, lines: &str) -> Result<(), io::ErrorKind> {
        if let Some(error) = self.0.error.get() {
            return Err(error.kind());
        }
        let mut writer = self.0.writer.lock().await;
        let written = async {
            writer.write_all(lines.as_bytes()).await?;
            writer.flush().await
        };
        written.await.map_err(|error| {
            let kind = error.kind();
            let _ = self.0.error.set(error);
            self.0.stop.cancel();
            kind
        })
    }

    /// Whether everything was written.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub(crate) fn result(&self) -> Result<(), Failure> {
        self.0.error.get().map_or(Ok(()), |error| Err(self.failure(error)))
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({})", self.0.name.display())
    }
}
