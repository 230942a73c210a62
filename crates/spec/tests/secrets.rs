//! Keys and passwords reach no message and no debug output, and whoever shows the text knows what to mask.

use statefun_kinesis_spec::{Options, SourceFile, read_module};

/// What stands in for keys in the files below.
const SECRETS: [&str; 2] = ["AKIAHUNTER1", "hunter2"];

#[track_caller]
fn check(yaml: &str) {
    assert!(SECRETS.iter().any(|secret| yaml.contains(secret)), "the file has a secret in it");
    let files = [SourceFile::new("other.yaml", "# nothing"), SourceFile::new("module.yaml", yaml)];
    let checked = read_module(&files, &Options::default());

    let mut said = format!("{checked:?} {checked:#?} {files:?}");
    for diagnostic in &checked.diagnostics {
        said.push_str(&diagnostic.to_line(&files));
    }
    for secret in SECRETS {
        assert!(!said.contains(secret), "{secret} was printed of\n{yaml}\n{said}");
    }

    assert!(checked.secret_spans(0).is_empty());
    let mut shown = yaml.as_bytes().to_vec();
    for span in checked.secret_spans(1) {
        shown[span.clone()].fill(b'*');
    }
    let shown = String::from_utf8(shown).unwrap();
    for secret in SECRETS {
        assert!(!shown.contains(secret), "{secret} is not masked in\n{shown}");
    }
    // Masks are no blanket: the names beside the secrets stay readable.
    assert!(shown.contains("kind"), "{shown}");
}

/// An egress with these credentials.
#[track_caller]
fn check_credentials(credentials: &str) {
    check(&format!(
        "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n  streamName: s\n  awsCredentials: {credentials}\n"
    ));
}

#[test]
fn in_their_place() {
    check_credentials("{type: basic, accessKeyId: AKIAHUNTER1, secretAccessKey: hunter2}");
    check_credentials(
        "\n    type: basic\n    accessKeyId: AKIAHUNTER1\n    secretAccessKey: |\n      hunter2\n      hunter2",
    );
    check_credentials("{type: basic, accessKeyId: 'AKIAHUNTER1', secretAccessKey: \"hunter2\" }");
}

#[test]
fn of_another_type_than_a_string() {
    check_credentials("{type: basic, accessKeyId: [AKIAHUNTER1], secretAccessKey: {key: hunter2}}");
    check_credentials("{type: basic, accessKeyId: !key AKIAHUNTER1, secretAccessKey: !!int hunter2}");
    check_credentials("{type: basic, accessKeyId: \"${AKIAHUNTER1}\", secretAccessKey: 'a${hunter2}'}");
}

#[test]
fn under_another_name() {
    check_credentials("{type: basic, accessKeyID: AKIAHUNTER1, secret_acces_key: hunter2}");
    check_credentials("{type: profile, profile: default, accessKeyId: AKIAHUNTER1, secretAccessKey: hunter2}");
    check_credentials("{type: iam, accessKeyId: AKIAHUNTER1, sessionToken: hunter2}");
    check_credentials("AKIAHUNTER1:hunter2");
    check_credentials("[AKIAHUNTER1, hunter2]");
}

#[test]
fn twice() {
    check_credentials(
        "{type: basic, accessKeyId: AKIAHUNTER1, accessKeyId: x, secretAccessKey: x, secretAccessKey: hunter2}",
    );
}

#[test]
fn through_an_alias() {
    check_credentials("{type: basic, accessKeyId: &key hunter2, secretAccessKey: *key}");
}

/// What is wrong with the value in the other place must be said without it.
#[test]
fn through_an_alias_in_another_field() {
    for (value, field) in [
        ("&key hunter2", "id: *key"),
        ("&key \"hunter2\\x21\"", "maxOutstandingRecords: *key"),
        ("&key hunter2", "order: *key"),
        ("&key hunter2", "awsRegion: {type: *key}"),
        ("&key hunter2", "awsRegion: {type: specific, id: *key}"),
        ("&key hunter2", "awsRegion: {type: custom-endpoint, id: x, endpoint: *key}"),
        ("&key hunter2", "clientConfigProperties: {*key : x}"),
        ("&key hunter2", "*key : x"),
    ] {
        check(&format!(
            "kind: io.statefun.kinesis.v1/egress\nspec:\n  awsCredentials: {{type: basic, accessKeyId: {value}, secretAccessKey: x}}\n  streamName: s\n  {field}\n"
        ));
    }
    check("kind: !secretAccessKey: hunter2\n---\n@\n---\nkind: a\n");
}

#[test]
fn as_a_tag() {
    check_credentials("{type: basic, accessKeyId: !hunter2 x, secretAccessKey: hunter2}");
}

#[test]
fn variables_in_documents_that_are_not_read() {
    check("kind: io.statefun.kafka.v1/ingress\nspec: {password: hunter2}\n");
    check("kind: io.statefun.kinesis.v1/egres\nspec: {awsCredentials: {secretAccessKey: hunter2}}\n");
    check("# no kind\nawsCredentials: {secretAccessKey: hunter2}\n");
}

#[test]
fn variables_in_other_fields_that_have_them() {
    check(
        "kind: io.statefun.endpoints.v2/http\nspec:\n  functions: a/*\n  urlPathTemplate: http://h/\n  transport: {client_key_password: hunter2}\n",
    );
    check(
        "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n  streamName: s\n  clientConfigProperties:\n    - aws.credentials.provider.basic.accesskeyid: AKIAHUNTER1\n    - aws.credentials.provider.basic.secretkey: hunter2\n",
    );
}

#[test]
fn variables_in_a_text_that_is_not_yaml() {
    check_credentials("{type: basic, accessKeyId: AKIAHUNTER1, secretAccessKey: \"hunter2}");
    check_credentials("{type: basic, accessKeyId: AKIAHUNTER1, secretAccessKey: hunter2");
    check_credentials("\n    type: basic\n    accessKeyId: AKIAHUNTER1: x\n    secretAccessKey: @hunter2");
    check_credentials("\n    type: basic\n    secretAccessKey:\n\thunter2");
    check_credentials("{type: basic, accessKeyId: AKIAHUNTER1, secretAccessKey: hunter2\0}");
}
