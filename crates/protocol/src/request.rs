use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// An instance of a function, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRef<'a> {
    /// The first part of the function's type.
    pub namespace: &'a str,
    /// The second part of the function's type.
    pub name: &'a str,
    /// Which instance.
    pub id: &'a str,
}

/// A value with the name of its type, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef<'a> {
    /// The type.
    pub typename: &'a str,
    /// The value's bytes; `None` is an absent value, which differs from an empty one.
    pub value: Option<&'a [u8]>,
    /// What is known about where the value comes from, each with a name.
    pub metadata: &'a [MetadataRef<'a>],
}

/// An entry of the metadata of a value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataRef<'a> {
    /// The name.
    pub key: &'a str,
    /// The value, as text.
    pub value: &'a str,
}

/// A state of an address, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRef<'a> {
    /// The state's name.
    pub name: &'a str,
    /// Its value; `None` while it is not set.
    pub value: Option<ValueRef<'a>>,
}

/// A message to a function, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvocationRef<'a> {
    /// The function that sent it; `None` when it came through an ingress.
    pub caller: Option<AddressRef<'a>>,
    /// What was sent.
    pub argument: ValueRef<'a>,
}

/// A request of a batch of messages, written from borrowed parts: the same bytes as those of
/// [`ToFunction`](crate::reqreply::ToFunction), without a copy of names and payloads before.
///
/// ```
/// use prost::Message;
/// use statefun_kinesis_protocol::{AddressRef, BatchRequest, InvocationRef, ValueRef, reqreply::ToFunction};
///
/// let request = BatchRequest {
///     target: AddressRef { namespace: "example", name: "greeter", id: "anna" },
///     states: &[],
///     invocations: &[InvocationRef { caller: None, argument: ValueRef { typename: "a/b", value: Some(b"hi"), metadata: &[] } }],
/// };
/// let read = ToFunction::decode(request.encode())?;
/// assert_eq!(read.encode_to_vec(), request.encode());
/// # Ok::<(), prost::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchRequest<'a> {
    /// Whom the messages are for.
    pub target: AddressRef<'a>,
    /// All states that the function is known to have.
    pub states: &'a [StateRef<'a>],
    /// The messages, oldest first.
    pub invocations: &'a [InvocationRef<'a>],
}

impl BatchRequest<'_> {
    /// The request as it is posted.
    pub fn encode(&self) -> Bytes {
        const INVOCATION: u32 = 100;
        let batch = self.len();
        let mut out = BytesMut::with_capacity(message_len(INVOCATION, batch));
        begin(INVOCATION, batch, &mut out);
        begin(1, self.target.len(), &mut out);
        self.target.write(&mut out);
        for state in self.states {
            begin(2, state.len(), &mut out);
            state.write(&mut out);
        }
        for invocation in self.invocations {
            begin(3, invocation.len(), &mut out);
            invocation.write(&mut out);
        }
        out.freeze()
    }

    fn len(&self) -> usize {
        let states: usize = self.states.iter().map(|state| message_len(2, state.len())).sum();
        let invocations: usize = self.invocations.iter().map(|message| message_len(3, message.len())).sum();
        message_len(1, self.target.len()) + states + invocations
    }
}

impl AddressRef<'_> {
    fn len(&self) -> usize {
        bytes_len(1, self.namespace.as_bytes()) + bytes_len(2, self.name.as_bytes()) + bytes_len(3, self.id.as_bytes())
    }

    fn write(&self, out: &mut BytesMut) {
        write_bytes(1, self.namespace.as_bytes(), out);
        write_bytes(2, self.name.as_bytes(), out);
        write_bytes(3, self.id.as_bytes(), out);
    }
}

impl ValueRef<'_> {
    fn len(&self) -> usize {
        let value = self.value.map_or(0, |value| key_len(2) + 1 + bytes_len(3, value));
        let metadata: usize = self.metadata.iter().map(|entry| message_len(4, entry.len())).sum();
        bytes_len(1, self.typename.as_bytes()) + value + metadata
    }

    fn write(&self, out: &mut BytesMut) {
        write_bytes(1, self.typename.as_bytes(), out);
        if let Some(value) = self.value {
            encode_key(2, WireType::Varint, out);
            out.put_u8(1);
            write_bytes(3, value, out);
        }
        for entry in self.metadata {
            begin(4, entry.len(), out);
            entry.write(out);
        }
    }
}

impl MetadataRef<'_> {
    fn len(&self) -> usize {
        bytes_len(1, self.key.as_bytes()) + bytes_len(2, self.value.as_bytes()) + key_len(3) + 1
    }

    fn write(&self, out: &mut BytesMut) {
        write_bytes(1, self.key.as_bytes(), out);
        write_bytes(2, self.value.as_bytes(), out);
        encode_key(3, WireType::Varint, out);
        out.put_u8(1);
    }
}

impl StateRef<'_> {
    fn len(&self) -> usize {
        bytes_len(1, self.name.as_bytes()) + self.value.map_or(0, |value| message_len(2, value.len()))
    }

    fn write(&self, out: &mut BytesMut) {
        write_bytes(1, self.name.as_bytes(), out);
        if let Some(value) = self.value {
            begin(2, value.len(), out);
            value.write(out);
        }
    }
}

impl InvocationRef<'_> {
    fn len(&self) -> usize {
        self.caller.map_or(0, |caller| message_len(1, caller.len())) + message_len(2, self.argument.len())
    }

    fn write(&self, out: &mut BytesMut) {
        if let Some(caller) = self.caller {
            begin(1, caller.len(), out);
            caller.write(out);
        }
        begin(2, self.argument.len(), out);
        self.argument.write(out);
    }
}

/// The bytes of a field that holds a message of `len` bytes.
fn message_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

/// The bytes of a field of text or bytes; proto3 does not write an empty one.
fn bytes_len(tag: u32, value: &[u8]) -> usize {
    if value.is_empty() { 0 } else { message_len(tag, value.len()) }
}

fn begin(tag: u32, len: usize, out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn write_bytes(tag: u32, value: &[u8], out: &mut BytesMut) {
    if !value.is_empty() {
        begin(tag, value.len(), out);
        out.put_slice(value);
    }
}
