use super::json::Json;
use crate::decode::{
    KINDS,
    table::{Effect, Field, Presence, Shape, TYPE, Tagged, Takes, Text, Variant},
};

/// A field of a module file, with a file that sets it and one that does not.
///
/// Tests use it to show that each field arrives where it has its effect: what is made of [`with`](Self::with) differs from
/// what is made of [`without`](Self::without), and what is made of [`with_default`](Self::with_default) does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldExample {
    /// The kind of the document and the path of the field, such as
    /// `io.statefun.kinesis.v1/ingress consumer.polling.maxRecords`. The name of a `type` is a part of the path.
    pub path: String,
    /// The value that [`with`](Self::with) gives the field, as YAML. It is not the default.
    pub value: String,
    /// The value of a file without the field, as YAML, where it is always the same.
    pub default: Option<&'static str>,
    /// What the number counts, such as `records`. A duration has its unit in the file.
    pub unit: Option<&'static str>,
    /// Where the default comes from, as a phrase such as `StateFun's default`.
    pub source: Option<&'static str>,
    /// A module file that is right and does not have the field. A required field has another value there.
    pub without: String,
    /// The same file with the field.
    pub with: String,
    /// The same file with the default written out.
    pub with_default: Option<String>,
}

/// Every field of every document, each with the values that it can have, or with one of them where there are many.
///
/// Left out are the document of StateFun 3.0, the places that only another dialect has for a field, and the client
/// properties that set what a field sets too.
///
/// ```
/// use statefun_kinesis_spec::{Options, SourceFile, field_examples, read_module};
///
/// for example in field_examples() {
///     let checked = read_module(&[SourceFile::new("module.yaml", &example.with)], &Options::default());
///     assert!(checked.module.is_some(), "{}", example.path);
/// }
/// ```
pub fn field_examples() -> Vec<FieldExample> {
    let mut examples = Vec::new();
    for kind in KINDS {
        if let Some(shape) = kind.reads.shape() {
            let file = |spec: Json| format!("kind: {}\nspec: {}\n", kind.name, spec.flow());
            Walk { examples: &mut examples, file: &file }.shape(&format!("{} ", kind.name), shape, minimal(shape));
        }
    }
    examples
}

/// Fields that make sense only together with others.
const TOGETHER: &[(&str, &[(&str, &str)])] = &[
    ("client_cert", &[("client_key", "/other/key.pem")]),
    ("client_key", &[("client_cert", "/other/cert.pem")]),
    ("client_key_password", &[("client_cert", "/other/cert.pem"), ("client_key", "/other/key.pem")]),
];

/// Mappings that mean something by being there, with nothing in them.
const MEANT_WHEN_EMPTY: &[&str] = &["aggregation"];

/// A walk through the fields of a mapping.
struct Walk<'w> {
    examples: &'w mut Vec<FieldExample>,
    /// The module file in which the mapping is this.
    file: &'w dyn Fn(Json) -> String,
}

