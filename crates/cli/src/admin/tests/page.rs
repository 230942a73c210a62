//! The page of the documentation lists the metrics of the endpoint.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use crate::admin::catalogue::{Family, Kind, Section, families};

const BEGIN: &str =
    "<!-- Generated from crates/cli/src/admin/catalogue: UPDATE=1 cargo test -p statefun-kinesis page -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

fn tables() -> String {
    let mut text = String::new();
    let mut section = None;
    for family in families() {
        if section != Some(family.section) {
            section = Some(family.section);
            let heading = match family.section {
                Section::Process => "The process",
                Section::Ingress => "Ingresses",
                Section::Records => "Records, from arrival to completion",
                Section::Function => "Functions",
                Section::Mailboxes => "Mailboxes",
                Section::Checkpoint => "The checkpoint",
                Section::Egress => "Egresses",
                Section::Credentials => "Credentials for AWS",
            };
            write!(text, "\n### {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
        }
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = match family.kind {
            Kind::Counter(_) => "counter",
            Kind::Gauge(_) => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        writeln!(text, "| `{}` | {kind} | {} | {} |", family.full_name(), labels.join(", "), family.help).unwrap();
    }
    text += "\n### StateFun's names\n\n| StateFun | here |\n|---|---|\n";
    for (family, statefun) in known() {
        writeln!(text, "| `{statefun}` | `{}` |", family.full_name()).unwrap();
    }
    text + "\n"
}

fn known() -> impl Iterator<Item = (&'static Family, &'static str)> {
    families().filter_map(|family| Some((family, family.statefun?)))
}

#[test]
fn the_page_of_metrics_lists_the_metrics_of_the_endpoint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the beginning of the generated part");
    let (_, after) = rest.split_once(END).expect("the page has the end of the generated part");
    let made = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, made).unwrap();
    } else {
        assert!(page == made, "docs/metrics.md is out of date: UPDATE=1 cargo test -p statefun-kinesis page");
    }
    // Names in the sentences around the tables.
    let names: BTreeSet<String> = families().map(Family::full_name).collect();
    for word in format!("{before}{after}").split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
        let is_name = ["statefun_", "process_"].iter().any(|prefix| word.starts_with(prefix));
        // A prefix stands for all names that begin with it: `statefun_egress_*`.
        let is_known = names.contains(word) || names.contains(base) || word.ends_with('_');
        assert!(!is_name || is_known, "the page mentions {word}, which does not exist");
    }
}

#[test]
fn every_applicable_metric_of_statefun_exists() {
    let found: BTreeSet<&str> = known().map(|(_, statefun)| statefun).collect();
    let expect = [
        "in",
        "outLocal",
        "outEgress",
        "numBacklog",
        "inflightAsyncOps",
        "remoteInvocationFailures",
        "remoteInvocationLatency",
        "millisBehindLatest",
    ];
    assert_eq!(found, expect.into());
}
