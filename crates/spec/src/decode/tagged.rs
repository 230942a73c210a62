use super::{
    Decoder, Entry, Object, listed,
    lookalike::with_lookalike,
    shown, suggest,
    table::{TYPE, Tagged, Takes, Variant},
};
use crate::{Code, findings::Finding, yaml::Value};

impl Decoder<'_> {
    /// The variant that `type` names, with its fields.
    pub(super) fn tagged<'n>(&mut self, entry: Entry<'n>) -> Option<(&'static str, Object<'n>)> {
        let Takes::Tagged(tagged) = entry.takes else { unreachable!("{} takes a mapping with a type", entry.name) };
        let Value::Mapping(entries) = &entry.node.value else {
            self.wrong_type(entry, "a mapping", Some(format!("write it as\n{}", tagged.example)));
            return None;
        };
        let own_names = || tagged.variants.iter().filter(|v| v.dialect.is_none()).map(|v| v.name);
        let named = entries.iter().find(|(key, _)| matches!(&key.value, Value::Scalar(name) if name.text == "type"));
        let Some((key, value)) = named else {
            if let Some(variant) = tagged.default.and_then(|name| variant(tagged, name)) {
                let object = self.object_among(entry, tagged.what, &variant.shape, tagged.variants)?;
                return Some((variant.name, object));
            }
            let misspelt = entries.iter().find(|(key, _)| {
                matches!(&key.value, Value::Scalar(name) if suggest::nearest(&name.text, [TYPE.name]).is_some())
            });
            if let Some((key, _)) = misspelt
                && let Value::Scalar(name) = &key.value
                && !self.options.lenient
            {
                let message = format!("{} has no field `{}`", tagged.what, shown(&name.text));
                let finding = Finding::error(Code::UnknownField, key.place, message);
                self.findings.push(finding.help("did you mean `type`?".to_owned()));
            } else if entry.node.is_complete {
                let message = format!("{} needs the field `type`", tagged.what);
                let help = format!("it is one of {}, for example\n{}", listed(own_names(), "and"), tagged.example);
                self.findings.push(Finding::error(Code::MissingField, entry.key, message).help(help));
            }
            return None;
        };
        let value = Entry::of(&TYPE, key.place, value);
        let name = self.text(value)?;
        let Some(variant) = variant(tagged, name) else {
            let message = match value.written() {
                Some(written) => format!("{} has no type like the value of `{}`", tagged.what, shown(written)),
                None => format!("{} has no type `{}`", tagged.what, shown(name)),
            };
            let written = value.written().unwrap_or(name);
            let help = match suggest::nearest(written, own_names()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the types are {}", listed(own_names(), "and")),
            };
            let help = with_lookalike(help, written);
            self.findings.push(Finding::error(Code::UnknownType, value.node.place, message).help(help));
            return None;
        };
        if let Some(own) = variant.dialect {
            let name = value.written().map_or(variant.name.into(), shown);
            self.other_dialect(value.node.place, &name, own.dialect, own.name);
        }
        let what = if value.written().is_some() { tagged.what } else { variant.shape.what };
        let object = self.object_among(entry, what, &variant.shape, tagged.variants)?;
        Some((variant.name, object))
    }
}

fn variant(tagged: &'static Tagged, name: &str) -> Option<&'static Variant> {
    tagged.variants.iter().find(|variant| variant.name == name)
}
