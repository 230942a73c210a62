use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{ConsumerName, GET_RECORDS_MAX_RECORDS};

use super::{
    Decoder, Entry,
    properties::Settings,
    table::{Field, Setting, TYPE, Tagged, Takes, Text, Variant, Word},
};
use crate::{Code, ConsumerLifecycle, ConsumerSpec, findings::Finding};

pub(super) const MAX_RECORDS: Takes = Takes::Integer { min: 1, max: GET_RECORDS_MAX_RECORDS as u32 };

const DISCOVERY_INTERVAL: Field = Field::new(
    "discoveryInterval",
    Takes::Duration { may_be_zero: false },
    "discoveryInterval: 10s",
    "How often to look for new shards in each stream. The children of a shard that was read to its end are looked up \
     at once.",
)
.default("10s")
.source("Flink's default");

const LIFECYCLES: &[Word] = &[
    Word { name: "managed", doc: "The ingress registers the consumer when it starts and there is none." },
    Word { name: "given", doc: "The consumer is registered already; it is an error if it is missing." },
];

const CONSUMER: Tagged = Tagged {
    what: "`consumer`",
    example: "consumer:\n  type: enhanced-fan-out\n  name: orders",
    default: None,
    variants: &[
        Variant::new(
            "polling",
            "`consumer` of type `polling`",
            "Polls each shard (GetRecords). All polling readers of a shard share 5 calls and 2 MiB per second.",
            &[
                TYPE,
                Field::new(
                    "maxRecords",
                    MAX_RECORDS,
                    "maxRecords: 10000",
                    "Most records of one call, 1 to 10000; an answer has at most 10 MiB anyway.",
                )
                .in_units("records")
                .default("10000")
                .source("the limit of GetRecords"),
                Field::new(
                    "idleInterval",
                    Takes::Duration { may_be_zero: false },
                    "idleInterval: 250ms",
                    "How long to wait before the next call when a shard had no new records. Without it the wait grows \
                     from 250 ms to 1 s.",
                ),
                DISCOVERY_INTERVAL,
            ],
        ),
        Variant::new(
            "enhanced-fan-out",
            "`consumer` of type `enhanced-fan-out`",
            "Each shard pushes its records (SubscribeToShard), with 2 MiB per second for this consumer alone. AWS \
             charges for it, and a stream takes 20 consumers, 50 in its On-demand Advantage mode.",
            &[
                TYPE,
                Field::new(
                    "name",
                    Takes::Text(Text::ConsumerName),
                    "name: orders",
                    "The name under which the consumer is registered at each stream of the ingress: 1 to 128 letters, \
                     digits, `_`, `.` or `-`. No two running ingresses may share one.",
                )
                .required(),
                Field::new(
                    "lifecycle",
                    Takes::Word(LIFECYCLES),
                    "lifecycle: managed",
                    "Who registers the consumer at the streams.",
                )
                .default("managed")
                .source("Flink's default"),
                DISCOVERY_INTERVAL,
            ],
        ),
    ],
};

pub(super) const CONSUMER_FIELD: Field =
    Field::new("consumer", Takes::Tagged(&CONSUMER), CONSUMER.example, "How records are fetched.")
        .default("{type: polling}");

/// What was said about the consumer in one place, before it is known whether it fits together.
#[derive(Debug, Default)]
struct Draft {
    is_fan_out: Option<bool>,
    name: Option<ConsumerName>,
    lifecycle: Option<ConsumerLifecycle>,
    max_records: Option<NonZeroU32>,
    idle_interval: Option<Duration>,
    discovery_interval: Option<Duration>,
}

