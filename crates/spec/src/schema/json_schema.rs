use super::json::Json;
use crate::decode::{
    KINDS, LEGACY,
    table::{Alias, Effect, Field, Kind, Presence, Property, Reads, Shape, Tagged, Takes, Text, Variant, Word},
};

/// The name of the schema, which identifies it wherever it is copied to. It is not an address.
const ID: &str = "urn:statefun-kinesis:module";

/// The definition of documents of version 3.0.
const LEGACY_DEFINITION: &str = "legacy";

/// How the names of definitions of client properties begin.
const PROPERTIES_DEFINITION: &str = "properties";

/// A regular expression for a text with a variable, whose value is not known here.
const VARIABLE: &str = r"\$\{";

/// The JSON Schema (draft 2020-12) of one document of a module file, for editors that complete and check.
///
/// It refuses what [`read_module`](crate::read_module) refuses because of its form: unknown and missing fields, values of
/// another type, unknown words. What takes more than one value to tell, such as that two ingresses have one id, only
/// `read_module` finds. Editors apply it to each document of a file by itself. A value under `spec` that has a variable
/// (`${NAME}`) passes wherever a string, a number or a duration does.
///
/// ```
/// let schema = statefun_kinesis_spec::json_schema();
/// assert!(schema.contains("https://json-schema.org/draft/2020-12/schema"));
/// ```
pub fn json_schema() -> String {
    let mut definitions = Definitions::default();
    let served = || KINDS.iter().filter_map(|kind| Some((kind, kind.reads.shape()?)));
    let mut kinds = Vec::new();
    for (kind, shape) in served() {
        let spec = definitions.shape(shape, &Place::default());
        definitions.0.push((kind.name.to_owned(), spec));
        kinds.push(if_then(
            has_value("kind", kind.name),
            Json::object([("properties", Json::object([("spec", reference_to(kind.name))]))]),
        ));
    }
    let legacy = definitions.shape(&LEGACY, &Place { is_legacy: true, ..Place::default() });
    definitions.0.push((LEGACY_DEFINITION.to_owned(), legacy));

    let any_kind = Json::List(served().map(|(kind, _)| named_kind(kind)).collect());
    let kind = Json::object([
        ("description", Json::text("What the document declares.")),
        ("type", Json::text("string")),
        ("anyOf", any_kind),
    ]);
    let document = Json::object([
        ("properties", Json::object([("version", Json::Bool(false)), ("module", Json::Bool(false))])),
        ("required", Json::texts(["kind", "spec"])),
        ("allOf", Json::List(kinds)),
    ]);
    let is_legacy = Json::object([("anyOf", Json::List(vec![requires("version"), requires("module")]))]);
    let mut schema = Json::object([
        ("$schema", Json::text("https://json-schema.org/draft/2020-12/schema")),
        ("$id", Json::text(ID)),
        ("title", Json::text("A document of a module file of Stateful Functions on Kinesis")),
        (
            "description",
            Json::text(
                "One document for each ingress, egress and endpoint, divided by `---`. A value under `spec` may have \
                 variables of the environment in it: `${NAME}` or `${NAME:-default}`; `$${` is a literal `${`.",
            ),
        ),
        // An empty document is skipped.
        ("type", Json::texts(["object", "null"])),
        (
            "properties",
            Json::object([
                ("kind", kind),
                ("spec", Json::object([("description", Json::text("What the kind is about."))])),
                ("version", Json::object([("description", Json::text(LEGACY.doc))])),
                ("module", Json::object([("description", Json::text(LEGACY.doc))])),
            ]),
        ),
        ("additionalProperties", Json::Bool(false)),
        ("if", requires("kind")),
        ("then", document),
    ]);
    let no_kind = Json::object([("required", Json::texts(["kind"]))]);
    let mut other = if_then(is_legacy, reference_to(LEGACY_DEFINITION));
    other.set("else", no_kind);
    schema.set("else", other);
    let definitions = definitions.0.into_iter().map(|(name, definition)| {
        let title = title(&name);
        (name, definition.titled(title))
    });
    schema.set("$defs", Json::Object(definitions.collect()));
    schema.to_string() + "\n"
}

