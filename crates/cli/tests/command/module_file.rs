//! How the command reports module files with errors.

use std::fs;

use statefun_kinesis::ExitCode;

use crate::scene::{INGRESS, Ran, command, folder, run};

#[cfg(unix)]
#[test]
fn an_endless_device_is_read_only_up_to_the_limit_of_module_files() {
    run(&["check", "/dev/zero"]).ended(ExitCode::InvalidModule).said(&["SFK0003", "more than 786432 bytes"]);
    run(&["check", "/dev/null"]).ended(ExitCode::InvalidModule).said(&["no documents"]);
}

#[test]
fn a_thousand_problems_in_a_very_long_line_are_reported_by_their_places() {
    let module = folder("long-line").join("module.yaml");
    let fields: Vec<String> = (0..1_200).map(|number| format!("field{number}: 0")).collect();
    let spec = format!("{{id: a/b, streamName: out, {}}}", fields.join(", "));
    let comment = "x".repeat(700 << 10);
    fs::write(&module, format!("kind: io.statefun.kinesis.v1/egress\nspec: {spec} # {comment}\n")).unwrap();
    let ran = run(&["check", module.to_str().unwrap()]);
    ran.ended(ExitCode::InvalidModule).said(&["error[SFK0011]: ", "module.yaml:2:34"]);
    // More was wrong than is shown, and the reader learns it.
    ran.said(&["error[SFK0035]: 200 more of severity `error` are not listed"]);
    // The line is too long to be shown a thousand times.
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
