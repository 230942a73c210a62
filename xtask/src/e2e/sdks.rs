//! The SDKs of Stateful Functions, in the languages of `examples/counter`, for the cases that run functions of them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::install::Installations;
use super::node::Node;
use super::python::Python;

const PYTHON_PACKAGES: &str = include_str!("../../../tests/e2e/server/functions-python.txt");
const NODE_PACKAGE: &str = "apache-flink-statefun@3.3.0";

/// What runs functions. A language that is not on this machine is missing, and its cases are not applicable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sdks {
    /// The interpreter of a virtual environment that has the packages.
    pub(crate) python: Option<PathBuf>,
    /// Node.js, and the folder that holds the packages.
    pub(crate) node: Option<(Node, PathBuf)>,
}

impl Sdks {
    /// Installs the SDK for each language that is here, once.
    pub(crate) fn install(installations: &Installations) -> Result<Self> {
        let python = Python::any();
        let node = Node::find(python.as_ref(), installations).ok();
        let python = python.map(|python| install_python(&python, installations)).transpose()?;
        let node = node.map(|node| install_node(node, installations)).transpose()?;
        Ok(Self { python, node })
    }

    /// The variables by which the cases find them.
    pub(crate) fn variables(&self, command: &mut Command) {
        for name in
            ["STATEFUN_KINESIS_E2E_PYTHON", "STATEFUN_KINESIS_E2E_NODE_PATH", "STATEFUN_KINESIS_E2E_NODE_MODULES"]
        {
            command.env_remove(name);
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

fn install_python(python: &Python, installations: &Installations) -> Result<PathBuf> {
    let stamp = format!("{}\n{}\n{PYTHON_PACKAGES}", python.program.display(), python.version);
    let folder = installations.ensure("functions-python", &stamp, |folder, log| {
        log.run(python.command().args(["-m", "venv"]).arg(folder))?;
        let list = folder.join("requirements.txt");
        std::fs::write(&list, PYTHON_PACKAGES)?;
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
