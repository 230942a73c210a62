//! Texts that are meant to take long or to need much memory: each repeats what one part of reading pays for.

/// A kind, and what a text of about so many bytes of it looks like.
pub(crate) type Hostile = (&'static str, fn(usize) -> String);

const INGRESS: &str = "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: a/b\n";
const EGRESS: &str = "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n  streamName: s\n";

/// The text again and again, and never more than these bytes.
fn repeat(text: &str, bytes: usize) -> String {
    text.repeat(bytes / text.len())
}

/// What a function of a number gives, one after the other.
fn numbered(bytes: usize, piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        let piece = piece(number);
        if text.len() + piece.len() > bytes {
            break;
        }
        text.push_str(&piece);
    }
    text
}

/// After a beginning, the text again and again, and an end.
fn within(start: &str, text: &str, end: &str, bytes: usize) -> String {
    format!("{start}{}{end}", repeat(text, bytes - start.len() - end.len()))
}

pub(crate) const ALL: &[Hostile] = &[
    // Nesting.
    ("brackets", |bytes| repeat("[", bytes)),
    ("brackets, closed", |bytes| "[".repeat(bytes / 2) + &"]".repeat(bytes / 2)),
    ("braces", |bytes| repeat("{a: ", bytes)),
    ("dashes", |bytes| repeat("- ", bytes)),
    ("questions", |bytes| repeat("? ", bytes)),
    ("10 000 levels of blocks", |_| (0..1400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
    ("deep and then wide", |bytes| within(&"- ".repeat(60), "[a,", "", bytes)),
    ("wide below 60 levels", |bytes| within(&("a: ".to_owned() + &"[".repeat(60)), "a,", "", bytes)),
    ("wide below 200 levels", |bytes| within(&"[".repeat(200), "a,", "", bytes)),
    ("60 levels and blanks", |bytes| {
        let levels: String = (0..60).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        within(&(levels + &" ".repeat(60) + "b: c"), "\n", "", bytes)
    }),
    // Many tiny nodes.
    ("flow list", |bytes| within("[", "a,", "]", bytes)),
    ("flow list in a field", |bytes| within("a: [", "a,", "]", bytes)),
    ("flow pairs", |bytes| within("[", "a:,", "]", bytes)),
    ("flow pairs of nothing", |bytes| within("[", ":,", "]", bytes)),
    ("flow pairs in a field", |bytes| within("a: [", "a: ,", "]", bytes)),
    ("flow mapping", |bytes| within("{", "a,", "}", bytes)),
    ("flow mapping in a field", |bytes| within("a: {", "a: b,", "}", bytes)),
    ("flow lists", |bytes| within("[", "[],", "]", bytes)),
    ("flow lists in a field", |bytes| within("a: [", "[],", "]", bytes)),
    ("anchors in a flow list", |bytes| within("[", "&a ", "]", bytes)),
    ("tags in a flow list", |bytes| within("[", "!t ", "]", bytes)),
    ("quotes in a flow list", |bytes| within("[", "'',", "]", bytes)),
    ("quotes in a flow list in a field", |bytes| within("a: [", "'',", "]", bytes)),
    ("block list", |bytes| repeat("- a\n", bytes)),
    ("block list of nothing", |bytes| repeat("-\n", bytes)),
    ("fields", |bytes| repeat("a: b\n", bytes)),
    ("flow lists, one per line", |bytes| within("", "- [a,a,a,a,a,a,a,a,a,a]\n", "", bytes)),
    ("a flow list as a field", |bytes| within("? [", "a,", "]\n: b", bytes)),
    ("words over lines in a flow list", |bytes| within("[", "a\n", "]", bytes)),
    // Documents.
    ("documents", |bytes| repeat("---\n", bytes)),
    ("ended documents", |bytes| repeat("a\n...\n", bytes)),
    ("documents that are words", |bytes| repeat("--- a\n", bytes)),
    ("broken documents", |bytes| repeat("---\n{\n", bytes)),
    ("broken by one letter", |bytes| repeat("--- @\n", bytes)),
    ("kinds", |bytes| repeat("kind: x\n---\n", bytes)),
    ("empty ingresses", |bytes| repeat("kind: io.statefun.kinesis.v1/ingress\nspec: {}\n---\n", bytes)),
    ("small egresses", |bytes| {
        numbered(bytes, |n| {
            format!("--- {{kind: io.statefun.kinesis.v1/egress, spec: {{id: a/{n}, streamName: s}}}}\n")
        })
    }),
    ("directives", |bytes| repeat("%a\n", bytes)),
    ("tag directives", |bytes| numbered(bytes, |n| format!("%TAG !{n}! x\n"))),
    // One long thing.
    ("a word", |bytes| within("kind: ", "x", "", bytes)),
    ("a plain scalar of words", |bytes| within("kind: ", "x ", "", bytes)),
    ("a plain scalar of lines", |bytes| within("kind: x\n", " x\n", "", bytes)),
    ("a block scalar", |bytes| within("kind: |\n", "  x\n", "", bytes)),
    ("a folded scalar", |bytes| within("kind: >\n", "  x\n\n", "", bytes)),
    ("escapes", |bytes| within("kind: \"", "\\x41", "\"", bytes)),
    ("an unclosed quote", |bytes| within("kind: \"", "x ", "", bytes)),
    ("quotes", |bytes| repeat("\"", bytes)),
    ("quoted quotes", |bytes| within("kind: '", "''", "'", bytes)),
    ("blank lines", |bytes| repeat("\n", bytes)),
    ("blanks", |bytes| repeat(" ", bytes)),
    ("tabs", |bytes| repeat("\t", bytes)),
    ("carriage returns", |bytes| repeat("\r", bytes)),
    ("comments", |bytes| repeat("#\n", bytes)),
    ("a comment", |bytes| repeat("#", bytes)),
    ("colons", |bytes| repeat(":", bytes)),
    ("letters of three bytes", |bytes| within("kind: ", "日", "", bytes)),
    ("fields of three bytes", |bytes| repeat("日: 本\n", bytes)),
    ("byte order marks", |bytes| repeat("\u{feff}", bytes)),
    ("control characters", |bytes| repeat("\u{1}", bytes)),
    // Names and repetition.
    ("anchors", |bytes| repeat("- &a b\n", bytes)),
    ("different anchors", |bytes| numbered(bytes, |n| format!("- &a{n} b\n"))),
    ("aliases", |bytes| within("a: &a [x, x, x, x, x, x, x, x]\nb: [", "*a, ", "]", bytes)),
    ("an alias bomb", |_| {
        let level = |n: u8| format!("l{n}: &l{n} [{}]\n", format!("*l{}, ", n - 1).repeat(10));
        "l0: &l0 [x, x]\n".to_owned() + &(1..9).map(level).collect::<String>()
    }),
    ("aliases of a long name", |bytes| {
        let name = format!("a/{}", "b".repeat(bytes / 2));
        let spec = format!("{INGRESS}  streams:\n  - streamArn: x\n    valueType: &n {name}\n    targets: [");
        within(&spec, "*n, ", "]\n", bytes)
    }),
    ("shared targets", |bytes| {
        let shared = "a/b, ".repeat(bytes / 20);
        let spec = format!("{INGRESS}  streams:\n  - {{streamArn: x, valueType: a/b, targets: &t [{shared}]}}\n");
        within(&spec, "  - {streamArn: y, valueType: a/b, targets: *t}\n", "", bytes)
    }),
    // What the model is made of.
    ("streams", |bytes| within(&format!("{INGRESS}  streams:\n"), "  - {}\n", "", bytes)),
    ("streams that are words", |bytes| within(&format!("{INGRESS}  streams:\n"), "  - a\n", "", bytes)),
    ("targets", |bytes| {
        let spec = format!("{INGRESS}  streams:\n  - valueType: a/b\n    targets: [");
        let start = spec.len();
        spec + &numbered(bytes - start - 2, |n| format!("a/{n},")) + "]\n"
    }),
    ("the same target", |bytes| {
        within(&format!("{INGRESS}  streams:\n  - valueType: a/b\n    targets: ["), "a/b,", "]\n", bytes)
    }),
    ("different streams", |bytes| {
        let start = format!("{INGRESS}  streams:\n");
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream";
        let stream = |n| format!("  - {{streamArn: {arn}/s{n}, valueType: a/b, targets: [a/b]}}\n");
        start.clone() + &numbered(bytes - start.len(), stream)
    }),
    ("unknown fields", |bytes| EGRESS.to_owned() + &numbered(bytes - EGRESS.len(), |n| format!("  strea{n}: 1\n"))),
    ("misspelt fields", |bytes| {
        EGRESS.to_owned() + &numbered(bytes - EGRESS.len(), |n| format!("  streamNam{n}: 1\n"))
    }),
    ("long misspelt fields", |bytes| {
        EGRESS.to_owned() + &numbered(bytes - EGRESS.len(), |n| format!("  maxOutstandRec{n}: 12\n"))
    }),
    ("long unknown fields", |bytes| {
        EGRESS.to_owned() + &numbered(bytes - EGRESS.len(), |n| format!("  {n:0>18}: 1\n"))
    }),
    ("the same long field", |bytes| within(EGRESS, "  streamName: abcdefgh\n", "", bytes)),
    ("the same field", |bytes| within(EGRESS, "  streamName: s\n", "", bytes)),
    ("properties", |bytes| {
        let start = format!("{EGRESS}  clientConfigProperties:\n");
        start.clone() + &numbered(bytes - start.len(), |n| format!("    a{n}: b\n"))
    }),
    ("secrets", |bytes| within(EGRESS, "  secretAccessKey: x\n", "", bytes)),
    ("secrets in a text that is not YAML", |bytes| within("@\n", "token: x\n", "", bytes)),
    ("a line of secrets that is not YAML", |bytes| within("@", "a: ", "", bytes)),
    // Variables.
    ("open variables", |bytes| within("kind: io.statefun.kinesis.v1/egress\nspec: \"", "${", "\"", bytes)),
    ("variables", |bytes| within("kind: io.statefun.kinesis.v1/egress\nspec: \"", "${A}", "\"", bytes)),
    ("variables that are not set", |bytes| within(&format!("{EGRESS}  a: ["), "'${A}',", "]", bytes)),
    ("defaults", |bytes| within(&format!("{EGRESS}  a: ["), "'${A:-b}',", "]", bytes)),
];