/// What editors call a definition.
fn title(definition: &str) -> String {
    if KINDS.iter().any(|kind| kind.name == definition) {
        format!("The spec of {definition}")
    } else if definition == LEGACY_DEFINITION {
        "A module of Stateful Functions 3.0".to_owned()
    } else if definition.starts_with(PROPERTIES_DEFINITION) {
        "Client properties".to_owned()
    } else {
        // The field that has it.
        definition.to_owned()
    }
}

fn named_kind(kind: &Kind) -> Json {
    let mut named = Json::object([("const", Json::text(kind.name)), ("description", Json::text(kind.doc))]);
    if kind.dialect.is_some() {
        named.set("deprecated", Json::Bool(true));
    }
    named
}

/// Where in a file a mapping stands, as far as it makes a difference.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Below the `module` of a 3.0 file, where ids stand in `meta` and lists may be empty.
    is_legacy: bool,
    /// The fields of which one is needed may be missing, since something outside stands for them.
    one_of_is_outside: bool,
}

/// What is referred to, by name.
#[derive(Default)]
struct Definitions(Vec<(String, Json)>);

impl Definitions {
    fn shape(&mut self, shape: &Shape, place: &Place) -> Json {
        // In a 3.0 file the id of an ingress or egress stands in its `meta`.
        let moved = place.is_legacy && is_spec_with_id(shape);
        let fields = || shape.fields.iter().filter(|field| !(moved && field.name == "id"));
        let mut properties = Vec::new();
        let mut conditions = Vec::new();
        for field in fields() {
            let outer = outer_alias(shape, field);
            let below = Place { one_of_is_outside: outer.is_some(), ..*place };
            let value = self.field(field, &below);
            for alias in field.aliases {
                properties.push((alias.name.to_owned(), other_name(&value, alias, field.name)));
            }
            properties.push((field.name.to_owned(), value));
            if let Some((outer, one_of)) = outer {
                conditions.extend(outer_conditions(field.name, outer, one_of));
            }
            if !field.aliases.is_empty() {
                conditions.push(one_name(field));
            }
        }
        if !shape.one_of.is_empty() && !place.one_of_is_outside {
            conditions.push(any_of(shape.one_of));
        }
        let mut schema = Json::object([("type", Json::text("object"))]);
        if !shape.doc.is_empty() {
            schema.set("description", Json::text(shape.doc));
        }
        schema.set("properties", Json::Object(properties));
        let required = fields().filter(|field| field.presence == Presence::Required && field.aliases.is_empty());
        schema.set("required", Json::texts(required.map(|field| field.name)));
        schema.set("additionalProperties", Json::Bool(false));
        if !conditions.is_empty() {
            schema.set("allOf", Json::List(conditions));
        }
        schema
    }

    fn field(&mut self, field: &Field, place: &Place) -> Json {
        // The version is read as it is written, with quotes or without.
        let is_version = matches!(field.takes, Takes::Text(_)) && place.is_legacy && field.name == "version";
        let mut schema = if is_version {
            Json::object([("enum", Json::List(vec![Json::text("3.0"), Json::Number(3)]))])
        } else {
            self.takes(&field.takes, place)
        };
        schema.set("description", Json::text(field.doc));
        if let Presence::Default(value) = field.presence {
            schema.set("default", Json::of_yaml(value));
        }
        if !matches!(field.takes, Takes::Tag | Takes::Text(Text::Secret))
            && let Json::Object(fields) = Json::of_yaml(field.example)
            && let Some((_, value)) = fields.into_iter().next()
        {
            schema.set("examples", Json::List(vec![value]));
        }
        if field.dialect.is_some() {
            schema.set("deprecated", Json::Bool(true));
        }
        schema
    }

    fn takes(&mut self, takes: &Takes, place: &Place) -> Json {
        match takes {
            Takes::Text(text) => {
                let pattern = text.pattern().map_or(r"\S".to_owned(), or_variable);
                Json::object([("type", Json::text("string")), ("pattern", Json::text(pattern))])
            }
            Takes::Tag => Json::object([("type", Json::text("string"))]),
            Takes::Word(words) => one_of_words(words),
            Takes::Integer { min, max } => integer(*min, Some(*max), r"^[0-9]+$"),
            Takes::Duration { may_be_zero } => {
                let number = if *may_be_zero { "[0-9]+" } else { "0*[1-9][0-9]*" };
                integer(u32::from(!may_be_zero), None, &format!(r"^\s*{number}\s*[A-Za-zµ]*\s*$"))
            }
            Takes::List(item) => {
                let mut list = Json::object([("type", Json::text("array")), ("items", self.takes(item, place))]);
                if !(place.is_legacy && is_declaration(item)) {
                    list.set("minItems", Json::Number(1));
                }
                list
            }
            Takes::Object(shape) => self.shape(shape, place),
            Takes::Tagged(tagged) => {
                let name = tagged.what.trim_matches('`');
                if !self.0.iter().any(|(known, _)| known == name) {
                    let definition = self.tagged(tagged);
                    self.0.push((name.to_owned(), definition));
                }
                reference_to(name)
            }
            Takes::Properties(known) => self.properties(known),
        }
    }

