use statefun_kinesis_types::{StreamName, StreamRef};

use super::{
    Decoder, Entry, Placed,
    credentials::CREDENTIALS_FIELD,
    handling::FAILED_RECORDS_FIELD,
    properties::{self, Settings},
    region::REGION_FIELD,
    table::{Field, Setting, Shape, Takes, Text, Word},
};
use crate::{AggregationSpec, ClientSpec, Code, EgressOrder, EgressSpec, FailedRecordHandling, findings::Finding};

/// A stream takes records of 10 MiB at most, and an aggregate is one.
pub(super) const AGGREGATE_BYTES: Takes = Takes::Integer { min: 1, max: 10 << 20 };

const ORDERS: &[Word] = &[
    Word {
        name: "per-partition-key",
        doc: "Records of one partition key keep their order, also when some of them are retried.",
    },
    Word { name: "none", doc: "No order, for a higher throughput: failed records are retried after later ones." },
];

const AGGREGATION: Shape = Shape::new(
    "`aggregation`",
    "Packs several records into one, in the format of the Kinesis Producer Library. Readers of the stream have to \
     unpack them, as the Kinesis Client Library does. Records of one partition key stay in order.",
    &[
        Field::new("maxBytes", AGGREGATE_BYTES, "maxBytes: 51200", "Most bytes of an aggregate, 1 to 10485760.")
            .in_units("bytes")
            .default("51200")
            .source("the default of the Kinesis Producer Library"),
        Field::new(
            "maxRecords",
            Takes::Integer { min: 1, max: u32::MAX },
            "maxRecords: 500",
            "Most records of an aggregate. Without it the bytes alone count.",
        )
        .in_units("records"),
    ],
);

pub(super) static EGRESS: Shape = Shape::new(
    "an egress",
    "The stream to which functions emit records.",
    &[
        Field::new(
            "id",
            Takes::Text(Text::TypeName),
            "id: example/notifications",
            "The name of the egress. No other egress of the module has it.",
        )
        .required(),
        REGION_FIELD,
        CREDENTIALS_FIELD,
        Field::new(
            "streamName",
            Takes::Text(Text::StreamName),
            "streamName: notifications-stream",
            "The stream of records that name none themselves: its short name, not its ARN. Without it, as in files of \
             Apache StateFun, each record has to name its stream.",
        )
        .expected()
        .mistaken_for(&["streams", "topic"]),
        Field::new(
            "allowedStreams",
            Takes::List(&Takes::Text(Text::StreamRef)),
            "allowedStreams:\n  - notifications-stream",
            "The streams that a record may name instead, by ARN or short name. A short name is the stream of that name in \
             the egress' own region and account; one elsewhere is listed by its ARN. Without the list a record may name \
             any; one that names another is a failed record.",
        ),
        Field::new(
            "maxOutstandingRecords",
            Takes::Integer { min: 1, max: u32::MAX },
            "maxOutstandingRecords: 1000",
            "Maximum number of records of one stream that are queued to be written or are being written. Further records \
             that functions send wait in memory. While 50 000 records, or 32 MiB, of all egresses are not stored, only those \
             functions are called that have sent less than their equal share of as much again, and what they send in their \
             last calls comes on top. So a stream that cannot be written holds up only functions that write to it. All shards of the stream share the maximum. \
             About 150 per shard are enough to write shards at their limits.",
        )
        .in_units("records")
        .default("1000")
        .source("StateFun's default"),
        Field::new("order", Takes::Word(ORDERS), "order: per-partition-key", "Which records keep their order.")
            .default("per-partition-key"),
        Field::new(
            "aggregation",
            Takes::Object(&AGGREGATION),
            "aggregation:\n  maxBytes: 51200",
            "Packs several records into one Kinesis record. It is off without the field; `aggregation: {}` turns it \
             on.",
        ),
        FAILED_RECORDS_FIELD,
        properties::EGRESS_FIELD,
    ],
);

