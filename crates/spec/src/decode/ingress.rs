use std::collections::HashMap;

use statefun_kinesis_types::{FunctionType, StreamArn, StreamName, StreamRef, TypeName};

use super::{
    Decoder, Entry, KZMLABS, Object, Placed, STATEFUN,
    consumer::CONSUMER_FIELD,
    credentials::CREDENTIALS_FIELD,
    handling::INVALID_RECORDS_FIELD,
    properties,
    region::{REGION_FIELD, Region},
    startup::STARTUP,
    table::{Field, Presence, Shape, Takes, Text, Word},
};
use crate::{
    Code, IngressSpec, OutOfRangeRecords, RecordMetadata, StartupPosition, StreamRoute,
    findings::{Finding, Place},
};

pub(super) static INGRESS: Shape = Shape::new(
    "an ingress",
    "Where records come from: the streams that are read, and the functions that get their records.",
    &[
        Field::new(
            "id",
            Takes::Text(Text::TypeName),
            "id: example/orders",
            "The name of the ingress. No other ingress of the module has it.",
        )
        .required(),
        REGION_FIELD,
        CREDENTIALS_FIELD,
        Field::new(
            "startupPosition",
            Takes::Tagged(&STARTUP),
            "startupPosition:\n  type: latest",
            "Where reading starts on a shard that has no stored position. Shards that appear later are always read \
             from their oldest record.",
        )
        .default("{type: latest}"),
        Field::new(
            "streams",
            Takes::List(&Takes::Object(&STREAM)),
            STREAMS_EXAMPLE,
            "The streams, each with the type of its records and the functions that get them.",
        )
        .required()
        .mistaken_for(&["topics"]),
        Field::new(
            "streamArn",
            Takes::Text(Text::StreamArn),
            ARN_EXAMPLE,
            "The ARN of the stream, where kzmlabs' StateFun wants it. There must be exactly one entry in `streams` then.",
        )
        .of(KZMLABS, "streamArn in the entry of streams"),
        CONSUMER_FIELD,
        Field { presence: Presence::Default("{type: fail}"), ..INVALID_RECORDS_FIELD },
        Field::new(
            "outOfRangeRecords",
            Takes::Word(OUT_OF_RANGE),
            "outOfRangeRecords: keep",
            "What happens to user records of an aggregate that is in another shard than the one that their keys belong \
             to. The Kinesis Producer Library causes them only when a shard is split, and sends them again.",
        )
        .default("skip")
        .source("the Kinesis Client Library"),
        Field::new(
            "recordMetadata",
            Takes::Word(METADATA),
            "recordMetadata: send",
            "What remote functions learn about the record of a message, beside its bytes and its partition key.",
        )
        .default("omit"),
        properties::INGRESS_FIELD,
    ],
);

const OUT_OF_RANGE: &[Word] = &[
    Word {
        name: "skip",
        doc: "They are counted and left out, with a warning. This is right for the Kinesis Producer Library.",
    },
    Word {
        name: "keep",
        doc: "They are read where they are. This is right for writers that put keys of several shards into one aggregate.",
    },
];

const METADATA: &[Word] = &[
    Word { name: "omit", doc: "Nothing." },
    Word {
        name: "send",
        doc: "The value of the message has `metadata` (field 4 of `TypedValue`) with the keys `kinesis.streamArn`, \
              `kinesis.shardId`, `kinesis.sequenceNumber`, `kinesis.subSequenceNumber` (0 unless the record was \
              aggregated), `kinesis.approximateArrivalTimestamp` (such as `2026-11-23T02:00:00.000Z`) and, for records of \
              aggregates that were sent with one, `kinesis.explicitHashKey`. All values are text. SDKs that do not know \
              the field ignore it.",
    },
];

