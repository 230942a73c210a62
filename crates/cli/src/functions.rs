//! `--functions log`: functions that print messages. The router has `echo`.

use async_trait::async_trait;
use serde::Serialize;
use statefun_kinesis_router::{Delivery, FunctionError, Functions, Message};

use crate::{
    output::Output,
    records::{push_json_line, text_or_base64},
};

/// Prints each message as one line of JSON.
#[derive(Debug)]
pub(crate) struct Log {
    output: Output,
}

impl Log {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }
}

#[async_trait]
impl Functions for Log {
    async fn deliver(&self, delivery: Delivery) -> Result<(), FunctionError> {
        let mut lines = String::new();
        for message in delivery.batch().messages() {
            push_json_line(&mut lines, &LogLine::new(&message));
        }
        let written = self.output.write(&lines).await;
        written.map_err(|error| FunctionError::new("cannot print messages").because(std::io::Error::from(error)))?;
        delivery.done();
        Ok(())
    }
}

/// A message as `--functions log` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogLine<'a> {
    ingress: &'a str,
    stream_arn: &'a str,
    shard_id: &'a str,
    sequence_number: String,
    target: &'a str,
    id: &'a str,
    value_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl<'a> LogLine<'a> {
    fn new(message: &Message<'a>) -> Self {
        let (payload, payload_base64) = text_or_base64(message.payload().map_or(&[], |payload| payload.as_ref()));
        Self {
            ingress: message.ingress().as_str(),
            stream_arn: message.stream().as_str(),
            shard_id: message.shard().as_str(),
            sequence_number: message.sequence_number().to_string(),
            target: message.function().as_str(),
            id: message.id(),
            value_type: message.value_type().as_str(),
            payload,
            payload_base64,
        }
    }
}
