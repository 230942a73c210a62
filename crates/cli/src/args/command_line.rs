use clap::{Parser, Subcommand};

use super::{check::CheckArguments, explain::ExplainArguments, run::RunArguments, state::StateCommand};

/// Kinesis Data Streams as ingress and egress of Stateful Functions.
#[derive(Debug, Parser)]
#[command(name = "statefun-kinesis", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done, or stopped by a signal with no unfinished work
    2  a module file has errors or cannot be read, or it has warnings that --deny-warnings rejects
    3  a stream, a region, credentials or a permission is missing, or Kinesis cannot be reached
    4  Kinesis failed permanently
    5  a function failed permanently
    6  the file of --input has errors
    7  cannot write to stdout or to the file of --output
    8  a record is invalid: it cannot become a message
    9  stopped by a signal before all work was finished
   64  the command line is invalid
  101  a bug in this program
  130  stopped at once by a second signal";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check module files and list all problems
    Check(CheckArguments),
    /// Explain a diagnostic code, with a wrong and a correct example; or list all codes
    Explain(ExplainArguments),
    /// Run a module: read its ingresses, route records to functions, write to its egresses
    Run(RunArguments),
    /// Print the JSON Schema of module files, for completion and checks in editors
    Schema,
    /// Inspect, export, reset or upgrade the state directory of a run
    #[command(subcommand)]
    State(StateCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use statefun_kinesis_store::Allow;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn each_kind_of_change_has_its_switch() {
        for kind in Allow::ALL {
            let switch = format!("--{}", kind.switch());
            let line = ["statefun-kinesis", "run", "module.yaml", "--state", "x", &switch];
            let Command::Run(run) = Arguments::parse_from(line).command else { panic!("it is no run") };
            assert_eq!(run.allowed.kinds(), [kind].into());
        }
    }
}