impl Decoder<'_> {
    pub(super) fn egress(&mut self, spec: Entry<'_>) {
        // With an error outside of the `spec`, a field may be out of its place and not missing.
        let is_doubtful = self.document_has_errors();
        let Some(object) = self.object_of(spec, &EGRESS) else { return };
        let id = self.id(&object, "egresses");
        let (settings, settings_are_right) = self.settings(object.get(properties::EGRESS_FIELD.name));
        let region = self.region(object.get("awsRegion"), &settings);
        let credentials = self.credentials(object.get("awsCredentials"), region.as_ref(), &settings);
        let stream_name: Option<Option<Placed<StreamName>>> = self.optional(object.get("streamName"), Self::value);
        if object.is_missing("streamName") && !is_doubtful {
            let message = "the egress has no `streamName`, as in Apache StateFun: each record has to name its stream";
            let help = "for records that name none, write for example\nstreamName: notifications-stream";
            let finding = Finding::note(Code::OtherDialect, object.at(), message);
            self.findings.push(finding.help(help.to_owned()));
        }
        let allowed_streams = self.optional(object.get("allowedStreams"), Self::stream_refs);
        let max_outstanding_records = self.optional(object.get("maxOutstandingRecords"), Self::integer);
        let order = self.optional(object.get("order"), Self::order);
        let aggregation = self.aggregation(object.get("aggregation"), &settings);
        let failed_records = self.failed_records_with(object.get("failedRecordHandling"), &settings);
        let client = self.client(&settings);
        let egress = (|| {
            settings_are_right.then_some(())?;
            Some(EgressSpec {
                id: id?.value,
                region: region?.value,
                credentials: credentials?,
                stream_name: stream_name?.map(|name| name.value),
                allowed_streams: allowed_streams?,
                max_outstanding_records: max_outstanding_records?
                    .unwrap_or(EgressSpec::DEFAULT_MAX_OUTSTANDING_RECORDS),
                order: order?.unwrap_or_default(),
                aggregation: aggregation?,
                failed_records: failed_records?,
                client: client?,
                client_properties: settings.rest,
            })
        })();
        self.module.egresses.extend(egress);
    }

    fn stream_refs(&mut self, entry: Entry<'_>) -> Option<Vec<StreamRef>> {
        let items = self.list(entry)?;
        let streams: Vec<Option<StreamRef>> =
            items.into_iter().map(|item| self.stream_ref(item).map(|stream| stream.value)).collect();
        streams.into_iter().collect()
    }

    fn order(&mut self, entry: Entry<'_>) -> Option<EgressOrder> {
        Some(match self.word(entry)? {
            "none" => EgressOrder::None,
            "per-partition-key" => EgressOrder::PerPartitionKey,
            name => unreachable!("the table has a order `{name}` that is not read"),
        })
    }

    /// Whether records are aggregated: the field says it, or properties do.
    fn aggregation(&mut self, entry: Option<Entry<'_>>, settings: &Settings<'_>) -> Option<Option<AggregationSpec>> {
        let enabled = self.optional(settings.get(Setting::Aggregation), Self::word);
        let max_bytes = self.optional(settings.get(Setting::AggregationMaxBytes), Self::integer);
        let max_records = self.optional(settings.get(Setting::AggregationMaxRecords), Self::integer);
        let enabled = enabled?.map(|word| word == "true");
        let (max_bytes, max_records) = (max_bytes?, max_records?);
        let Some(entry) = entry else {
            if enabled == Some(true) {
                return Some(Some(AggregationSpec { max_bytes, max_records }));
            }
            for setting in [Setting::AggregationMaxBytes, Setting::AggregationMaxRecords] {
                if let Some(property) = settings.get(setting) {
                    let help = "records are not aggregated, unless `aggregation` is there";
                    self.property_without_effect(property.key, property.name, help);
                }
            }
            return Some(None);
        };
        let object = self.object(entry)?;
        let own_bytes = self.optional(object.get("maxBytes"), Self::integer);
        let own_records = self.optional(object.get("maxRecords"), Self::integer);
        let (own_bytes, own_records) = (own_bytes?, own_records?);
        let mut is_right = true;
        for (setting, differs) in [
            (Setting::Aggregation, enabled == Some(false)),
            (Setting::AggregationMaxBytes, own_bytes.is_some() && max_bytes.is_some() && own_bytes != max_bytes),
            (
                Setting::AggregationMaxRecords,
                own_records.is_some() && max_records.is_some() && own_records != max_records,
            ),
        ] {
            if let Some(property) = settings.get(setting).filter(|_| differs) {
                self.conflict(property, Some(entry), "aggregation");
                is_right = false;
            }
        }
        is_right.then_some(Some(AggregationSpec {
            max_bytes: own_bytes.or(max_bytes),
            max_records: own_records.or(max_records),
        }))
    }

    fn failed_records_with(
        &mut self,
        entry: Option<Entry<'_>>,
        settings: &Settings<'_>,
    ) -> Option<FailedRecordHandling> {
        let timeout = self.optional(settings.get(Setting::FailedRecordTimeout), Self::duration);
        let mut handling = self.optional(entry, Self::failed_records)?.unwrap_or_default();
        let timeout = timeout?;
        match (handling.timeout, timeout) {
            (Some(own), Some(other)) if own != other => {
                let property = settings.get(Setting::FailedRecordTimeout)?;
                self.conflict(property, entry, "failedRecordHandling");
                None
            }
            (own, other) => {
                handling.timeout = own.or(other);
                Some(handling)
            }
        }
    }

    /// How the client speaks to the service, which properties alone say.
    pub(super) fn client(&mut self, settings: &Settings<'_>) -> Option<ClientSpec> {
        let connect_timeout = self.optional(settings.get(Setting::ConnectTimeout), Self::duration);
        let read_timeout = self.optional(settings.get(Setting::ReadTimeout), Self::duration);
        let request_timeout = self.optional(settings.get(Setting::RequestTimeout), Self::duration);
        let max_connections = self.optional(settings.get(Setting::MaxConnections), Self::integer);
        Some(ClientSpec {
            connect_timeout: connect_timeout?,
            read_timeout: read_timeout?,
            request_timeout: request_timeout?,
            max_connections: max_connections?,
        })
    }
}
