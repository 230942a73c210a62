use std::collections::HashMap;

use statefun_kinesis_types::{FunctionType, StreamArn, StreamName};

use super::{Decoder, Entry, Field, KZMLABS, Object, Placed, Shape, aws::Region, properties};
use crate::{
    Code, IngressSpec, StreamRoute,
    findings::{Finding, Place},
};

pub(super) const INGRESS: Shape = Shape {
    what: "an ingress",
    fields: &[
        Field::new("id", "id: example/orders"),
        Field::new("awsRegion", "awsRegion:\n  type: specific\n  id: us-east-1"),
        Field::new("awsCredentials", "awsCredentials:\n  type: default"),
        Field::new("startupPosition", "startupPosition:\n  type: latest"),
        Field::new("streams", STREAMS_EXAMPLE),
        Field::new("streamArn", ARN_EXAMPLE),
        properties::FIELD,
    ],
};

const STREAM: Shape = Shape {
    what: "a stream",
    fields: &[
        Field::new("streamArn", ARN_EXAMPLE),
        Field::new("stream", "stream: orders-stream"),
        Field::new("valueType", "valueType: example/Order"),
        Field::new("targets", TARGETS_EXAMPLE),
    ],
};

const ARN_EXAMPLE: &str = "streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream";
const TARGETS_EXAMPLE: &str = "targets:\n  - example/order-handler";
const STREAMS_EXAMPLE: &str = "streams:
  - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
    valueType: example/Order
    targets:
      - example/order-handler";

