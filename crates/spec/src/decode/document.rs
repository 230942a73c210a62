use super::{Decoder, Entry, Field, Shape, egress, endpoint, ingress, listed, shown, suggest};
use crate::{
    Code,
    findings::{Finding, Place},
    yaml::{Kind, Node, Value},
};

const DOCUMENT: Shape = Shape {
    what: "a document",
    fields: &[
        Field::new("kind", "kind: io.statefun.kinesis.v1/ingress"),
        Field::new("spec", "spec:\n  id: example/orders"),
    ],
};

/// How a document of a kind is read.
#[derive(Clone, Copy)]
enum Served {
    Ingress,
    Egress,
    Endpoint,
    EndpointV1,
    /// Not at all: the transport belongs to other runtimes.
    Elsewhere,
}

const KINDS: &[(&str, Served)] = &[
    ("io.statefun.kinesis.v1/ingress", Served::Ingress),
    ("io.statefun.kinesis.v1/egress", Served::Egress),
    ("io.statefun.endpoints.v2/http", Served::Endpoint),
    ("io.statefun.endpoints.v1/http", Served::EndpointV1),
    ("io.statefun.kafka.v1/ingress", Served::Elsewhere),
    ("io.statefun.kafka.v1/egress", Served::Elsewhere),
];

/// The kinds that help texts name.
fn served_kinds() -> impl Iterator<Item = &'static str> {
    KINDS
        .iter()
        .filter(|(_, served)| matches!(served, Served::Ingress | Served::Egress | Served::Endpoint))
        .map(|(kind, _)| *kind)
}

impl Decoder<'_> {
    pub(crate) fn document(&mut self, node: &Node<'_>) {
        let Value::Mapping(entries) = &node.value else {
            if !node.is_complete {
                return;
            }
            let message = "a document is a mapping with `kind` and `spec`";
            let help = format!("the kinds are {}", listed(served_kinds(), "and"));
            self.findings.push(Finding::error(Code::NotADocument, node.place, message).help(help));
            return;
        };
        let find =
            |name: &str| entries.iter().find(|(key, _)| matches!(&key.value, Value::Scalar(key) if key.text == name));
        let at = entries.first().map_or(node.place, |(key, _)| key.place);
        let Some((kind_key, kind)) = find("kind") else {
            if node.is_complete {
                self.missing_kind(entries.iter().map(|(key, _)| key.as_ref()), at);
            }
            return;
        };
        let Some(kind_text) = self.text(Entry { name: "kind", is_item: false, key: kind_key.place, node: kind }) else {
            return;
        };
        let Some(served) = self.served(kind_text, kind.place) else { return };
        let spec = find("spec");
        let lost = spec_fields(entries.iter().map(|(key, _)| key.as_ref()));
        let has_spec =
            spec.is_some_and(|(_, spec)| !matches!(&spec.value, Value::Scalar(scalar) if scalar.kind == Kind::Null));
        if !has_spec && !lost.is_empty() {
            let (place, message) = match spec {
                Some((key, _)) => (key.place, "`spec` is empty: its fields are not indented"),
                None => (kind_key.place, "the document has no `spec`"),
            };
            let help = format!("write {} indented below `spec:`", listed(lost, "and"));
            self.findings.push(Finding::error(Code::MissingField, place, message).help(help));
            return;
        }
        let whole = Entry { name: "document", is_item: false, key: kind_key.place, node };
        let Some(document) = self.object(whole, &DOCUMENT) else { return };
        let Some(spec) = self.required(&document, "spec") else { return };
        let replaced = self.replace_variables(spec.node);
        let spec = Entry { node: replaced.as_ref().unwrap_or(spec.node), ..spec };
        match served {
            Served::Ingress => self.ingress(spec),
            Served::Egress => self.egress(spec),
            Served::Endpoint => self.endpoint(spec, &endpoint::V2),
            Served::EndpointV1 => {
                let message = "this kind is the older form of `io.statefun.endpoints.v2/http`";
                self.findings.push(Finding::note(Code::OtherDialect, kind.place, message));
                self.endpoint(spec, &endpoint::V1);
            }
            Served::Elsewhere => unreachable!("reported when the kind was looked up"),
        }
    }

    /// How a kind is read; reports one that is unknown or not served.
    fn served(&mut self, kind: &str, place: Place) -> Option<Served> {
        match KINDS.iter().find(|(name, _)| *name == kind) {
            Some((_, Served::Elsewhere)) => {
                let message = format!("the kind `{kind}` is not served here");
                let finding = if self.options.ignore_unsupported {
                    Finding::warning(Code::KindNotServed, place, format!("{message}: the document is skipped"))
                } else {
                    let help =
                        "only Kinesis is: leave the document out, or let documents of other transports be skipped";
                    Finding::error(Code::KindNotServed, place, message).help(help.to_owned())
                };
                self.findings.push(finding);
                None
            }
            Some((_, served)) => Some(*served),
            None if self.findings.is_full() => {
                self.findings.push(Finding::error(Code::UnknownKind, place, ""));
                None
            }
            None => {
                let message = format!("unknown kind `{}`", shown(kind));
                let help = match suggest::nearest(kind, KINDS.iter().map(|(name, _)| *name)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("the kinds are {}", listed(served_kinds(), "and")),
                };
                self.findings.push(Finding::error(Code::UnknownKind, place, message).help(help));
                None
            }
        }
    }

    fn missing_kind<'n>(&mut self, keys: impl Iterator<Item = &'n Node<'n>> + Clone, at: Place) {
        let is_legacy = keys
            .clone()
            .any(|key| matches!(&key.value, Value::Scalar(key) if key.text == "module" || key.text == "version"));
        if is_legacy {
            let message = "this is a module of Stateful Functions 3.0 or older, which is not read";
            let help = "since 3.1 every ingress, egress and endpoint is a document of its own, with `kind` and `spec`";
            self.findings.push(Finding::error(Code::LegacyFormat, at, message).help(help.to_owned()));
            return;
        }
        let fields = spec_fields(keys);
        let help = if fields.is_empty() {
            format!("the kinds are {}", listed(served_kinds(), "and"))
        } else {
            let belong = if fields.len() == 1 { "belongs" } else { "belong" };
            let fields = listed(fields, "and");
            format!(
                "{fields} {belong} under the `spec` of an ingress or egress:\nkind: io.statefun.kinesis.v1/ingress\nspec:\n  id: …"
            )
        };
        let finding = Finding::error(Code::MissingKind, at, "the document has no `kind`");
        self.findings.push(finding.help(help));
    }
}

/// Those of the names that are fields of a `spec` of some kind, each once.
fn spec_fields<'n>(keys: impl Iterator<Item = &'n Node<'n>>) -> Vec<&'static str> {
    let shapes = [&ingress::INGRESS, &egress::EGRESS, &endpoint::V2];
    let mut names = Vec::new();
    for key in keys {
        let Value::Scalar(key) = &key.value else { continue };
        let field = shapes.iter().flat_map(|shape| shape.fields).find(|field| field.name == key.text);
        if let Some(field) = field
            && !names.contains(&field.name)
        {
            names.push(field.name);
        }
    }
    names
}
