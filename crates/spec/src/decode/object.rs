use std::collections::HashSet;

use super::{
    Decoder, Placed, shown,
    table::{Field, Presence, Shape, Takes, Variant},
};
use crate::{
    Code,
    findings::{Finding, Place},
    yaml::{Node, Value},
};

/// A value and the words for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'n> {
    /// The field's name; for an entry of a list the name of the list.
    pub(super) name: &'static str,
    pub(super) is_item: bool,
    /// Where the name stands; for an entry of a list the value.
    pub(super) key: Place,
    pub(super) node: &'n Node<'n>,
    pub(super) takes: &'static Takes,
    /// The field with a value.
    pub(super) example: &'static str,
}

impl<'n> Entry<'n> {
    /// A field's value.
    pub(super) fn of(field: &'static Field, key: Place, node: &'n Node<'n>) -> Self {
        Self { name: field.name, is_item: false, key, node, takes: &field.takes, example: field.example }
    }

    /// An entry of a list that is this value.
    fn item(self, node: &'n Node<'n>) -> Self {
        let key = match &node.value {
            // A whole mapping is no place to point at; its first line is.
            Value::Mapping(entries) => entries.first().map_or(node.place, |(key, _)| key.place),
            Value::Scalar(_) | Value::Sequence(_) => node.place,
        };
        let takes = if let Takes::List(item) = self.takes { item } else { self.takes };
        Self { is_item: true, key, node, takes, ..self }
    }

    /// The example without the field's name: what stands behind the last `- ` or `: ` of it.
    pub(super) fn example_value(&self) -> &'static str {
        let line = self.example.lines().last().unwrap_or_default();
        let value = line.rsplit_once("- ").or_else(|| line.split_once(": ")).map_or(line, |(_, value)| value);
        value.trim_matches('"')
    }

    /// The words for the value in a message.
    pub(super) fn words(&self) -> String {
        if self.is_item { format!("an entry of `{}`", self.name) } else { format!("`{}`", self.name) }
    }

    /// The text of the value as it stands in the file, if variables in it were replaced.
    pub(super) fn written(&self) -> Option<&'n str> {
        if let Value::Scalar(scalar) = &self.node.value { scalar.written.as_deref() } else { None }
    }

    /// The value in a message. What a variable stands for may be a secret, so that its name is quoted instead.
    pub(super) fn quoted(&self, text: &str) -> String {
        match self.written() {
            Some(written) => format!("the value of `{}`", shown(written)),
            None => format!("`{}`", shown(text)),
        }
    }

    /// What the value was read as, with its place.
    pub(super) fn placed<T>(&self, value: T) -> Placed<T> {
        Placed { value, place: self.node.place, written: self.written().map(shown) }
    }

    /// Where to point when something is wrong with the value: at it, or at its name if it is large or absent.
    pub(super) fn place(&self) -> Place {
        match &self.node.value {
            Value::Scalar(_) if self.node.place.start < self.node.place.end => self.node.place,
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => self.key,
        }
    }
}

/// A mapping whose fields were sorted by the rows of its shape.
#[derive(Debug)]
pub(super) struct Object<'n> {
    /// What messages call it: what its shape does, unless a variable chose the shape.
    what: &'static str,
    shape: &'static Shape,
    at: Place,
    is_complete: bool,
    found: Vec<Option<Entry<'n>>>,
    /// Fields that an unknown name was probably meant to be: they are not reported as missing, too.
    suggested: Vec<&'static str>,
}

impl<'n> Object<'n> {
    /// The value of a field, if the file has it.
    pub(super) fn get(&self, name: &'static str) -> Option<Entry<'n>> {
        self.found[self.row(name)]
    }

    /// Whether the shape has such a field.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.shape.fields.iter().any(|field| field.name == name)
    }

    fn row(&self, name: &'static str) -> usize {
        let row = self.shape.fields.iter().position(|field| field.name == name);
        row.expect("only fields of the shape are asked for")
    }

    /// Where to point when something is missing in the mapping.
    pub(super) fn at(&self) -> Place {
        self.at
    }

    /// Whether it means something that a field is not there.
    pub(super) fn is_missing(&self, name: &'static str) -> bool {
        self.is_complete && self.get(name).is_none() && !self.suggested.contains(&name)
    }
}

