//! What `run` does with good modules, and what it says when something it needs is missing.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use statefun_kinesis::ExitCode;

use crate::scene::{INGRESS, Ran, command, example, folder, run, run_with_input};

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
fn each_line_on_stderr_is_json_on_demand() {
    let folder = folder("log-format");
    let module = folder.join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    let module = module.to_str().unwrap();
    let record = r#"{"stream":"orders-stream","partitionKey":"a","data":"b"}"#;
    let arguments = ["run", module, "--client", "memory", "--functions", "log", "--input", "-", "--log-format", "json"];
    let lines = |ran: &Ran| -> Vec<Value> {
        let line = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for field in ["timestamp", "level", "message", "target"] {
                assert!(value[field].is_string(), "{field}: {line}");
            }
            value
        };
        ran.err.lines().map(line).collect()
    };
    let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
    let ran = run_with_input(&arguments, record);
    ran.ended(ExitCode::Done);
    let told = lines(&ran);
    assert!(told.iter().any(|line| message(line).starts_with("ready: ")), "{}", ran.err);
    assert!(message(told.last().unwrap()).starts_with("done after "), "{}", ran.err);
    let ran = run_with_input(&arguments, "nothing");
    ran.ended(ExitCode::InvalidInput);
    let told = lines(&ran);
    let last = told.last().unwrap();
    assert!(last["level"] == "ERROR" && message(last).starts_with("error: "), "{}", ran.err);

    fs::write(module, INGRESS.replace("v1/egress", "v1/egres")).unwrap();
    let ran = run_with_input(&arguments, record);
    ran.ended(ExitCode::InvalidModule);
    let told = lines(&ran);
    assert!(told.len() == 2 && message(&told[0]).contains("SFK0007"), "{}", ran.err);
    let mut by_variable = command(&arguments[..arguments.len() - 2]);
    let output = by_variable.env("STATEFUN_KINESIS_LOG_FORMAT", "json").output().unwrap();
    assert!(output.stderr.starts_with(b"{"), "{}", String::from_utf8_lossy(&output.stderr));
    run(&["run", module, "--log-format", "xml"]).ended(ExitCode::Usage).said(&["text", "json"]);
}

#[test]
fn an_invalid_record_ends_a_run_with_a_hint_to_the_setting() {
    let module = folder("invalid-record").join("module.yaml");
    fs::write(&module, INGRESS).unwrap();
    // The magic bytes of an aggregate and the MD5 of a message that is not one.
    let record = r#"{"stream":"orders-stream","partitionKey":"a","dataBase64":"84mawhq+vkOhPWMgtMZ1GVi/U5in"}"#;
    let arguments = ["run", module.to_str().unwrap(), "--client", "memory", "--functions", "log", "--input", "-"];
    run_with_input(&arguments, record).ended(ExitCode::InvalidRecord).said(&[
        "orders-stream",
        "hint: ",
        "invalidRecordHandling",
        "`skip` or `dead-letter`",
    ]);
    let skip = INGRESS.replace("  startup", "  invalidRecordHandling: {type: skip}\n  startup");
    fs::write(&module, skip).unwrap();
    run_with_input(&arguments, record).ended(ExitCode::Done);
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
        .said(&["cannot be used with --client memory"]);
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
        (format!("{good}\n[]\n\n{{}}"), &["input.jsonl:3: ", "input.jsonl:5: ", "2 invalid lines"]),
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
fn a_missing_file_is_named_with_a_hint() {
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
    check("--output", &below, ExitCode::Output, "create its directory first");
    check("--output", &folder, ExitCode::Output, "name a file in it");
}

#[test]
fn a_run_names_the_ingress_whose_credentials_are_missing() {
    let module = folder("run-profile").join("module.yaml");
    let profile = "  awsCredentials: {type: profile, profile: nobody}\n  startupPosition";
    fs::write(&module, INGRESS.replace("  startupPosition", profile)).unwrap();
    run(&["run", module.to_str().unwrap(), "--functions", "log"]).ended(ExitCode::Setup).said(&[
        "cannot create an AWS client for the ingress example/orders: the profile nobody",
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
    check(&["--endpoint-url", "http://127.0.0.1:9"], "hint: calls went to http://127.0.0.1:9");
}

#[test]
fn functions_without_an_endpoint_are_reported_before_anything_is_read() {
    run(&["run", &example("module.yaml"), "--client", "memory"])
        .ended(ExitCode::InvalidModule)
        .said(&["the module has no endpoint for the function example/order-handler", "--functions log"]);
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
