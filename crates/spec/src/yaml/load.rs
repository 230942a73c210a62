use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{
    node::{Kind, Node, Scalar, Value},
    offsets::Offsets,
    secrets::Secrets,
};
use crate::{
    Code, SourceFile,
    findings::{Finding, Findings, Place},
};

/// Most bytes of one module file: 1 MiB, which some five thousand streams fit in; more of them go into several files.
///
/// A larger text is refused without a look at it; who reads files can compare their sizes first. The parser may keep a
/// whole `[…]` or `{…}` at some hundred bytes for each byte of it, so this also bounds the memory of hostile texts.
pub const MODULE_MAX_BYTES: usize = 1 << 20;

/// Most levels of a document; those of a module file have about six.
const MAX_DEPTH: usize = 64;

/// Most nodes of one file, every alias counted with all that it stands for: about 25 MB of memory.
const MAX_NODES: usize = 250_000;

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
    if text.len() > MODULE_MAX_BYTES {
        findings.push(Finding::error(
            Code::TooLarge,
            Place::start_of(file),
            format!("the file has {} bytes; a module file has at most {MODULE_MAX_BYTES}", text.len()),
        ));
        return Loaded::BROKEN;
    }
    if let Some((at, c)) = text.char_indices().find(|&(_, c)| !is_printable(c)) {
        let place = place(file, at, at + c.len_utf8());
        let message = format!("the character U+{:04X} has no place in YAML", u32::from(c));
        findings.push(
            Finding::error(Code::NotText, place, message)
                .help("a module file is UTF-8 text; is this the right file?".to_owned()),
        );
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
        documents: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
    };
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut is_broken = false;
    while let Err(stop) = loader.load_from(start) {
        is_broken = true;
        let at = match stop {
            Stop::At(at) => {
                loader.drop_value_before(at);
                Some(at)
            }
            Stop::Limit => None,
        };
        loader.close_open_nodes();
        let Some(at) = at else { break };
        // The parser reads lazily, so the documents before the error are not read again.
        match next_document(text, at.max(start + 1)) {
            Some(next) => start = next,
            None => break,
        }
    }
    let documents = loader.documents;
    if is_broken {
        secrets.mark_lines(text, file);
    }
    Loaded { documents, is_broken }
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
    nodes_left: usize,
    documents: Vec<Rc<Node<'a>>>,
    open: Vec<Open<'a>>,
    anchors: HashMap<usize, Rc<Node<'a>>>,
}

/// A sequence or mapping whose end has not been reached.
struct Open<'a> {
    place: Place,
    anchor: usize,
    value: Value<'a>,
    key: Option<Rc<Node<'a>>>,
    size: usize,
    height: usize,
}