impl Decoder<'_> {
    pub(super) fn ingress(&mut self, spec: Entry<'_>) {
        let Some(object) = self.object(spec, &INGRESS) else { return };
        let id = self.id(&object, "ingresses");
        let region = self.region(object.get("awsRegion"));
        let credentials = self.credentials(object.get("awsCredentials"), region.as_ref());
        let startup = self.startup(object.get("startupPosition"));
        let streams = self.streams(&object, region.as_ref());
        let client_properties = self.client_properties(object.get(properties::FIELD.name));
        let ingress = (|| {
            Some(IngressSpec {
                id: id?.value,
                region: region?.value,
                credentials: credentials?,
                startup: startup?,
                streams: streams?,
                client_properties: client_properties?,
            })
        })();
        self.module.ingresses.extend(ingress);
    }

    /// The `id` of an ingress or egress.
    pub(super) fn id(
        &mut self,
        object: &Object<'_>,
        what: &'static str,
    ) -> Option<Placed<statefun_kinesis_types::TypeName>> {
        let entry = self.required(object, "id")?;
        let id = self.value(entry, Code::InvalidName, |_| Some("for example `example/orders`".to_owned()))?;
        self.declare(what, &id);
        Some(id)
    }

    fn streams(&mut self, ingress: &Object<'_>, region: Option<&Region>) -> Option<Vec<StreamRoute>> {
        let outer = ingress.get("streamArn");
        let outer_arn = outer.map(|entry| (entry, self.stream_arn(entry)));
        let entry = self.required(ingress, "streams")?;
        let items = self.list(entry, STREAMS_EXAMPLE)?;
        if let Some(outer) = outer {
            self.outer_arn_is_allowed(outer, &items);
        }
        let mut first_of: HashMap<StreamArn, Place> = HashMap::new();
        let routes: Vec<Option<StreamRoute>> = items
            .iter()
            .map(|item| self.stream(*item, outer_arn.clone(), items.len() == 1, region, &mut first_of))
            .collect();
        routes.into_iter().collect()
    }

    /// Above the entries, an ARN stands for that of the one entry; which of several it belongs to nobody can say.
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
                format!("`streamArn` beside `streams` is where {KZMLABS} wants it; here it stands in the entry");
            self.findings.push(Finding::note(Code::OtherDialect, outer.key, message));
        }
    }

    fn stream(
        &mut self,
        item: Entry<'_>,
        outer_arn: Option<(Entry<'_>, Option<Placed<StreamArn>>)>,
        is_only: bool,
        region: Option<&Region>,
        first_of: &mut HashMap<StreamArn, Place>,
    ) -> Option<StreamRoute> {
        let object = self.object(item, &STREAM)?;
        let name = object.get("stream").map(|entry| self.stream_name(entry, "streamArn"));
        let own_arn = object.get("streamArn").map(|entry| (entry, self.stream_arn(entry)));
        let arn = match (own_arn, outer_arn) {
            (Some((own, Some(arn))), Some((outer, Some(outer_arn)))) if is_only && arn.value != outer_arn.value => {
                let message = "this `streamArn` is not the one beside `streams`";
                let finding = Finding::error(Code::InvalidStreamArn, own.place(), message);
                self.findings.push(finding.label(outer.place(), "the other one"));
                None
            }
            (Some((_, arn)), _) => arn,
            // Above several entries it was reported already; it then says nothing about this one.
            (None, Some((_, arn))) => arn.filter(|_| is_only),
            (None, None) => {
                self.missing_arn(&object, name.as_ref().and_then(Option::as_ref), region);
                None
            }
        };
        if let Some(arn) = &arn {
            self.check_region(arn, region);
            if let Some(Some(name)) = &name {
                self.check_name(name, arn);
            }
            let first = *first_of.entry(arn.value.clone()).or_insert(arn.place);
            if first != arn.place {
                let message = format!("two entries for the stream `{}`", arn.shown(arn.value.name().as_str()));
                self.findings.push(
                    Finding::error(Code::DuplicateStream, arn.place, message)
                        .label(first, "the first one is here")
                        .help("list all targets in one entry".to_owned()),
                );
            }
        }
        let value_type = self
            .required(&object, "valueType")
            .and_then(|entry| self.value(entry, Code::InvalidName, |_| Some("for example `example/Order`".to_owned())));
        let targets = self.required(&object, "targets").and_then(|entry| self.targets(entry));
        let mut route = StreamRoute::new(arn?.value, value_type?.value, targets?);
        route.stream = name.map_or(Some(None), |name| name.map(|name| Some(name.value)))?;
        Some(route)
    }

    fn stream_arn(&mut self, entry: Entry<'_>) -> Option<Placed<StreamArn>> {
        self.value(entry, Code::InvalidStreamArn, |text| {
            text.parse::<StreamName>()
                .is_ok()
                .then(|| "this is a short name, which goes into `stream`; `streamArn` takes the whole ARN".to_owned())
        })
    }

    /// A short name; `arn_field` is where an ARN in its place belongs.
    fn stream_name(&mut self, entry: Entry<'_>, arn_field: &str) -> Option<Placed<StreamName>> {
        self.value(entry, Code::InvalidStreamName, |text| {
            let arn: StreamArn = text.parse().ok()?;
            Some(format!("an ARN goes into `{arn_field}`; the short name is `{}`", arn.name()))
        })
    }

    fn missing_arn(&mut self, object: &Object<'_>, name: Option<&Placed<StreamName>>, region: Option<&Region>) {
        if !object.is_missing("streamArn") {
            return;
        }
        let region = region.filter(|region| !region.is_from_variable).and_then(|region| region.value.id());
        let region = region.unwrap_or("<region>");
        let stream = name.filter(|name| name.written.is_none()).map_or("<name>", |name| name.value.as_str());
        let help = format!(
            "streamArn: arn:aws:kinesis:{region}:<account>:stream/{stream}\n\
             `aws kinesis describe-stream-summary --stream-name {stream}` prints it"
        );
        let message = "a stream needs the field `streamArn`: records are routed by it, not by the short name";
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
        let items = self.list(entry, TARGETS_EXAMPLE)?;
        let mut first_of: HashMap<FunctionType, Place> = HashMap::new();
        let targets: Vec<Option<FunctionType>> = items
            .into_iter()
            .map(|item| {
                let example = |_: &str| Some("for example `example/order-handler`".to_owned());
                let target: Placed<FunctionType> = self.value(item, Code::InvalidName, example)?;
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
