//! The command as a user meets it: output, messages, exit codes.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use statefun_kinesis::ExitCode;
use statefun_kinesis_spec::Code;

/// A folder of its own for a test, empty at its start.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn example(name: &str) -> String {
    format!("{}/../../examples/orders/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a run of the command gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statefun-kinesis"));
    // No test depends on what the machine has to say about AWS or about logs.
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(arguments: &[&str]) -> Ran {
    run_with_input(arguments, "")
}

impl Ran {
    #[track_caller]
    fn ended(&self, code: ExitCode) -> &Self {
        assert_eq!(self.code, code as i32, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn said(&self, parts: &[&str]) -> &Self {
        for part in parts {
            let said = self.err.contains(part) || self.out.contains(part);
            assert!(said, "`{part}` is missing\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }
}

const INGRESS: &str = "\
kind: io.statefun.kinesis.v1/ingress
spec:
  id: example/orders
  startupPosition: {type: latest}
  streams:
    - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
      valueType: example/Order
      targets: [example/order-handler, example/audit]
---
kind: io.statefun.kinesis.v1/egress
spec:
  id: example/notifications
  streamName: notifications-stream
";

/// Partition keys with their payloads in order, from JSON Lines.
fn payloads(lines: &str) -> BTreeMap<String, Vec<String>> {
    let mut by_key = BTreeMap::<String, Vec<String>>::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (key, data) = (line["partitionKey"].as_str().unwrap(), line["data"].as_str().unwrap());
        by_key.entry(key.to_owned()).or_default().push(data.to_owned());
    }
    by_key
}

#[test]
fn the_first_command_of_the_readme_sends_every_order_through() {
    let input = example("orders.jsonl");
    let module = example("module.yaml");
    let ran = run(&["run", &module, "--client", "memory", "--functions", "echo", "--input", &input, "--output", "-"]);
    ran.ended(ExitCode::Done).said(&["ready", "2 400 records", "p99"]);
    assert_eq!(payloads(&ran.out), payloads(&fs::read_to_string(&input).unwrap()));
    let first: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["stream"], "notifications-stream");
    assert!(first["shardId"].as_str().unwrap().starts_with("shardId-"));
    assert_eq!(first["sequenceNumber"].as_str().unwrap().len(), 56);
}

#[test]
fn log_prints_a_line_per_message_with_where_it_came_from() {
    let folder = folder("log");
    let module = folder.join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let input = r#"{"stream":"orders-stream","partitionKey":"customer-17","data":"one espresso"}
{"stream":"arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream","partitionKey":"customer-17","dataBase64":"/w=="}
"#;
    let module = module.to_str().unwrap();
    let ran = run_with_input(&["run", module, "--client", "memory", "--functions", "log", "--input", "-"], input);
    ran.ended(ExitCode::Done);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "two records for two targets each: {}", ran.out);
    for (line, target) in lines.iter().zip(["example/order-handler", "example/audit"].iter().cycle()) {
        assert_eq!(line["ingress"], "example/orders");
        assert_eq!(line["streamArn"], "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream");
        assert_eq!(line["target"], *target);
        assert_eq!(line["id"], "customer-17");
        assert_eq!(line["valueType"], "example/Order");
        assert!(line["shardId"].is_string() && line["sequenceNumber"].is_string());
    }
    assert_eq!((&lines[0]["payload"], &lines[0]["payloadBase64"]), (&"one espresso".into(), &Value::Null));
    assert_eq!((&lines[2]["payload"], &lines[2]["payloadBase64"]), (&Value::Null, &"/w==".into()));
}

#[test]
fn streams_by_name_and_pushed_records_are_read_in_memory_too() {
    let folder = folder("by-name");
    let module = folder.join("module.yaml");
    let arn = "streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream";
    let fan_out = "  consumer: {type: enhanced-fan-out, name: engine}\n  streams:";
    fs::write(&module, INGRESS.replace(arn, "stream: orders-stream").replace("  streams:", fan_out)).unwrap();
    let input = r#"{"stream":"orders-stream","partitionKey":"customer-17","data":"one espresso"}"#;
    let module = module.to_str().unwrap();
    let ran = run_with_input(&["run", module, "--client", "memory", "--functions", "log", "--input", "-"], input);
    ran.ended(ExitCode::Done);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    // Nothing names a region or an account here.
    assert_eq!(lines[0]["streamArn"], "arn:aws:kinesis:us-east-1:000000000000:stream/orders-stream");

    let state = folder.join("state");
    run(&["run", module, "--client", "memory", "--functions", "log", "--state", state.to_str().unwrap()])
        .ended(ExitCode::Usage)
        .said(&["streams in memory are gone at the end"]);
}

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
        .said(&["1 warning, and --deny-warnings refuses them"]);
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
    refused.ended(ExitCode::InvalidModule).said(&["SFK0007", "has no policy", "explain SFK0007"]);
    assert!(refused.out.is_empty(), "{}", refused.out);
}

#[test]
fn the_schema_is_printed_for_editors() {
    let ran = run(&["schema"]);
    ran.ended(ExitCode::Done);
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(ran.err.is_empty() && ran.out.ends_with("}\n"), "{}", ran.err);
}

#[test]
fn nobody_is_asked_about_a_module_that_does_not_pass() {
    let module = folder("live-invalid").join("module.yaml");
    fs::write(&module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    run(&["check", module.to_str().unwrap(), "--live"]).ended(ExitCode::InvalidModule).said(&["nothing was asked"]);
    fs::write(&module, with_a_warning()).unwrap();
    run(&["check", module.to_str().unwrap(), "--live", "--deny-warnings"])
        .ended(ExitCode::InvalidModule)
        .said(&["nothing was asked"]);
}

#[test]
fn credentials_that_are_not_there_are_told_before_anyone_is_asked() {
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
        "4 not tried",
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

#[cfg(unix)]
#[test]
fn a_device_that_never_ends_is_read_as_far_as_a_module_file_goes() {
    run(&["check", "/dev/zero"]).ended(ExitCode::InvalidModule).said(&["SFK0003", "more than 786432 bytes"]);
    run(&["check", "/dev/null"]).ended(ExitCode::InvalidModule).said(&["no documents"]);
}

#[test]
fn a_thousand_problems_in_a_very_long_line_are_told_by_their_places() {
    let module = folder("long-line").join("module.yaml");
    let fields: Vec<String> = (0..1_200).map(|number| format!("field{number}: 0")).collect();
    let spec = format!("{{id: a/b, streamName: out, {}}}", fields.join(", "));
    let comment = "x".repeat(700 << 10);
    fs::write(&module, format!("kind: io.statefun.kinesis.v1/egress\nspec: {spec} # {comment}\n")).unwrap();
    let ran = run(&["check", module.to_str().unwrap()]);
    ran.ended(ExitCode::InvalidModule).said(&["error[SFK0011]: ", "module.yaml:2:34"]);
    // More was wrong than is shown, and the reader learns it.
    ran.said(&["error[SFK0035]: 200 more of severity `error` are not listed"]);
    // Nobody could read the line a thousand times.
    assert!(ran.out.len() < 1 << 20, "{} bytes", ran.out.len());
}

#[test]
fn a_run_that_is_refused_says_how_to_learn_more() {
    let module = folder("run-hint").join("module.yaml");
    fs::write(&module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    run(&["run", module.to_str().unwrap(), "--client", "memory", "--functions", "log"])
        .ended(ExitCode::InvalidModule)
        .said(&["the module has 1 error; nothing was started", "statefun-kinesis explain SFK0007"]);
}

#[test]
fn a_bad_module_file_is_refused_with_its_place_and_nothing_is_started() {
    let folder = folder("bad-modules");
    let replaced = |from: &str, to: &str| {
        assert!(INGRESS.contains(from));
        INGRESS.replace(from, to).into_bytes()
    };
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream";
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", Vec::new(), &["empty.yaml"]),
        ("prose", b"this is not a module file".to_vec(), &["prose.yaml:1:1"]),
        ("broken", b"kind: [".to_vec(), &["broken.yaml:1:"]),
        ("junk", (0..=255).collect(), &["junk.yaml", "UTF-8"]),
        ("huge", vec![b'#'; 100 << 20], &["huge.yaml:1:1", "more than 786432 bytes"]),
        (
            "kind",
            replaced("v1/egress", "v1/egres"),
            &["kind.yaml:10:7", "did you mean `io.statefun.kinesis.v1/egress`"],
        ),
        ("no-stream", replaced(&format!("streamArn: {arn}\n      "), ""), &["no-stream.yaml:6:", "streamArn"]),
        ("service", replaced(arn, "arn:aws:sqs:us-east-1:123456789012:orders"), &["service.yaml:6:18", "kinesis"]),
        ("arn-egress", replaced("notifications-stream", arn), &["arn-egress.yaml:13:15", "streamName"]),
        (
            "no-streams",
            b"kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: a/b\n  streams: []\n".to_vec(),
            &["no-streams.yaml:4:3"],
        ),
        ("no-targets", replaced("[example/order-handler, example/audit]", "[]"), &["no-targets.yaml:8:7"]),
        ("same-id", [INGRESS, "---\n", INGRESS].concat().into_bytes(), &["same-id.yaml:17:7", "same-id.yaml:26:7"]),
        (
            "epoch",
            replaced("{type: latest}", "{type: at-timestamp, timestamp: 1713830400}"),
            &["epoch.yaml:4:", "numeric epoch"],
        ),
        (
            "endpoint",
            replaced(
                "  startup",
                "  awsRegion: {type: custom-endpoint, endpoint: 'localhost:4566', id: us-east-1}\n  startup",
            ),
            &["endpoint.yaml:4:48", "http://localhost:4566"],
        ),
    ];
    for (name, text, says) in cases {
        let module = folder.join(name).with_extension("yaml");
        fs::write(&module, text).unwrap();
        let module = module.to_str().unwrap();
        run(&["check", module]).ended(ExitCode::InvalidModule).said(says);
        let output = folder.join("output");
        fs::write(&output, "kept").unwrap();
        run(&["run", module, "--client", "memory", "--functions", "log", "--output", output.to_str().unwrap()])
            .ended(ExitCode::InvalidModule)
            .said(says);
        assert_eq!(fs::read_to_string(&output).unwrap(), "kept");
    }
    let missing = folder.join("missing.yaml");
    run(&["check", missing.to_str().unwrap()]).ended(ExitCode::InvalidModule).said(&["missing.yaml", "No such file"]);
    run(&["check", folder.to_str().unwrap()]).ended(ExitCode::InvalidModule).said(&["is a directory"]);
}

#[test]
fn bad_input_is_refused_line_by_line_and_nothing_is_put() {
    let folder = folder("bad-input");
    let good = r#"{"stream":"orders-stream","partitionKey":"k","data":"x"}"#;
    let key = "k".repeat(257);
    let large = "x".repeat((1 << 20) + 1);
    let cases: [(String, &[&str]); 5] = [
        ("{".into(), &["input.jsonl:2: not a record"]),
        (good.replace("orders-stream", "other"), &["input.jsonl:2: ", "no ingress", "other", "orders-stream"]),
        (good.replace("\"k\"", &format!("\"{key}\"")), &["input.jsonl:2: ", "1 to 256 Unicode characters"]),
        (good.replace("\"x\"", &format!("\"{large}\"")), &["input.jsonl:2: ", "1048578 bytes", "1048576 at most"]),
        (format!("{good}\n[]\n\n{{}}"), &["input.jsonl:3: ", "input.jsonl:5: ", "2 of the lines"]),
    ];
    for (line, says) in cases {
        let (input, output) = (folder.join("input.jsonl"), folder.join("output"));
        fs::write(&input, format!("{good}\n{line}\n{good}\n")).unwrap();
        fs::write(&output, "kept").unwrap();
        let module = example("module.yaml");
        let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
        run(&["run", &module, "--client", "memory", "--functions", "echo", "--input", input, "--output", output])
            .ended(ExitCode::InvalidInput)
            .said(says);
        assert_eq!(fs::read_to_string(output).unwrap(), "kept");
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_a_way_out() {
    let folder = folder("no-files");
    let (missing, below) = (folder.join("missing"), folder.join("missing/output"));
    let module = example("module.yaml");
    let check = |option: &str, path: &Path, code: ExitCode, says: &str| {
        let path = path.to_str().unwrap();
        let arguments = ["run", &module, "--client", "memory", "--functions", "echo", option, path];
        run(&arguments).ended(code).said(&[path, "\nhint: ", says]);
    };
    check("--input", &missing, ExitCode::InvalidInput, "check the path; `--input -`");
    check("--input", &folder, ExitCode::InvalidInput, "name a file in it");
    check("--output", &below, ExitCode::Output, "make its directory first");
    check("--output", &folder, ExitCode::Output, "name a file in it");
}

#[test]
fn a_run_names_the_ingress_whose_credentials_are_not_there() {
    let module = folder("run-profile").join("module.yaml");
    let profile = "  awsCredentials: {type: profile, profile: nobody}\n  startupPosition";
    fs::write(&module, INGRESS.replace("  startupPosition", profile)).unwrap();
    run(&["run", module.to_str().unwrap(), "--functions", "log"]).ended(ExitCode::Setup).said(&[
        "there is no client for the ingress example/orders: the profile nobody",
        "no profile `nobody`",
        "hint: check `awsRegion` and `awsCredentials`",
    ]);
}

#[test]
fn a_run_without_credentials_says_what_to_do() {
    let module = folder("run-credentials").join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let check = |more: &[&str], hint: &str| {
        let mut command = command(&[&["run", module.to_str().unwrap(), "--functions", "log"], more].concat());
        command.envs([("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true")]);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
        ran.ended(ExitCode::Setup).said(&["no AWS credentials were found; set AWS_ACCESS_KEY_ID", hint]);
        assert!(!ran.err.contains("because: other"), "{}", ran.err);
    };
    check(&[], "hint: `statefun-kinesis check --live`");
    check(&["--endpoint-url", "http://127.0.0.1:9"], "hint: http://127.0.0.1:9 was asked");
}

#[test]
fn functions_that_no_endpoint_serves_are_told_before_anything_is_read() {
    run(&["run", &example("module.yaml"), "--client", "memory"])
        .ended(ExitCode::InvalidModule)
        .said(&["no endpoint of the module serves the function example/order-handler", "--functions log"]);
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

#[test]
fn secrets_of_a_module_file_are_never_shown() {
    let folder = folder("secrets");
    let module = folder.join("module.yaml");
    let keys =
        "  awsCredentials: {type: basic, accessKeyId: AKIAIOSFODNN7, secretAccessKey: wJalrXUtnFEMI, colour: red}\n";
    fs::write(&module, INGRESS.replace("  startupPosition", &format!("{keys}  startupPosition"))).unwrap();
    for format in ["human", "json"] {
        let ran = run(&["check", module.to_str().unwrap(), "--format", format]);
        ran.ended(ExitCode::InvalidModule).said(&["colour"]);
        for secret in ["AKIAIOSFODNN7", "wJalrXUtnFEMI"] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{}{}", ran.out, ran.err);
        }
    }
}

#[test]
fn a_closed_stdout_ends_the_run_with_an_error_and_without_a_panic() {
    let input = example("orders.jsonl");
    let module = example("module.yaml");
    let mut child =
        command(&["run", &module, "--client", "memory", "--functions", "log", "--input", &input]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(ExitCode::Output as i32), "{err}");
    assert!(err.contains("cannot write to stdout") && !err.contains("panicked"), "{err}");
}

/// Sends a signal to a run of the command.
#[cfg(unix)]
#[track_caller]
fn signal(child: &Child, signal: &str) {
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

#[cfg(unix)]
#[test]
fn a_signal_stops_a_run_that_has_nothing_left_to_do() {
    for name in ["-INT", "-TERM"] {
        let module = example("module.yaml");
        let mut child = command(&["run", &module, "--client", "memory", "--functions", "log"]).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(err.any(|line| line.unwrap().contains("ready")), "the run is never ready");
        signal(&child, name);
        let rest: Vec<String> = err.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Done as i32), "{rest:#?}");
        assert!(rest.iter().any(|line| line.contains("done after")), "{rest:#?}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_start_that_waits() {
    let module = folder("waits").join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    // Nobody listens at the discard port, which is waited for like any server.
    let arguments = ["run", module.to_str().unwrap(), "--functions", "log", "--endpoint-url", "http://127.0.0.1:9"];
    let mut command = command(&arguments);
    command.envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
    let mut child = command.spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(err.any(|line| line.unwrap().contains("retrying")), "the start does not wait");
    signal(&child, "-TERM");
    let rest: Vec<String> = err.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Done as i32), "{rest:#?}");
    assert!(rest.iter().any(|line| line == "stopped before anything was read"), "{rest:#?}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_stops_at_once() {
    // Nobody reads stdout, and a pipe holds less than all messages: what is in hand is never finished.
    let (module, input) = (example("module.yaml"), example("orders.jsonl"));
    let arguments = ["run", &module, "--client", "memory", "--functions", "log", "--input", &input];
    let mut child = command(&arguments).spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(err.any(|line| line.unwrap().contains("ready")), "the run is never ready");
    signal(&child, "-TERM");
    assert!(err.any(|line| line.unwrap().contains("stopping")), "the first signal is not heard");
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(ExitCode::Interrupted as i32));
}

#[test]
fn variables_of_a_module_file_come_from_the_environment() {
    let folder = folder("variables");
    let path = folder.join("module.yaml");
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream";
    fs::write(&path, INGRESS.replace(arn, "${ORDERS_ARN}")).unwrap();
    let check = |value: Option<&str>| {
        let mut command = command(&["check", path.to_str().unwrap()]);
        command.envs(value.map(|value| ("ORDERS_ARN", value)));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    };
    check(Some(arn)).ended(ExitCode::Done);
    let unset = check(None);
    unset.ended(ExitCode::InvalidModule).said(&["SFK0034", "`ORDERS_ARN` is not set", "`${ORDERS_ARN:-default}`"]);
    let wrong = check(Some("hunter2"));
    wrong.ended(ExitCode::InvalidModule).said(&["SFK0019", "the value of `${ORDERS_ARN}`"]);
    assert!(!wrong.err.contains("hunter2") && !wrong.out.contains("hunter2"), "{}{}", wrong.out, wrong.err);
}
