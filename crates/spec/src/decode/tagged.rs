use super::{Decoder, Entry, Field, Object, Shape, listed, shown, suggest};
use crate::{Code, findings::Finding, yaml::Value};

/// A mapping whose `type` says which other fields it has.
#[derive(Debug)]
pub(super) struct Tagged {
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    pub(super) variants: &'static [Variant],
}

/// One `type` and what goes with it.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    /// The dialect that the name belongs to, and the name that is used here.
    pub(super) dialect: Option<(&'static str, &'static str)>,
    pub(super) shape: Shape,
}

impl Variant {
    pub(super) const fn new(name: &'static str, what: &'static str, fields: &'static [Field]) -> Self {
        Self { name, dialect: None, shape: Shape { what, fields } }
    }

    pub(super) const fn of(self, dialect: &'static str, here: &'static str) -> Self {
        Self { dialect: Some((dialect, here)), ..self }
    }
}

/// The field that every variant has.
pub(super) const TYPE: Field = Field::new("type", "type: <type>");

impl Decoder<'_> {
    /// The variant that `type` names, with its fields.
    pub(super) fn tagged<'n>(
        &mut self,
        entry: Entry<'n>,
        tagged: &'static Tagged,
    ) -> Option<(&'static str, Object<'n>)> {
        let Value::Mapping(entries) = &entry.node.value else {
            self.wrong_type(entry, "a mapping", Some(format!("write it as\n{}", tagged.example)));
            return None;
        };
        let own_names = || tagged.variants.iter().filter(|v| v.dialect.is_none()).map(|v| v.name);
        let named = entries.iter().find(|(key, _)| matches!(&key.value, Value::Scalar(name) if name.text == "type"));
        let Some((key, value)) = named else {
            if entry.node.is_complete {
                let message = format!("{} needs the field `type`", tagged.what);
                let help = format!("it is one of {}, for example\n{}", listed(own_names(), "and"), tagged.example);
                self.findings.push(Finding::error(Code::MissingField, entry.key, message).help(help));
            }
            return None;
        };
        let value = Entry { name: "type", is_item: false, key: key.place, node: value };
        let name = self.text(value)?;
        let Some(variant) = tagged.variants.iter().find(|variant| variant.name == name) else {
            let message = match value.written() {
                Some(written) => format!("{} has no type like the value of `{}`", tagged.what, shown(written)),
                None => format!("{} has no type `{}`", tagged.what, shown(name)),
            };
            let help = match suggest::nearest(value.written().unwrap_or(name), own_names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the types are {}", listed(own_names(), "and")),
            };
            self.findings.push(Finding::error(Code::UnknownType, value.node.place, message).help(help));
            return None;
        };
        if let Some((dialect, here)) = variant.dialect {
            self.other_dialect(value.node.place, &value.written().map_or(variant.name.into(), shown), dialect, here);
        }
        let what = if value.written().is_some() { tagged.what } else { variant.shape.what };
        let object = self.object_among(entry, what, &variant.shape, tagged.variants)?;
        Some((variant.name, object))
    }
}
