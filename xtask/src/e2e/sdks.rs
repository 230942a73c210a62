//! What others have published for the languages of the cases: the SDKs of Stateful Functions, for the cases that run
//! functions of them, and the KPL's record format in Python, for those that compare with it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::install::Installations;
use super::node::Node;
use super::python::Python;

const PYTHON_PACKAGES: &str = include_str!("../../../tests/e2e/server/functions-python.txt");
const AGGREGATION_PACKAGES: &str = include_str!("../../../tests/e2e/server/aggregation-python.txt");
const NODE_PACKAGE: &str = "apache-flink-statefun@3.3.0";

/// What runs functions. A language that is not on this machine is missing, and its cases are not applicable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sdks {
    /// The interpreter of a virtual environment that has the packages.
    pub(crate) python: Option<PathBuf>,
    /// The interpreter of one that has the KPL's record format.
    pub(crate) aggregation: Option<PathBuf>,
    /// Node.js, and the folder that holds the packages.
    pub(crate) node: Option<(Node, PathBuf)>,
}

impl Sdks {
    /// Installs the SDK for each language that is here, once.
    pub(crate) fn install(installations: &Installations) -> Result<Self> {
        let python = Python::any();
        let node = Node::find(python.as_ref(), installations).ok();
        let install = |name, packages| {
            python.as_ref().map(|python| install_python(python, installations, name, packages)).transpose()
        };
        let aggregation = install("aggregation-python", AGGREGATION_PACKAGES)?;
        let python = install("functions-python", PYTHON_PACKAGES)?;
        let node = node.map(|node| install_node(node, installations)).transpose()?;
        Ok(Self { python, aggregation, node })
    }

    /// The variables by which the cases find them.
    pub(crate) fn variables(&self, command: &mut Command) {
        for name in [
            "STATEFUN_KINESIS_E2E_PYTHON",
            "STATEFUN_KINESIS_E2E_AGGREGATION_PYTHON",
            "STATEFUN_KINESIS_E2E_NODE_PATH",
            "STATEFUN_KINESIS_E2E_NODE_MODULES",
        ] {
            command.env_remove(name);
        }
        if let Some(python) = &self.aggregation {
            command.env("STATEFUN_KINESIS_E2E_AGGREGATION_PYTHON", python);
        }
        if let Some(python) = &self.python {
            command.env("STATEFUN_KINESIS_E2E_PYTHON", python);
        }
        if let Some((node, folder)) = &self.node {
            command.env("STATEFUN_KINESIS_E2E_NODE_PATH", node.path());
            command.env("STATEFUN_KINESIS_E2E_NODE_MODULES", folder.join("node_modules"));
        }
    }
}

fn install_python(python: &Python, installations: &Installations, name: &str, packages: &str) -> Result<PathBuf> {
    let stamp = format!("{}\n{}\n{packages}", python.program.display(), python.version);
    let folder = installations.ensure(name, &stamp, |folder, log| {
        log.run(python.command().args(["-m", "venv"]).arg(folder))?;
        let list = folder.join("requirements.txt");
        std::fs::write(&list, packages)?;
        let program = folder.join("bin").join("python");
        log.run(Command::new(program).args(["-m", "pip", "install", "--no-deps", "-r"]).arg(list))
    })?;
    Ok(folder.join("bin").join("python"))
}

fn install_node(node: Node, installations: &Installations) -> Result<(Node, PathBuf)> {
    let stamp = format!("{NODE_PACKAGE}\n");
    let folder = installations
        .ensure("functions-node", &stamp, |folder, log| log.run(&mut node.install(folder, NODE_PACKAGE)))?;
    Ok((node, folder))
}
