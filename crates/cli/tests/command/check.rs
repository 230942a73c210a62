//! `check` and `explain`.

use std::fs;

use serde_json::Value;
use statefun_kinesis::ExitCode;
use statefun_kinesis_spec::Code;

use crate::scene::{INGRESS, example, folder, run};

#[test]
fn check_says_that_a_good_module_is_valid() {
    run(&["check", &example("module.yaml")])
        .ended(ExitCode::Done)
        .said(&["module.yaml: valid: 1 ingress reading 1 stream, 1 egress"]);
}

#[test]
fn a_code_is_explained_and_check_says_how() {
    let module = folder("explain").join("module.yaml");
    fs::write(&module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    let checked = run(&["check", module.to_str().unwrap()]);
    checked.ended(ExitCode::InvalidModule);
    let last = checked.out.lines().last().unwrap();
    let (_, code) = last.split_once("for more about a code: statefun-kinesis explain ").expect(last);
    assert_eq!(code, "SFK0007", "it is the code of the first error");
    for code in ["SFK0007", "sfk0007"] {
        let explained = run(&["explain", code]);
        explained.ended(ExitCode::Done);
        assert!(explained.out.starts_with("# SFK0007: ") && explained.err.is_empty(), "{}", explained.err);
        assert_eq!(explained.out, Code::UnknownKind.explanation());
    }
    let last = Code::ALL.last().unwrap().as_str();
    for unknown in ["SFK9999", "7", "", "SFK\u{1b}[0m"] {
        let refused = run(&["explain", unknown]);
        refused.ended(ExitCode::Usage).said(&["is not a code", "SFK0001", last]);
        assert!(refused.out.is_empty() && !refused.err.contains('\u{1b}'), "{}", refused.err);
    }
    run(&["explain", "SFK07"]).ended(ExitCode::Usage).said(&["SFK0007: a document has an unknown `kind`"]);
    run(&["explain"]).ended(ExitCode::Usage).said(&["<CODE>"]);
    let valid = run(&["check", &example("module.yaml")]);
    assert!(!valid.out.contains("explain"), "{}", valid.out);
}

#[test]
fn check_gives_json_to_programs() {
    let folder = folder("json");
    let module = folder.join("module.yaml");
    fs::write(&module, INGRESS.replace("streamName", "streamNam")).unwrap();
    let ran = run(&["check", module.to_str().unwrap(), "--format", "json"]);
    ran.ended(ExitCode::InvalidModule);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["version"], 1);
    assert!(report["errors"].as_u64().unwrap() >= 1);
    let mut found = report["diagnostics"].as_array().unwrap().iter();
    let unknown = found.find(|found| found["message"].as_str().unwrap().contains("streamNam")).unwrap();
    assert_eq!((&unknown["place"]["line"], &unknown["place"]["column"]), (&13.into(), &3.into()));
}

/// A module that is valid, and of which there is something to warn about.
fn with_a_warning() -> String {
    let keys = "  awsCredentials: {type: basic, accessKeyId: AKIAIOSFODNN7, secretAccessKey: wJalrXUtnFEMI}\n";
    INGRESS.replace("  startupPosition", &format!("{keys}  startupPosition"))
}

#[test]
fn warnings_fail_a_check_only_when_they_are_denied() {
    let module = folder("warnings").join("module.yaml");
    fs::write(&module, with_a_warning()).unwrap();
    let module = module.to_str().unwrap();
    run(&["check", module]).ended(ExitCode::Done).said(&["warning[SFK0031]", "1 egress, 0 endpoints, 1 warning"]);
    run(&["check", module, "--deny-warnings"])
        .ended(ExitCode::InvalidModule)
        .said(&["1 warning, rejected by --deny-warnings"]);
    for (deny, code) in [(&[][..], ExitCode::Done), (&["--deny-warnings"][..], ExitCode::InvalidModule)] {
        let ran = run(&[&["check", module, "--format", "json"][..], deny].concat());
        ran.ended(code);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&report["passed"], &report["warnings"]), (&deny.is_empty().into(), &1.into()));
    }
    run(&["check", module, "--deny-warnings", "--iam-policy"]).ended(ExitCode::InvalidModule);
    run(&["check", &example("module.yaml"), "--deny-warnings"]).ended(ExitCode::Done);
}

