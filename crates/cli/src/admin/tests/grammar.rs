//! OpenMetrics text, read as strictly as its specification is written: a parser of its own, which shares nothing with
//! what writes the text.

use std::collections::{BTreeMap, BTreeSet};

use crate::admin::catalogue::families;

/// The samples of a text that keeps all rules.
#[derive(Debug)]
pub(super) struct Exposition(BTreeMap<String, f64>);

impl Exposition {
    /// Reads a text; panics with the line that breaks a rule.
    #[track_caller]
    pub(super) fn read(text: &str) -> Self {
        match Reader::default().read(text) {
            Ok(samples) => Self(samples),
            Err(problem) => panic!("{problem}\n{text}"),
        }
    }

    /// The samples with a name, whatever their labels.
    pub(super) fn samples(&self, name: &str) -> Vec<(&str, f64)> {
        let has_name = |sample: &str| sample.split('{').next() == Some(name);
        self.0.iter().filter(|(sample, _)| has_name(sample)).map(|(sample, value)| (sample.as_str(), *value)).collect()
    }

    /// The value of a sample as it is written in front of its value.
    #[track_caller]
    pub(super) fn value(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0.keys()))
    }
}

#[derive(Default)]
struct Reader {
    /// The family whose lines are being read: name, type, whether it has samples.
    family: Option<(String, Option<String>, bool)>,
    families: BTreeSet<String>,
    samples: BTreeMap<String, f64>,
}

impl Reader {
    fn read(mut self, text: &str) -> Result<BTreeMap<String, f64>, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("the text does not end with `# EOF`")?;
        for line in body.lines() {
            self.line(line).map_err(|problem| format!("{problem}: {line}"))?;
        }
        self.histograms()?;
        Ok(self.samples)
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let Some(comment) = line.strip_prefix("# ") else { return self.sample(line) };
        let mut words = comment.splitn(3, ' ');
        let (what, name, rest) = (words.next(), words.next().ok_or("no name")?, words.next().ok_or("no text")?);
        if !is_name(name) || rest.is_empty() {
            return Err("a name or a text that is none");
        }
        if what == Some("HELP") {
            if !self.families.insert(name.to_owned()) {
                return Err("a family that was there before");
            }
            self.family = Some((name.to_owned(), None, false));
            return Ok(());
        }
        let Some((family, kind, has_samples)) = &mut self.family else { return Err("no HELP before it") };
        if family != name || *has_samples {
            return Err("it stands among another family's lines, or behind samples");
        }
        match what {
            Some("TYPE") if kind.is_none() && ["counter", "gauge", "histogram", "info"].contains(&rest) => {
                *kind = Some(rest.to_owned());
                Ok(())
            }
            Some("UNIT") if name.ends_with(&format!("_{rest}")) => Ok(()),
            _ => Err("neither a type nor a unit that the name ends with"),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), &'static str> {
        let (labels, value) = line.rsplit_once(' ').ok_or("no value")?;
        let name_end = labels.find('{').unwrap_or(labels.len());
        let (name, set) = labels.split_at(name_end);
        let Some((family, Some(kind), has_samples)) = &mut self.family else { return Err("no type before it") };
        *has_samples = true;
        let suffix = name.strip_prefix(family.as_str()).ok_or("a sample of another family")?;
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            _ => &["_info"],
        };
        if !suffixes.contains(&suffix) {
            return Err("a suffix that the type does not have");
        }
        read_labels(set)?;
        let number: f64 = value.parse().map_err(|_| "a value that is no number")?;
        if number < 0.0 && kind != "gauge" || !number.is_finite() || kind == "info" && number != 1.0 {
            return Err("a value that the type cannot have");
        }
        match self.samples.insert(labels.to_owned(), number) {
            None => Ok(()),
            Some(_) => Err("a sample that was there before"),
        }
    }

    /// Buckets rise up to `+Inf`, which has all.
    fn histograms(&self) -> Result<(), String> {
        let mut found: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (sample, count) in &self.samples {
            let Some((name, set)) = sample.split_once("_bucket{") else { continue };
            let labels = read_labels(&format!("{{{set}"))?;
            let (bounds, others): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(name, _)| name == "le");
            let [(_, bound)] = &bounds[..] else { return Err(format!("not one bound: {sample}")) };
            let bound = bound.parse().map_err(|_| format!("no number: {sample}"))?;
            let others: Vec<_> = others.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let set = if others.is_empty() { String::new() } else { format!("{{{}}}", others.join(",")) };
            found.entry(format!("{name}_count{set}")).or_default().push((bound, *count));
        }
        for (all, mut buckets) in found {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).collect();
            let last = buckets.last().copied();
            if !counts.is_sorted() || last != Some((f64::INFINITY, self.samples.get(&all).copied().unwrap_or(-1.0))) {
                return Err(format!("{all} and its buckets do not agree: {buckets:?}"));
            }
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads `{name="value",…}`; values stay escaped.
fn read_labels(set: &str) -> Result<Vec<(String, String)>, &'static str> {
    if set.is_empty() {
        return Ok(Vec::new());
    }
    let mut rest = set.strip_prefix('{').and_then(|set| set.strip_suffix('}')).ok_or("labels without an end")?;
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name) || labels.iter().any(|(other, _)| other == name) {
            return Err("a label whose name is none, or there twice");
        }
        let mut escaped = false;
        let end = behind.find(|character| {
            let is_end = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            is_end
        });
        let (value, behind) = behind.split_at(end.ok_or("a value without an end")?);
        let behind = &behind[1..];
        labels.push((name.to_owned(), value.to_owned()));
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(labels),
            None => return Err("something behind a value"),
        }
    }
}

