//! Checks the URLs of custom endpoints.

use crate::BuildError;

/// Checks whether a URL can be an endpoint of a client, as [`build`](crate::AwsKinesisBuilder::build) does. For
/// programs that check user input early. Does not use the network.
///
/// # Errors
///
/// [`BuildError::InvalidEndpoint`]. The SDK itself would fail only at the first call.
///
/// ```
/// assert!(statefun_kinesis_aws::check_endpoint("http://localhost:4566").is_ok());
/// assert!(statefun_kinesis_aws::check_endpoint("localhost:4566").is_err());
/// ```
pub fn check_endpoint(url: &str) -> Result<(), BuildError> {
    let invalid = |reason| Err(BuildError::InvalidEndpoint { url: url.to_owned(), reason });
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return invalid("it must start with http:// or https://");
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic())
        || rest.contains(['?', '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}'])
    {
        return invalid("it has characters that a plain URL has not");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return invalid("a user name or password has no place in it");
    }
    // The last colon separates the port, unless it is inside an IPv6 address in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return invalid("it names no host");
    }
    match port {
        Some(port) if !matches!(port.parse::<u16>(), Ok(1..)) => invalid("the port must be a number from 1 to 65535"),
        _ => Ok(()),
    }
}
