use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::reqreply::TypedValue;

/// A value of one of the primitive types of Stateful Functions, `io.statefun.types/…`.
///
/// On the wire it is a message with the value in field 1. As everywhere in protobuf a default value (`false`, `0`, an
/// empty text) is not written: it has no bytes, and is a value all the same.
///
/// ```
/// use statefun_kinesis_protocol::Primitive;
///
/// assert_eq!(*1_i32.to_bytes(), [0x0d, 1, 0, 0, 0]);
/// assert!(0_i32.to_bytes().is_empty());
/// assert_eq!("é".to_owned().to_bytes(), "\x0a\x02é");
/// ```
pub trait Primitive: Sized {
    /// The name of the type.
    const TYPENAME: &str;

    /// The value's bytes.
    fn to_bytes(&self) -> Bytes;

    /// The value that has these bytes.
    ///
    /// # Errors
    ///
    /// When they are no message, or field 1 is not of the type.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl TypedValue {
    /// A primitive value with the name of its type.
    pub fn of(value: &impl Primitive) -> Self {
        fn named<P: Primitive>(_: &P) -> &'static str {
            P::TYPENAME
        }
        Self { typename: named(value).to_owned(), has_value: true, value: value.to_bytes(), metadata: Vec::new() }
    }
}

/// `int` and `long` are `sfixed32` and `sfixed64`: SDKs know the size of their values before they know the values.
macro_rules! primitives {
    ($($rust:ty, $name:literal, $kind:ident, $wrapper:ident;)*) => {$(
        #[derive(Clone, PartialEq, Message)]
        struct $wrapper {
            #[prost($kind, tag = "1")]
            value: $rust,
        }

        impl Primitive for $rust {
            const TYPENAME: &str = concat!("io.statefun.types/", $name);

            fn to_bytes(&self) -> Bytes {
                $wrapper { value: self.clone() }.encode_to_vec().into()
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                $wrapper::decode(bytes).map(|message| message.value)
            }
        }
    )*};
}

primitives! {
    bool, "bool", bool, Bool;
    i32, "int", sfixed32, Int;
    f32, "float", float, Float;
    i64, "long", sfixed64, Long;
    f64, "double", double, Double;
    String, "string", string, Text;
}
