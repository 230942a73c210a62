use std::{collections::HashMap, rc::Rc};

use super::{Decoder, shown};
use crate::{
    Code, MODULE_MAX_BYTES,
    findings::{Finding, Place},
    variables::Problem,
    yaml::{Kind, Node, Scalar, Value},
};

/// What says how variables are written.
const HELP: &str =
    "write `${NAME}` or `${NAME:-default}`, the name of letters, digits and `_`; `$${` is a literal `${`";

/// Nodes that were looked at, by their address: a node with many aliases is looked at once.
type Seen<'n> = HashMap<*const Node<'n>, Option<Rc<Node<'n>>>>;

impl Decoder<'_> {
    /// The node with variables replaced in all of its values, or nothing if it has none. Names of fields stay as they
    /// are.
    pub(super) fn replace_variables<'n>(&mut self, node: &Node<'n>) -> Option<Node<'n>> {
        self.replace_in(node, &mut HashMap::new())
    }

    fn replace_in<'n>(&mut self, node: &Node<'n>, seen: &mut Seen<'n>) -> Option<Node<'n>> {
        if !node.has_variable {
            return None;
        }
        let value = match &node.value {
            Value::Scalar(scalar) => Value::Scalar(self.replace_in_scalar(scalar, node.place)?),
            Value::Sequence(items) => {
                let replaced: Vec<_> = items.iter().map(|item| self.replace_once(item, seen)).collect();
                if replaced.iter().all(Option::is_none) {
                    return None;
                }
                let items = items.iter().zip(replaced);
                Value::Sequence(items.map(|(item, replaced)| replaced.unwrap_or_else(|| Rc::clone(item))).collect())
            }
            Value::Mapping(entries) => {
                let replaced: Vec<_> = entries.iter().map(|(_, value)| self.replace_once(value, seen)).collect();
                if replaced.iter().all(Option::is_none) {
                    return None;
                }
                let entries = entries.iter().zip(replaced);
                let replace = |((key, value), replaced): (&(Rc<Node<'n>>, Rc<Node<'n>>), Option<_>)| {
                    (Rc::clone(key), replaced.unwrap_or_else(|| Rc::clone(value)))
                };
                Value::Mapping(entries.map(replace).collect())
            }
        };
        Some(node.with_value(value))
    }

    fn replace_once<'n>(&mut self, node: &Rc<Node<'n>>, seen: &mut Seen<'n>) -> Option<Rc<Node<'n>>> {
        if !node.has_variable {
            return None;
        }
        if let Some(replaced) = seen.get(&Rc::as_ptr(node)) {
            return replaced.clone();
        }
        let replaced = self.replace_in(node, seen).map(Rc::new);
        seen.insert(Rc::as_ptr(node), replaced.clone());
        replaced
    }

    fn replace_in_scalar<'n>(&mut self, scalar: &Scalar<'n>, place: Place) -> Option<Scalar<'n>> {
        if !scalar.text.contains("${") {
            return None;
        }
        let unknown = Scalar { text: scalar.text.clone(), kind: Kind::Unknown, written: None };
        // Beyond the limit nothing more is replaced, which was reported once.
        let Some(max_bytes) = self.variable_bytes_left else { return Some(unknown) };
        let is_secret = self.is_secret(place);
        let start = self.start_in_file(scalar, place);
        let mut findings = Vec::new();
        let mut is_too_long = false;
        let replaced = self.options.variables.replace(&scalar.text, max_bytes, |range, problem| {
            let at = start.map_or(place, |start| Place {
                start: start + narrow(range.start),
                end: start + narrow(range.end),
                ..place
            });
            is_too_long |= problem == Problem::TooLong;
            findings.push(finding(at, &scalar.text[range], problem, is_secret));
        });
        for finding in findings {
            self.findings.push(finding);
        }
        self.variable_bytes_left = match &replaced {
            Some(text) => Some(max_bytes.saturating_sub(text.len())),
            None if is_too_long => None,
            None => Some(max_bytes),
        };
        let Some(text) = replaced else { return Some(unknown) };
        Some(Scalar { text: text.into(), kind: Kind::String, written: Some(scalar.text.clone()) })
    }

    /// Where a scalar's text starts in its file, if it stands there as it is, in quotes or not: then its bytes have
    /// places of their own.
    fn start_in_file(&self, scalar: &Scalar<'_>, place: Place) -> Option<u32> {
        let file = self.files.get(place.file as usize)?;
        let raw = file.text.get(place.start as usize..place.end as usize)?;
        if raw == scalar.text {
            return Some(place.start);
        }
        let quoted = raw.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])?;
        (quoted == scalar.text).then_some(place.start + 1)
    }

    /// Whether a value is a key or a password, or part of one.
    fn is_secret(&self, place: Place) -> bool {
        let Some(spans) = self.secret_spans.get(place.file as usize) else { return false };
        let (start, end) = (place.start as usize, place.end as usize);
        let first = spans.partition_point(|span| span.end <= start);
        spans.get(first).is_some_and(|span| span.start < end)
    }
}

/// What there is to say of a variable. A secret may look like one by chance, so that nothing of it is quoted.
fn finding(place: Place, written: &str, problem: Problem<'_>, is_secret: bool) -> Finding {
    let quoted = if is_secret { "a variable of this value".to_owned() } else { format!("`{}`", shown(written)) };
    match problem {
        Problem::NotSet(name) => {
            let (message, help) = if is_secret {
                (
                    format!("{quoted} is not set"),
                    "set it in the environment, or write `${NAME:-default}`; `$${` is a literal `${`".to_owned(),
                )
            } else {
                let name = shown(name);
                (
                    format!("the variable `{name}` is not set"),
                    format!("set it in the environment, or write `${{{name}:-default}}`"),
                )
            };
            Finding::error(Code::VariableNotSet, place, message).help(help)
        }
        Problem::Unclosed => Finding::error(Code::InvalidVariable, place, format!("{quoted} has no `}}` at its end"))
            .help(HELP.to_owned()),
        Problem::Name => {
            let message = format!("{quoted} is neither `${{NAME}}` nor `${{NAME:-default}}`");
            Finding::error(Code::InvalidVariable, place, message).help(HELP.to_owned())
        }
        Problem::Nested => {
            let help = "a default is literal text: write the value itself";
            Finding::error(Code::InvalidVariable, place, format!("{quoted} has a variable in its default"))
                .help(help.to_owned())
        }
        Problem::TooLong => {
            let message =
                format!("the values with variables have more than {MODULE_MAX_BYTES} bytes once they are replaced");
            Finding::error(Code::TooLarge, place, message)
        }
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
