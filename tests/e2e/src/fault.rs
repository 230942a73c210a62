use std::time::Duration;

use bytes::Bytes;

/// An answer that is not the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// The status.
    pub status: u16,
    /// Names and values of the fields beside the length.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Canned {
    /// An answer with a body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, fields: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    /// An error as Kinesis answers it.
    pub fn kinesis_error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"__type": code, "message": message});
        Self::new(status, "application/x-amz-json-1.1", body.to_string())
    }

    /// A page of something that is neither Kinesis nor a function: a load balancer, a captive portal.
    pub fn html(status: u16) -> Self {
        Self::new(status, "text/html", "<html><body><h1>This is not what you have asked for</h1></body></html>")
    }

    /// The same answer with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.fields.push(("retry-after", wait.as_secs().to_string()));
        self
    }
}

/// What a [`FaultyProxy`](crate::FaultyProxy) does to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the request arrives at the server. New connections are reset.
    Reset,
    /// The server carries out the request, and the connection breaks in place of its answer.
    LostAnswer,
    /// The connection breaks within the body of the server's answer.
    CutAnswer,
    /// Nothing comes until the fault is over. Then the request goes on to the server, unless the caller has given up.
    Stall,
    /// Somebody else answers, and the server gets nothing.
    Answer(Canned),
}
