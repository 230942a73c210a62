use statefun_kinesis_types::{StreamArn, StreamName};

use super::{Decoder, Entry, Field, Placed, Shape, properties};
use crate::{Code, EgressSpec};

pub(super) const EGRESS: Shape = Shape {
    what: "an egress",
    fields: &[
        Field::new("id", "id: example/notifications"),
        Field::new("awsRegion", "awsRegion:\n  type: specific\n  id: us-east-1"),
        Field::new("awsCredentials", "awsCredentials:\n  type: default"),
        Field::new("streamName", "streamName: notifications-stream"),
        Field::new("maxOutstandingRecords", "maxOutstandingRecords: 1000"),
        properties::FIELD,
    ],
};

impl Decoder<'_> {
    pub(super) fn egress(&mut self, spec: Entry<'_>) {
        let Some(object) = self.object(spec, &EGRESS) else { return };
        let id = self.id(&object, "egresses");
        let region = self.region(object.get("awsRegion"));
        let credentials = self.credentials(object.get("awsCredentials"), region.as_ref());
        let stream_name: Option<Placed<StreamName>> = self.required(&object, "streamName").and_then(|entry| {
            self.value(entry, Code::InvalidStreamName, |text| {
                let arn: StreamArn = text.parse().ok()?;
                Some(format!("`streamName` takes the short name, not the ARN:\nstreamName: {}", arn.name()))
            })
        });
        let max_outstanding_records = match object.get("maxOutstandingRecords") {
            Some(entry) => self.positive(entry),
            None => Some(EgressSpec::DEFAULT_MAX_OUTSTANDING_RECORDS),
        };
        let client_properties = self.client_properties(object.get(properties::FIELD.name));
        let egress = (|| {
            Some(EgressSpec {
                id: id?.value,
                region: region?.value,
                credentials: credentials?,
                stream_name: stream_name?.value,
                max_outstanding_records: max_outstanding_records?,
                client_properties: client_properties?,
            })
        })();
        self.module.egresses.extend(egress);
    }
}
