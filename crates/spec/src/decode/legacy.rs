//! The single document of Stateful Functions 3.0: `version` and `module`, with everything in lists below it.

use std::rc::Rc;

use super::{
    Decoder, Entry, KINDS, Object, STATEFUN, egress, endpoint, ingress, shown,
    table::{Field, Kind, Reads, Shape, Takes, Text, Word},
};
use crate::{
    Code,
    findings::{Finding, Place},
    yaml::{self, Node, Scalar, Value},
};

/// The one version that is read.
const VERSION: &str = "3.0";

const MODERN: &str = "since 3.1 every ingress, egress and endpoint is a document of its own, with `kind` and `spec`";

pub(crate) static FILE: Shape = Shape::new(
    "a module of Stateful Functions 3.0",
    "The form of module files up to Stateful Functions 3.0: one document for everything.",
    &[
        Field::new("version", Takes::Text(Text::Any), "version: \"3.0\"", "The version of the form: `3.0`.").required(),
        Field::new("module", Takes::Object(&MODULE), "module:\n  meta:\n    type: remote", "Everything else.")
            .required(),
    ],
);

static WHOLE: Takes = Takes::Object(&FILE);

const MODULE: Shape = Shape::new(
    "a module",
    "",
    &[
        Field::new("meta", Takes::Object(&MODULE_META), "meta:\n  type: remote", "What sort of module it is.")
            .required(),
        Field::new("spec", Takes::Object(&MODULE_SPEC), "spec:\n  ingresses: []", "What it declares.").required(),
    ],
);

const MODULE_META: Shape = Shape::new(
    "the `meta` of a module",
    "",
    &[Field::new(
        "type",
        Takes::Word(&[Word { name: "remote", doc: "Its functions are served over HTTP." }]),
        "type: remote",
        "Always `remote`.",
    )
    .required()],
);

const MODULE_SPEC: Shape = Shape::new(
    "the `spec` of a module",
    "",
    &[
        Field::new(
            "endpoints",
            Takes::List(&Takes::Object(&ENDPOINT_ITEM)),
            "endpoints:\n  - endpoint:\n      meta:\n        kind: http",
            "Where remote functions are served.",
        ),
        Field::new(
            "ingresses",
            Takes::List(&Takes::Object(&INGRESS_ITEM)),
            "ingresses:\n  - ingress:\n      meta:\n        type: io.statefun.kinesis/ingress\n        id: example/orders",
            "Where records come from.",
        ),
        Field::new(
            "egresses",
            Takes::List(&Takes::Object(&EGRESS_ITEM)),
            "egresses:\n  - egress:\n      meta:\n        type: io.statefun.kinesis/egress\n        id: example/notifications",
            "The stream to which functions emit records.",
        ),
    ],
);

const ENDPOINT_ITEM: Shape = Shape::new(
    "an entry of `endpoints`",
    "",
    &[Field::new("endpoint", Takes::Object(&ENDPOINT), "endpoint:\n  meta:\n    kind: http", "The endpoint.")
        .required()],
);

const INGRESS_ITEM: Shape = Shape::new(
    "an entry of `ingresses`",
    "",
    &[Field::new(
        "ingress",
        Takes::Object(&INGRESS),
        "ingress:\n  meta:\n    type: io.statefun.kinesis/ingress\n    id: example/orders",
        "The ingress.",
    )
    .required()],
);

const EGRESS_ITEM: Shape = Shape::new(
    "an entry of `egresses`",
    "",
    &[Field::new(
        "egress",
        Takes::Object(&EGRESS),
        "egress:\n  meta:\n    type: io.statefun.kinesis/egress\n    id: example/notifications",
        "The egress.",
    )
    .required()],
);

const META_EXAMPLE: &str = "meta:\n  type: io.statefun.kinesis/ingress\n  id: example/orders";

const ENDPOINT: Shape = Shape::new("an endpoint", "", ENDPOINT_FIELDS);

const ENDPOINT_FIELDS: &[Field] = &[
    Field::new("meta", Takes::Object(&ENDPOINT_META), "meta:\n  kind: http", "Its kind.").required(),
    Field::new(
        "spec",
        Takes::Object(&endpoint::V1),
        "spec:\n  functions: example/*",
        "The fields of an `io.statefun.endpoints.v1/http`.",
    )
    .required(),
];

const INGRESS: Shape = Shape::new("an ingress", "", INGRESS_FIELDS);

const INGRESS_FIELDS: &[Field] = &[
    Field::new("meta", Takes::Object(&INGRESS_META), META_EXAMPLE, "Its kind and its id.").required(),
    Field::new(
        "spec",
        Takes::Object(&ingress::INGRESS),
        "spec:\n  streams: []",
        "The fields of an `io.statefun.kinesis.v1/ingress`, without the id.",
    )
    .required(),
];

const EGRESS: Shape = Shape::new("an egress", "", EGRESS_FIELDS);

