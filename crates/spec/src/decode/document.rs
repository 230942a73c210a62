use std::rc::Rc;

use statefun_kinesis_types::TypeName;

use super::{
    Decoder, Entry, STATEFUN, egress, endpoint, ingress, listed,
    lookalike::with_lookalike,
    shown, suggest,
    table::{Alias, Field, Kind, Reads, Shape, Takes, Text},
};
use crate::{
    Code, Severity,
    findings::{Finding, Place},
    yaml::{self, Node, Value},
};

const KIND: Field =
    Field::new("kind", Takes::Text(Text::Any), "kind: io.statefun.kinesis.v1/ingress", "What the document declares.")
        .required();

const SPEC: &str = "spec";

const DOCUMENT: Shape = Shape::new(
    "a document",
    "",
    &[
        KIND,
        Field::new(SPEC, Takes::Object(&NO_FIELDS), "spec:\n  id: example/orders", "What the kind is about.")
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
        if self.divided(node, entries) {
            return;
        }
        self.spec_shape = None;
        self.errors_before = self.findings.count(Severity::Error);
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
        if find("apiVersion").is_some() && !KINDS.iter().any(|kind| kind.name == text) {
            self.kubernetes_object(entry, text);
            return;
        }
        let Some(found) = self.kind(entry, KINDS.iter().find(|kind| kind.name == text), text) else { return };
        let spec = find(SPEC).map(|(key, value)| (key.as_ref(), value.as_ref()));
        if self.spec_is_lost(spec, entries.iter().map(|(key, _)| key.as_ref()), kind_key.place) {
            return;
        }
        self.spec_shape = found.reads.shape();
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

    /// Reports a document of Kubernetes, which has an `apiVersion` beside its `kind`.
    fn kubernetes_object(&mut self, kind: Entry<'_>, text: &str) {
        let message = format!("unknown kind {}", kind.quoted(text));
        let help = if text == "ConfigMap" {
            "this is a Kubernetes ConfigMap: the module is a text in its `data`; check that text by itself"
        } else {
            "this is a Kubernetes object and no part of a module"
        };
        self.findings.push(Finding::error(Code::UnknownKind, kind.node.place, message).help(help.to_owned()));
    }

    /// Reports fields of a `spec` that are beside it, because their indentation was lost.
    fn spec_is_lost<'n>(
        &mut self,
        spec: Option<(&Node<'n>, &Node<'n>)>,
        keys: impl Iterator<Item = &'n Node<'n>>,
        kind: Place,
    ) -> bool {
        let lost = spec_fields(keys);
        let is_empty = |spec: &Node<'_>| matches!(&spec.value, Value::Scalar(text) if text.kind == yaml::Kind::Null);
        if lost.is_empty() || spec.is_some_and(|(_, spec)| !is_empty(spec)) {
            return false;
        }
        let (place, message) = match spec {
            Some((key, _)) => (key.place, "`spec` is empty: its fields are not indented"),
            None => (kind, "the document has no `spec`"),
        };
        let help = format!("write {} indented below `spec:`", listed(lost, "and"));
        self.findings.push(Finding::error(Code::MissingField, place, message).help(help));
        true
    }

    /// Whether the document has several kinds, because a `---` is missing. Then it was read as the documents that it would
    /// be with that mark.
    fn divided<'n>(&mut self, node: &Node<'n>, entries: &[(Rc<Node<'n>>, Rc<Node<'n>>)]) -> bool {
        let name = |key: &Node<'n>| match &key.value {
            Value::Scalar(scalar) => [KIND.name, SPEC].into_iter().find(|name| scalar.text == *name),
            Value::Sequence(_) | Value::Mapping(_) => None,
        };
        if entries.iter().filter(|(key, _)| name(key) == Some(KIND.name)).count() < 2 {
            return false;
        }
        let mut parts: Vec<Vec<(Rc<Node<'n>>, Rc<Node<'n>>)>> = vec![Vec::new()];
        for (key, value) in entries {
            let part = parts.last().map_or(&[][..], Vec::as_slice);
            if let Some(again) = name(key)
                && let Some((first, _)) = part.iter().find(|(key, _)| name(key) == Some(again))
            {
                let message = format!("a document has the field `{again}` twice");
                let finding = Finding::error(Code::DuplicateField, key.place, message).label(first.place, "first here");
                let help = "begin another document with `---` on the line before this one";
                self.findings.push(finding.help(help.to_owned()));
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                part.push((Rc::clone(key), Rc::clone(value)));
            }
        }
        for part in parts {
            if self.gives_up() {
                break;
            }
            let has_spec = part.iter().any(|(key, _)| name(key) == Some(SPEC));
            let mut part = node.with_value(Value::Mapping(part));
            // One without a `spec` was hardly meant to be a document, so that nothing is missing in it.
            part.is_complete &= has_spec;
            self.document(&part);
        }
        true
    }

    /// Reads the `spec` of a document of some kind.
    pub(super) fn spec(&mut self, reads: Reads, spec: Entry<'_>) {
        self.spec_shape = reads.shape();
        match reads {
            Reads::Ingress(_) => self.ingress(spec),
            Reads::Egress(_) => self.egress(spec),
            Reads::Endpoint(shape) => self.endpoint(spec, shape),
            Reads::Elsewhere => unreachable!("reported when the kind was looked up"),
        }
    }

    /// The kind that was found for a text; reports one that is unknown or not supported.
    pub(super) fn kind(&mut self, entry: Entry<'_>, found: Option<&'static Kind>, text: &str) -> Option<&'static Kind> {
        let place = entry.node.place;
        match found {
            Some(Kind { reads: Reads::Elsewhere, .. }) => self.unsupported_kind(entry, text),
            Some(kind @ Kind { reads: Reads::Ingress(_) | Reads::Egress(_) | Reads::Endpoint(_), .. }) => {
                return Some(kind);
            }
            // A document that is skipped is a warning, not one more error.
            None if self.findings.is_full() && !(self.options.ignore_unsupported && is_third_party(text)) => {
                self.findings.push(Finding::error(Code::UnknownKind, place, ""));
            }
            None => {
                let written = entry.written().unwrap_or(text);
                match suggest::nearest(written, KINDS.iter().map(|kind| kind.name)) {
                    None if is_third_party(text) => self.unsupported_kind(entry, text),
                    nearest => {
                        let message = format!("unknown kind {}", entry.quoted(text));
                        let help = match nearest {
                            Some(name) => format!("did you mean `{name}`?"),
                            None if text.contains("${") => format!(
                                "variables are replaced only in values of `spec`: write the kind itself, one of {}",
                                listed(served_kinds(), "or")
                            ),
                            None => format!("the kinds are {}", listed(served_kinds(), "and")),
                        };
                        let help = with_lookalike(help, written);
                        self.findings.push(Finding::error(Code::UnknownKind, place, message).help(help));
                    }
                }
            }
        }
        None
    }

    /// Reports a kind that other runtimes read. With the option, its document is skipped.
    fn unsupported_kind(&mut self, entry: Entry<'_>, text: &str) {
        let place = entry.node.place;
        let message = format!("the kind {} is not supported", entry.quoted(text));
        self.across.has_skipped = true;
        let finding = if self.options.ignore_unsupported {
            Finding::warning(Code::KindNotServed, place, format!("{message}: the document is skipped"))
        } else {
            let help = format!(
                "remove the document, or skip documents of other transports; the kinds are {}",
                listed(served_kinds(), "and")
            );
            Finding::error(Code::KindNotServed, place, message).help(help)
        };
        self.findings.push(finding);
    }

    fn missing_kind<'n>(&mut self, keys: impl Iterator<Item = &'n Node<'n>> + Clone, at: Place) {
        let misspelt = keys.clone().find_map(|key| match &key.value {
            Value::Scalar(name) => suggest::nearest(&name.text, [KIND.name]).map(|_| (key.place, &name.text)),
            Value::Sequence(_) | Value::Mapping(_) => None,
        });
        if let Some((place, name)) = misspelt {
            let message = format!("the document has no `kind`, but `{}`", shown(name));
            let help = with_lookalike("did you mean `kind`?".to_owned(), name);
            self.findings.push(Finding::error(Code::MissingKind, place, message).help(help));
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

/// Whether the name of an unknown kind is that of somebody else's: `<namespace>/<name>`, of a namespace that is not about
/// Kinesis or endpoints. Kinds of those are misspelt, and skipping their documents would lose records.
fn is_third_party(kind: &str) -> bool {
    let Ok(name) = kind.parse::<TypeName>() else { return false };
    let namespace = name.namespace().to_ascii_lowercase();
    !kind.contains("${") && !["kinesis", "statefun.endpoints"].iter().any(|own| namespace.contains(own))
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
