//! The log lines of one test.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Level, subscriber::DefaultGuard};

/// Collects the warnings of this thread, on which the test's whole runtime runs, until it is dropped.
pub(crate) struct Warnings {
    written: Written,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Warnings {
    pub(crate) fn collect() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        Self { written, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let written = self.written.0.lock().unwrap();
        String::from_utf8(written.clone()).unwrap().lines().map(str::to_owned).collect()
    }
}
