use std::{borrow::Cow, ops::Range, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use zeroize::Zeroize;

use super::{
    input::{Ahead, BoundedInput},
    limits::{
        MAX_ANCHORS, MAX_BROKEN_DOCUMENTS, MAX_DEPTH, MAX_INDICATORS_AHEAD, MAX_NODES, MAX_TEXT_BYTES, MODULE_MAX_BYTES,
    },
    node::{Kind, Node, Scalar, Value},
    offsets::Offsets,
    secrets::{NameOf, Secrets},
    syntax::{Explanation, explain},
};
use crate::{
    Code, SourceFile,
    findings::{Finding, Findings, Place},
};

/// What a file has in it.
#[derive(Debug, Default)]
pub(crate) struct Loaded<'a> {
    /// The documents, those that are empty left out.
    pub(crate) documents: Vec<Rc<Node<'a>>>,
    /// Whether something was reported that kept documents from being read.
    pub(crate) is_broken: bool,
}

impl Loaded<'_> {
    const BROKEN: Self = Self { documents: Vec::new(), is_broken: true };
}

/// Reads the documents of a file, empty ones left out.
///
/// After a syntax error the document goes on as far as it was understood, and reading resumes at the next `---`.
pub(crate) fn load<'a>(
    file: u32,
    source: &'a SourceFile,
    findings: &mut Findings,
    secrets: &mut Secrets,
) -> Loaded<'a> {
    let text = source.text.as_str();
    if let Some((why, help)) = source.not_read() {
        let message = format!("cannot read the file: {why}");
        let finding = Finding::error(Code::Unreadable, Place::start_of(file), message);
        findings.push(finding.help(help.map(str::to_owned)));
        return Loaded::BROKEN;
    }
    if source.is_cut() || text.len() > MODULE_MAX_BYTES {
        let size = if source.is_cut() { format!("more than {MODULE_MAX_BYTES}") } else { text.len().to_string() };
        findings.push(Finding::error(
            Code::TooLarge,
            Place::start_of(file),
            format!("the file has {size} bytes; a module file has at most {MODULE_MAX_BYTES}"),
        ));
        return Loaded::BROKEN;
    }
    if let Some(finding) = not_text(file, source) {
        findings.push(finding.help("a module file is UTF-8 text; is this the right file?".to_owned()));
        secrets.mark_lines(text, file);
        return Loaded::BROKEN;
    }
    let mut loader = Loader {
        file,
        text,
        offsets: Offsets::new(text),
        findings,
        secrets,
        nodes_left: MAX_NODES,
        anchors_left: MAX_ANCHORS,
        text_bytes_left: MAX_TEXT_BYTES,
        documents: Vec::new(),
        open: Vec::new(),
        anchors: Anchors::default(),
        trimmed: (0, 0),
    };
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut skipped = text[..start].chars().count();
    let mut broken = 0;
    while let Err(stop) = loader.load_from(start, skipped) {
        broken += 1;
        let at = match stop {
            Stop::At(at) => {
                loader.drop_value_before(at);
                loader.cut_off_last();
                Some(at)
            }
            Stop::Limit => None,
        };
        loader.close_open_nodes();
        if at.is_none() {
            // What is no module file has no mistakes that are worth the time to find them.
            loader.documents.clear();
        }
        // The parser reads lazily, so the documents before the error are not read again.
        let Some(next) = at.and_then(|at| next_document(text, at.max(start + 1))) else { break };
        if broken == MAX_BROKEN_DOCUMENTS {
            let message = format!("after {broken} syntax errors the rest of the file was not read");
            loader.findings.push(Finding::error(Code::TooManyProblems, place(file, next, next + "---".len()), message));
            break;
        }
        skipped += text[start..next].chars().count();
        start = next;
    }
    let documents = loader.documents;
    let is_broken = broken > 0;
    if is_broken {
        secrets.mark_lines(text, file);
    }
    Loaded { documents, is_broken }
}

