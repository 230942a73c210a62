use super::{
    Decoder, Entry, STATEFUN, egress, endpoint, ingress, listed, suggest,
    table::{Alias, Field, Kind, Reads, Shape, Takes, Text},
};
use crate::{
    Code,
    findings::{Finding, Place},
    yaml::{self, Node, Value},
};

const KIND: Field =
    Field::new("kind", Takes::Text(Text::Any), "kind: io.statefun.kinesis.v1/ingress", "What the document declares.")
        .required();

const DOCUMENT: Shape = Shape::new(
    "a document",
    "",
    &[
        KIND,
        Field::new("spec", Takes::Object(&NO_FIELDS), "spec:\n  id: example/orders", "What the kind is about.")
            .required(),
    ],
);

/// The `spec` of a document, the fields of which its kind decides.
const NO_FIELDS: Shape = Shape::new("a spec", "", &[]);

/// Every kind of document, those that are not supported included.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "io.statefun.kinesis.v1/ingress",
        reads: Reads::Ingress(&ingress::INGRESS),
        doc: "A Kinesis ingress: which streams are read, from where on, and to which functions their records go.",
        dialect: None,
    },
    Kind {
        name: "io.statefun.kinesis.v1/egress",
        reads: Reads::Egress(&egress::EGRESS),
        doc: "A Kinesis egress: the stream to which functions emit records.",
        dialect: None,
    },
    Kind {
        name: V2,
        reads: Reads::Endpoint(&endpoint::V2),
        doc: "The HTTP address of remote functions.",
        dialect: None,
    },
    Kind {
        name: "io.statefun.endpoints.v1/http",
        reads: Reads::Endpoint(&endpoint::V1),
        doc: "The older form of the same.",
        dialect: Some(Alias { name: V2, dialect: STATEFUN }),
    },
    Kind { name: "io.statefun.kafka.v1/ingress", reads: Reads::Elsewhere, doc: KAFKA, dialect: None },
    Kind { name: "io.statefun.kafka.v1/egress", reads: Reads::Elsewhere, doc: KAFKA, dialect: None },
];

const V2: &str = "io.statefun.endpoints.v2/http";
const KAFKA: &str = "Kafka, which is not supported: an error, or skipped with `--ignore-unsupported`.";

/// The kinds that help texts name.
pub(super) fn served_kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter(|kind| kind.reads.shape().is_some() && kind.dialect.is_none()).map(|kind| kind.name)
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
            if find("version").is_some() || find("module").is_some() {
                self.legacy(node, at);
            } else if node.is_complete {
                self.missing_kind(entries.iter().map(|(key, _)| key.as_ref()), at);
            }
            return;
        };
        let entry = Entry::of(&KIND, kind_key.place, kind);
        let Some(text) = self.text(entry) else { return };
        let Some(found) = self.kind(entry, KINDS.iter().find(|kind| kind.name == text), text) else { return };
        let spec = find("spec");
        let lost = spec_fields(entries.iter().map(|(key, _)| key.as_ref()));
        let has_spec = spec
            .is_some_and(|(_, spec)| !matches!(&spec.value, Value::Scalar(scalar) if scalar.kind == yaml::Kind::Null));
        if !has_spec && !lost.is_empty() {
            let (place, message) = match spec {
                Some((key, _)) => (key.place, "`spec` is empty: its fields are not indented"),
                None => (kind_key.place, "the document has no `spec`"),
            };
            let help = format!("write {} indented below `spec:`", listed(lost, "and"));
            self.findings.push(Finding::error(Code::MissingField, place, message).help(help));
            return;
        }
        let whole = Entry {
            name: "document",
            is_item: false,
            key: kind_key.place,
            node,
            takes: &Takes::Object(&DOCUMENT),
            example: "",
        };
        let Some(document) = self.object(whole) else { return };
        let Some(spec) = document.get("spec") else { return };
        let replaced = self.replace_variables(spec.node);
        let spec = Entry { node: replaced.as_ref().unwrap_or(spec.node), ..spec };
        if let Some(dialect) = found.dialect {
            let message = format!("this kind is the older form of `{}`", dialect.name);
            self.findings.push(Finding::note(Code::OtherDialect, kind.place, message));
        }
        self.spec(found.reads, spec);
    }

    /// Reads the `spec` of a document of some kind.
    pub(super) fn spec(&mut self, reads: Reads, spec: Entry<'_>) {
        match reads {
            Reads::Ingress(_) => self.ingress(spec),
            Reads::Egress(_) => self.egress(spec),
            Reads::Endpoint(shape) => self.endpoint(spec, shape),
            Reads::Elsewhere => unreachable!("reported when the kind was looked up"),
        }
    }

    /// The kind that was found for a text; reports one that is unknown or not served.
    pub(super) fn kind(&mut self, entry: Entry<'_>, found: Option<&'static Kind>, text: &str) -> Option<&'static Kind> {
        let place = entry.node.place;
        match found {
            Some(Kind { reads: Reads::Elsewhere, .. }) => {
                let message = format!("the kind {} is not supported", entry.quoted(text));
                self.across.has_skipped = true;
                let finding = if self.options.ignore_unsupported {
                    Finding::warning(Code::KindNotServed, place, format!("{message}: the document is skipped"))
                } else {
                    let help = "only Kinesis is supported: remove the document, or skip documents of other transports";
                    Finding::error(Code::KindNotServed, place, message).help(help.to_owned())
                };
                self.findings.push(finding);
                None
            }
            Some(kind @ Kind { reads: Reads::Ingress(_) | Reads::Egress(_) | Reads::Endpoint(_), .. }) => Some(kind),
            None if self.findings.is_full() => {
                self.findings.push(Finding::error(Code::UnknownKind, place, ""));
                None
            }
            None => {
                let message = format!("unknown kind {}", entry.quoted(text));
                let written = entry.written().unwrap_or(text);
                let help = match suggest::nearest(written, KINDS.iter().map(|kind| kind.name)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("the kinds are {}", listed(served_kinds(), "and")),
                };
                self.findings.push(Finding::error(Code::UnknownKind, place, message).help(help));
                None
            }
        }
    }

    fn missing_kind<'n>(&mut self, keys: impl Iterator<Item = &'n Node<'n>>, at: Place) {
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
