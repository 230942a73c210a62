use std::{fmt, str::FromStr, sync::Arc};

use crate::{InvalidValue, StreamArn, StreamName};

/// The name of a consumer with enhanced fan-out: 1 to 128 of `a-z A-Z 0-9 _ . -` (API reference,
/// RegisterStreamConsumer). No two consumers of a stream share one. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Arc<str>);

impl ConsumerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsumerName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // The service has one rule for names of streams and of consumers.
        if text.parse::<StreamName>().is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(InvalidValue::new("consumer name", text, "1 to 128 letters, digits, `_`, `.` or `-`"))
        }
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The ARN of a consumer with enhanced fan-out: that of its stream, `/consumer/<name>:<seconds since 1970>`. Cheap to
/// clone.
///
/// The seconds are those of its registration: a consumer that is registered again under its name has another ARN.
///
/// ```
/// use statefun_kinesis_types::ConsumerArn;
///
/// let arn: ConsumerArn =
///     "arn:aws:kinesis:us-east-1:123456789012:stream/orders/consumer/billing:1713830400".parse()?;
/// assert_eq!(arn.stream().name().as_str(), "orders");
/// assert_eq!(arn.name().as_str(), "billing");
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerArn {
    text: Arc<str>,
    stream: StreamArn,
    name: ConsumerName,
}

impl ConsumerArn {
    /// The ARN of a consumer of this stream that was registered so many seconds after 1970.
    pub fn new(stream: &StreamArn, name: &ConsumerName, registered_seconds: u64) -> Self {
        let text = format!("{stream}/consumer/{name}:{registered_seconds}").into();
        Self { text, stream: stream.clone(), name: name.clone() }
    }

    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The stream that is consumed.
    pub fn stream(&self) -> &StreamArn {
        &self.stream
    }

    /// The consumer's name.
    pub fn name(&self) -> &ConsumerName {
        &self.name
    }
}

impl FromStr for ConsumerArn {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let parsed = text.split_once("/consumer/").and_then(|(stream, consumer)| {
            let (name, seconds) = consumer.rsplit_once(':')?;
            let is_number = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
            is_number.then_some(())?;
            Some(Self { text: text.into(), stream: stream.parse().ok()?, name: name.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            let expected = "arn:aws:kinesis:<region>:<account>:stream/<name>/consumer/<name>:<seconds since 1970>";
            InvalidValue::new("consumer ARN", text, expected)
        })
    }
}

impl fmt::Display for ConsumerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for ConsumerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_the_stream_the_consumer_and_its_registration() {
        let text = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b/consumer/c_d:1";
        let arn: ConsumerArn = text.parse().unwrap();
        assert_eq!((arn.as_str(), arn.stream().region(), arn.name().as_str()), (text, "cn-north-1", "c_d"));
        assert_eq!(ConsumerArn::new(arn.stream(), arn.name(), 1), arn);
        let stream = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
        for bad in ["", "/consumer/a", "/consumer/a:", "/consumer/:1", "/consumer/a:x", "/consumer/a b:1"] {
            assert!(format!("{stream}{bad}").parse::<ConsumerArn>().is_err(), "{bad}");
        }
        assert!("orders/consumer/a:1".parse::<ConsumerArn>().is_err());
    }

    #[test]
    fn a_name_has_1_to_128_plain_characters() {
        assert!("x".repeat(128).parse::<ConsumerName>().is_ok());
        for bad in ["", "a b", "a/b", &"x".repeat(129)] {
            assert!(bad.parse::<ConsumerName>().is_err(), "{bad}");
        }
    }
}