/// What there is to say about the first character that is none, or that no YAML text has.
fn not_text(file: u32, source: &SourceFile) -> Option<Finding> {
    let text = source.text.as_str();
    if let Some(at) = source.not_utf8() {
        let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let message = format!("byte {at} of the file is not UTF-8");
        return Some(Finding::error(Code::NotText, place(file, at, end), message));
    }
    // Most texts are ASCII, which takes a fraction of the time.
    if text.bytes().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        return None;
    }
    let (at, c) = text.char_indices().find(|&(_, c)| !is_printable(c))?;
    let message = format!("the character U+{:04X} is not allowed in YAML", u32::from(c));
    Some(Finding::error(Code::NotText, place(file, at, at + c.len_utf8()), message))
}

/// Whether YAML allows a character (1.2.2, section 5.1).
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// The first line at or after an offset that starts a document.
fn next_document(text: &str, from: usize) -> Option<usize> {
    let from = text.ceil_char_boundary(from);
    let is_start = |at: usize| {
        (at == 0 || matches!(text.as_bytes()[at - 1], b'\n' | b'\r'))
            && text[at + 3..].chars().next().is_none_or(char::is_whitespace)
    };
    text.get(from..)?.match_indices("---").map(|(at, _)| from + at).find(|&at| is_start(at))
}

fn place(file: u32, start: usize, end: usize) -> Place {
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Place { file, start: narrow(start), end: narrow(end) }
}

/// Why reading of a document stopped.
enum Stop {
    /// At a syntax error, the byte of which is given: reading can resume behind it.
    At(usize),
    /// At a limit: the file is not worth reading on.
    Limit,
}

struct Loader<'a, 'f> {
    file: u32,
    text: &'a str,
    offsets: Offsets<'a>,
    findings: &'f mut Findings,
    secrets: &'f mut Secrets,
    nodes_left: u32,
    anchors_left: u32,
    text_bytes_left: u32,
    documents: Vec<Rc<Node<'a>>>,
    open: Vec<Open<'a>>,
    anchors: Anchors<'a>,
    /// The end of the collection that was closed last, with and without the blanks before it: all that end there share
    /// them.
    trimmed: (usize, usize),
}

/// The nodes of a document that have anchors. The parser numbers those of the whole stream.
#[derive(Default)]
struct Anchors<'a> {
    first: usize,
    nodes: Vec<Option<Rc<Node<'a>>>>,
}

impl<'a> Anchors<'a> {
    fn clear(&mut self) {
        self.nodes.clear();
    }

    fn insert(&mut self, number: usize, node: Rc<Node<'a>>) {
        if self.nodes.is_empty() {
            self.first = number;
        }
        // A collection is finished after what is in it, and has a smaller number.
        if let Some(before) = self.first.checked_sub(number) {
            self.nodes.splice(0..0, std::iter::repeat_n(None, before));
            self.first = number;
        }
        let index = number - self.first;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, None);
        }
        self.nodes[index] = Some(node);
    }

    fn get(&self, number: usize) -> Option<Rc<Node<'a>>> {
        self.nodes.get(number.checked_sub(self.first)?)?.clone()
    }
}

/// A sequence or mapping whose end has not been reached.
struct Open<'a> {
    place: Place,
    anchor: usize,
    value: Value<'a>,
    /// The name whose value comes next, and what it says about the value.
    key: Option<(Rc<Node<'a>>, NameOf)>,
    /// Whether all that is in it belongs to a secret.
    is_secret: bool,
    size: u32,
    text_bytes: u32,
    has_variable: bool,
    height: u8,
}

impl Open<'_> {
    /// Whether what comes next in it may be a key or a password.
    fn expects_secret(&self) -> bool {
        self.is_secret || self.key.as_ref().is_some_and(|(_, name_of)| *name_of != NameOf::Other)
    }
}

