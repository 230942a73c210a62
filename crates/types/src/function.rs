use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

use crate::InvalidValue;

/// A name of the form `namespace/name`; the last slash divides. Cheap to clone.
///
/// Functions, ingresses, egresses and value types are all named this way.
///
/// ```
/// use statefun_kinesis_types::TypeName;
///
/// let name: TypeName = "com.googleapis/com.example.Msg".parse()?;
/// assert_eq!((name.namespace(), name.name()), ("com.googleapis", "com.example.Msg"));
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName(Arc<str>);

impl TypeName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the last slash.
    pub fn namespace(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// What stands behind the last slash.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl FromStr for TypeName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.rsplit_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Self(text.into())),
            _ => Err(InvalidValue::new("type name", text, "`<namespace>/<name>`, both not empty")),
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name of a function, such as `example/order-handler`.
pub type FunctionType = TypeName;

/// One instance of a function: its type and its id. Messages of one address are handled one batch at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Which function.
    pub function: FunctionType,
    /// Which instance; for messages of an ingress the record's partition key.
    pub id: Arc<str>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.function, self.id)
    }
}

/// A value with the name of its type, as messages and state carry it; the bytes are never parsed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedValue {
    /// The type of the value.
    pub typename: TypeName,
    /// The value's bytes. `None` is an absent value, which differs from an empty one (`has_value` in the protocol).
    pub value: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slash_divides() {
        let name: TypeName = "a/b/c".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("a/b", "c"));
        for bad in ["", "a", "/a", "a/", "/"] {
            assert!(bad.parse::<TypeName>().is_err(), "{bad}");
        }
    }
}