#[test]
fn check_gives_workflow_commands_to_github() {
    let folder = folder("github, 50%");
    let module = folder.join("module.yaml");
    fs::write(&module, with_a_warning().replace("streamName", "streamNam")).unwrap();
    let ran = run(&["check", module.to_str().unwrap(), "--format", "github"]);
    ran.ended(ExitCode::InvalidModule);
    let name = module.to_str().unwrap().replace('%', "%25").replace(',', "%2C");
    let lines: Vec<&str> = ran.out.lines().collect();
    let place = "line=14,endLine=14,col=3,endColumn=12,title=SFK0011::an egress has no field `streamNam`%0Ahelp: ";
    let unknown = format!("::error file={name},{place}");
    assert!(lines.iter().any(|line| line.starts_with(&unknown)), "{unknown} is missing in\n{}", ran.out);
    let keys = format!("::warning file={name},line=4,");
    assert!(lines.iter().any(|line| line.starts_with(&keys)), "{keys} is missing in\n{}", ran.out);
    let commands = lines.iter().take_while(|line| line.starts_with("::")).count();
    assert!(lines[commands].contains(" error") && lines[commands].contains("1 warning"), "{}", ran.out);
}

#[test]
fn the_policy_alone_goes_to_stdout_and_is_the_documented_one() {
    let page = fs::read_to_string(format!("{}/../../docs/checking.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, block) = page.split_once("```json\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let module = folder("policy").join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let ran = run(&["check", module.to_str().unwrap(), "--iam-policy"]);
    ran.ended(ExitCode::Done).said(&["note: ", "without an ARN", "notifications-stream", "kms:Decrypt"]);
    assert_eq!(ran.out, block);

    fs::write(&module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    let refused = run(&["check", module.to_str().unwrap(), "--iam-policy"]);
    refused.ended(ExitCode::InvalidModule).said(&["SFK0007", "cannot print a policy", "explain SFK0007"]);
    assert!(refused.out.is_empty(), "{}", refused.out);
}

#[test]
fn a_live_check_calls_no_service_for_a_module_that_does_not_pass() {
    let module = folder("live-invalid").join("module.yaml");
    fs::write(&module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    run(&["check", module.to_str().unwrap(), "--live"]).ended(ExitCode::InvalidModule).said(&["AWS was not called"]);
    fs::write(&module, with_a_warning()).unwrap();
    run(&["check", module.to_str().unwrap(), "--live", "--deny-warnings"])
        .ended(ExitCode::InvalidModule)
        .said(&["AWS was not called"]);
}

#[test]
fn missing_credentials_are_reported_before_any_call() {
    let module = folder("live-profile").join("module.yaml");
    let profile = "  awsCredentials: {type: profile, profile: nobody}\n  startupPosition";
    let (ingress, _) = INGRESS.split_once("---").unwrap();
    fs::write(&module, ingress.replace("  startupPosition", profile)).unwrap();
    let module = module.to_str().unwrap();
    let ran = run(&["check", module, "--live"]);
    ran.ended(ExitCode::Setup).said(&[
        "valid: 1 ingress",
        "the profile nobody",
        "no profile `nobody`",
        "4 not tested",
        "--iam-policy",
    ]);
    assert!(!ran.out.contains("cannot be reached"), "{}", ran.out);
    let ran = run(&["check", module, "--live", "--format", "json"]);
    ran.ended(ExitCode::Setup);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&report["passed"], &report["errors"], &report["live"]["passed"]),
        (&false.into(), &0.into(), &false.into())
    );
    let ran = run(&["check", module, "--live", "--format", "github"]);
    ran.ended(ExitCode::Setup).said(&["::error title=check --live::ingress example/orders: "]);
}