const STREAM: Shape = Shape::new(
    "a stream",
    "A stream, and where its records go. Each target gets a message for each record, in the order of the list. The message \
     goes to the instance whose id is the record's partition key, and carries the record's bytes as they are.",
    &[
        Field::new(
            "streamArn",
            Takes::Text(Text::StreamArn),
            ARN_EXAMPLE,
            "The ARN of the stream, by which records are routed. No other entry of the ingress has it.",
        ),
        Field::new(
            "stream",
            Takes::Text(Text::StreamName),
            "stream: orders-stream",
            "The short name of the stream. Beside an ARN it is only for readers of the file. Without one, the stream \
             of that name is looked up when the module starts, in the region and account that the ingress asks.",
        ),
        Field::new(
            "valueType",
            Takes::Text(Text::TypeName),
            "valueType: example/Order",
            "The type name that every message carries. Any name does; nothing checks it against the bytes.",
        )
        .required()
        .mistaken_for(&["typeUrl"]),
        Field::new(
            "targets",
            Takes::List(&Takes::Text(Text::TypeName)),
            TARGETS_EXAMPLE,
            "The functions that get a message for each record.",
        )
        .required(),
        Field {
            doc: "What happens to a record of this stream that cannot be turned into messages. Without it, what the \
             ingress says.",
            ..INVALID_RECORDS_FIELD
        },
    ],
)
.with_one_of(&["streamArn", "stream"]);

const ARN_EXAMPLE: &str = "streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream";
const TARGETS_EXAMPLE: &str = "targets:\n  - example/order-handler";
const STREAMS_EXAMPLE: &str = "streams:
  - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
    valueType: example/Order
    targets:
      - example/order-handler";

