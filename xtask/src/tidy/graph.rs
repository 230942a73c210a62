//! Which package may depend on which.

use super::{Dependency, Finding, Package, Tree};

/// One row per package: its name, what it may depend on, and what its tests may use besides. Names are without
/// `statefun-kinesis-`.
///
/// Dependencies point downwards only: no row names a package of a later row, apart from what its tests and benchmarks
/// use.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("types", &[], &[]),
    ("module", &["types"], &[]),
    ("spec", &["types", "module"], &[]),
    ("aggregation", &["types"], &[]),
    ("dead-letter", &["types"], &[]),
    ("protocol", &[], &[]),
    ("client", &["types"], &[]),
    ("conformance", &["types", "client"], &[]),
    ("fake", &["types", "client"], &["conformance"]),
    ("aws", &["types", "client"], &["conformance", "fake", "consumer"]),
    ("consumer", &["types", "aggregation", "client", "dead-letter"], &["fake"]),
    ("producer", &["types", "aggregation", "client", "dead-letter"], &["fake"]),
    ("store", &["types", "client"], &["store-conformance"]),
    ("store-conformance", &["store"], &[]),
    ("mailboxes", &["types", "protocol"], &[]),
    ("router", &["types", "module", "client", "consumer", "producer"], &["spec", "fake"]),
    ("remote", &["types", "module", "protocol", "mailboxes"], &["spec"]),
    (
        "functions",
        &["types", "module", "client", "dead-letter", "store", "mailboxes", "router"],
        &["spec", "aggregation", "fake", "remote", "protocol", "consumer"],
    ),
    (
        "cli",
        &[
            "types",
            "spec",
            "client",
            "fake",
            "aws",
            "consumer",
            "producer",
            "store",
            "mailboxes",
            "router",
            "functions",
            "remote",
        ],
        &[],
    ),
    ("example-counter", &["types", "spec", "client", "aws", "store", "router", "functions"], &["fake"]),
    ("xtask", &[], &[]),
];

const PREFIX: &str = "statefun-kinesis-";

/// Packages in `tests/` may use everything; all others only what their row says.
pub(crate) fn directions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        if package.is_tests() {
            continue;
        }
        let short = short(&package.name);
        let Some((_, normal, tests)) = ALLOWED.iter().find(|(name, ..)| *name == short) else {
            findings.push(Finding {
                path: package.manifest(),
                line: 1,
                what: format!("the package `{}` has no row in the table of allowed dependencies", package.name),
                why: "a package without a place in the order of dependencies may depend on anything",
                remedy: "give it a row in xtask/src/tidy/graph.rs and a line in ARCHITECTURE.md".to_owned(),
            });
            continue;
        };
        for dependency in &package.dependencies {
            let Some(target) = ours(tree, dependency) else { continue };
            let allowed = normal.contains(&target) || dependency.dev && tests.contains(&target);
            if !allowed {
                findings.push(forbidden(tree, package, dependency, target, tests.contains(&target)));
            }
        }
    }
    findings
}

fn forbidden(tree: &Tree, package: &Package, dependency: &Dependency, target: &str, only_tests: bool) -> Finding {
    let why = match target {
        "store-conformance" => "`store-conformance` is a suite of tests: only tests depend on it",
        "conformance" => "`conformance` is a suite of tests: only tests depend on it",
        "aws" => "only the command line picks a backend; everything else stands on the traits of `client`",
        "fake" => {
            "`fake` is a dependency of tests and of the command line; everything else stands on the traits of `client`"
        }
        _ => {
            "dependencies point downwards only: types ← module, client ← spec, fake, aws, consumer, producer ← router ← functions ← cli"
        }
    };
    let kind = if dependency.dev { "dev-depends" } else { "depends" };
    Finding {
        path: package.manifest(),
        line: tree.dependency_line(package, dependency),
        what: format!("`{}` {kind} on `{}`", package.name, dependency.package),
        why,
        remedy: if only_tests && !dependency.dev {
            "move it to [dev-dependencies]".to_owned()
        } else {
            "take what is needed as an argument or a trait of a lower package; if the order itself is wrong, change \
             ARCHITECTURE.md and the table in xtask/src/tidy/graph.rs"
                .to_owned()
        },
    }
}

/// Libraries that only some packages depend on: how their names begin, the packages, and why no other one does. Tests may
/// depend on all but the first.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (
        &["aws-"],
        &["aws"],
        "only `statefun-kinesis-aws` names the AWS SDK, so that other crates do not have to compile it",
    ),
    (
        &["hyper"],
        &["remote", "cli", "xtask"],
        "only `statefun-kinesis-remote` and the command line speak HTTP, so that functions in process do not have to \
         compile it",
    ),
    (
        &["rustls"],
        &["remote", "aws", "cli", "xtask"],
        "only the crates that open connections know TLS, so that functions in process do not have to compile it",
    ),
    (
        &["saphyr", "yaml_serde", "serde_yaml"],
        &["spec"],
        "only `statefun-kinesis-spec` reads YAML, so that a module that is built in code does not have to compile it",
    ),
];

