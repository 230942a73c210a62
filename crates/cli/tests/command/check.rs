//! `check` and `explain`.

use std::fs;

use serde_json::Value;
use statefun_kinesis::ExitCode;
use statefun_kinesis_spec::Code;

use crate::scene::{INGRESS, example, folder, run, run_with_input};

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
    for code in ["SFK0007", "sfk0007", "SFK7", "7"] {
        let explained = run(&["explain", code]);
        explained.ended(ExitCode::Done);
        let heading = format!("SFK0007: {}\n", Code::UnknownKind.title());
        assert!(explained.out.starts_with(&heading) && explained.err.is_empty(), "{}", explained.err);
        assert!(!explained.out.contains("```"), "{}", explained.out);
    }
    let last = Code::ALL.last().unwrap().as_str();
    for unknown in ["SFK9999", "0", "", "SFK\u{1b}[0m"] {
        let refused = run(&["explain", unknown]);
        refused.ended(ExitCode::Usage).said(&["is not a code", "SFK0001", last]);
        assert!(refused.out.is_empty() && !refused.err.contains('\u{1b}'), "{}", refused.err);
    }
    run(&["explain", "FSK07"]).ended(ExitCode::Usage).said(&["SFK0007: a document has an unknown `kind`"]);
    let all = run(&["explain"]);
    all.ended(ExitCode::Done);
    let lines: Vec<String> = Code::ALL.iter().map(|code| format!("{code}: {}", code.title())).collect();
    assert_eq!(all.out.lines().collect::<Vec<_>>(), lines);
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
        .said(&["1 warning, rejected by --deny-warnings", "--allow SFK0031"]);
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
fn warnings_of_an_allowed_code_do_not_fail_a_check() {
    let module = folder("allowed").join("module.yaml");
    let endpoint =
        "---\nkind: io.statefun.endpoints.v2/http\nspec: {functions: example/*, urlPathTemplate: 'http://x.svc/'}\n";
    let pulsar = "---\nkind: com.example.pulsar.v1/ingress\nspec: {topic: orders}\n";
    fs::write(&module, [&with_a_warning(), endpoint, pulsar].concat()).unwrap();
    let module = module.to_str().unwrap();
    // Each with the codes that are still denied; SFK0008 is the kind that is skipped.
    for (allow, denied) in [
        (&[][..], &["SFK0031", "SFK0038"][..]),
        (&["--allow", "SFK0038"], &["SFK0031"]),
        (&["--allow", "31"], &["SFK0038"]),
        (&["--allow", "sfk31,38"], &[]),
        (&["--allow", "31", "--allow", "38"], &[]),
    ] {
        let arguments = [&["check", module, "--ignore-unsupported", "--deny-warnings"][..], allow].concat();
        let ran = run(&arguments);
        if denied.is_empty() {
            ran.ended(ExitCode::Done).said(&["3 warnings", "warning[SFK0038]", "warning[SFK0031]", "warning[SFK0008]"]);
        } else {
            ran.ended(ExitCode::InvalidModule).said(&[", rejected by --deny-warnings"]);
            let codes: Vec<String> = denied.iter().map(|code| format!("--allow {code}")).collect();
            let hint = format!("hint: to accept warnings of a code: {}", codes.join(" "));
            assert_eq!(ran.out.lines().last(), Some(hint.as_str()));
        }
    }
    run(&["check", module, "--deny-warnings", "--allow", "31,38"]).ended(ExitCode::InvalidModule).said(&[
        "error[SFK0008]",
        "com.example.pulsar.v1/ingress",
        "--ignore-unsupported",
    ]);
    run(&["check", module, "--allow", "31"]).ended(ExitCode::Usage).said(&["--deny-warnings"]);
    run(&["check", module, "--deny-warnings", "--allow", "99"]).ended(ExitCode::Usage).said(&["`99` is not a code"]);
}

#[test]
fn a_module_may_come_from_stdin() {
    run_with_input(&["check", "-"], INGRESS).ended(ExitCode::Done).said(&["stdin: valid: 1 ingress"]);
    let wrong = INGRESS.replace("v1/egress", "v1/egres");
    run_with_input(&["check", "-"], &wrong).ended(ExitCode::InvalidModule).said(&["error[SFK0007]", "stdin:10:7"]);
    let ran = run_with_input(&["check", "-", "--format", "json"], &wrong);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["diagnostics"][0]["place"]["file"], "stdin");
    run_with_input(&["check", "-", "-"], INGRESS).ended(ExitCode::Usage).said(&["stdin, which can be read only once"]);
    let both = ["run", "-", "--client", "memory", "--functions", "log", "--input", "-"];
    run_with_input(&both, INGRESS).ended(ExitCode::Usage).said(&["stdin, which can be read only once", "--input"]);
    run_with_input(&["check", "-"], "").ended(ExitCode::InvalidModule).said(&["error[SFK0004]", "stdin"]);
}

#[test]
fn a_file_that_cannot_be_read_is_in_every_format() {
    let folder = folder("unreadable");
    let good = example("module.yaml");
    let missing = folder.join("modul.yaml");
    for (path, why, help) in [
        (missing.to_str().unwrap(), "No such file", "check the path"),
        (folder.to_str().unwrap(), "directory", "module.yaml"),
    ] {
        run(&["check", path, &good]).ended(ExitCode::InvalidModule).said(&["error[SFK0047]", why, help, path]);
        let ran = run(&["check", &good, path, "--format", "json"]);
        ran.ended(ExitCode::InvalidModule);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&report["passed"], &report["errors"]), (&false.into(), &1.into()));
        let found = &report["diagnostics"][0];
        assert_eq!((&found["code"], &found["place"]["file"]), (&"SFK0047".into(), &path.into()));
        assert!(found["message"].as_str().unwrap().contains(why), "{found}");
        run(&["check", path, "--format", "github"]).ended(ExitCode::InvalidModule).said(&["::error file=", "SFK0047"]);
        run(&["run", path, "--client", "memory"]).ended(ExitCode::InvalidModule).said(&[
            why,
            help,
            "nothing was started",
        ]);
    }
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
