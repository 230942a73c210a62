//! The changes of an answer: at each of its places, all that can be done to it.

use serde_json::Value;

/// What happens to one place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Removed,
    Null,
    /// `""`, `[]` or `{}`.
    Empty,
    /// The same field, or the same element of a list, twice.
    Doubled,
    /// An object has one more field.
    Unknown,
}

impl Change {
    const ALL: [Self; 5] = [Self::Removed, Self::Null, Self::Empty, Self::Doubled, Self::Unknown];

    /// Whether a value can be changed so.
    fn applies_to(self, value: &Value, is_root: bool) -> bool {
        match self {
            Self::Removed | Self::Null | Self::Doubled => !is_root,
            Self::Empty => !value.is_number() && !value.is_boolean(),
            Self::Unknown => value.is_object(),
        }
    }
}

/// A changed answer.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    /// The place, such as `Records[0].Data`; empty for the whole answer.
    pub(super) place: String,
    pub(super) change: Change,
    pub(super) text: String,
}

/// All changes of an answer.
pub(super) fn all(answer: &Value) -> Vec<Changed> {
    let mut places = Vec::new();
    collect(answer, String::new(), &mut places);
    let mut changed = Vec::new();
    for (place, value) in places {
        for change in Change::ALL {
            if change.applies_to(value, place.is_empty()) {
                let text = write(answer, "", &place, change).unwrap_or_default();
                changed.push(Changed { place: place.clone(), change, text });
            }
        }
    }
    changed
}

fn member(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn collect<'a>(value: &'a Value, place: String, places: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, member(&place, name), places);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                collect(value, format!("{place}[{index}]"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    places.push((place, value));
}

/// Writes a value as it is after the change of one place; `None` if it is removed. By hand, since a map has no field twice.
fn write(value: &Value, here: &str, place: &str, change: Change) -> Option<String> {
    let is_place = here == place;
    if is_place {
        match change {
            Change::Removed => return None,
            Change::Null => return Some("null".to_owned()),
            Change::Empty if value.is_object() => return Some("{}".to_owned()),
            Change::Empty if value.is_array() => return Some("[]".to_owned()),
            Change::Empty => return Some("\"\"".to_owned()),
            // Done by what it is in.
            Change::Doubled => return Some(value.to_string()),
            Change::Unknown => {}
        }
    }
    let twice = |inner: &str| if inner == place && change == Change::Doubled { 2 } else { 1 };
    match value {
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (name, value) in fields {
                let inner = member(here, name);
                if let Some(text) = write(value, &inner, place, change) {
                    all.extend(std::iter::repeat_n(format!("\"{name}\":{text}"), twice(&inner)));
                }
            }
            if is_place {
                all.push("\"SomethingNew\":{\"Records\":[1,null,\"\"]}".to_owned());
            }
            Some(format!("{{{}}}", all.join(",")))
        }
        Value::Array(elements) => {
            let mut all = Vec::new();
            for (index, value) in elements.iter().enumerate() {
                let inner = format!("{here}[{index}]");
                if let Some(text) = write(value, &inner, place, change) {
                    all.extend(std::iter::repeat_n(text, twice(&inner)));
                }
            }
            Some(format!("[{}]", all.join(",")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.to_string()),
    }
}

#[test]
fn each_place_has_its_changes() {
    let texts = |answer: Value| all(&answer).into_iter().map(|changed| changed.text).collect::<Vec<_>>();
    assert_eq!(
        texts(serde_json::json!({"A": [7, "x"]})),
        [
            r#"{"A":["x"]}"#,
            r#"{"A":[null,"x"]}"#,
            r#"{"A":[7,7,"x"]}"#,
            r#"{"A":[7]}"#,
            r#"{"A":[7,null]}"#,
            r#"{"A":[7,""]}"#,
            r#"{"A":[7,"x","x"]}"#,
            "{}",
            r#"{"A":null}"#,
            r#"{"A":[]}"#,
            r#"{"A":[7,"x"],"A":[7,"x"]}"#,
            "{}",
            r#"{"A":[7,"x"],"SomethingNew":{"Records":[1,null,""]}}"#,
        ]
    );
}