/// Reserved libraries are dependencies of their packages only.
pub(crate) fn reserved_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        for dependency in &package.dependencies {
            let (name, own) = (dependency.package.as_str(), short(&package.name));
            let matches = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
            let Some((beginnings, owners, why)) = RESERVED.iter().find(|(beginnings, ..)| matches(beginnings)) else {
                continue;
            };
            if owners.contains(&own) || (package.is_tests() || dependency.dev) && !beginnings.contains(&"aws-") {
                continue;
            }
            findings.push(Finding {
                path: package.manifest(),
                line: tree.dependency_line(package, dependency),
                what: format!("`{}` depends on `{name}`", package.name),
                why,
                remedy: format!("offer what is needed in `{}`, in types of our own", owners[0]),
            });
        }
    }
    findings
}

/// The short name of a dependency that is a package of this workspace.
fn ours<'a>(tree: &Tree, dependency: &'a Dependency) -> Option<&'a str> {
    tree.packages.iter().any(|package| package.name == dependency.package).then(|| short(&dependency.package))
}

fn short(name: &str) -> &str {
    match name {
        "statefun-kinesis" => "cli",
        name => name.strip_prefix(PREFIX).unwrap_or(name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{places, tree};
    use super::*;

    const TYPES: &str = "statefun-kinesis-types";
    const CLIENT: &str = "statefun-kinesis-client";
    const FAKE: &str = "statefun-kinesis-fake";
    const AWS: &str = "statefun-kinesis-aws";
    const CONFORMANCE: &str = "statefun-kinesis-conformance";
    const ROUTER: &str = "statefun-kinesis-router";

    /// Checks one package that has these dependencies, beside the packages that it may name.
    #[track_caller]
    fn check(folder: &str, dependencies: &[&str], expect: &[&str]) {
        let others: [(&str, &[&str]); 6] = [
            ("crates/types", &[]),
            ("crates/client", &[]),
            ("crates/fake", &[]),
            ("crates/aws", &[]),
            ("crates/conformance", &[]),
            ("crates/router", &[]),
        ];
        let packages: Vec<_> =
            others.into_iter().filter(|(other, _)| *other != folder).chain([(folder, dependencies)]).collect();
        let found = directions(&tree(&packages, &[]));
        let found: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn every_row_names_earlier_rows_only() {
        for (index, (name, normal, _)) in ALLOWED.iter().enumerate() {
            for target in *normal {
                let earlier = ALLOWED[..index].iter().any(|(earlier, ..)| earlier == target);
                assert!(earlier, "{name} → {target}");
            }
        }
    }

    #[test]
    fn downwards_is_allowed() {
        check("crates/router", &[TYPES, CLIENT, "tokio", "dev:statefun-kinesis-fake"], &[]);
        check("crates/cli", &[TYPES, CLIENT, FAKE, AWS, ROUTER], &[]);
        check("crates/fake", &[TYPES, CLIENT, "dev:statefun-kinesis-conformance"], &[]);
        check("tests/e2e", &[AWS, CONFORMANCE, ROUTER], &[]);
    }

    #[test]
    fn backends_and_suites_stay_out_of_libraries() {
        check("crates/consumer", &[AWS], &["`statefun-kinesis-consumer` depends on `statefun-kinesis-aws`"]);
        check("crates/consumer", &[FAKE], &["`statefun-kinesis-consumer` depends on `statefun-kinesis-fake`"]);
        check(
            "crates/producer",
            &["dev:statefun-kinesis-aws"],
            &["`statefun-kinesis-producer` dev-depends on `statefun-kinesis-aws`"],
        );
        check("crates/fake", &[CONFORMANCE], &["`statefun-kinesis-fake` depends on `statefun-kinesis-conformance`"]);
        check("crates/types", &[CLIENT], &["`statefun-kinesis-types` depends on `statefun-kinesis-client`"]);
        check("xtask", &[TYPES], &["`xtask` depends on `statefun-kinesis-types`"]);
    }

    #[test]
    fn a_new_package_needs_a_row() {
        check(
            "crates/leases",
            &[],
            &["the package `statefun-kinesis-leases` has no row in the table of allowed dependencies"],
        );
    }

    #[test]
    fn a_finding_points_at_the_line_of_the_manifest() {
        let manifest =
            "[package]\n\n[dependencies]\nstatefun-kinesis-aws-more = \"1\"\nstatefun-kinesis-aws.workspace = true\n";
        let tree = tree(&[("crates/aws", &[]), ("crates/router", &[AWS])], &[("crates/router/Cargo.toml", manifest)]);
        assert_eq!(places(&directions(&tree)), ["crates/router/Cargo.toml:5"]);
    }

    #[test]
    fn a_reserved_library_belongs_to_its_packages() {
        let packages: [(&str, &[&str]); 6] = [
            ("crates/aws", &["aws-config"]),
            ("crates/cli", &["dev:aws-config", "awake", "hyper"]),
            ("crates/functions", &["hyper-util", "dev:rustls"]),
            ("crates/router", &["saphyr-parser"]),
            ("crates/spec", &["saphyr-parser"]),
            ("tests/e2e", &["hyper", "aws-config"]),
        ];
        let found = reserved_dependencies(&tree(&packages, &[]));
        let found: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            found,
            [
                "`statefun-kinesis` depends on `aws-config`",
                "`statefun-kinesis-functions` depends on `hyper-util`",
                "`statefun-kinesis-router` depends on `saphyr-parser`",
                "`statefun-kinesis-e2e` depends on `aws-config`",
            ]
        );
    }
}
