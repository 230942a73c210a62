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
    0  done, or stopped by a signal with nothing left unfinished
    2  a module file has errors, or warnings under --deny-warnings
    3  a stream, a region, credentials or a permission is missing, or the service cannot be reached
    4  Kinesis failed permanently
    5  a function failed permanently
    6  the file of --input has errors
    7  stdout or the file of --output could not be written
    8  a record of a stream cannot become a message
    9  stopped by a signal, and not everything could be finished in time
   64  the command line is wrong
  101  a bug of this program
  130  a second signal asked to stop at once";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check module files, and tell everything that is wrong with them
    Check(CheckArguments),
    /// Explain the code of a problem, with a wrong and a right example
    Explain(ExplainArguments),
    /// Run a module: read its ingresses, route the records to functions, write its egresses
    Run(RunArguments),
    /// Print the JSON Schema of module files, with which editors complete and check them
    Schema,
    /// Look into the state directory of a run, or begin anew
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
