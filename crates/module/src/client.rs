use std::{collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};

/// How the AWS client speaks to the service: those of a file's `clientConfigProperties` that are about connections.
///
/// What a file does not set is left to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientSpec {
    /// The connect timeout.
    pub connect_timeout: Option<Duration>,
    /// How long an answer may be silent.
    pub read_timeout: Option<Duration>,
    /// How long one call may take, from its first byte to the last one of its answer.
    pub request_timeout: Option<Duration>,
    /// Most connections, and so most calls at a time.
    pub max_connections: Option<NonZeroU32>,
}

impl ClientSpec {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Those of a file's `clientConfigProperties` that have no effect here, by the names that Flink and the AWS SDK for Java
/// give them. Each was warned about; the others are in the fields of the ingress or egress.
///
/// Some of them may carry keys and passwords, so `Debug` prints the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientProperties(BTreeMap<String, String>);

impl ClientProperties {
    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a property, and returns the value that it had.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.0.insert(name.into(), value.into())
    }

    /// All properties, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether no property is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_values_of_client_properties() {
        let mut properties = ClientProperties::default();
        properties.set("aws.credentials.provider.basic.secretkey", "hunter2");
        let printed = format!("{properties:?}");
        assert!(printed.contains("secretkey") && !printed.contains("hunter2"), "{printed}");
    }
}