#[test]
fn the_rules_are_checked() {
    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let problem = Reader::default().read(&format!("{text}# EOF\n")).err();
        match expect {
            None => assert_eq!(problem, None, "{text}"),
            Some(part) => {
                assert!(problem.as_ref().is_some_and(|problem| problem.contains(part)), "{problem:?}: {text}")
            }
        }
    }
    let family = |kind: &str| format!("# HELP a Words.\n# TYPE a {kind}\n");
    check(&(family("gauge") + "a 1\na{b=\"c\\\"\",d=\"e\"} -1.5\n"), None);
    check(&(family("counter") + "a 1\n"), Some("suffix"));
    check(&(family("counter") + "a_total -1\n"), Some("cannot have"));
    check(&(family("gauge") + "a 1\na 2\n"), Some("there before"));
    check(&(family("gauge") + &family("gauge")), Some("family that was there"));
    check(&(family("gauge") + "b 1\n"), Some("another family"));
    check(&(family("gauge") + "a{b=\"c\"d=\"e\"} 1\n"), Some("behind a value"));
    check(&(family("gauge") + "a{b=\"c} 1\n"), Some("without an end"));
    check(&(family("gauge") + "a{b=\"c\",b=\"d\"} 1\n"), Some("twice"));
    check("a 1\n", Some("no type"));
    check("# HELP a_bytes W.\n# TYPE a_bytes gauge\n# UNIT a_bytes seconds\n", Some("unit"));
    check(&(family("histogram") + "a_sum 1\na_count 2\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 2\n"), None);
    check(
        &(family("histogram") + "a_sum 1\na_count 3\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 2\n"),
        Some("agree"),
    );
    check(&(family("histogram") + "a_sum 1\na_count 2\na_bucket{le=\"1.0\"} 2\n"), Some("agree"));
}

#[test]
fn names_follow_the_conventions() {
    for family in families() {
        let name = family.full_name();
        assert!(is_name(&name) && name.to_lowercase() == name, "{name}");
        assert!(name.starts_with("statefun_") || name.starts_with("process_"), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}: {}", family.help);
        assert!(!family.name.ends_with("_total") && !family.name.ends_with("_info"), "{name}");
        assert!(!family.labels.iter().any(|label| ["id", "address", "key"].contains(label)), "{name}");
    }
}
