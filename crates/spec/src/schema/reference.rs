use std::fmt::Write;

use crate::decode::{
    KINDS, LEGACY,
    table::{Alias, Effect, Field, Kind, Presence, Property, Reads, Shape, Tagged, Takes, Variant},
};

/// Every field of every document as Markdown: what it takes, what it is when it is not there, and what it means. It is the
/// text of the documentation's reference, from the same tables by which files are read.
///
/// ```
/// let reference = statefun_kinesis_spec::reference();
/// assert!(reference.contains("| `maxOutstandingRecords` |"));
/// ```
pub fn reference() -> String {
    let mut page = Page::default();
    page.line("| kind | what it declares |");
    page.line("|---|---|");
    for kind in KINDS {
        let name = match kind.reads.shape() {
            Some(_) => format!("[`{}`](#{})", kind.name, anchor(kind.name)),
            None => format!("`{}`", kind.name),
        };
        page.line(&format!("| {name} | {} |", cell(kind.doc)));
    }
    for kind in KINDS {
        if let Some(shape) = kind.reads.shape() {
            page.kind(kind, shape);
        }
    }
    page.details();
    page.legacy();
    page.text
}

/// A page in the making.
#[derive(Default)]
struct Page {
    text: String,
    /// What fields have in them that takes a section of its own: its name, and the content.
    details: Vec<(&'static str, Detail)>,
    written: usize,
}

#[derive(Clone, Copy)]
enum Detail {
    Shape(&'static Shape),
    Tagged(&'static Tagged),
    Properties(&'static [&'static [Property]]),
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, level: usize, title: &str) {
        self.line(&format!("\n{} {title}\n", "#".repeat(level)));
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.line(&format!("{text}\n"));
        }
    }

    fn kind(&mut self, kind: &Kind, shape: &'static Shape) {
        self.heading(2, &format!("`{}`", kind.name));
        self.paragraph(shape.doc);
        if let Some(Alias { name, dialect }) = kind.dialect {
            self.paragraph(&format!("It is {dialect}'s older name for `{name}`, and read with a note."));
        }
        self.fields(shape);
        let mut example = format!("kind: {}\nspec:\n", kind.name);
        let is_shown = |field: &&Field| matches!(field.presence, Presence::Required | Presence::Expected);
        for field in shape.fields.iter().filter(is_shown) {
            for line in field.example.lines() {
                let _ = writeln!(example, "  {line}");
            }
        }
        self.line(&format!("\n```yaml\n{example}```"));
    }

    fn fields(&mut self, shape: &'static Shape) {
        self.line("| field | takes | without it | |");
        self.line("|---|---|---|---|");
        for field in shape.fields {
            let row = self.row(field, shape);
            self.line(&row);
        }
    }

    fn row(&mut self, field: &'static Field, shape: &Shape) -> String {
        let takes = self.takes(field.name, field.unit, &field.takes);
        let without = match field.presence {
            Presence::Required => "an error".to_owned(),
            Presence::Expected => "a note".to_owned(),
            Presence::Default(value) => match field.source {
                Some(source) => format!("`{value}` ({source})"),
                None => format!("`{value}`"),
            },
            Presence::Optional if shape.one_of.contains(&field.name) => {
                let others = shape.one_of.iter().filter(|other| **other != field.name);
                let others: Vec<String> = others.map(|other| format!("`{other}`")).collect();
                format!("an error, unless there is {}", others.join(" or "))
            }
            Presence::Optional => String::new(),
        };
        let mut doc = field.doc.to_owned();
        if let Some(about) = field.about {
            let _ = write!(doc, " It is {about}.");
        }
        for alias in field.aliases {
            let _ = write!(doc, " {} calls it `{}`.", alias.dialect, alias.name);
        }
        if let Some(own) = field.dialect {
            let _ = write!(doc, " Only {} has it here; the place for it is `{}`.", own.dialect, own.name);
        }
        format!("| `{}` | {takes} | {without} | {} |", field.name, cell(&doc))
    }

    /// What a field takes, in a cell of a table.
    fn takes(&mut self, name: &'static str, unit: Option<&'static str>, takes: &'static Takes) -> String {
        match takes {
            Takes::Text(text) => cell(text.form()),
            Takes::Tag => "one of the types".to_owned(),
            Takes::Word(words) => {
                let words: Vec<String> =
                    words.iter().map(|word| format!("`{}`: {}", word.name, cell(word.doc))).collect();
                words.join(" ")
            }
            Takes::Integer { min, max } => match unit {
                Some(unit) => format!("a whole number of {unit}, from {min} to {max}"),
                None => format!("a whole number from {min} to {max}"),
            },
            Takes::Duration { may_be_zero: true } => "a [duration](#durations)".to_owned(),
            Takes::Duration { may_be_zero: false } => "a [duration](#durations), not zero".to_owned(),
            Takes::List(item) => format!("a list of at least one: {}", self.takes(name, unit, item)),
            Takes::Object(shape) => self.detail(name, Detail::Shape(shape)),
            Takes::Tagged(tagged) => self.detail(name, Detail::Tagged(tagged)),
            Takes::Properties(known) => self.detail(name, Detail::Properties(known)),
        }
    }