impl<'a> Loader<'a, '_> {
    /// Reads documents from a byte on, before which there are so many characters.
    fn load_from(&mut self, start: usize, skipped: usize) -> Result<(), Stop> {
        let ahead = Ahead::new();
        let mut parser = Parser::new(BoundedInput::new(&self.text[start..], &ahead));
        let mut read_to = start;
        self.anchors.clear();
        while let Some(event) = parser.next_event() {
            if ahead.is_used_up() {
                let place = self.after(read_to);
                let what =
                    format!("more than {MAX_INDICATORS_AHEAD} brackets, commas and colons in one `[…]` or `{{…}}`");
                return Err(self.limit(place, &what));
            }
            ahead.renew();
            let (event, span) = event.map_err(|error| self.syntax_error(&error, skipped))?;
            let place = self.place(span, skipped);
            read_to = place.end as usize;
            match event {
                Event::DocumentStart(_) => self.anchors.clear(),
                Event::Scalar(text, style, anchor, tag) => {
                    let kind = self.kind(&text, style, tag.as_deref(), place);
                    let text = self.text(text, style, place);
                    self.add(place, Scalar { text, kind, written: None }, anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.check_tag(tag.as_deref(), "seq", place);
                    self.open(place, Value::Sequence(Vec::new()), anchor)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.check_tag(tag.as_deref(), "map", place);
                    self.open(place, Value::Mapping(Vec::new()), anchor)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(place.end, true),
                Event::Alias(anchor) => self.alias(place, anchor)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    /// The first thing behind a byte.
    fn after(&self, at: usize) -> Place {
        let rest = self.text[at..].trim_start();
        let start = self.text.len() - rest.len();
        place(self.file, start, start + rest.chars().next().map_or(0, char::len_utf8))
    }

    /// A scalar's text: a part of the file where it stands there as it is, which most do.
    fn text(&self, text: Cow<'a, str>, style: ScalarStyle, place: Place) -> Cow<'a, str> {
        let raw = &self.text[place.start as usize..place.end as usize];
        let inner = match style {
            ScalarStyle::Plain => Some(raw),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => raw.get(1..raw.len().saturating_sub(1)),
            _ => None,
        };
        let Some(inner) = inner.filter(|inner| *inner == text) else { return text };
        if self.open.last().is_some_and(Open::expects_secret)
            && let Cow::Owned(mut copy) = text
        {
            copy.zeroize();
        }
        Cow::Borrowed(inner)
    }

    /// The place of a span; the blanks that the parser counts to a quoted or block scalar are left out.
    fn place(&self, span: Span, skipped: usize) -> Place {
        let start = self.offsets.byte(skipped + span.start.index());
        let end = self.offsets.byte(skipped + span.end.index()).max(start);
        place(self.file, start, start + self.text[start..end].trim_end().len())
    }

    fn kind(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Kind {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Kind::String,
            Some(tag)
                if tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "null" | "bool" | "int" | "float") =>
            {
                Kind::of_plain(text)
            }
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Kind::String,
            Some(tag) => {
                self.unsupported_tag(tag, place);
                // What the tag would make of the text is unknown, so nothing more is said about it.
                Kind::Unknown
            }
            None if style == ScalarStyle::Plain => Kind::of_plain(text),
            None => Kind::String,
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, own: &str, place: Place) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == own)
        {
            self.unsupported_tag(tag, place);
        }
    }

    fn unsupported_tag(&mut self, tag: &Tag, place: Place) {
        let shown: String = tag.to_string().chars().take(60).collect();
        let message = format!("the YAML tag `{}` is not supported", shown.escape_debug());
        let help = "remove the tag; for a variable of the environment write `${NAME}`, or `${NAME:-default}`";
        self.findings.push(Finding::error(Code::UnsupportedTag, place, message).help(help.to_owned()));
    }

    fn open(&mut self, place: Place, value: Value<'a>, anchor: usize) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.limit(place, &format!("more than {MAX_DEPTH} levels of lists and mappings")));
        }
        self.take(1, 0, place)?;
        self.take_anchor(anchor, place)?;
        let is_secret = self.open.last().is_some_and(Open::expects_secret);
        self.open.push(Open {
            place,
            anchor,
            value,
            key: None,
            is_secret,
            size: 1,
            text_bytes: 0,
            has_variable: false,
            height: 0,
        });
        Ok(())
    }

    fn close(&mut self, end: u32, is_complete: bool) {
        let Some(open) = self.open.pop() else { return };
        // A block collection ends where the next thing starts; the blanks before that are not its own.
        let (start, end) = (open.place.start as usize, end.max(open.place.end) as usize);
        if self.trimmed.0 != end || self.trimmed.1 < start {
            self.trimmed = (end, start + self.text[start..end].trim_end().len());
        }
        let node = Rc::new(Node {
            place: place(self.file, start, self.trimmed.1),
            value: open.value,
            is_complete,
            has_variable: open.has_variable,
            height: open.height,
            size: open.size,
            text_bytes: open.text_bytes,
        });
        if open.anchor > 0 {
            self.anchors.insert(open.anchor, Rc::clone(&node));
        }
        self.attach(node);
    }

    fn add(&mut self, place: Place, scalar: Scalar<'a>, anchor: usize) -> Result<(), Stop> {
        let text_bytes = u32::try_from(scalar.text.len()).unwrap_or(u32::MAX);
        self.take(1, text_bytes, place)?;
        self.take_anchor(anchor, place)?;
        let has_variable = scalar.text.contains("${");
        let value = Value::Scalar(scalar);
        let node = Rc::new(Node { place, value, is_complete: true, has_variable, height: 0, size: 1, text_bytes });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
        Ok(())
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(anchor) else {
            // The parser refuses names that it never saw, so this one belongs to a node that is still open.
            let message = "the alias stands for something that contains it, or for another document's value";
            self.findings.push(Finding::error(Code::Syntax, place, message));
            return self.add(place, Scalar { text: "".into(), kind: Kind::String, written: None }, 0);
        };
        self.take(node.size, node.text_bytes, place)?;
        if self.open.len() + usize::from(node.height) > MAX_DEPTH {
            return Err(self.limit(place, &format!("more than {MAX_DEPTH} levels of lists and mappings")));
        }
        self.attach(node);
        Ok(())
    }

    /// Takes nodes, and the bytes of their texts, from what the file may have.
    fn take(&mut self, nodes: u32, text_bytes: u32, place: Place) -> Result<(), Stop> {
        let left = (self.nodes_left.checked_sub(nodes), self.text_bytes_left.checked_sub(text_bytes));
        let what = match left {
            (Some(nodes), Some(text_bytes)) => {
                (self.nodes_left, self.text_bytes_left) = (nodes, text_bytes);
                return Ok(());
            }
            (None, _) => format!("more than {MAX_NODES} values, aliases followed"),
            (_, None) => format!("values of more than {MAX_TEXT_BYTES} bytes, aliases followed"),
        };
        Err(self.limit(place, &what))
    }

    /// Takes one from the anchors that the file may have, if there is one here.
    fn take_anchor(&mut self, anchor: usize, place: Place) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        let Some(left) = self.anchors_left.checked_sub(1) else {
            return Err(self.limit(place, &format!("more than {MAX_ANCHORS} anchors")));
        };
        self.anchors_left = left;
        Ok(())
    }

    fn limit(&mut self, place: Place, what: &str) -> Stop {
        self.findings.push(Finding::error(Code::TooLarge, place, format!("this is not a module file: it has {what}")));
        Stop::Limit
    }

    /// Hands a finished node to the collection that it stands in, or makes it a document.
    fn attach(&mut self, node: Rc<Node<'a>>) {
        let Some(parent) = self.open.last_mut() else {
            if !matches!(&node.value, Value::Scalar(scalar) if scalar.kind == Kind::Null) {
                self.documents.push(node);
            }
            return;
        };
        parent.size = parent.size.saturating_add(node.size);
        parent.text_bytes = parent.text_bytes.saturating_add(node.text_bytes);
        parent.has_variable |= node.has_variable;
        parent.height = parent.height.max(node.height.saturating_add(1));
        match &mut parent.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(entries) => match parent.key.take() {
                None => {
                    let name_of = match &node.value {
                        Value::Scalar(name) => NameOf::value_of(&name.text),
                        Value::Sequence(_) | Value::Mapping(_) => NameOf::Other,
                    };
                    parent.key = Some((node, name_of));
                }
                Some((key, name_of)) => {
                    if name_of.is_secret(&node.value) {
                        self.secrets.push(node.place);
                    }
                    entries.push((key, node));
                }
            },
            Value::Scalar(_) => unreachable!("only collections are opened"),
        }
    }

    /// A value on the line of a syntax error, right before it, is seldom what was meant: `kind: a: b` has no kind `a`.
    fn drop_value_before(&mut self, at: usize) {
        let text = self.text;
        let is_doubtful = |node: &Node<'_>| {
            let end = node.place.end as usize;
            matches!(node.value, Value::Scalar(_)) && end <= at && !text[end..at].contains(['\n', '\r'])
        };
        match self.open.last_mut().map(|open| &mut open.value) {
            Some(Value::Sequence(items)) => {
                items.pop_if(|item| is_doubtful(item));
            }
            Some(Value::Mapping(entries)) => {
                entries.pop_if(|(_, value)| is_doubtful(value));
            }
            Some(Value::Scalar(_)) => {}
            None => {
                self.documents.pop_if(|document| is_doubtful(document));
            }
        }
    }

    /// Marks what ends right before a syntax error as cut off: with the wrong line, something is missing in one of these
    /// collections, and what is missing only follows from the error.
    fn cut_off_last(&mut self) {
        let last = match self.open.last_mut().map(|open| &mut open.value) {
            Some(Value::Sequence(items)) => items.last_mut(),
            Some(Value::Mapping(entries)) => entries.last_mut().map(|(_, value)| value),
            Some(Value::Scalar(_)) | None => None,
        };
        let mut next = last.and_then(Rc::get_mut);
        // A node with an anchor belongs to its aliases too, and stays as it is.
        while let Some(node) = next {
            node.is_complete = false;
            next = match &mut node.value {
                Value::Sequence(items) => items.last_mut(),
                Value::Mapping(entries) => entries.last_mut().map(|(_, value)| value),
                Value::Scalar(_) => None,
            }
            .and_then(Rc::get_mut);
        }
    }

    /// After an error: what was understood of the document stands, marked as cut off.
    fn close_open_nodes(&mut self) {
        while let Some(open) = self.open.last() {
            let end = open.place.end;
            self.close(end, false);
        }
    }

    fn syntax_error(&mut self, error: &ScanError, skipped: usize) -> Stop {
        let at = self.offsets.byte(skipped + error.marker().index());
        if error.info().contains("recursion limit") {
            let what = format!("more than {MAX_DEPTH} levels of lists and mappings");
            return self.limit(place(self.file, at, at), &what);
        }
        let Explanation { span, message, help, label } = explain(self.text, at, error.info());
        let place_of = |span: Range<usize>| place(self.file, span.start, span.end);
        let mut finding = Finding::error(Code::Syntax, place_of(span), message);
        if let Some((span, words)) = label {
            finding = finding.label(place_of(span), words);
        } else if error.info().contains("flow")
            && let Some(open) = self.open.last()
        {
            finding = finding.label(open.place, "opened here");
        }
        self.findings.push(finding.help(help));
        Stop::At(at)
    }
}
