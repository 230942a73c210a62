//! What the environment says about connections to AWS, beside what the SDK reads by itself.

use std::{ffi::OsString, path::PathBuf};

use statefun_kinesis_aws::AwsKinesisBuilder;

/// The variables of other AWS tools and of curl that the SDK does not read, or reads in part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// `AWS_CA_BUNDLE`: the file of the trusted certificates.
    ca_bundle: Option<PathBuf>,
    /// Whether `NO_PROXY` has an entry `*`, which is for all hosts. The SDK applies it to names only, not to IP addresses.
    no_proxies: bool,
}

impl Network {
    /// Reads variables. An empty one counts as not set.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let ca_bundle = variable("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        // The second name counts only without the first one, as in the SDK.
        let hosts = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
        let no_proxies = hosts.to_string_lossy().split(',').any(|host| host.trim() == "*");
        Self { ca_bundle, no_proxies }
    }

    /// Applies this to a client.
    pub(crate) fn apply(&self, builder: AwsKinesisBuilder) -> AwsKinesisBuilder {
        let Self { ca_bundle, no_proxies } = self;
        let builder = builder.use_proxies(!no_proxies);
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
        let expected = Network { ca_bundle: ca_bundle.map(PathBuf::from), no_proxies };
        assert_eq!(Network::of(value), expected, "{variables:?}");
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
    fn variables_arrive_at_the_client() {
        let shown = |ca_bundle: Option<&str>, no_proxies| {
            let network = Network { ca_bundle: ca_bundle.map(PathBuf::from), no_proxies };
            format!("{:?}", network.apply(AwsKinesis::builder()))
        };
        let usual = shown(None, false);
        assert_eq!(usual, format!("{:?}", AwsKinesis::builder()));
        assert!(shown(Some("/etc/ca.pem"), false).contains("/etc/ca.pem"));
        assert_ne!(shown(None, true), usual);
    }
}
