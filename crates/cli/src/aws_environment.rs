//! What the environment says about connections to AWS and about credentials, beside what the SDK makes of it.

use std::{ffi::OsString, path::PathBuf};

use statefun_kinesis_aws::AwsKinesisBuilder;

/// The variables of other AWS tools and of curl that the SDK does not read, or reads in part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AwsEnvironment {
    /// `AWS_CA_BUNDLE`: the file of the trusted certificates.
    ca_bundle: Option<PathBuf>,
    /// Whether `NO_PROXY` has an entry `*`, which is for all hosts. The SDK applies it to names only, not to IP addresses.
    no_proxies: bool,
    /// The variables of the default chain of credentials that are set, for its errors.
    chain: Vec<String>,
}

/// The variables that decide where the default chain looks for credentials, and whether their values may be shown.
const CHAIN: [(&str, bool); 8] = [
    ("AWS_ACCESS_KEY_ID", false),
    ("AWS_PROFILE", true),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", true),
    ("AWS_ROLE_ARN", true),
    // It may have a token in it.
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", false),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", false),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", true),
    ("AWS_EC2_METADATA_DISABLED", true),
];

impl AwsEnvironment {
    /// Reads variables. An empty one counts as not set.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let ca_bundle = variable("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        // The second name counts only without the first one, as in the SDK.
        let hosts = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
        let no_proxies = hosts.to_string_lossy().split(',').any(|host| host.trim() == "*");
        let shown = |(name, is_shown): (&str, bool)| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some(if is_shown { format!("{name}={}", value.to_string_lossy()) } else { name.to_owned() })
        };
        let chain = CHAIN.into_iter().filter_map(shown).collect();
        Self { ca_bundle, no_proxies, chain }
    }

    /// Applies this to a client.
    pub(crate) fn apply(&self, builder: AwsKinesisBuilder) -> AwsKinesisBuilder {
        let Self { ca_bundle, no_proxies, chain } = self;
        let mut builder = builder.use_proxies(!no_proxies);
        if !chain.is_empty() {
            builder = builder.default_chain_name(format!("the AWS default chain, with {},", chain.join(", ")));
        }
        match ca_bundle {
            Some(file) => builder.ca_bundle(file),
            None => builder,
        }
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_aws::AwsKinesis;

    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], ca_bundle: Option<&str>, no_proxies: bool) {
        let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).into());
        let expected = AwsEnvironment { ca_bundle: ca_bundle.map(PathBuf::from), no_proxies, chain: vec![] };
        assert_eq!(AwsEnvironment::of(value), expected, "{variables:?}");
    }

    #[test]
    fn variables_are_read_as_other_tools_read_them() {
        check(&[], None, false);
        check(&[("AWS_CA_BUNDLE", "/etc/ca.pem")], Some("/etc/ca.pem"), false);
        check(&[("AWS_CA_BUNDLE", "")], None, false);
        for all in ["*", " * ", "localhost,*", "*,10.0.0.0/8"] {
            check(&[("NO_PROXY", all)], None, true);
            check(&[("no_proxy", all)], None, true);
        }
        for some in ["", "localhost", "*.example.com", "10.0.0.1,example.com"] {
            check(&[("NO_PROXY", some)], None, false);
            check(&[("NO_PROXY", some), ("no_proxy", "*")], None, false);
        }
    }

    #[test]
    fn the_default_chain_is_named_with_its_variables_and_without_secrets() {
        let set = |name: &str| match name {
            "AWS_SECRET_ACCESS_KEY" | "AWS_SESSION_TOKEN" => Some("hunter2".into()),
            "AWS_ACCESS_KEY_ID" | "AWS_CONTAINER_CREDENTIALS_FULL_URI" => Some("hunter3".into()),
            "AWS_WEB_IDENTITY_TOKEN_FILE" => Some("/var/run/token".into()),
            "AWS_PROFILE" => Some("".into()),
            _ => None,
        };
        let shown = format!("{:?}", AwsEnvironment::of(set).apply(AwsKinesis::builder()));
        let name = "the AWS default chain, with AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/token, \
                    AWS_CONTAINER_CREDENTIALS_FULL_URI,";
        assert!(shown.contains(name) && !shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn variables_arrive_at_the_client() {
        let shown = |ca_bundle: Option<&str>, no_proxies| {
            let environment = AwsEnvironment { ca_bundle: ca_bundle.map(PathBuf::from), no_proxies, chain: vec![] };
            format!("{:?}", environment.apply(AwsKinesis::builder()))
        };
        let usual = shown(None, false);
        assert_eq!(usual, format!("{:?}", AwsKinesis::builder()));
        assert!(shown(Some("/etc/ca.pem"), false).contains("/etc/ca.pem"));
        assert_ne!(shown(None, true), usual);
    }
}