    /// A link to the section with the detail, which is written once.
    fn detail(&mut self, name: &'static str, detail: Detail) -> String {
        let is_same = |known: &Detail| match (known, &detail) {
            (Detail::Shape(a), Detail::Shape(b)) => std::ptr::eq(*a, *b) || a.what == b.what,
            (Detail::Tagged(a), Detail::Tagged(b)) => std::ptr::eq(*a, *b) || a.what == b.what,
            (Detail::Properties(_), Detail::Properties(_)) => true,
            (Detail::Shape(_) | Detail::Tagged(_) | Detail::Properties(_), _) => false,
        };
        if !self.details.iter().any(|(_, known)| is_same(known)) {
            self.details.push((name, detail));
        }
        let what = match detail {
            Detail::Shape(_) | Detail::Tagged(_) => "a mapping",
            Detail::Properties(_) => "properties",
        };
        format!("[{what}](#{})", anchor(name))
    }

    /// The sections that fields of earlier sections have links to.
    fn details(&mut self) {
        while let Some(&(name, detail)) = self.details.get(self.written) {
            self.written += 1;
            self.heading(2, &format!("`{name}`"));
            match detail {
                Detail::Shape(shape) => {
                    self.paragraph(shape.doc);
                    self.fields(shape);
                }
                Detail::Tagged(tagged) => self.tagged(tagged),
                Detail::Properties(known) => self.properties(known),
            }
        }
    }

    fn tagged(&mut self, tagged: &'static Tagged) {
        let own: Vec<&Variant> = tagged.variants.iter().filter(|variant| variant.dialect.is_none()).collect();
        let names: Vec<String> = own.iter().map(|variant| format!("`{}`", variant.name)).collect();
        let default = tagged.default.map_or_else(String::new, |name| format!(" Without a `type` it is `{name}`."));
        self.paragraph(&format!("A mapping whose `type` is {}.{default}", names.join(" or ")));
        self.line("| `type` | field | takes | without it | |");
        self.line("|---|---|---|---|---|");
        for variant in tagged.variants {
            let mut doc = variant.shape.doc.to_owned();
            if let Some(own) = variant.dialect {
                let _ = write!(doc, " It is {}'s name for `{}`.", own.dialect, own.name);
            }
            self.line(&format!("| **`{}`** | | | | {} |", variant.name, cell(&doc)));
            for field in variant.shape.fields.iter().filter(|field| field.name != "type") {
                let row = self.row(field, &variant.shape);
                self.line(&format!("| {row}"));
            }
        }
    }

    fn properties(&mut self, known: &'static [&'static [Property]]) {
        self.paragraph(
            "Settings by the names that other runtimes give them: a list of mappings with one entry each, or one mapping. \
             A name that is not in the table is kept and named in a warning. For the AWS SDK for Java and the Kinesis \
             Producer Library, the case of the first letter and the prefix `aws.clientconfig.` are free.",
        );
        let mut all: Vec<&Property> = known.iter().copied().flatten().collect();
        // Those of the other kinds of documents.
        for kind in KINDS {
            for field in kind.reads.shape().into_iter().flat_map(|shape| shape.fields) {
                let Takes::Properties(tables) = field.takes else { continue };
                for property in tables.iter().copied().flatten() {
                    if !all.iter().any(|known| known.name == property.name) {
                        all.push(property);
                    }
                }
            }
        }
        self.line("| property | whose | what it does |");
        self.line("|---|---|---|");
        for property in all {
            let effect = match property.effect {
                Effect::Sets(setting) => format!("sets {}", setting.target()),
                Effect::Always(value, why) => format!("nothing as `{value}`; else a warning: {why}"),
                Effect::Nothing(why) => format!("nothing: {why}"),
            };
            self.line(&format!("| `{}` | {} | {} |", property.name, property.of, cell(&effect)));
        }
    }

    fn legacy(&mut self) {
        self.heading(2, "Version 3.0");
        self.paragraph(LEGACY.doc);
        self.paragraph(
            "Below `module.spec` are lists of `ingresses`, `egresses` and `endpoints`. Each entry has one word (`ingress`, \
             `egress`, `endpoint`) with `meta` and `spec` below it: in `meta` the kind, under the name `type` or `kind`, \
             and the `id`; in `spec` the fields of today.",
        );
        let ingress = KINDS.iter().find(|kind| matches!(kind.reads, Reads::Ingress(_)));
        let required = ingress.and_then(|kind| kind.reads.shape()).into_iter().flat_map(|shape| shape.fields);
        let required = required.filter(|field| field.presence == Presence::Required && field.name != "id");
        let mut example = "version: \"3.0\"\nmodule:\n  meta:\n    type: remote\n  spec:\n    ingresses:\n      - ingress:\n          meta:\n            type: io.statefun.kinesis/ingress\n            id: example/orders\n          spec:\n".to_owned();
        for line in required.flat_map(|field: &Field| field.example.lines()) {
            let _ = writeln!(example, "            {line}");
        }
        self.line(&format!("```yaml\n{example}```"));
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The anchor that readers of Markdown give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