    fn tagged(&mut self, tagged: &Tagged) -> Json {
        let mut names: Vec<Json> = tagged.variants.iter().map(named_variant).collect();
        names.push(Json::object([("pattern", Json::text(VARIABLE))]));
        let name = Json::object([("type", Json::text("string")), ("anyOf", Json::List(names))]);
        let mut cases = Vec::new();
        for variant in tagged.variants {
            let shape = self.shape(&variant.shape, &Place::default());
            if tagged.default == Some(variant.name) {
                let absent = Json::object([("not", requires("type"))]);
                cases.push(if_then(absent, shape.clone()));
            }
            cases.push(if_then(has_value("type", variant.name), shape));
        }
        let required = if tagged.default.is_some() { Json::List(Vec::new()) } else { Json::texts(["type"]) };
        Json::object([
            ("type", Json::text("object")),
            ("properties", Json::object([("type", name)])),
            ("required", required),
            ("allOf", Json::List(cases)),
        ])
    }

    /// A mapping of names to scalars, or a list of such mappings.
    fn properties(&mut self, known: &[&[Property]]) -> Json {
        let scalar = || Json::object([("type", Json::texts(["string", "number", "boolean", "null"]))]);
        let mut properties = Vec::new();
        for property in known.iter().copied().flatten() {
            let (effect, mut schema) = match property.effect {
                Effect::Sets(setting) => {
                    let takes = self.takes(setting.takes(), &Place::default());
                    let schema = match setting.takes() {
                        Takes::Integer { .. } | Takes::Duration { .. } => takes,
                        // Flink and the AWS SDK read every scalar as a text.
                        Takes::Text(_)
                        | Takes::Tag
                        | Takes::Word(_)
                        | Takes::List(_)
                        | Takes::Object(_)
                        | Takes::Tagged(_)
                        | Takes::Properties(_) => {
                            let other = Json::object([("type", Json::texts(["number", "boolean"]))]);
                            Json::object([("anyOf", Json::List(vec![takes, other]))])
                        }
                    };
                    (format!("sets {}", setting.target()), schema)
                }
                Effect::Always(value, why) => {
                    (format!("`{value}` changes nothing; otherwise without effect: {why}"), scalar())
                }
                Effect::Nothing(why) => (format!("without effect: {why}"), scalar()),
            };
            schema.set("description", Json::text(format!("{}: {effect}.", property.of)));
            properties.push((property.name.to_owned(), schema));
        }
        let mapping = Json::object([
            ("type", Json::text("object")),
            ("properties", Json::Object(properties)),
            ("additionalProperties", scalar()),
        ]);
        let name = match self.0.iter().find(|(_, definition)| *definition == mapping) {
            Some((name, _)) => name.clone(),
            None => {
                let name = format!("{PROPERTIES_DEFINITION}{}", self.0.len());
                self.0.push((name.clone(), mapping));
                name
            }
        };
        let list = Json::object([("type", Json::text("array")), ("items", reference_to(&name))]);
        let nothing = Json::object([("type", Json::text("null"))]);
        Json::object([("anyOf", Json::List(vec![reference_to(&name), list, nothing]))])
    }
}

/// Whether a shape is that of an ingress or egress, which has an id of its own in files of today.
fn is_spec_with_id(shape: &Shape) -> bool {
    KINDS.iter().any(|kind| match kind.reads {
        Reads::Ingress(spec) | Reads::Egress(spec) => {
            spec.what == shape.what && spec.fields.len() == shape.fields.len()
        }
        Reads::Endpoint(_) | Reads::Elsewhere => false,
    })
}

/// Whether an entry of a list is a declaration of a 3.0 file, which is below one word. Such lists may be empty.
fn is_declaration(item: &Takes) -> bool {
    matches!(item, Takes::Object(shape) if shape.fields.len() == 1)
}

