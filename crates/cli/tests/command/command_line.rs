//! The command line itself.

use serde_json::Value;
use statefun_kinesis::ExitCode;

use crate::scene::{example, run};

#[test]
fn the_schema_is_printed_for_editors() {
    let ran = run(&["schema"]);
    ran.ended(ExitCode::Done);
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(ran.err.is_empty() && ran.out.ends_with("}\n"), "{}", ran.err);
}

#[test]
fn a_wrong_command_line_has_a_code_of_its_own() {
    let module = example("module.yaml");
    run(&["run", &module, "--functions", "fly"]).ended(ExitCode::Usage).said(&["--functions", "remote, echo, log"]);
    run(&["run", &module, "--functions", "log", "--input", "x"]).ended(ExitCode::Usage).said(&["--client memory"]);
    run(&["run", &module, "--allow-removed-ingress"]).ended(ExitCode::Usage).said(&["--state"]);
    run(&["fly"]).ended(ExitCode::Usage).said(&["fly"]);
    run(&["run", &module, "--functions", "log", "--log", "a=b=c"]).ended(ExitCode::Usage).said(&["log filter"]);
    run(&["run", &module, "--functions", "log", "--log", "wran"]).ended(ExitCode::Usage).said(&["`wran`", "hint: "]);
    run(&["check", &module, "--endpoint-url", "http://localhost"]).ended(ExitCode::Usage).said(&["--live"]);
    for url in ["localhost:4566", "ftp://localhost", "http://:4566"] {
        run(&["run", &module, "--endpoint-url", url]).ended(ExitCode::Usage).said(&["--endpoint-url", url, "http://l"]);
        run(&["check", &module, "--live", "--endpoint-url", url]).ended(ExitCode::Usage).said(&[url]);
    }
    run(&["check", &module, "--iam-policy", "--format", "json"]).ended(ExitCode::Usage).said(&["--format"]);
    let help = run(&["--help"]);
    help.ended(ExitCode::Done);
    assert!(help.out.contains("Exit codes") && help.err.is_empty());
}