impl<'a> Loader<'a, '_> {
    fn load_from(&mut self, start: usize) -> Result<(), Stop> {
        let skipped = self.text[..start].chars().count();
        let mut parser: Parser<'a, StrInput<'a>> = Parser::new_from_str(&self.text[start..]);
        self.anchors.clear();
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax_error(&error, skipped))?;
            let place = self.place(span, skipped);
            match event {
                Event::DocumentStart(_) => self.anchors.clear(),
                Event::Scalar(text, style, anchor, tag) => {
                    let kind = self.kind(&text, style, tag.as_deref(), place);
                    self.add(place, Value::Scalar(Scalar { text, kind, written: None }), anchor)?;
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
                Kind::String
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
        let message = format!("the YAML tag `{}` has no meaning here", shown.escape_debug());
        self.findings.push(Finding::error(Code::UnsupportedTag, place, message));
    }

    fn open(&mut self, place: Place, value: Value<'a>, anchor: usize) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.limit(place, format!("more than {MAX_DEPTH} levels of lists and mappings")));
        }
        self.take_nodes(1, place)?;
        self.open.push(Open { place, anchor, value, key: None, size: 1, height: 0 });
        Ok(())
    }

    fn close(&mut self, end: u32, is_complete: bool) {
        let Some(open) = self.open.pop() else { return };
        // A block collection ends where the next thing starts; the blanks before that are not its own.
        let (start, end) = (open.place.start as usize, end.max(open.place.end) as usize);
        let place = place(self.file, start, start + self.text[start..end].trim_end().len());
        let node = Rc::new(Node { place, value: open.value, is_complete, size: open.size, height: open.height });
        if open.anchor > 0 {
            self.anchors.insert(open.anchor, Rc::clone(&node));
        }
        self.attach(node);
    }

    fn add(&mut self, place: Place, value: Value<'a>, anchor: usize) -> Result<(), Stop> {
        self.take_nodes(1, place)?;
        let node = Rc::new(Node { place, value, is_complete: true, size: 1, height: 0 });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
        Ok(())
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            // The parser refuses names that it never saw, so this one belongs to a node that is still open.
            let message = "the alias stands for something that contains it, or for another document's value";
            self.findings.push(Finding::error(Code::Syntax, place, message));
            let scalar = Scalar { text: "".into(), kind: Kind::String, written: None };
            return self.add(place, Value::Scalar(scalar), 0);
        };
        self.take_nodes(node.size, place)?;
        if self.open.len() + node.height > MAX_DEPTH {
            return Err(self.limit(place, format!("more than {MAX_DEPTH} levels of lists and mappings")));
        }
        self.attach(node);
        Ok(())
    }

    fn take_nodes(&mut self, count: usize, place: Place) -> Result<(), Stop> {
        match self.nodes_left.checked_sub(count) {
            Some(left) => {
                self.nodes_left = left;
                Ok(())
            }
            None => Err(self.limit(place, format!("more than {MAX_NODES} values, aliases followed"))),
        }
    }

    fn limit(&mut self, place: Place, what: String) -> Stop {
        self.findings.push(Finding::error(Code::TooLarge, place, format!("this is no module file: it has {what}")));
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
        parent.height = parent.height.max(node.height + 1);
        match &mut parent.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(entries) => match parent.key.take() {
                None => parent.key = Some(node),
                Some(key) => {
                    if let Value::Scalar(name) = &key.value
                        && Secrets::is_secret(&name.text, &node.value)
                    {
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
            _ => {}
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
            return self.limit(place(self.file, at, at), format!("more than {MAX_DEPTH} levels of lists and mappings"));
        }
        let tab = tab_in_indentation(self.text, at);
        let shown = match tab {
            Some(tab) => place(self.file, tab, tab + 1),
            None => {
                let end =
                    self.text[at..].chars().next().filter(|c| !c.is_whitespace()).map_or(at, |c| at + c.len_utf8());
                place(self.file, at, end)
            }
        };
        let mut finding = Finding::error(Code::Syntax, shown, format!("not YAML: {}", error.info()));
        if tab.is_some() {
            finding = Finding::error(Code::Syntax, shown, "not YAML: a tab in the indentation")
                .help("indent with blanks".to_owned());
        } else if error.info().contains("mapping values are not allowed") {
            finding = finding.help("put a value that contains `: ` in quotes, or correct the indentation".to_owned());
        } else if error.info().contains("unexpected character") {
            finding = finding.help("put a value that starts with this character in quotes".to_owned());
        } else if error.info().contains("flow")
            && let Some(open) = self.open.last()
        {
            finding = finding.label(open.place, "opened here");
        }
        self.findings.push(finding);
        Stop::At(at)
    }
}

/// The first tab that indents the line of an error or one of the two behind it: the parser sometimes blames the value
/// before the tab.
fn tab_in_indentation(text: &str, at: usize) -> Option<usize> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let mut line_start = start;
    for line in text[start..].split_inclusive('\n').take(3) {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blank].find('\t') {
            return Some(line_start + tab);
        }
        line_start += line.len();
    }
    None
}
