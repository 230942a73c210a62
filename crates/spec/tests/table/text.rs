//! Texts that are no YAML, or hardly a module.

use statefun_kinesis_spec::{Options, SourceFile, read_module};

use crate::{check, check_all};

#[test]
fn an_empty_file() {
    check("", "f:1:1: error[SFK0004]: the file is empty: it has no documents");
    check("\u{feff} \r\n\t\r\n", "f:1:1: error[SFK0004]: the file is empty: it has no documents");
}

#[test]
fn a_file_of_empty_documents() {
    check_all(
        &["---\n# nothing yet\n---\n...\n"],
        "
        f:1:1: error[SFK0004]: the file has no documents
          help: a module file has one document with `kind` and `spec` for each ingress, egress and endpoint
        ",
    );
}

#[test]
fn an_empty_file_beside_one_that_is_not() {
    check_all(
        &[&crate::egress("streamName: s"), "# all commented out"],
        "
        g:1:1: warning[SFK0004]: the file has no documents
          help: a module file has one document with `kind` and `spec` for each ingress, egress and endpoint
        ",
    );
}

#[test]
fn prose() {
    check_all(
        &["hello world"],
        "
        f:1:1: error[SFK0005]: a document is a mapping with `kind` and `spec`
          help: the kinds are `io.statefun.kinesis.v1/ingress`, `io.statefun.kinesis.v1/egress` and `io.statefun.endpoints.v2/http`
        ",
    );
}

#[test]
fn a_list_of_documents() {
    check("- kind: a", "f:1:1: error[SFK0005]: a document is a mapping with `kind` and `spec`");
}

#[test]
fn json_is_yaml_but_a_record_is_no_document() {
    check(r#"{"stream": "orders", "data": "x"}"#, "f:1:2: error[SFK0006]: the document has no `kind`");
}

#[test]
fn binary_junk() {
    check("\u{7f}ELF\u{2}\u{1}\u{1}\0\0", "f:1:1: error[SFK0002]: the character U+007F is not allowed in YAML");
    check("kind: a\0b", "f:1:8: error[SFK0002]: the character U+0000 is not allowed in YAML");
    check("PK\u{3}\u{4}\u{fffd}", "f:1:3: error[SFK0002]: the character U+0003 is not allowed in YAML");
}

#[test]
fn a_tab_in_the_indentation() {
    check_all(
        &["kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n\tstreamName: s\n"],
        "
        f:4:1: error[SFK0001]: not YAML: a tab in the indentation
          help: indent with spaces
        ",
    );
}

#[test]
fn a_value_that_needs_quotes() {
    check_all(
        &["kind: a: b\n"],
        "
        f:1:8: error[SFK0001]: not YAML: mapping values are not allowed in this context
          help: put a value that contains `: ` in quotes, or correct the indentation
        ",
    );
    check_all(
        &["kind: @b\n"],
        "
        f:1:7: error[SFK0001]: not YAML: unexpected character: `@'
          help: put a value that starts with this character in quotes
        ",
    );
}

#[test]
fn a_list_that_is_not_closed() {
    check_all(
        &["kind: io.statefun.kinesis.v1/egress\nspec: {id: a/b, streamName: [s\n"],
        "
        f:2:17: error[SFK0013]: `streamName` must be a string, not a list
        f:3:1: error[SFK0001]: not YAML: while parsing a flow sequence, expected ',' or ']'
          f:2:29: opened here
        ",
    );
}

#[test]
fn a_syntax_error_hides_neither_what_is_before_it_nor_the_next_document() {
    check(
        "
        kind: io.statefun.kinesis.v1/egres
        spec: {}
        ---
        kind: io.statefun.kinesis.v1/egress
        spec:
          ident: a
          id: \"a
        ---
        kind: io.statefun.kinesis.v1/egress
        spec:
          id: a/b
        ",
        "
        f:1:7: error[SFK0007]: unknown kind `io.statefun.kinesis.v1/egres`
        f:6:3: error[SFK0011]: an egress has no field `ident`
        f:7:7: error[SFK0001]: not YAML: the quote `\"` is not closed on its line
        f:10:1: note[SFK0033]: the egress has no `streamName`, as in Apache StateFun: each record has to name its stream
        ",
    );
}

#[test]
fn line_breaks_of_windows_and_a_byte_order_mark() {
    check(
        "\u{feff}kind: io.statefun.kinesis.v1/egress\r\nspec:\r\n  id: a/b\r\n  streamName: ä\r\n",
        "f:4:15: error[SFK0020]: `ä` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`",
    );
}

#[test]
fn deep_nesting() {
    let flow = "[".repeat(10_000);
    check(
        &flow,
        "f:1:256: error[SFK0003]: this is not a module file: it has more than 64 levels of lists and \
     mappings",
    );
    let dashes = "- ".repeat(10_000);
    check(
        &dashes,
        "f:1:129: error[SFK0003]: this is not a module file: it has more than 64 levels of lists and \
     mappings",
    );
}

#[test]
fn an_alias_bomb() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ('b'..='i').zip('a'..) {
        let aliases = vec![format!("*{last}"); 10].join(", ");
        bomb.push_str(&format!("{this}: &{this} [{aliases}]\n"));
    }
    check(
        &bomb,
        "
        f:5:36: error[SFK0003]: this is not a module file: it has more than 100000 values, aliases followed
        ",
    );
}

