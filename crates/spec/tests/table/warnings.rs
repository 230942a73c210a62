//! What a module runs with, but probably not as it was meant.

use statefun_kinesis_spec::Options;

use crate::{check, check_all, check_all_with, check_with, egress, endpoint, ingress, streams};

/// An ingress that sends to `example/order-handler`, and an endpoint at this address, from line 10 on.
fn served_at(url: &str) -> String {
    format!("{}---\n{}", ingress(""), endpoint(&format!("functions: example/*\nurlPathTemplate: {url}")))
}

#[test]
fn requests_that_stay_on_the_machine_or_are_encrypted() {
    for url in [
        "http://localhost:8000/{function.name}",
        "http://127.0.0.1/",
        "http://[::1]:8000/",
        "http+unix:///run/functions.sock/serve",
        "https://functions.example/{function.name}",
        "https+unix:///run/functions.sock",
    ] {
        check(&served_at(&format!("'{url}'")), "");
    }
}

#[test]
fn requests_without_encryption() {
    check_all(
        &[&served_at("http://orders.svc:8000/{function.name}")],
        "
        f:12:20: warning[SFK0038]: requests to `orders.svc` go over the network unencrypted
          help: anyone on the network can read and change the messages and the state of the functions: use https://, or http+unix:// on the same machine
        ",
    );
    for (url, host) in [
        ("http://10.0.0.7/", "10.0.0.7"),
        ("http://192.168.1.5:80", "192.168.1.5"),
        ("HTTP://[fd00::1]:80/", "[fd00::1]"),
    ] {
        check(
            &served_at(&format!("'{url}'")),
            &format!("f:12:20: warning[SFK0038]: requests to `{host}` go over the network unencrypted"),
        );
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    check(
        &served_at("https://me:hunter2@orders.svc/"),
        "f:12:20: error[SFK0022]: an endpoint has no user and no password in its address",
    );
    check(
        &served_at("ftp://me:hunter2@orders.svc/"),
        "f:12:20: error[SFK0022]: a text is not a valid address; what stands here may be a secret, and is not shown",
    );
    check(
        &egress("streamName: https://me:hunter2@host/"),
        "f:4:15: error[SFK0020]: a text is not the short name of a Kinesis stream; what stands here may be a secret, and is not shown",
    );
}

#[test]
fn an_endpoint_that_no_ingress_sends_to() {
    let other = endpoint("functions: other/*\nurlPathTemplate: http://localhost/");
    check(
        &format!("{}---\n{other}", served_at("http://localhost/")),
        "f:16:14: note[SFK0039]: no ingress sends to `other/*`: only other functions can",
    );
}

#[test]
fn endpoints_that_nothing_reaches() {
    check(
        &endpoint("functions: example/*\nurlPathTemplate: http://localhost/"),
        "f:3:14: warning[SFK0039]: nothing sends to `example/*`: no ingress of the module has a target that is served",
    );
    // All that the namespace gets is served by the endpoint that names the function.
    let specific = endpoint("functions: example/order-handler\nurlPathTemplate: http://localhost/");
    check(
        &format!("{}---\n{specific}", served_at("http://localhost/")),
        "f:11:14: note[SFK0039]: no ingress sends to `example/*`: only other functions can",
    );
}

#[test]
fn an_endpoint_is_not_said_to_be_unreached_when_something_else_is_wrong() {
    let broken = ingress("").replace("targets", "tragets");
    let endpoint = endpoint("functions: example/*\nurlPathTemplate: http://localhost/");
    check(&format!("{broken}---\n{endpoint}"), "f:7:7: error[SFK0011]: a stream has no field `tragets`");
    let mut options = Options::default();
    options.ignore_unsupported = true;
    check_with(
        &options,
        &format!("kind: io.statefun.kafka.v1/ingress\n---\n{endpoint}"),
        "f:1:7: warning[SFK0008]: the kind `io.statefun.kafka.v1/ingress` is not supported: the document is skipped",
    );
}

#[test]
fn latest_where_no_position_is_stored() {
    let mut options = Options::default();
    options.stored_positions = Some(false);
    check_all_with(
        &options,
        &[&ingress("startupPosition: {type: latest}")],
        "
        f:4:3: warning[SFK0040]: `example/orders` starts at `latest` and has no stored position: records that are in its streams now are not read
          help: to read them, write
          help: startupPosition:
          help:   type: trim-horizon
        ",
    );
    check_with(
        &options,
        &ingress(""),
        "f:3:7: warning[SFK0040]: `example/orders` starts at `latest` and has no stored position: records that are in its streams now are not read",
    );
    check_with(&options, &ingress("startupPosition: {type: trim-horizon}"), "");
    options.stored_positions = Some(true);
    check_with(&options, &ingress(""), "");
    options.stored_positions = None;
    check_with(&options, &ingress(""), "");
}

#[test]
fn a_misspelt_region() {
    check_all(
        &[&egress("streamName: s\nawsRegion: {type: specific, id: us-esat-1}")],
        "
        f:5:35: warning[SFK0044]: unknown region `us-esat-1`
          help: did you mean `us-east-1`? a new AWS region works too
        ",
    );
    check_all(
        &[&egress("streamName: s\nawsRegion: {type: specific, id: US-East-1}")],
        "
        f:5:35: error[SFK0021]: `US-East-1` is not the id of a region: it has small letters, digits and `-`
          help: did you mean `us-east-1`?
        ",
    );
    check(
        &egress("streamName: s\nawsRegion: {type: specific, id: moon-base-1}"),
        "f:5:35: warning[SFK0044]: unknown region `moon-base-1`",
    );
    // A stand-in of AWS may take any.
    check(
        &egress("streamName: s\nawsRegion: {type: custom-endpoint, endpoint: 'http://localhost:4566', id: local}"),
        "",
    );
}

#[test]
fn a_misspelt_region_in_an_arn() {
    check(
        &streams("- {streamArn: 'arn:aws:kinesis:eu-wset-1:123456789012:stream/s', valueType: a/b, targets: [a/c]}"),
        "f:5:19: warning[SFK0044]: unknown region `eu-wset-1`",
    );
}

#[test]
fn words_that_are_booleans_elsewhere() {
    for word in ["no", "Yes", "on", "OFF"] {
        check_all(
            &[&egress(&format!("streamName: {word}"))],
            &format!(
                "
                f:4:15: warning[SFK0045]: `{word}` without quotes is a boolean in YAML 1.1, which StateFun reads
                  help: put it in quotes: \"{word}\"
                "
            ),
        );
        check(&egress(&format!("streamName: '{word}'")), "");
    }
    // What is wrong anyway is said once.
    check(
        "kind: io.statefun.kinesis.v1/egress\nspec: {id: no, streamName: s}\n",
        "f:2:12: error[SFK0017]: `no` is not a valid type name: expected `<namespace>/<name>`, both not empty",
    );
}

#[test]
fn numbers_with_leading_zeros_are_not_texts() {
    check_all(
        &[&egress("streamName: s\nawsCredentials: {type: profile, profile: 0123}")],
        "
        f:5:44: error[SFK0013]: `profile` must be a string, not a number
          help: put it in quotes: \"0123\"
        ",
    );
    check_all(
        &[&egress("streamName: s\nawsCredentials: {type: basic, accessKeyId: 0123, secretAccessKey: '1'}")],
        "
        f:5:46: error[SFK0013]: `accessKeyId` must be a string, not a number
          help: put it in quotes
        f:5:52: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
          help: prefer a profile, or the default chain (environment, web identity, instance role)
        ",
    );
}
