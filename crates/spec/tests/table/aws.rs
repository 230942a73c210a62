//! Regions, endpoints and credentials.

use statefun_kinesis_spec::{IngressSpec, Options, SourceFile, read_module};
use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use crate::{check, check_all, ingress};

/// The ingress that comes of these lines, whatever notes and warnings there are.
#[track_caller]
fn read(lines: &str) -> IngressSpec {
    let checked = read_module(&[SourceFile::new("f", ingress(lines))], &Options::default());
    let module = checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    module.ingresses[0].clone()
}

#[test]
fn without_region_and_credentials_the_default_chain_finds_them() {
    let ingress = read("");
    assert_eq!((ingress.region, ingress.credentials), (AwsRegion::Default, AwsCredentials::Default));
    let ingress = read("awsRegion: {type: default}\nawsCredentials: {type: default}");
    assert_eq!((ingress.region, ingress.credentials), (AwsRegion::Default, AwsCredentials::Default));
}

#[test]
fn an_endpoint_with_http_or_https() {
    for endpoint in ["http://localhost:4566", "https://kinesis.example"] {
        let ingress = read(&format!("awsRegion: {{type: custom-endpoint, endpoint: '{endpoint}', id: us-east-1}}"));
        let expected = AwsRegion::CustomEndpoint { endpoint: endpoint.to_owned(), id: "us-east-1".to_owned() };
        assert_eq!(ingress.region, expected);
    }
}

#[test]
fn an_endpoint_without_a_scheme() {
    check_all(
        &[&ingress("awsRegion: {type: custom-endpoint, endpoint: localhost:4566, id: us-east-1}")],
        "
        f:4:48: error[SFK0022]: `localhost:4566` is not an address with http:// or https://
          help: write http://localhost:4566
        ",
    );
}

#[test]
fn an_invalid_endpoint() {
    check(
        &ingress("awsRegion: {type: custom-endpoint, endpoint: 'http://:4566', id: us-east-1}"),
        "f:4:48: error[SFK0022]: `http://:4566` is not the address of a server",
    );
    check(
        &ingress("awsRegion: {type: custom-endpoint, endpoint: 'http://me:hunter2@host', id: us-east-1}"),
        "f:4:48: error[SFK0022]: an endpoint has no user and no password in it",
    );
}

#[test]
fn an_endpoint_without_its_fields() {
    check_all(
        &[&ingress("awsRegion:\n  type: custom-endpoint")],
        "
        f:4:3: error[SFK0010]: `awsRegion` of type `custom-endpoint` needs the field `endpoint`
          help: for example
          help: endpoint: http://localhost:4566
        f:4:3: error[SFK0010]: `awsRegion` of type `custom-endpoint` needs the field `id`
          help: for example
          help: id: us-east-1
        ",
    );
}

#[test]
fn a_field_of_another_type_of_region() {
    check_all(
        &[&ingress("awsRegion: {type: specific, id: us-east-1, endpoint: 'http://localhost:4566'}")],
        "
        f:4:46: error[SFK0011]: `awsRegion` of type `specific` has no field `endpoint`
          help: `endpoint` belongs to type `custom-endpoint`
        ",
    );
}

#[test]
fn a_region_that_is_only_a_text() {
    check_all(
        &[&ingress("awsRegion: us-east-1")],
        "
        f:4:14: error[SFK0013]: `awsRegion` must be a mapping, not a string
          help: write it as
          help: awsRegion:
          help:   type: specific
          help:   id: us-east-1
        ",
    );
}

#[test]
fn a_region_without_a_type() {
    check_all(
        &[&ingress("awsRegion:\n  id: us-east-1")],
        "
        f:4:3: error[SFK0010]: `awsRegion` needs the field `type`
          help: it is one of `specific`, `custom-endpoint` and `default`, for example
          help: awsRegion:
          help:   type: specific
          help:   id: us-east-1
        ",
    );
}

#[test]
fn a_misspelt_type_is_not_also_missing() {
    check_all(
        &[&ingress("awsRegion:\n  typ: specific\n  id: us-east-1")],
        "
        f:5:5: error[SFK0011]: `awsRegion` has no field `typ`
          help: did you mean `type`?
        ",
    );
}

#[test]
fn an_unknown_type() {
    check_all(
        &[&ingress("awsRegion: {type: specfic, id: us-east-1}\nawsCredentials: {type: iam}")],
        "
        f:4:21: error[SFK0014]: `awsRegion` has no type `specfic`
          help: did you mean `specific`?
        f:5:26: error[SFK0014]: `awsCredentials` has no type `iam`
          help: the types are `profile`, `basic`, `web-identity`, `assume-role` and `default`
        ",
    );
}

#[test]
fn an_id_that_is_not_a_region() {
    check(
        &ingress("awsRegion: {type: specific, id: us east 1}"),
        "f:4:35: error[SFK0021]: `us east 1` is not the id of a region: it has small letters, digits and `-`",
    );
}

#[test]
fn a_profile_and_its_file() {
    let ingress = read("awsCredentials: {type: profile, profile: dev, profilePath: /etc/aws/credentials}");
    let expected = AwsCredentials::Profile { name: "dev".to_owned(), path: Some("/etc/aws/credentials".into()) };
    assert_eq!(ingress.credentials, expected);
}

#[test]
fn a_profile_by_statefuns_name_for_it() {
    let lines = "awsCredentials: {type: profile, profileName: dev}";
    assert_eq!(read(lines).credentials, AwsCredentials::Profile { name: "dev".to_owned(), path: None });
    check(&ingress(lines), "f:4:35: note[SFK0033]: `profileName` is Apache StateFun's name for `profile`");
    check(
        &ingress("awsCredentials: {type: profile, profileName: dev, profile: dev}"),
        "
        f:4:35: note[SFK0033]: `profileName` is Apache StateFun's name for `profile`
        f:4:53: error[SFK0012]: `awsCredentials` of type `profile` has the field `profile` twice
        ",
    );
}

