use statefun_kinesis_aws::{BuildError, check_endpoint};

/// Takes the value of `--endpoint-url`.
pub(super) fn endpoint_url(text: &str) -> Result<String, BuildError> {
    check_endpoint(text).map(|()| text.to_owned())
}
