use std::{marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use statefun_kinesis_protocol::Primitive;

use crate::{Expiration, Message, StateSpec, Value};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A type of messages and states. StateFun's primitive types implement it; implement it for types of your own.
///
/// ```
/// use bytes::Bytes;
/// use statefun_kinesis_mailboxes::{BoxError, Payload};
///
/// struct Celsius(i16);
///
/// impl Payload for Celsius {
///     const TYPENAME: &str = "example/celsius";
///
///     fn to_bytes(&self) -> Bytes {
///         self.0.to_string().into()
///     }
///
///     fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
///         Ok(Self(std::str::from_utf8(bytes)?.parse()?))
///     }
/// }
/// ```
pub trait Payload: Sized {
    /// The name of the type, `namespace/name`.
    const TYPENAME: &str;

    /// Encodes the value.
    fn to_bytes(&self) -> Bytes;

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// When the bytes are not a value of this type.
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError>;
}

macro_rules! primitives {
    ($($rust:ty)*) => {$(
        impl Payload for $rust {
            const TYPENAME: &str = <Self as Primitive>::TYPENAME;

            fn to_bytes(&self) -> Bytes {
                Primitive::to_bytes(self)
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
                Ok(Primitive::from_bytes(bytes)?)
            }
        }
    )*};
}

primitives! { bool i32 f32 i64 f64 String }

impl Value {
    /// Creates a value of this type.
    pub fn of<T: Payload>(value: &T) -> Self {
        Self::new(T::TYPENAME, value.to_bytes())
    }

    /// Whether the value is of this type.
    pub fn is<T: Payload>(&self) -> bool {
        *self.typename == *T::TYPENAME
    }

    /// Decodes the value as this type.
    ///
    /// # Errors
    ///
    /// When the value is absent or has another type, or its bytes cannot be decoded.
    pub fn read<T: Payload>(&self) -> Result<T, BoxError> {
        if !self.is::<T>() {
            return Err(format!("a value is of type {} and not {}", self.typename, T::TYPENAME).into());
        }
        let bytes = self.bytes.as_ref().ok_or_else(|| format!("a value of type {} is absent", self.typename))?;
        T::from_bytes(bytes)
    }
}

impl Message {
    /// Whether the message is of this type.
    pub fn is<T: Payload>(&self) -> bool {
        self.value.is::<T>()
    }

    /// Decodes the message as this type.
    ///
    /// # Errors
    ///
    /// The same as [`Value::read`].
    pub fn read<T: Payload>(&self) -> Result<T, BoxError> {
        self.value.read()
    }
}

/// A state of a function: its name, its type, and when it expires.
#[derive(Clone, Debug)]
pub struct ValueSpec<T> {
    name: Arc<str>,
    expiration: Expiration,
    values: PhantomData<fn() -> T>,
}

impl<T: Payload> ValueSpec<T> {
    /// Creates a state that does not expire.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), expiration: Expiration::Never, values: PhantomData }
    }

    /// Makes the value expire when this long has passed since it was last set.
    #[must_use]
    pub fn expire_after_write(mut self, after: Duration) -> Self {
        self.expiration = Expiration::AfterWrite(after);
        self
    }

    /// Makes the value expire when this long has passed since its address last got a message.
    #[must_use]
    pub fn expire_after_invoke(mut self, after: Duration) -> Self {
        self.expiration = Expiration::AfterInvoke(after);
        self
    }

    /// The state's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<T: Payload> From<&ValueSpec<T>> for StateSpec {
    fn from(spec: &ValueSpec<T>) -> Self {
        Self { name: Arc::clone(&spec.name), typename: T::TYPENAME.into(), expiration: spec.expiration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_its_own_type_only() {
        let value = Value::of(&17_i64);
        assert_eq!(value.read::<i64>().unwrap(), 17);
        let wrong = value.read::<String>().unwrap_err().to_string();
        assert_eq!(wrong, "a value is of type io.statefun.types/long and not io.statefun.types/string");
        let absent = Value { bytes: None, ..value };
        assert_eq!(absent.read::<i64>().unwrap_err().to_string(), "a value of type io.statefun.types/long is absent");
    }
}