#[test]
fn keys_in_the_file() {
    let keys = "awsCredentials: {type: basic, accessKeyId: AKIAEXAMPLE, secretAccessKey: hunter2}";
    check_all(
        &[&ingress(keys)],
        "
        f:4:59: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
          help: prefer a profile, or the default chain (environment, web identity, instance role)
        ",
    );
    let AwsCredentials::Basic { access_key_id, secret_access_key, .. } = read(keys).credentials else {
        panic!("the keys are read")
    };
    assert_eq!((access_key_id.expose(), secret_access_key.expose()), ("AKIAEXAMPLE", "hunter2"));
}

#[test]
fn keys_for_a_stand_in_of_aws_are_no_secret() {
    let keys = "awsCredentials: {type: basic, accessKeyId: test, secretAccessKey: test}";
    let local = "awsRegion: {type: custom-endpoint, endpoint: 'http://localhost:4566', id: us-east-1}";
    check(&ingress(&format!("{keys}\n{local}")), "");
    let real = local.replace("http://localhost:4566", "https://vpce-1.kinesis.us-east-1.vpce.amazonaws.com");
    check(
        &ingress(&format!("{keys}\n{real}")),
        "f:4:52: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them",
    );
}

#[test]
fn keys_without_the_secret() {
    check(
        &ingress("awsCredentials: {type: basic, accessKeyId: AKIAEXAMPLE}"),
        "f:4:3: error[SFK0010]: `awsCredentials` of type `basic` needs the field `secretAccessKey`",
    );
}

#[test]
fn a_key_that_is_a_number_is_not_quoted_in_the_help() {
    check_all(
        &[&ingress("awsCredentials: {type: basic, accessKeyId: 1234567890, secretAccessKey: 5}")],
        "
        f:4:46: error[SFK0013]: `accessKeyId` must be a string, not a number
          help: put it in quotes
        f:4:58: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
          help: prefer a profile, or the default chain (environment, web identity, instance role)
        f:4:75: error[SFK0013]: `secretAccessKey` must be a string, not a number
          help: put it in quotes
        ",
    );
}

#[test]
fn temporary_keys_with_their_token() {
    let local = "awsRegion: {type: custom-endpoint, endpoint: 'http://localhost:4566', id: us-east-1}";
    let keys = "awsCredentials: {type: basic, accessKeyId: a, secretAccessKey: b, sessionToken: c}";
    check(&ingress(&format!("{local}\n{keys}")), "");
    let AwsCredentials::Basic { session_token, .. } = read(keys).credentials else { panic!("the keys are read") };
    assert_eq!(session_token.unwrap().expose(), "c");
}

#[test]
fn a_role_by_web_identity() {
    let role = "arn:aws:iam::123456789012:role/orders";
    let lines = format!("awsCredentials: {{type: web-identity, roleArn: '{role}', tokenFile: /token}}");
    check(&ingress(&lines), "");
    let expected =
        AwsCredentials::WebIdentity { role_arn: role.into(), token_file: "/token".into(), session_name: None };
    assert_eq!(read(&lines).credentials, expected);
    let named = lines.replace("/token}", "/token, sessionName: orders}");
    let AwsCredentials::WebIdentity { session_name, .. } = read(&named).credentials else { panic!("it is one") };
    assert_eq!(session_name.as_deref(), Some("orders"));
}

#[test]
fn a_role_that_is_assumed() {
    let role = "arn:aws-cn:iam::123456789012:role/path/orders";
    let lines =
        format!("awsCredentials: {{type: assume-role, roleArn: '{role}', sessionName: orders, externalId: hunter2}}");
    check(&ingress(&lines), "");
    let AwsCredentials::AssumeRole { role_arn, session_name, external_id } = read(&lines).credentials else {
        panic!("it is one")
    };
    assert_eq!((role_arn.as_str(), session_name.as_deref()), (role, Some("orders")));
    assert_eq!(external_id.unwrap().expose(), "hunter2");
    check(&ingress(&format!("awsCredentials: {{type: assume-role, roleArn: '{role}'}}")), "");
}

#[test]
fn a_role_without_its_fields() {
    check(
        &ingress("awsCredentials: {type: web-identity}"),
        "
        f:4:3: error[SFK0010]: `awsCredentials` of type `web-identity` needs the field `roleArn`
        f:4:3: error[SFK0010]: `awsCredentials` of type `web-identity` needs the field `tokenFile`
        ",
    );
    check_all(
        &[&ingress("awsCredentials: {type: assume-role, role: orders}")],
        "
        f:4:39: error[SFK0011]: `awsCredentials` of type `assume-role` has no field `role`
          help: did you mean `roleArn`?
        ",
    );
}

#[test]
fn an_arn_that_is_not_of_a_role() {
    for arn in ["orders", "arn:aws:iam::123456789012:user/orders", "arn:aws:sts::123456789012:assumed-role/orders/x"] {
        check_all(
            &[&ingress(&format!("awsCredentials: {{type: assume-role, roleArn: '{arn}'}}"))],
            &format!(
                "
                f:4:48: error[SFK0043]: `{arn}` is not the ARN of a role
                  help: it is of the form `arn:aws:iam::<12-digit account>:role/<name>`
                "
            ),
        );
    }
}

#[test]
fn fields_of_another_type_of_credentials() {
    check_all(
        &[&ingress("awsCredentials: {type: profile, profile: dev, externalId: x}")],
        "
        f:4:49: error[SFK0011]: `awsCredentials` of type `profile` has no field `externalId`
          help: `externalId` belongs to type `assume-role`
        ",
    );
}
