use std::{collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};

/// The connection settings of the AWS client, from a file's `clientConfigProperties`.
///
/// Settings that are `None` use the client's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientSpec {
    /// The connect timeout.
    pub connect_timeout: Option<Duration>,
    /// Longest wait for more bytes of an answer.
    pub read_timeout: Option<Duration>,
    /// Longest time of one call, from its first byte to the last byte of its answer.
    pub request_timeout: Option<Duration>,
    /// Most connections, and therefore most calls at a time.
    pub max_connections: Option<NonZeroU32>,
}

impl ClientSpec {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The properties of a file's `clientConfigProperties` that have no effect here, with their names in Flink and the AWS
/// SDK for Java. Reading the file warns about each. Properties with an effect are in the fields of the ingress or
/// egress.
///
/// Some may have keys and passwords as values, so `Debug` prints only the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientProperties(BTreeMap<String, String>);

impl ClientProperties {
    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a property, and returns its previous value.
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