impl Walk<'_> {
    /// Goes through the fields of a shape. `base` is the least that a mapping of the shape has.
    fn shape(&mut self, path: &str, shape: &'static Shape, base: Json) {
        for field in shape.fields {
            // The `type` is told by the variants; a field of another dialect has its place elsewhere.
            if field.name != TYPE.name && field.dialect.is_none() {
                self.field(path, shape, field, &base);
            }
        }
    }

    fn field(&mut self, path: &str, shape: &'static Shape, field: &'static Field, base: &Json) {
        let path = format!("{path}{}", field.name);
        // Where one of several fields has to be there, this one is the only one.
        let mut rest = base.clone();
        for other in shape.one_of.iter().filter(|_| shape.one_of.contains(&field.name)) {
            rest.remove(other);
        }
        let with = |value: Json| {
            let mut with = rest.clone();
            with.put(field.name, value);
            for (_, others) in TOGETHER.iter().filter(|(name, _)| *name == field.name) {
                others.iter().for_each(|(name, value)| with.put(name, Json::text(*value)));
            }
            with
        };
        let outer = self.file;
        match field.takes {
            Takes::Text(_) | Takes::Word(_) | Takes::Integer { .. } | Takes::Duration { .. } => {
                for value in values(&field.takes, field) {
                    self.push(&path, field, value.clone(), base, with(value));
                }
            }
            Takes::List(item) => {
                if let Takes::Object(inner) = item {
                    let file = |item| outer(with(Json::List(vec![item])));
                    self.within(&file).shape(&format!("{path}."), inner, minimal(inner));
                }
                for value in values(item, field) {
                    let list = Json::List(vec![value]);
                    self.push(&path, field, list.clone(), base, with(list));
                }
            }
            Takes::Object(inner) => {
                let least = minimal(inner);
                if MEANT_WHEN_EMPTY.contains(&field.name) {
                    self.push(&path, field, least.clone(), base, with(least.clone()));
                }
                let file = |value| outer(with(value));
                self.within(&file).shape(&format!("{path}."), inner, least);
            }
            Takes::Tagged(tagged) => {
                for variant in tagged.variants {
                    let least = minimal_variant(variant);
                    if !is_default(field, tagged, variant) {
                        self.push(&format!("{path}.{}", variant.name), field, least.clone(), base, with(least.clone()));
                    }
                    let file = |value| outer(with(value));
                    self.within(&file).shape(&format!("{path}.{}.", variant.name), &variant.shape, least);
                }
            }
            Takes::Properties(tables) => {
                for property in tables.iter().copied().flatten() {
                    let Effect::Sets(setting) = property.effect else { continue };
                    if setting.has_field() {
                        continue;
                    }
                    for value in values(setting.takes(), field) {
                        let mut properties = Json::object([]);
                        properties.put(property.name, value);
                        self.push(
                            &format!("{path}.{}", property.name),
                            field,
                            properties.clone(),
                            base,
                            with(properties),
                        );
                    }
                }
            }
            // It is what the variants are told by.
            Takes::Tag => {}
        }
    }

    fn within<'i>(&'i mut self, file: &'i dyn Fn(Json) -> String) -> Walk<'i> {
        Walk { examples: self.examples, file }
    }

    fn push(&mut self, path: &str, field: &Field, value: Json, without: &Json, with: Json) {
        let default = match field.presence {
            Presence::Default(value) => Some(value),
            Presence::Required | Presence::Expected | Presence::Optional => None,
        };
        let with_default = default.map(|default| {
            let mut with = without.clone();
            with.put(field.name, Json::of_yaml(default));
            (self.file)(with)
        });
        self.examples.push(FieldExample {
            path: path.to_owned(),
            value: value.flow(),
            default,
            unit: field.unit,
            source: field.source,
            without: (self.file)(without.clone()),
            with: (self.file)(with),
            with_default,
        });
    }
}

/// Whether a mapping of this variant says the same as none.
fn is_default(field: &Field, tagged: &Tagged, variant: &Variant) -> bool {
    let name = variant.dialect.map_or(variant.name, |own| own.name);
    tagged.default == Some(name)
        || matches!(field.presence, Presence::Default(value) if Json::of_yaml(value) == minimal_variant(variant))
}

/// The least that a mapping has: the fields that have to be there, as in their examples.
fn minimal(shape: &Shape) -> Json {
    let mut least = Json::object([]);
    let is_needed = |field: &&Field| {
        matches!(field.presence, Presence::Required | Presence::Expected) || shape.one_of.first() == Some(&field.name)
    };
    for field in shape.fields.iter().filter(is_needed) {
        let Json::Object(example) = Json::of_yaml(field.example) else { continue };
        example.into_iter().for_each(|(name, value)| least.put(&name, value));
    }
    least
}

fn minimal_variant(variant: &Variant) -> Json {
    let mut least = minimal(&variant.shape);
    least.put(TYPE.name, Json::text(variant.name));
    least
}

/// Values that are neither the default nor that of the example: each of the words, or one of many.
fn values(takes: &Takes, field: &Field) -> Vec<Json> {
    match takes {
        Takes::Text(text) => vec![Json::text(other_text(*text))],
        Takes::Word(words) => {
            let is_default = |name: &str| matches!(field.presence, Presence::Default(default) if default == name);
            words.iter().filter(|word| !is_default(word.name)).map(|word| Json::text(word.name)).collect()
        }
        Takes::Integer { min, max } => vec![Json::Number(i64::from(7.clamp(*min, *max)))],
        Takes::Duration { .. } => vec![Json::text("17 s")],
        Takes::Tag | Takes::List(_) | Takes::Object(_) | Takes::Tagged(_) | Takes::Properties(_) => Vec::new(),
    }
}

/// A text of this sort that no example has.
const fn other_text(text: Text) -> &'static str {
    match text {
        Text::Any | Text::ConsumerName => "other",
        Text::Secret => "other-secret",
        Text::TypeName => "example/other",
        Text::FunctionPattern => "example/other-function",
        Text::StreamArn => "arn:aws:kinesis:us-east-1:123456789012:stream/other-stream",
        Text::StreamName | Text::StreamRef => "other-stream",
        Text::RoleArn => "arn:aws:iam::123456789012:role/other",
        Text::RegionId => "eu-west-1",
        Text::Endpoint => "http://localhost:4567",
        Text::UrlTemplate => "http://localhost:9000/other",
        Text::Path => "/other/file",
        Text::Timestamp => "2025-01-02T03:04:05.006Z",
        Text::Date => "2021-02-03 04:05:06.789 +0000",
    }
}