impl Decoder<'_> {
    /// How records are fetched. `None` means that an error was reported; what is not there is the default.
    pub(super) fn consumer(&mut self, entry: Option<Entry<'_>>, settings: &Settings<'_>) -> Option<ConsumerSpec> {
        let field = match entry {
            Some(entry) => self.consumer_field(entry),
            None => Some(Draft::default()),
        };
        let properties = self.consumer_properties(settings);
        let (mut draft, properties) = (field?, properties?);
        let mut is_right = true;
        // Where both say something it must be the same thing.
        let mut merge = |decoder: &mut Self, setting, differs: bool| {
            if let Some(property) = settings.get(setting).filter(|_| differs) {
                decoder.conflict(property, entry, "consumer");
                is_right = false;
            }
        };
        merge(self, Setting::ConsumerType, differ(&mut draft.is_fan_out, properties.is_fan_out));
        merge(self, Setting::ConsumerName, differ(&mut draft.name, properties.name));
        merge(self, Setting::Lifecycle, differ(&mut draft.lifecycle, properties.lifecycle));
        merge(self, Setting::MaxRecords, differ(&mut draft.max_records, properties.max_records));
        merge(self, Setting::IdleInterval, differ(&mut draft.idle_interval, properties.idle_interval));
        merge(self, Setting::DiscoveryInterval, differ(&mut draft.discovery_interval, properties.discovery_interval));
        if !is_right {
            return None;
        }
        let (unused, why): (&[Setting], _) = if draft.is_fan_out == Some(true) {
            (&[Setting::MaxRecords, Setting::IdleInterval], "with enhanced fan-out a shard sends its records by itself")
        } else {
            (&[Setting::ConsumerName, Setting::Lifecycle], "shards are polled, without a registered consumer")
        };
        for setting in unused {
            if let Some(property) = settings.get(*setting) {
                self.property_without_effect(property.key, property.name, why);
            }
        }
        if draft.is_fan_out != Some(true) {
            let Draft { max_records, idle_interval, discovery_interval, .. } = draft;
            return Some(ConsumerSpec::Polling { max_records, idle_interval, discovery_interval });
        }
        let Some(name) = draft.name else {
            // The field itself requires it, so that it was a property that asked for fan-out.
            if let Some(property) = settings.get(Setting::ConsumerType) {
                let message = format!("enhanced fan-out (`{}`) needs a name for the consumer", property.name);
                let help =
                    "set the client property `source.efo.consumer.name`, or write\n".to_owned() + CONSUMER.example;
                self.findings.push(Finding::error(Code::IncompleteSettings, property.key, message).help(help));
            }
            return None;
        };
        Some(ConsumerSpec::EnhancedFanOut {
            name,
            lifecycle: draft.lifecycle.unwrap_or_default(),
            discovery_interval: draft.discovery_interval,
        })
    }

    fn consumer_field(&mut self, entry: Entry<'_>) -> Option<Draft> {
        let (name, object) = self.tagged(entry)?;
        let discovery_interval = self.optional(object.get("discoveryInterval"), Self::duration);
        match name {
            "polling" => {
                let max_records = self.optional(object.get("maxRecords"), Self::integer);
                let idle_interval = self.optional(object.get("idleInterval"), Self::duration);
                Some(Draft {
                    is_fan_out: Some(false),
                    max_records: max_records?,
                    idle_interval: idle_interval?,
                    discovery_interval: discovery_interval?,
                    ..Draft::default()
                })
            }
            "enhanced-fan-out" => {
                let name = object.get("name").and_then(|entry| self.value(entry));
                let lifecycle = self.optional(object.get("lifecycle"), Self::lifecycle);
                Some(Draft {
                    is_fan_out: Some(true),
                    name: Some(name?.value),
                    lifecycle: lifecycle?,
                    discovery_interval: discovery_interval?,
                    ..Draft::default()
                })
            }
            name => unreachable!("the table has a type of consumer `{name}` that is not read"),
        }
    }

    fn consumer_properties(&mut self, settings: &Settings<'_>) -> Option<Draft> {
        let is_fan_out = self.optional(settings.get(Setting::ConsumerType), Self::word);
        let name = self.optional(settings.get(Setting::ConsumerName), Self::value::<ConsumerName>);
        let lifecycle = self.optional(settings.get(Setting::Lifecycle), Self::lifecycle);
        let max_records = self.optional(settings.get(Setting::MaxRecords), Self::integer);
        let idle_interval = self.optional(settings.get(Setting::IdleInterval), Self::duration);
        let discovery_interval = self.optional(settings.get(Setting::DiscoveryInterval), Self::duration);
        Some(Draft {
            is_fan_out: is_fan_out?.map(|word| word == "EFO"),
            name: name?.map(|name| name.value),
            lifecycle: lifecycle?,
            max_records: max_records?,
            idle_interval: idle_interval?,
            discovery_interval: discovery_interval?,
        })
    }

    fn lifecycle(&mut self, entry: Entry<'_>) -> Option<ConsumerLifecycle> {
        Some(match self.word(entry)? {
            "given" | "SELF_MANAGED" | "NONE" => ConsumerLifecycle::Given,
            "managed" | "JOB_MANAGED" | "LAZY" | "EAGER" => ConsumerLifecycle::Managed,
            name => unreachable!("the table has a lifecycle `{name}` that is not read"),
        })
    }
}

/// Fills in what is open, and returns whether the two contradict each other.
fn differ<T: PartialEq>(written: &mut Option<T>, property: Option<T>) -> bool {
    match (&written, property) {
        (Some(written), Some(property)) => *written != property,
        (None, Some(property)) => {
            *written = Some(property);
            false
        }
        (_, None) => false,
    }
}
