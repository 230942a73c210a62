//! Asks an endpoint whether it serves a function, without calling the function.

use std::{error::Error, io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::LOCATION;
use statefun_kinesis_mailboxes::{InvokeError, InvokeErrorKind};
use statefun_kinesis_protocol::{AddressRef, BatchRequest};
use statefun_kinesis_types::FunctionType;
use tokio::time::timeout;

use crate::{
    answer,
    endpoint::{RemoteEndpoint, timed_out},
};

/// What an endpoint said to a [probe](RemoteEndpoint::probe).
#[derive(Debug)]
pub enum Probed {
    /// It serves the function.
    Served,
    /// It answered with another status than success.
    Status {
        /// The status.
        status: u16,
        /// Where it redirects to.
        location: Option<String>,
        /// The beginning of the body, which usually has the cause.
        text: String,
    },
    /// It answered with success, but not in StateFun's protocol.
    Unusable(InvokeError),
    /// It could not be reached because of TLS: the certificates, or a server without TLS.
    Tls(InvokeError),
    /// It could not be reached.
    Unreachable(InvokeError),
    /// It did not answer in time, or closed the connection.
    NoAnswer(InvokeError),
}

impl RemoteEndpoint {
    /// Asks the server whether it serves a function, by a request of at least `bytes` bytes without messages. It calls no
    /// code of the function: StateFun's SDKs look the function up, and answer with the states that it declares, or with
    /// no effects. For an unknown function they fail.
    ///
    /// Waits for at most `time`.
    pub async fn probe(&self, function: &FunctionType, bytes: usize, time: Duration) -> Probed {
        match timeout(time, self.ask(function, bytes)).await {
            Ok(Ok(probed)) => probed,
            Ok(Err(error)) => match error.kind() {
                InvokeErrorKind::Unavailable if is_of_tls(&error) => Probed::Tls(error),
                InvokeErrorKind::Unavailable | InvokeErrorKind::Rejected => Probed::Unreachable(error),
                InvokeErrorKind::NoAnswer | InvokeErrorKind::TooLarge => Probed::NoAnswer(error),
            },
            Err(_) => Probed::NoAnswer(timed_out("call", Some(time))),
        }
    }

    async fn ask(&self, function: &FunctionType, bytes: usize) -> Result<Probed, InvokeError> {
        let response = self.send(function, request(function, bytes)).await?;
        let status = response.status();
        if !status.is_success() {
            let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
            let text = self.error_text(response).await;
            return Ok(Probed::Status { status: status.as_u16(), location, text });
        }
        let answered = match self.octets(response).await {
            Ok(body) => {
                answer::read(body).map_err(|error| InvokeError::new("the answer cannot be used").because(error))
            }
            Err(error) if error.kind() == InvokeErrorKind::NoAnswer => return Err(error),
            Err(error) => Err(error),
        };
        Ok(answered.map_or_else(Probed::Unusable, |_| Probed::Served))
    }
}

/// A request without messages. An unknown field, which decoders skip, makes it as long as asked for.
fn request(function: &FunctionType, bytes: usize) -> Bytes {
    /// The field 15 with a length.
    const UNKNOWN_FIELD: u8 = 15 << 3 | 2;
    let target = AddressRef { namespace: function.namespace(), name: function.name(), id: "statefun-kinesis-probe" };
    let batch = BatchRequest { target, states: &[], invocations: &[] }.encode();
    let Some(filler) = bytes.checked_sub(batch.len()).filter(|filler| *filler > 0) else { return batch };
    let mut padded = BytesMut::with_capacity(bytes + 16);
    padded.extend_from_slice(&batch);
    padded.put_u8(UNKNOWN_FIELD);
    let mut rest = filler;
    while rest >= 0x80 {
        padded.put_u8((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    padded.put_u8(rest as u8);
    padded.put_bytes(0, filler);
    padded.freeze()
}

/// Whether an error comes from TLS.
fn is_of_tls(error: &InvokeError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        // `io::Error` hides an error that was made of another one.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use statefun_kinesis_protocol::reqreply::{ToFunction, to_function};

    use super::*;

    #[test]
    fn a_probe_has_no_messages_and_the_length_that_is_asked_for() {
        let function = "example/orders".parse().unwrap();
        for bytes in [0, 40, 100, 127, 128, 200, 20_000, 1 << 20] {
            let request = request(&function, bytes);
            assert!(request.len() >= bytes && request.len() < bytes.max(60) + 16, "{bytes}: {}", request.len());
            let Some(to_function::Request::Invocation(batch)) = ToFunction::decode(request).unwrap().request else {
                panic!("{bytes}: it is a batch");
            };
            assert_eq!(batch.target.map(|target| target.namespace + "/" + &target.r#type), Some(function.to_string()));
            assert!(batch.state.is_empty() && batch.invocations.is_empty(), "{bytes}");
        }
    }
}
