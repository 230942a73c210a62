//! Finds out which required fields the events of a subscription lack.
//!
//! The SDK fills in an empty value for a missing field: no records, or an empty payload. Both would be lost, because the
//! event also says where reading continues. So the events are looked at on their way to the SDK.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextMut, dyn_dispatch_hint},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag, event_stream::Message};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use serde::{Deserialize, de::IgnoredAny};

/// Looks at the events of one subscription. Clones belong to the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFields(Arc<Mutex<VecDeque<Option<&'static str>>>>);

impl EventFields {
    /// The required field that the next event lacks. To be called once for each event, in their order.
    pub(crate) fn missing_in_next(&self) -> Option<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }

    fn look_at(&self, message: &Message) {
        let is_event = message.headers().iter().any(|header| {
            header.name().as_str() == ":event-type"
                && header.value().as_string().is_ok_and(|name| name.as_str() == "SubscribeToShardEvent")
        });
        if is_event {
            let missing = missing_field(message.payload());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(missing);
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for EventFields {
    fn name(&self) -> &'static str {
        "EventFields"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().as_u16() == 200 {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Watched {
                body,
                fields: self.clone(),
                decoder: Some(MessageFrameDecoder::new()),
                buffer: BytesMut::new(),
            });
        }
        Ok(())
    }
}

/// A body that is passed on as it is.
struct Watched {
    body: SdkBody,
    fields: EventFields,
    /// `None` after what is not an event stream: the SDK will say so.
    decoder: Option<MessageFrameDecoder>,
    /// Bytes of messages that are not complete.
    buffer: BytesMut,
}

impl Watched {
    fn take(&mut self, data: &Bytes) {
        let Some(decoder) = &mut self.decoder else { return };
        self.buffer.extend_from_slice(data);
        loop {
            match decoder.decode_frame(&mut self.buffer) {
                Ok(DecodedFrame::Complete(message)) => self.fields.look_at(&message),
                Ok(DecodedFrame::Incomplete) => return,
                Err(_) => {
                    self.decoder = None;
                    return;
                }
            }
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let data = data.clone();
            self.take(&data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

/// The fields of an event without which records would be lost.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    records: Option<Vec<Option<RecordFields>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordFields {
    data: Option<IgnoredAny>,
}

/// The required field that an event lacks. What is not of this form is left to the SDK, which rejects it.
fn missing_field(event: &[u8]) -> Option<&'static str> {
    let Event { records } = serde_json::from_slice(event).ok()?;
    let Some(records) = records else { return Some("Records") };
    let has_data = |record: &Option<RecordFields>| record.as_ref().is_some_and(|record| record.data.is_some());
    (!records.iter().all(has_data)).then_some("Records.Data")
}
