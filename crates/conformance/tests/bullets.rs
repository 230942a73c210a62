//! The traits' `# Behavior` lists and the table of behaviours are in step.

use std::collections::{BTreeMap, BTreeSet};

use statefun_kinesis_conformance::{Capabilities, behaviours};

const TRAITS: [&str; 3] = [
    include_str!("../../client/src/client.rs"),
    include_str!("../../client/src/admin.rs"),
    include_str!("../../client/src/fan_out.rs"),
];

/// The bullets of each method's `# Behavior` list, each on one line.
fn bullets() -> BTreeMap<String, Vec<String>> {
    let mut methods = BTreeMap::new();
    let mut list: Option<Vec<String>> = None;
    for line in TRAITS.iter().flat_map(|text| text.lines()).map(str::trim) {
        match line.strip_prefix("///").map(str::trim) {
            Some("# Behavior") => list = Some(Vec::new()),
            Some(text) => {
                if let Some(list) = &mut list {
                    match (text.strip_prefix("* "), list.last_mut()) {
                        (Some(bullet), _) => list.push(bullet.to_owned()),
                        (None, Some(bullet)) if !text.is_empty() => bullet.extend([" ", text]),
                        _ => {}
                    }
                }
            }
            None => {
                if let Some(name) = line.strip_prefix("async fn ") {
                    let name = name.split('(').next().unwrap_or_default().to_owned();
                    methods.insert(name, list.take().unwrap_or_default());
                }
            }
        }
    }
    methods
}

#[test]
fn every_method_has_bullets_and_every_bullet_a_behaviour() {
    let methods = bullets();
    assert_eq!(methods.len(), 15, "five methods each: {:?}", methods.keys());
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

#[test]
fn every_capability_is_asked_for_and_every_known_mistake_has_a_backend() {
    for (capability, _) in Capabilities::ALL.by_name() {
        // All other capabilities are there, so that only this one decides.
        let lacks_it = behaviours().iter().any(|behaviour| {
            behaviour.not_applicable(&without(capability)).is_some_and(|it| it.capability == capability && it.wanted)
        });
        assert!(lacks_it, "no behaviour asks for {capability}");
    }
    let emulators = [Capabilities::LOCALSTACK, Capabilities::KINESIS_MOCK, Capabilities::FERROKINESIS];
    for behaviour in behaviours().iter().filter(|it| it.not_applicable(&Capabilities::ALL).is_some()) {
        let somewhere = emulators.iter().any(|emulator| behaviour.not_applicable(emulator).is_none());
        assert!(somewhere, "{behaviour} is applicable to no backend");
    }
}

fn without(capability: &str) -> Capabilities {
    let mut capabilities = Capabilities::ALL;
    match capability {
        "streams_by_arn" => capabilities.streams_by_arn = false,
        "list_shards_pages" => capabilities.list_shards_pages = false,
        "shard_filters" => capabilities.shard_filters = false,
        "exact_shard_filters" => capabilities.exact_shard_filters = false,
        "exact_timestamps" => capabilities.exact_timestamps = false,
        "rejects_garbage_tokens" => capabilities.rejects_garbage_tokens = false,
        "rejects_garbage_iterators" => capabilities.rejects_garbage_iterators = false,
        "rejects_future_timestamps" => capabilities.rejects_future_timestamps = false,
        "enforces_put_limits" => capabilities.enforces_put_limits = false,
        "counts_keys_in_characters" => capabilities.counts_keys_in_characters = false,
        "rejects_splits_of_closed_shards" => capabilities.rejects_splits_of_closed_shards = false,
        "rejects_splits_at_the_edge" => capabilities.rejects_splits_at_the_edge = false,
        "ordered_ending_numbers" => capabilities.ordered_ending_numbers = false,
        "child_shards_at_end" => capabilities.child_shards_at_end = false,
        "reports_time_behind" => capabilities.reports_time_behind = false,
        "throttles_writes" => capabilities.throttles_writes = false,
        "fan_out" => capabilities.fan_out = false,
        "reliable_consumers" => capabilities.reliable_consumers = false,
        "list_consumers_pages" => capabilities.list_consumers_pages = false,
        "rejects_garbage_consumer_tokens" => capabilities.rejects_garbage_consumer_tokens = false,
        "keeps_streams_with_consumers" => capabilities.keeps_streams_with_consumers = false,
        "ends_subscriptions_of_removed_consumers" => capabilities.ends_subscriptions_of_removed_consumers = false,
        "subscription_positions" => capabilities.subscription_positions = false,
        "resumable_empty_events" => capabilities.resumable_empty_events = false,
        "pushes_small_events" => capabilities.pushes_small_events = false,
        "ends_subscriptions_with_their_shard" => capabilities.ends_subscriptions_with_their_shard = false,
        "refuses_second_subscriptions" => capabilities.refuses_second_subscriptions = false,
        "subscriptions_take_over" => capabilities.subscriptions_take_over = false,
        "refuses_inactive_consumers" => capabilities.refuses_inactive_consumers = false,
        "refuses_missing_subscriptions" => capabilities.refuses_missing_subscriptions = false,
        "movable_time" => capabilities.movable_time = false,
        other => panic!("this test does not know the capability {other}"),
    }
    capabilities
}
