use super::{Decoder, Entry, Field, shown};
use crate::{
    ClientProperties, Code,
    findings::Finding,
    yaml::{Kind, Node, Value},
};

/// `clientConfigProperties`, which ingresses and egresses have alike.
pub(super) const FIELD: Field =
    Field::new("clientConfigProperties", "clientConfigProperties:\n  - source.reader.type: POLLING");

/// What becomes of a property that Flink or the AWS SDK for Java knows.
enum Effect {
    /// Nothing else is done here anyway, if the value is this one.
    Only(&'static str, &'static str),
    /// Nothing; this says where to turn instead.
    Instead(&'static str),
}

/// The properties that people are known to set. Names that end in a dot are prefixes.
const KNOWN: &[(&str, Effect)] = &[
    ("source.reader.type", Effect::Only("POLLING", "shards are polled, whatever the reader's type")),
    ("source.efo.", Effect::Instead("shards are polled: there is no enhanced fan-out")),
    ("source.init.position", Effect::Instead("set `startupPosition`")),
    ("aws.region", Effect::Instead("set `awsRegion`")),
    ("aws.endpoint", Effect::Instead("set `awsRegion` with type `custom-endpoint`")),
    ("aws.credentials.", Effect::Instead("set `awsCredentials`")),
];

impl Decoder<'_> {
    /// The properties, as a mapping or as a list of mappings with one entry each. `None` means that an error was
    /// reported.
    pub(super) fn client_properties(&mut self, entry: Option<Entry<'_>>) -> Option<ClientProperties> {
        let mut properties = ClientProperties::default();
        let Some(entry) = entry else { return Some(properties) };
        let mut is_right = true;
        match &entry.node.value {
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    is_right &= self.client_property(&mut properties, key, value).is_some();
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    match &item.value {
                        Value::Mapping(entries) => {
                            for (key, value) in entries {
                                is_right &= self.client_property(&mut properties, key, value).is_some();
                            }
                        }
                        _ => {
                            self.wrong_type(Entry::item(entry.name, item), "a mapping", Some(help()));
                            is_right = false;
                        }
                    }
                }
            }
            // A name with nothing behind it, or with everything commented out, sets no property.
            Value::Scalar(scalar) if scalar.kind == Kind::Null => {}
            Value::Scalar(_) => {
                self.wrong_type(entry, "a list of mappings", Some(help()));
                is_right = false;
            }
        }
        is_right.then_some(properties)
    }

    fn client_property(&mut self, properties: &mut ClientProperties, key: &Node<'_>, value: &Node<'_>) -> Option<()> {
        let (Value::Scalar(name), Value::Scalar(text)) = (&key.value, &value.value) else {
            let message = "a client property is a name with a string, a number or a boolean";
            self.findings.push(Finding::error(Code::WrongType, key.place, message));
            return None;
        };
        let known =
            KNOWN.iter().find(|(known, _)| *known == name.text || known.ends_with('.') && name.text.starts_with(known));
        let has_effect = matches!(known, Some((_, Effect::Only(only, _))) if only.eq_ignore_ascii_case(&text.text));
        if !has_effect {
            let help = match known {
                Some((_, Effect::Only(_, why) | Effect::Instead(why))) => (*why).to_owned(),
                None => "it is kept, but nothing reads it".to_owned(),
            };
            let message = format!("the client property `{}` has no effect here", shown(&name.text));
            self.findings.push(Finding::warning(Code::PropertyWithoutEffect, key.place, message).help(help));
        }
        if properties.set(name.text.as_ref(), text.text.as_ref()).is_some() {
            let message = format!("the client property `{}` is set twice", shown(&name.text));
            self.findings.push(Finding::error(Code::DuplicateField, key.place, message));
            return None;
        }
        Some(())
    }
}

fn help() -> String {
    format!("write it as\n{}", FIELD.example)
}
