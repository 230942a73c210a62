//! What `cargo xtask e2e` hands to the cases.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::control::Control;

/// The server under test and the program under test.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `http://HOST:PORT`, without a slash at the end.
    pub endpoint: String,
    /// The name on xtask's command line: `localstack`, `kinesis-mock`, `ferrokinesis` or `fake`.
    pub backend: String,
    /// The name of the server that all cases run on as well: only those are wanted that it is not able to.
    pub besides: Option<String>,
    /// The built `statefun-kinesis`.
    pub command_line: PathBuf,
    /// Stops and starts the server. `None` when it was not started by `cargo xtask e2e` (`--endpoint`): cases that need
    /// it are then not applicable, which is not the same as passed.
    pub control: Option<Control>,
    /// A Python with the SDK of Stateful Functions. `None` on a machine without Python.
    pub python: Option<PathBuf>,
    /// A Python with the KPL's record format. `None` on a machine without Python.
    pub aggregation_python: Option<PathBuf>,
    /// The `PATH` of Node.js, and the folder of its packages, of which the SDK is one. `None` where there is none.
    pub node: Option<(OsString, PathBuf)>,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Panics
    ///
    /// When one is missing or unreadable: without a server no case may look as if it had passed.
    #[must_use]
    pub fn read() -> Self {
        Self {
            endpoint: required("STATEFUN_KINESIS_E2E_ENDPOINT"),
            backend: required("STATEFUN_KINESIS_E2E_BACKEND"),
            besides: std::env::var("STATEFUN_KINESIS_E2E_BESIDES").ok(),
            command_line: required("STATEFUN_KINESIS_BIN").into(),
            control: std::env::var("STATEFUN_KINESIS_E2E_CONTROL")
                .ok()
                .map(|text| Control::parse(&text).expect("xtask writes ADDRESS/MARK")),
            python: std::env::var_os("STATEFUN_KINESIS_E2E_PYTHON").map(PathBuf::from),
            aggregation_python: std::env::var_os("STATEFUN_KINESIS_E2E_AGGREGATION_PYTHON").map(PathBuf::from),
            node: std::env::var_os("STATEFUN_KINESIS_E2E_NODE_PATH")
                .map(|path| (path, required("STATEFUN_KINESIS_E2E_NODE_MODULES").into())),
        }
    }
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run the cases by `cargo xtask e2e`"))
}
