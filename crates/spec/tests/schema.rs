//! The files that are generated from the tables of the decoder are up to date, and say the same as it.
//!
//! `UPDATE=1 cargo test -p statefun-kinesis-spec --test schema` writes them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use statefun_kinesis_spec::{Options, SourceFile, json_schema, read_module, reference};

#[path = "schema/mod.rs"]
mod agreement;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The content of a committed file is this; on demand, it becomes this.
#[track_caller]
fn check_file(path: &str, expected: &str) {
    let path = repository(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, expected).expect("the file can be written");
    }
    assert!(read(&path) == expected, "{} is out of date: run this test with UPDATE=1", path.display());
}

#[test]
fn the_schema_of_the_documentation_is_up_to_date() {
    check_file("docs/module.schema.json", &json_schema());
}

#[test]
fn the_reference_of_the_documentation_is_up_to_date() {
    const START: &str = "<!-- generated from crates/spec/src/decode: UPDATE=1 writes it, see CONTRIBUTING.md -->\n\n";
    const END: &str = "\n<!-- end of what is generated -->\n";
    let page = read(&repository("docs/module-reference.md"));
    let (before, rest) = page.split_once(START).expect("the page has the mark of the start");
    let (_, after) = rest.split_once(END).expect("the page has the mark of the end");
    check_file("docs/module-reference.md", &format!("{before}{START}{}{END}{after}", reference()));
}

/// The fenced YAML blocks of a page that show files that are right.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if ["```yaml", "```yaml,warning"].contains(&line.trim()) {
            blocks.push(lines.by_ref().take_while(|line| line.trim() != "```").flat_map(|line| [line, "\n"]).collect());
        }
    }
    blocks
}

fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn the_schema_passes_every_example_and_every_block_of_the_documentation() {
    let mut texts: Vec<(String, String)> = Vec::new();
    for path in files_in("examples/orders", "yaml") {
        texts.push((path.display().to_string(), read(&path)));
    }
    let mut pages = vec![repository("README.md")];
    pages.extend(["docs", "docs/diagnostics"].into_iter().flat_map(|folder| files_in(folder, "md")));
    for path in pages {
        for block in blocks(&read(&path)) {
            texts.push((path.display().to_string(), block));
        }
    }
    assert!(texts.len() > 50, "there are examples");
    for (path, text) in texts {
        let problems = agreement::problems(&text).expect("an example is YAML");
        assert!(problems.is_empty(), "{path}: {problems:#?}\n{text}");
        let files = [SourceFile::new(path, text)];
        agreement::check_agreement(&files, &Options::default(), &read_module(&files, &Options::default()));
    }
}

#[test]
fn every_example_names_the_schema() {
    for path in files_in("examples/orders", "yaml") {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        let schema = first.strip_prefix("# yaml-language-server: $schema=").expect("the first line names the schema");
        let schema = path.parent().expect("a file is in a folder").join(schema);
        assert!(schema.is_file(), "{}: {first}", path.display());
    }
}

#[test]
fn the_schema_has_an_id_and_each_definition_a_title() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    assert_eq!(schema["$id"], "urn:statefun-kinesis:module");
    let definitions = schema["$defs"].as_object().unwrap();
    let titles: Vec<&str> = definitions.values().filter_map(|definition| definition["title"].as_str()).collect();
    assert_eq!(titles.len(), definitions.len(), "{titles:?}");
    for title in ["The spec of io.statefun.kinesis.v1/ingress", "awsRegion", "A module of Stateful Functions 3.0"] {
        assert!(titles.contains(&title), "{title}: {titles:?}");
    }
}

#[track_caller]
fn check_refused(text: &str) {
    let problems = agreement::problems(text).expect("it is YAML");
    assert!(!problems.is_empty(), "{text}");
}

#[test]
fn the_schema_refuses_what_is_wrong_by_its_form() {
    let egress = "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n  streamName: s\n";
    assert_eq!(agreement::problems(egress), Some(Vec::new()));
    assert_eq!(agreement::problems(&egress.replace("  streamName: s\n", "")), Some(Vec::new()));
    check_refused(&egress.replace("streamName", "streamname"));
    check_refused(&egress.replace("  id: a/b\n", ""));
    check_refused(&egress.replace(": s", ": 12"));
    check_refused(&egress.replace("egress", "egres"));
    check_refused(&format!("{egress}extra: 1\n"));
    check_refused(&format!("{egress}  maxOutstandingRecords: 0\n"));
    check_refused(&format!("{egress}  awsRegion: {{type: specific}}\n"));
    check_refused(&format!("{egress}  awsRegion: {{id: us-east-1}}\n"));
    check_refused(&format!("{egress}  awsCredentials: {{type: profile}}\n"));
    check_refused(&format!("{egress}  awsCredentials: {{type: profile, profile: a, profileName: a}}\n"));
    check_refused("- a\n");
    check_refused("spec: {}\n");
    check_refused("version: \"2.0\"\nmodule: {}\n");
}

#[test]
fn the_schema_accepts_variables_for_every_scalar() {
    let text = "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: ${A}/b\n  streamName: ${S}\n  maxOutstandingRecords: ${N:-7}\n  awsRegion: {type: \"${T}\", id: x}\n";
    assert_eq!(agreement::problems(text), Some(Vec::new()));
}