#[test]
fn an_alias_to_itself() {
    check(
        "
        kind: &kind [*kind]
        ",
        "
        f:1:1: error[SFK0013]: `kind` must be a string, not a list
        f:1:14: error[SFK0001]: the alias stands for something that contains it, or for another document's value
        ",
    );
}

#[test]
fn aliases_are_followed() {
    check(
        "
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          streams:
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/a
              valueType: example/Order
              targets: &targets [example/one, two]
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/b
              valueType: example/Order
              targets: *targets
        ",
        "f:7:39: error[SFK0017]: `two` is not a valid type name: expected `<namespace>/<name>`, both not empty",
    );
}

#[test]
fn tags() {
    check(
        "
        kind: !!str io.statefun.kinesis.v1/egress
        spec:
          id: !!str a/b
          streamName: !env STREAM
        ",
        "f:4:15: error[SFK0036]: the YAML tag `!env` is not supported",
    );
}

#[test]
fn a_huge_scalar_is_quoted_in_part() {
    let huge = "x".repeat(500_000);
    let cut = "x".repeat(80);
    check(&format!("kind: {huge}"), &format!("f:1:7: error[SFK0007]: unknown kind `{cut}…`"));
}

#[test]
fn a_file_over_the_limit() {
    let size = statefun_kinesis_spec::MODULE_MAX_BYTES + 1;
    let text = " ".repeat(size - 1);
    check(&text, "f:1:1: error[SFK0003]: the file has 786433 bytes; a module file has at most 786432");
}

#[test]
fn more_problems_than_are_shown() {
    let text = "kind: x\n---\n".repeat(1500);
    let (files, checked) = crate::read(&[&text], &Options::default());
    assert_eq!(checked.diagnostics.len(), 1001);
    let last = checked.diagnostics.last().unwrap().to_line(&files);
    assert_eq!(last, "f:1999:7: error[SFK0035]: 500 more of severity `error` are not listed");
}

#[track_caller]
fn check_unlisted(fields: usize, expected: &str) {
    let lines: String = (0..fields).map(|number| format!("  field{number}: 0\n")).collect();
    let files = [SourceFile::new("f", crate::egress("streamName: s") + &lines)];
    let checked = read_module(&files, &Options::default());
    assert_eq!(checked.diagnostics.last().expect("there are problems").to_line(&files), expected);
    assert_eq!(checked.diagnostics.len(), 1001);
}

#[test]
fn more_unknown_fields_of_one_mapping_than_are_listed() {
    check_unlisted(1200, "f:1004:3: error[SFK0035]: 200 more of severity `error` are not listed");
    // So many are not even counted.
    check_unlisted(12_000, "f:1004:3: error[SFK0035]: at least 9000 more of severity `error` are not listed");
}

#[test]
fn more_anchors_than_a_module_has() {
    let anchors = |count: usize| format!("kind: x\nspec:\n{}", "  - &a b\n".repeat(count));
    check(&anchors(10_000), "f:1:7: error[SFK0007]: unknown kind `x`");
    check(&anchors(10_001), "f:10003:5: error[SFK0003]: this is not a module file: it has more than 10000 anchors");
}