impl Decoder<'_> {
    pub(super) fn ingress(&mut self, spec: Entry<'_>) {
        let Some(object) = self.object_of(spec, &INGRESS) else { return };
        let id = self.id(&object, "ingresses");
        let (settings, settings_are_right) = self.settings(object.get(properties::INGRESS_FIELD.name));
        let region = self.region(object.get("awsRegion"), &settings);
        let credentials = self.credentials(object.get("awsCredentials"), region.as_ref(), &settings);
        let startup = self.startup(object.get("startupPosition"));
        let streams = self.streams(&object, region.as_ref());
        let consumer = self.consumer(object.get("consumer"), &settings);
        let invalid_records = self.optional(object.get("invalidRecordHandling"), Self::invalid_records);
        let out_of_range_records = self.optional(object.get("outOfRangeRecords"), Self::out_of_range_records);
        let record_metadata = self.optional(object.get("recordMetadata"), Self::record_metadata);
        let client = self.client(&settings);
        if let (Some(id), Some(StartupPosition::Latest), Some(false)) = (&id, startup, self.options.stored_positions) {
            self.check_latest(&object, id);
        }
        let ingress = (|| {
            settings_are_right.then_some(())?;
            Some(IngressSpec {
                id: id?.value,
                region: region?.value,
                credentials: credentials?,
                startup: startup?,
                streams: streams?,
                consumer: consumer?,
                invalid_records: invalid_records?.unwrap_or_default(),
                out_of_range_records: out_of_range_records?.unwrap_or_default(),
                record_metadata: record_metadata?.unwrap_or_default(),
                client: client?,
                client_properties: settings.rest,
            })
        })();
        self.module.ingresses.extend(ingress);
    }

    fn out_of_range_records(&mut self, entry: Entry<'_>) -> Option<OutOfRangeRecords> {
        Some(match self.word(entry)? {
            "skip" => OutOfRangeRecords::Skip,
            "keep" => OutOfRangeRecords::Keep,
            name => unreachable!("the table has the word `{name}` that is not read"),
        })
    }

    fn record_metadata(&mut self, entry: Entry<'_>) -> Option<RecordMetadata> {
        Some(match self.word(entry)? {
            "omit" => RecordMetadata::Omit,
            "send" => RecordMetadata::Send,
            name => unreachable!("the table has the word `{name}` that is not read"),
        })
    }

    /// The `id` of an ingress or egress.
    pub(super) fn id(&mut self, object: &Object<'_>, what: &'static str) -> Option<Placed<TypeName>> {
        let id = self.value(object.get("id")?)?;
        self.declare(what, &id);
        Some(id)
    }

    /// Warns that what is in the streams now will not be read.
    fn check_latest(&mut self, ingress: &Object<'_>, id: &Placed<TypeName>) {
        let place = ingress.get("startupPosition").map_or(id.place, |entry| entry.key);
        let message = format!(
            "`{}` starts at `latest` and has no stored position: records that are in its streams now are not read",
            id.shown(id.value.as_str())
        );
        let help = "to read them, write\nstartupPosition:\n  type: trim-horizon".to_owned();
        self.findings.push(Finding::warning(Code::LatestWithoutPosition, place, message).help(help));
    }

    fn streams(&mut self, ingress: &Object<'_>, region: Option<&Region>) -> Option<Vec<StreamRoute>> {
        let outer = ingress.get("streamArn");
        let outer_arn = outer.map(|entry| (entry, self.stream_arn(entry)));
        let items = self.list(ingress.get("streams")?)?;
        if let Some(outer) = outer {
            self.outer_arn_is_allowed(outer, &items);
        }
        let mut first_of: HashMap<StreamRef, Placed<StreamRef>> = HashMap::new();
        let routes: Vec<Option<StreamRoute>> = items
            .iter()
            .map(|item| self.stream(*item, outer_arn.clone(), items.len() == 1, region, &mut first_of))
            .collect();
        routes.into_iter().collect()
    }

    /// Above the entries, an ARN stands for that of the one entry; with several entries it is ambiguous.
    fn outer_arn_is_allowed(&mut self, outer: Entry<'_>, items: &[Entry<'_>]) {
        if let [_, second, ..] = items {
            let message = "a `streamArn` above the entries of `streams` needs exactly one entry";
            self.findings.push(
                Finding::error(Code::InvalidStreamArn, outer.key, message)
                    .label(second.key, "another entry")
                    .help("write a `streamArn` in each entry".to_owned()),
            );
        } else {
            let message =
                format!("`streamArn` beside `streams` is where {KZMLABS} wants it; here it belongs in the entry");
            self.findings.push(Finding::note(Code::OtherDialect, outer.key, message));
        }
    }

    fn stream(
        &mut self,
        item: Entry<'_>,
        outer_arn: Option<(Entry<'_>, Option<Placed<StreamArn>>)>,
        is_only: bool,
        region: Option<&Region>,
        first_of: &mut HashMap<StreamRef, Placed<StreamRef>>,
    ) -> Option<StreamRoute> {
        let object = self.object(item)?;
        let name = self.optional(object.get("stream"), Self::stream_name);
        let own_arn = object.get("streamArn").map(|entry| (entry, self.stream_arn(entry)));
        let arn = match (own_arn, outer_arn) {
            (Some((own, Some(arn))), Some((outer, Some(outer_arn)))) if is_only && arn.value != outer_arn.value => {
                let message = "this `streamArn` is not the one beside `streams`";
                let finding = Finding::error(Code::InvalidStreamArn, own.place(), message);
                self.findings.push(finding.label(outer.place(), "the other one"));
                None
            }
            (Some((_, arn)), _) => arn.map(Some),
            // Above several entries it was reported already; it then says nothing about this one.
            (None, Some((_, arn))) => arn.filter(|_| is_only).map(Some),
            (None, None) => Some(None),
        };
        let stream = match (&arn, &name) {
            (Some(Some(arn)), name) => {
                self.check_region(arn, region);
                if let Some(Some(name)) = name {
                    self.check_name(name, arn);
                }
                Some(arn.clone().map(StreamRef::Arn))
            }
            (Some(None), Some(Some(name))) if object.is_missing("streamArn") => {
                self.stream_by_name(name);
                Some(name.clone().map(StreamRef::Name))
            }
            (Some(None), Some(None)) => {
                self.missing_stream(&object, region);
                None
            }
            _ => None,
        };
        if let Some(stream) = &stream {
            self.check_is_new(stream, first_of);
        }
        let value_type = object.get("valueType").and_then(|entry| self.value(entry));
        let targets = object.get("targets").and_then(|entry| self.targets(entry));
        let invalid_records = self.optional(object.get("invalidRecordHandling"), Self::invalid_records);
        name?;
        let mut route = StreamRoute::new(stream?.value, value_type?.value, targets?);
        route.invalid_records = invalid_records?;
        Some(route)
    }

    fn stream_arn(&mut self, entry: Entry<'_>) -> Option<Placed<StreamArn>> {
        let arn: Placed<StreamArn> = self.value(entry)?;
        if arn.written.is_none() {
            self.check_spelling(&arn.clone().map(|arn| arn.region().to_owned()));
        }
        Some(arn)
    }

    fn stream_name(&mut self, entry: Entry<'_>) -> Option<Placed<StreamName>> {
        self.value(entry)
    }

    /// Two entries for one stream. That a name and an ARN are the same stream shows only when the name is looked up.
    fn check_is_new(&mut self, stream: &Placed<StreamRef>, first_of: &mut HashMap<StreamRef, Placed<StreamRef>>) {
        let first = first_of.entry(stream.value.clone()).or_insert_with(|| stream.clone());
        if first.place != stream.place {
            let message = format!("two entries for the stream `{}`", stream.shown(stream.value.name().as_str()));
            self.findings.push(
                Finding::error(Code::DuplicateStream, stream.place, message)
                    .label(first.place, "the first one is here")
                    .help("list all targets in one entry".to_owned()),
            );
        }
    }

    fn stream_by_name(&mut self, name: &Placed<StreamName>) {
        let message = format!(
            "`stream` without `streamArn` is {STATEFUN}'s form: the stream is looked up by its name when the module \
             starts"
        );
        self.findings.push(Finding::note(Code::OtherDialect, name.place, message));
    }

    fn missing_stream(&mut self, object: &Object<'_>, region: Option<&Region>) {
        if !object.is_missing("streamArn") || !object.is_missing("stream") {
            return;
        }
        let region = region.filter(|region| !region.is_from_variable).and_then(|region| region.value.id());
        let region = region.unwrap_or("<region>");
        let help = format!(
            "streamArn: arn:aws:kinesis:{region}:<account>:stream/<name>\n\
             `aws kinesis describe-stream-summary --stream-name <name>` prints it"
        );
        let message = "a stream needs the field `streamArn`, or `stream` with its short name";
        self.findings.push(Finding::error(Code::MissingStreamArn, object.at(), message).help(help));
    }

    fn check_region(&mut self, arn: &Placed<StreamArn>, region: Option<&Region>) {
        if let Some(region) = region
            && let Some(asked) = region.value.id()
            && asked != arn.value.region()
        {
            let message = if region.is_from_variable || arn.written.is_some() {
                "the ARN is of another region than `awsRegion`".to_owned()
            } else {
                format!("the ARN is of region `{}`, but `awsRegion` is `{asked}`", arn.value.region())
            };
            self.findings.push(Finding::warning(Code::RegionMismatch, arn.place, message));
        }
    }

    fn check_name(&mut self, name: &Placed<StreamName>, arn: &Placed<StreamArn>) {
        if name.value != arn.value.name() {
            let message = if name.written.is_some() || arn.written.is_some() {
                "`stream` is not what the ARN names: the ARN counts".to_owned()
            } else {
                format!("`stream` is `{}`, but the ARN names `{}`: the ARN counts", name.value, arn.value.name())
            };
            let finding = Finding::warning(Code::StreamNameMismatch, name.place, message);
            self.findings.push(finding.label(arn.place, "the ARN"));
        }
    }

    fn targets(&mut self, entry: Entry<'_>) -> Option<Vec<FunctionType>> {
        let items = self.list(entry)?;
        let mut first_of: HashMap<FunctionType, Place> = HashMap::new();
        let targets: Vec<Option<FunctionType>> = items
            .into_iter()
            .map(|item| {
                let target: Placed<FunctionType> = self.value(item)?;
                self.target(&target);
                if let Some(first) = first_of.insert(target.value.clone(), target.place) {
                    let message = format!("`{}` gets every record twice", target.shown(target.value.as_str()));
                    let finding = Finding::warning(Code::DuplicateTarget, target.place, message);
                    self.findings.push(finding.label(first, "already named here"));
                }
                Some(target.value)
            })
            .collect();
        targets.into_iter().collect()
    }
}
