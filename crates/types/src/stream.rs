use std::{fmt, str::FromStr, sync::Arc};

use crate::InvalidValue;

/// The short name of a stream: 1 to 128 of `a-z A-Z 0-9 _ . -` (API reference, CreateStream). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
}

impl FromStr for StreamName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidValue::new("stream name", text, "1 to 128 letters, digits, `_`, `.` or `-`"))
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The ARN of a stream: `arn:<partition>:kinesis:<region>:<12-digit account>:stream/<name>`. Cheap to clone.
///
/// ```
/// use statefun_kinesis_types::StreamArn;
///
/// let arn: StreamArn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders".parse()?;
/// assert_eq!((arn.partition(), arn.region(), arn.account()), ("aws-cn", "cn-north-1", "123456789012"));
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamArn(Arc<str>);

impl StreamArn {
    const EXPECTED: &str = "arn:aws:kinesis:<region>:<12-digit account>:stream/<name>";

    /// The ARN of a stream, put together from its parts.
    ///
    /// # Errors
    ///
    /// When the region is empty or has other characters than `a-z 0-9 -`, or the account is not 12 digits.
    pub fn new(region: &str, account: &str, name: &StreamName) -> Result<Self, InvalidValue> {
        let partition = if region.starts_with("cn-") {
            "aws-cn"
        } else if region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        };
        format!("arn:{partition}:kinesis:{region}:{account}:stream/{name}").parse()
    }

    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, index: usize) -> &str {
        self.0.split(':').nth(index).unwrap_or_default()
    }

    /// The partition of AWS, such as `aws` or `aws-cn`.
    pub fn partition(&self) -> &str {
        self.part(1)
    }

    /// The region, such as `us-east-1`.
    pub fn region(&self) -> &str {
        self.part(3)
    }

    /// The account: twelve digits.
    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// The stream's short name.
    pub fn name(&self) -> StreamName {
        StreamName(self.part(5)["stream/".len()..].into())
    }
}

impl FromStr for StreamArn {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |expected| Err(InvalidValue::new("stream ARN", text, expected));
        let parts: Vec<&str> = text.split(':').collect();
        let [scheme, partition, service, region, account, resource] = parts[..] else {
            return invalid(Self::EXPECTED);
        };
        let word =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if scheme != "arn" || !(partition == "aws" || partition.starts_with("aws-") && word(partition)) {
            return invalid(Self::EXPECTED);
        }
        if service != "kinesis" {
            return invalid("an ARN of the service `kinesis`: arn:aws:kinesis:<region>:<account>:stream/<name>");
        }
        if !word(region) {
            return invalid("a region such as `us-east-1` in the fourth part");
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return invalid("an account of 12 digits in the fifth part");
        }
        match resource.strip_prefix("stream/") {
            Some(name) if StreamName::is_valid(name) => Ok(Self(text.into())),
            Some(_) => invalid("a stream name of 1 to 128 letters, digits, `_`, `.` or `-` after `stream/`"),
            None => invalid("a stream, `stream/<name>`, in the last part"),
        }
    }
}

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A stream, named the way that the caller knows it.
///
/// A short name means the stream of that name in the account and region of the client that is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamRef {
    /// By short name.
    Name(StreamName),
    /// By ARN.
    Arn(StreamArn),
}

impl StreamRef {
    /// The stream's short name, which an ARN contains too.
    pub fn name(&self) -> StreamName {
        match self {
            Self::Name(name) => name.clone(),
            Self::Arn(arn) => arn.name(),
        }
    }

    /// The ARN, if the stream was named by one.
    pub fn arn(&self) -> Option<&StreamArn> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => Some(arn),
        }
    }
}

impl FromStr for StreamRef {
    type Err = InvalidValue;

    /// Text that starts with `arn:` is an ARN, all other text a short name.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.starts_with("arn:") { text.parse().map(Self::Arn) } else { text.parse().map(Self::Name) }
    }
}

impl From<StreamName> for StreamRef {
    fn from(name: StreamName) -> Self {
        Self::Name(name)
    }
}

impl From<StreamArn> for StreamRef {
    fn from(arn: StreamArn) -> Self {
        Self::Arn(arn)
    }
}

impl fmt::Display for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Arn(arn) => arn.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, says: &str) {
        let error = text.parse::<StreamArn>().expect_err("the ARN must be refused");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn an_arn_gives_its_parts_back() {
        let name: StreamName = "a_b.c-1".parse().unwrap();
        for (region, partition) in [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
            let arn = StreamArn::new(region, "000000000000", &name).unwrap();
            assert_eq!(arn.partition(), partition);
            assert_eq!(arn.region(), region);
            assert_eq!(arn.account(), "000000000000");
            assert_eq!(arn.name(), name);
            assert_eq!(arn.as_str().parse::<StreamArn>().unwrap(), arn);
        }
    }

    #[test]
    fn a_wrong_arn_is_refused_with_the_part_that_is_wrong() {
        refused("orders", "arn:aws:kinesis:<region>");
        refused("arn:aws:sqs:us-east-1:123456789012:orders", "service `kinesis`");
        refused("arn:aws:dynamodb:us-east-1:123456789012:table/t", "service `kinesis`");
        refused("arn:aws:kinesis::123456789012:stream/orders", "region");
        refused("arn:aws:kinesis:us-east-1:12345:stream/orders", "12 digits");
        refused("arn:aws:kinesis:us-east-1:123456789012:orders", "stream/<name>");
        refused("arn:aws:kinesis:us-east-1:123456789012:stream/", "1 to 128");
        refused("arn:aws:kinesis:us-east-1:123456789012:stream/a/consumer/b:1", "<name>");
        refused("arn:gcp:kinesis:us-east-1:123456789012:stream/orders", "arn:aws");
    }

    #[test]
    fn a_name_has_1_to_128_plain_characters() {
        assert!("x".repeat(128).parse::<StreamName>().is_ok());
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(129)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_an_arn_when_it_starts_like_one() {
        assert!(matches!("orders".parse(), Ok(StreamRef::Name(_))));
        assert!(matches!("arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse(), Ok(StreamRef::Arn(_))));
        assert!("arn:aws:kinesis".parse::<StreamRef>().is_err());
    }
}