impl Decoder<'_> {
    /// Sorts the fields of a mapping, and reports those that are unknown, there twice, or missing.
    pub(super) fn object<'n>(&mut self, entry: Entry<'n>) -> Option<Object<'n>> {
        let Takes::Object(shape) = entry.takes else { unreachable!("{} takes a mapping", entry.name) };
        self.object_of(entry, shape)
    }

    /// The same for a shape that another document decides: the `spec` of a kind.
    pub(super) fn object_of<'n>(&mut self, entry: Entry<'n>, shape: &'static Shape) -> Option<Object<'n>> {
        self.object_among(entry, shape.what, shape, &[])
    }

    /// The same for one of several variants, the others of which have fields of their own.
    pub(super) fn object_among<'n>(
        &mut self,
        entry: Entry<'n>,
        what: &'static str,
        shape: &'static Shape,
        variants: &'static [Variant],
    ) -> Option<Object<'n>> {
        let Value::Mapping(entries) = &entry.node.value else {
            let example: Vec<&str> = shape.fields.iter().take(2).map(|field| field.example).collect();
            let help = if entry.is_item {
                format!("write it as\n  - {}", example.join("\n").replace('\n', "\n    "))
            } else {
                format!("write it as\n{}:\n  {}", entry.name, example.join("\n").replace('\n', "\n  "))
            };
            self.wrong_type(entry, "a mapping", Some(help));
            return None;
        };
        let mut object = Object {
            what,
            shape,
            at: entry.key,
            is_complete: entry.node.is_complete,
            found: vec![None; shape.fields.len()],
            suggested: Vec::new(),
        };
        let mut unknown = HashSet::new();
        for (key, value) in entries {
            let Value::Scalar(name) = &key.value else {
                let message = format!("a field of {} is named by a string, not by a list or mapping", what);
                self.findings.push(Finding::error(Code::WrongType, key.place, message));
                continue;
            };
            let text = name.text.as_ref();
            let row = shape
                .fields
                .iter()
                .position(|field| field.name == text || field.aliases.iter().any(|alias| alias.name == text));
            match row {
                Some(row) => self.known_field(&mut object, row, text, key, value),
                None if self.gives_up() => {
                    // What follows is not looked at, and may be what would be missed.
                    object.is_complete = false;
                    break;
                }
                None => {
                    if unknown.insert(text) {
                        let meant = self.unknown_field(entry, what, shape, variants, (text, key.place));
                        object.suggested.extend(meant);
                    }
                }
            }
        }
        self.missing_fields(&object);
        Some(object)
    }

    fn missing_fields(&mut self, object: &Object<'_>) {
        for field in object.shape.fields {
            if field.presence != Presence::Required || !object.is_missing(field.name) {
                continue;
            }
            let message = format!("{} needs the field `{}`", object.what, field.name);
            let help = match field.about {
                Some(about) => format!("{about}, for example\n{}", field.example),
                None => format!("for example\n{}", field.example),
            };
            self.findings.push(Finding::error(Code::MissingField, object.at, message).help(help));
        }
    }

    fn known_field<'n>(
        &mut self,
        object: &mut Object<'n>,
        row: usize,
        text: &str,
        key: &'n Node<'n>,
        value: &'n Node<'n>,
    ) {
        let field = &object.shape.fields[row];
        if let Some(first) = &object.found[row] {
            let message = format!("{} has the field `{}` twice", object.what, field.name);
            let finding = Finding::error(Code::DuplicateField, key.place, message).label(first.key, "first here");
            self.findings.push(finding);
            return;
        }
        if let Some(alias) = field.aliases.iter().find(|alias| alias.name == text) {
            self.other_dialect(key.place, alias.name, alias.dialect, field.name);
        }
        object.found[row] = Some(Entry::of(field, key.place, value));
    }

    pub(super) fn other_dialect(&mut self, place: Place, name: &str, dialect: &str, here: &str) {
        let message = format!("`{name}` is {dialect}'s name for `{here}`");
        self.findings.push(Finding::note(Code::OtherDialect, place, message));
    }

    /// The entries of a list that needs at least one.
    pub(super) fn list<'n>(&mut self, entry: Entry<'n>) -> Option<Vec<Entry<'n>>> {
        debug_assert!(matches!(entry.takes, Takes::List(_)), "{} takes a list", entry.name);
        let example = entry.example;
        match &entry.node.value {
            Value::Sequence(items) if items.is_empty() => {
                if entry.node.is_complete {
                    let message = format!("`{}` is empty", entry.name);
                    let finding = Finding::error(Code::EmptyList, entry.key, message);
                    self.findings.push(finding.help(format!("it needs at least one entry, for example\n{example}")));
                }
                None
            }
            Value::Sequence(items) => Some(items.iter().map(|item| entry.item(item)).collect()),
            Value::Scalar(_) | Value::Mapping(_) => {
                self.wrong_type(entry, "a list", Some(format!("write it as\n{example}")));
                None
            }
        }
    }
}