/// A field beside a list that stands for one of which each entry needs one: kzmlabs' `streamArn` beside `streams`.
fn outer_alias(shape: &Shape, list: &Field) -> Option<(&'static str, &'static [&'static str])> {
    let Takes::List(Takes::Object(item)) = list.takes else { return None };
    let outer = shape.fields.iter().find(|field| field.dialect.is_some() && item.one_of.contains(&field.name))?;
    Some((outer.name, item.one_of))
}

fn outer_conditions(list: &str, outer: &str, one_of: &[&str]) -> [Json; 2] {
    let entries = |schema: Json| Json::object([("properties", Json::object([(list, schema)]))]);
    let absent = Json::object([("not", requires(outer))]);
    [
        if_then(absent, entries(Json::object([("items", any_of(one_of))]))),
        if_then(requires(outer), entries(Json::object([("maxItems", Json::Number(1))]))),
    ]
}

/// The same value under the name that it has elsewhere.
fn other_name(value: &Json, alias: &Alias, here: &str) -> Json {
    let mut other = value.clone();
    if let Some(description) = other.field("description") {
        *description = Json::text(format!("{}'s name for `{here}`.", alias.dialect));
    }
    other.set("deprecated", Json::Bool(true));
    other
}

/// A field is there under one of its names, or under none if it need not be there.
fn one_name(field: &Field) -> Json {
    let names = std::iter::once(field.name).chain(field.aliases.iter().map(|alias| alias.name));
    let mut ways: Vec<Json> = names.map(requires).collect();
    if field.presence != Presence::Required {
        ways.push(Json::object([("not", Json::object([("anyOf", Json::List(ways.clone()))]))]));
    }
    Json::object([("oneOf", Json::List(ways))])
}

fn named_variant(variant: &Variant) -> Json {
    let mut named = Json::object([("const", Json::text(variant.name)), ("description", Json::text(variant.shape.doc))]);
    if variant.dialect.is_some() {
        named.set("deprecated", Json::Bool(true));
    }
    named
}

/// The words with what they mean; letters of either case do as well.
fn one_of_words(words: &[Word]) -> Json {
    let named = |word: &Word| Json::object([("const", Json::text(word.name)), ("description", Json::text(word.doc))]);
    let mut ways: Vec<Json> = words.iter().map(named).collect();
    let letter = |c: char| match (c.to_ascii_lowercase(), c.to_ascii_uppercase()) {
        (small, large) if small != large => format!("[{small}{large}]"),
        _ => c.to_string(),
    };
    let in_any_case: Vec<String> = words.iter().map(|word| word.name.chars().map(letter).collect()).collect();
    let pattern = or_variable(&format!("^({})$", in_any_case.join("|")));
    ways.push(Json::object([("pattern", Json::text(pattern))]));
    Json::object([("type", Json::text("string")), ("anyOf", Json::List(ways))])
}

/// A number, which may be written as a string.
fn integer(min: u32, max: Option<u32>, pattern: &str) -> Json {
    let mut number = Json::object([("type", Json::text("integer")), ("minimum", Json::Number(min.into()))]);
    if let Some(max) = max {
        number.set("maximum", Json::Number(max.into()));
    }
    let text = Json::object([("type", Json::text("string")), ("pattern", Json::text(or_variable(pattern)))]);
    Json::object([("anyOf", Json::List(vec![number, text]))])
}

fn or_variable(pattern: &str) -> String {
    format!("{pattern}|{VARIABLE}")
}

fn reference_to(definition: &str) -> Json {
    let escaped = definition.replace('~', "~0").replace('/', "~1");
    Json::object([("$ref", Json::text(format!("#/$defs/{escaped}")))])
}

fn requires(field: &str) -> Json {
    Json::object([("required", Json::texts([field]))])
}

fn any_of(fields: &[&str]) -> Json {
    Json::object([("anyOf", Json::List(fields.iter().map(|field| requires(field)).collect()))])
}

fn has_value(field: &str, value: &str) -> Json {
    Json::object([
        ("properties", Json::object([(field, Json::object([("const", Json::text(value))]))])),
        ("required", Json::texts([field])),
    ])
}

fn if_then(condition: Json, then: Json) -> Json {
    Json::object([("if", condition), ("then", then)])
}