const EGRESS_FIELDS: &[Field] = &[
    Field::new("meta", Takes::Object(&EGRESS_META), META_EXAMPLE, "Its kind and its id.").required(),
    Field::new(
        "spec",
        Takes::Object(&egress::EGRESS),
        "spec:\n  streamName: notifications-stream",
        "The fields of an `io.statefun.kinesis.v1/egress`, without the id.",
    )
    .required(),
];

/// The kind of a declaration, under either of its two names.
const fn kind(name: &'static str, kinds: &'static [Word], example: &'static str) -> Field {
    Field::new(name, Takes::Word(kinds), example, "The kind of the declaration.")
}

const fn word(name: &'static str) -> Word {
    Word { name, doc: "" }
}

const INGRESS_KINDS: &[Word] = &[
    word("io.statefun.kinesis/ingress"),
    word("io.statefun.kinesis.v1/ingress"),
    word("statefun.kinesis.io/routable-protobuf-ingress"),
];

const EGRESS_KINDS: &[Word] = &[
    word("io.statefun.kinesis/egress"),
    word("io.statefun.kinesis.v1/egress"),
    word("statefun.kinesis.io/generic-egress"),
];

const ENDPOINT_KINDS: &[Word] =
    &[word("http"), word("io.statefun.endpoints.v1/http"), word("io.statefun.endpoints.v2/http")];

const ID: Field =
    Field::new("id", Takes::Text(Text::TypeName), "id: example/orders", "What is the `id` of the `spec` today.")
        .required();

const INGRESS_META: Shape = Shape::new(
    "`meta`",
    "",
    &[
        kind("type", INGRESS_KINDS, "type: io.statefun.kinesis/ingress"),
        kind("kind", INGRESS_KINDS, "kind: io.statefun.kinesis/ingress"),
        ID,
    ],
)
.with_one_of(&["type", "kind"]);

const EGRESS_META: Shape = Shape::new(
    "`meta`",
    "",
    &[
        kind("type", EGRESS_KINDS, "type: io.statefun.kinesis/egress"),
        kind("kind", EGRESS_KINDS, "kind: io.statefun.kinesis/egress"),
        ID,
    ],
)
.with_one_of(&["type", "kind"]);

const ENDPOINT_META: Shape = Shape::new(
    "`meta`",
    "",
    &[
        kind("type", ENDPOINT_KINDS, "type: http"),
        kind("kind", ENDPOINT_KINDS, "kind: http"),
        Field::new("id", Takes::Text(Text::Any), "id: example/functions", "A name, which nothing uses."),
    ],
)
.with_one_of(&["type", "kind"]);

/// The kinds of 3.0 and before, and what they are called today.
const OLD_KINDS: &[(&str, &str)] = &[
    ("io.statefun.kinesis/ingress", "io.statefun.kinesis.v1/ingress"),
    ("io.statefun.kinesis/egress", "io.statefun.kinesis.v1/egress"),
    ("io.statefun.kafka/ingress", "io.statefun.kafka.v1/ingress"),
    ("io.statefun.kafka/egress", "io.statefun.kafka.v1/egress"),
    ("statefun.kinesis.io/routable-protobuf-ingress", "io.statefun.kinesis.v1/ingress"),
    ("statefun.kinesis.io/generic-egress", "io.statefun.kinesis.v1/egress"),
    ("statefun.kafka.io/routable-protobuf-ingress", "io.statefun.kafka.v1/ingress"),
    ("statefun.kafka.io/generic-egress", "io.statefun.kafka.v1/egress"),
    ("http", "io.statefun.endpoints.v1/http"),
];

/// The kind of a declaration, by its name of today or of then, if it is of the same sort as `like`.
fn kind_of(text: &str, like: fn(&Reads) -> bool) -> Option<&'static Kind> {
    let today = OLD_KINDS.iter().find(|(old, _)| *old == text).map_or(text, |(_, today)| today);
    KINDS.iter().find(|kind| kind.name == today && (like(&kind.reads) || matches!(kind.reads, Reads::Elsewhere)))
}

