//! Checks that the trait's `# Behavior` lists match the table of behaviours.

use std::collections::{BTreeMap, BTreeSet};

use statefun_kinesis_store_conformance::behaviours;

const TRAIT: &str = include_str!("../../store/src/store.rs");

/// The bullets of each method's `# Behavior` list, each on one line.
fn bullets() -> BTreeMap<String, Vec<String>> {
    let text = TRAIT.split_once("pub trait Store: ").expect("the trait is there").1;
    let text = text.split_once("\n}\n").expect("the trait has an end").0;
    let mut methods = BTreeMap::new();
    let mut list: Option<Vec<String>> = None;
    let mut in_list = false;
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("///").map(str::trim) {
            Some(heading) if heading.starts_with("# ") => {
                in_list = heading == "# Behavior";
                if in_list {
                    list = Some(Vec::new());
                }
            }
            Some(text) if in_list => match (text.strip_prefix("* "), list.as_mut().and_then(|list| list.last_mut())) {
                (Some(bullet), _) => list.get_or_insert_default().push(bullet.to_owned()),
                (None, Some(bullet)) if !text.is_empty() => bullet.extend([" ", text]),
                _ => {}
            },
            Some(_) => {}
            None => {
                if let Some(name) = line.strip_prefix("async fn ") {
                    let name = name.split('(').next().unwrap_or_default().to_owned();
                    methods.insert(name, list.take().unwrap_or_default());
                    in_list = false;
                }
            }
        }
    }
    methods
}

#[test]
fn every_method_has_bullets_and_every_bullet_a_behaviour() {
    let methods = bullets();
    assert_eq!(methods.len(), 6, "{:?}", methods.keys());
    for (method, bullets) in &methods {
        assert!(!bullets.is_empty(), "{method} has no `# Behavior` list");
        for bullet in bullets {
            let checked = behaviours().iter().any(|it| it.method == method && bullet.starts_with(it.bullet));
            assert!(checked, "no behaviour of {method} checks: {bullet}");
        }
    }
}

#[test]
fn every_behaviour_names_one_bullet_of_its_method() {
    let methods = bullets();
    for behaviour in behaviours() {
        let bullets = methods.get(behaviour.method).unwrap_or_else(|| panic!("there is no method of {behaviour}"));
        let named = bullets.iter().filter(|bullet| bullet.starts_with(behaviour.bullet)).count();
        assert_eq!(named, 1, "{behaviour} names one bullet by: {}", behaviour.bullet);
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = behaviours().iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(names.len(), behaviours().len());
}
