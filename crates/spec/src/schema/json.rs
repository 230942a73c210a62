use std::fmt::{self, Write};

use crate::{
    SourceFile,
    findings::Findings,
    yaml::{self, Kind, Node, Secrets, Value},
};

/// A JSON value whose objects keep the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    pub(super) fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// An object with a title in front of its fields.
    pub(super) fn titled(mut self, title: String) -> Self {
        if let Self::Object(fields) = &mut self {
            fields.insert(0, ("title".to_owned(), Self::text(title)));
        }
        self
    }

    /// Adds a field to an object.
    pub(super) fn set(&mut self, name: &str, value: Self) {
        if let Self::Object(fields) = self {
            fields.push((name.to_owned(), value));
        }
    }

    /// The value of a field of an object.
    pub(super) fn field(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Sets a field of an object, whether it was there or not.
    pub(super) fn put(&mut self, name: &str, value: Self) {
        match self.field(name) {
            Some(field) => *field = value,
            None => self.set(name, value),
        }
    }

    /// Takes a field out of an object.
    pub(super) fn remove(&mut self, name: &str) {
        if let Self::Object(fields) = self {
            fields.retain(|(field, _)| field != name);
        }
    }

    /// The value on one line, however long that is.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => quoted(text),
            Self::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Self::Object(fields) => {
                let field = |(name, value): &(String, Self)| format!("{}: {}", quoted(name), value.flow());
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// What a YAML text of one document stands for.
    pub(super) fn of_yaml(text: &str) -> Self {
        let source = SourceFile::new("", text);
        let loaded = yaml::load(0, &source, &mut Findings::default(), &mut Secrets::default());
        loaded.documents.first().map_or(Self::Null, |node| Self::of_node(node))
    }

    fn of_node(node: &Node<'_>) -> Self {
        match &node.value {
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => Self::Null,
                Kind::Boolean => Self::Bool(scalar.text.eq_ignore_ascii_case("true")),
                Kind::Number => scalar.text.parse().map_or_else(|_| Self::text(scalar.text.as_ref()), Self::Number),
                Kind::String | Kind::Unknown => Self::text(scalar.text.as_ref()),
            },
            Value::Sequence(items) => Self::List(items.iter().map(|item| Self::of_node(item)).collect()),
            Value::Mapping(entries) => {
                let name = |key: &Node<'_>| match &key.value {
                    Value::Scalar(name) => name.text.clone().into_owned(),
                    Value::Sequence(_) | Value::Mapping(_) => String::new(),
                };
                Self::Object(entries.iter().map(|(key, value)| (name(key), Self::of_node(value))).collect())
            }
        }
    }

    /// The value on one line, if it is a short one.
    fn on_one_line(&self) -> Option<String> {
        const MAX_CHARS: usize = 100;
        let line = match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => return Some(quoted(text)),
            Self::List(items) => {
                let items = items.iter().map(Self::on_one_line).collect::<Option<Vec<String>>>()?;
                format!("[{}]", items.join(", "))
            }
            Self::Object(fields) => {
                let field =
                    |(name, value): &(String, Self)| Some(format!("{}: {}", quoted(name), value.on_one_line()?));
                let fields = fields.iter().map(field).collect::<Option<Vec<String>>>()?;
                format!("{{{}}}", fields.join(", "))
            }
        };
        (line.chars().count() <= MAX_CHARS).then_some(line)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        if let Some(line) = self.on_one_line() {
            return f.write_str(&line);
        }
        let (open, close) = if matches!(self, Self::List(_)) { ('[', ']') } else { ('{', '}') };
        let fields: Vec<(Option<&str>, &Self)> = match self {
            Self::Object(fields) => fields.iter().map(|(name, value)| (Some(name.as_str()), value)).collect(),
            Self::List(items) => items.iter().map(|item| (None, item)).collect(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => Vec::new(),
        };
        f.write_char(open)?;
        for (index, (name, value)) in fields.into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}\n{:1$}", "", 2 * (depth + 1))?;
            if let Some(name) = name {
                write!(f, "{}: ", quoted(name))?;
            }
            value.write(f, depth + 1)?;
        }
        write!(f, "\n{:1$}{close}", "", 2 * depth)
    }
}

/// Prints the value over several lines, as people read it.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_becomes_json_in_the_same_order() {
        let json = Json::of_yaml("b: [1, x, \"2\", true, ~]\na:\n  c: \"q\\\"\\\\\\n\\x01\"\n  d: []\n");
        let expected = r#"{"b": [1, "x", "2", true, null], "a": {"c": "q\"\\\n\u0001", "d": []}}"#;
        assert_eq!(json.to_string(), expected);
    }

    #[test]
    fn long_parts_are_on_their_own_lines() {
        let item = Json::text("x".repeat(60));
        let json = Json::object([("a", Json::List(vec![item.clone(), item])), ("b", Json::Null)]);
        let line = format!("\"{}\"", "x".repeat(60));
        assert_eq!(json.to_string(), format!("{{\n  \"a\": [\n    {line},\n    {line}\n  ],\n  \"b\": null\n}}"));
    }
}