impl Decoder<'_> {
    /// A document without `kind`, but with `version` or `module`.
    pub(super) fn legacy(&mut self, node: &Node<'_>, at: Place) {
        let Value::Mapping(entries) = &node.value else { return };
        let version = entries.iter().find(|(key, _)| matches!(&key.value, Value::Scalar(key) if key.text == "version"));
        if let Some((_, value)) = version
            && let Value::Scalar(scalar) = &value.value
        {
            if scalar.text != VERSION {
                let message =
                    format!("modules of version `{}` are not supported: only `{VERSION}` is", shown(&scalar.text));
                self.findings.push(Finding::error(Code::LegacyFormat, value.place, message).help(MODERN.to_owned()));
                return;
            }
            let message = format!("this is the form of {STATEFUN} {VERSION}: {MODERN}");
            self.findings.push(Finding::note(Code::OtherDialect, value.place, message));
        }
        let whole = Entry { name: "document", is_item: false, key: at, node, takes: &WHOLE, example: "" };
        let Some(file) = self.object(whole) else { return };
        if let Some(version) = file.get("version")
            && !matches!(version.node.value, Value::Scalar(_))
        {
            self.wrong_type(version, "a string", None);
        }
        let Some(module) = file.get("module") else { return };
        let Some(module) = self.object(module) else { return };
        if let Some(meta) = module.get("meta").and_then(|meta| self.object(meta))
            && let Some(entry) = meta.get("type")
        {
            self.word(entry);
        }
        let Some(spec) = module.get("spec") else { return };
        let replaced = self.replace_variables(spec.node);
        let spec = Entry { node: replaced.as_ref().unwrap_or(spec.node), ..spec };
        let Some(spec) = self.object(spec) else { return };
        self.declarations(spec.get("ingresses"), "ingress", |reads| matches!(reads, Reads::Ingress(_)));
        self.declarations(spec.get("egresses"), "egress", |reads| matches!(reads, Reads::Egress(_)));
        self.declarations(spec.get("endpoints"), "endpoint", |reads| matches!(reads, Reads::Endpoint(_)));
    }

    /// Reads a list of declarations, each of which is below the word for it.
    fn declarations(&mut self, list: Option<Entry<'_>>, word: &'static str, like: fn(&Reads) -> bool) {
        let Some(list) = list else { return };
        // An empty list declares nothing, and is what some generators write.
        if matches!(&list.node.value, Value::Sequence(items) if items.is_empty()) {
            return;
        }
        let Some(items) = self.list(list) else { return };
        for item in items {
            let Some(item) = self.object(item) else { continue };
            let Some(declaration) = item.get(word) else { continue };
            let Some(declaration) = self.object(declaration) else { continue };
            let spec = declaration.get("spec");
            let Some(meta) = declaration.get("meta").and_then(|meta| self.object(meta)) else { continue };
            let Some(kind) = self.declared_kind(&meta, like) else { continue };
            let Some(spec) = spec else { continue };
            if like(&Reads::Endpoint(&endpoint::V1)) {
                self.spec(kind.reads, spec);
            } else {
                let with_id = with_id(spec.node, meta.get("id"));
                self.spec(kind.reads, Entry { node: with_id.as_ref().unwrap_or(spec.node), ..spec });
            }
        }
    }

    fn declared_kind(&mut self, meta: &Object<'_>, like: fn(&Reads) -> bool) -> Option<&'static Kind> {
        let entry = match (meta.get("type"), meta.get("kind")) {
            (Some(entry), None) | (None, Some(entry)) => entry,
            (Some(first), Some(second)) => {
                let message = "`meta` has both `type` and `kind`, which are the same";
                let finding = Finding::error(Code::DuplicateField, second.key, message);
                self.findings.push(finding.label(first.key, "the other one"));
                return None;
            }
            (None, None) => {
                if meta.is_missing("type") && meta.is_missing("kind") {
                    let help = "for example\ntype: io.statefun.kinesis/ingress".to_owned();
                    let finding = Finding::error(Code::MissingField, meta.at(), "`meta` needs the field `type`");
                    self.findings.push(finding.help(help));
                }
                return None;
            }
        };
        let text = self.text(entry)?;
        self.kind(entry, kind_of(text, like), text)
    }
}

/// The `spec` with the id of the `meta` as its first field. One that is missing was reported.
fn with_id<'n>(spec: &Node<'n>, id: Option<Entry<'n>>) -> Option<Node<'n>> {
    let Value::Mapping(fields) = &spec.value else { return None };
    let (key, value) = match id {
        Some(id) => (id.key, id.node.with_value(copy(&id.node.value))),
        None => (spec.place, spec.with_value(Value::Scalar(scalar("", yaml::Kind::Unknown)))),
    };
    let mut name = spec.with_value(Value::Scalar(scalar("id", yaml::Kind::String)));
    name.place = key;
    let mut with_id = vec![(Rc::new(name), Rc::new(value))];
    with_id.extend(fields.iter().map(|(key, value)| (Rc::clone(key), Rc::clone(value))));
    Some(spec.with_value(Value::Mapping(with_id)))
}

fn scalar(text: &'static str, kind: yaml::Kind) -> Scalar<'static> {
    Scalar { text: text.into(), kind, written: None }
}

fn copy<'n>(value: &Value<'n>) -> Value<'n> {
    match value {
        Value::Scalar(Scalar { text, kind, written }) => {
            Value::Scalar(Scalar { text: text.clone(), kind: *kind, written: written.clone() })
        }
        Value::Sequence(items) => Value::Sequence(items.clone()),
        Value::Mapping(entries) => Value::Mapping(entries.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_old_kind_is_one_of_today() {
        for (old, today) in OLD_KINDS {
            assert!(KINDS.iter().any(|kind| kind.name == *today), "{old}");
        }
    }
}
