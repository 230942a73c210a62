use super::{
    Decoder, Entry, shown, suggest,
    table::{Effect, Field, Property, Setting, Takes, Text, Word},
};
use crate::{
    ClientProperties, Code, Severity,
    findings::{Finding, Place},
    yaml::{Kind, Node, Scalar, Value},
};

const FLINK: &str = "Flink";
const SDK: &str = "AWS SDK for Java 1";
const KPL: &str = "Kinesis Producer Library";

/// The prefix with which Apache StateFun hands settings of the AWS SDK for Java through Flink.
const SDK_PREFIX: &str = "aws.clientconfig.";

const fn property(name: &'static str, of: &'static str, effect: Effect) -> Property {
    Property { name, of, effect }
}

const fn sets(name: &'static str, of: &'static str, setting: Setting) -> Property {
    property(name, of, Effect::Sets(setting))
}

const fn nothing(name: &'static str, of: &'static str, why: &'static str) -> Property {
    property(name, of, Effect::Nothing(why))
}

/// `clientConfigProperties` of an ingress.
pub(super) const INGRESS_FIELD: Field = Field::new(
    "clientConfigProperties",
    Takes::Properties(&[CLIENT, SOURCE]),
    "clientConfigProperties:\n  - source.reader.type: POLLING",
    "Settings by the names that Flink and the AWS SDK for Java give them: a list of mappings with one entry each, or one \
     mapping. Those that have a meaning here act; each of the others is named in a warning.",
);

/// `clientConfigProperties` of an egress.
pub(super) const EGRESS_FIELD: Field = Field {
    takes: Takes::Properties(&[CLIENT, PRODUCER]),
    example: "clientConfigProperties:\n  - ConnectTimeout: 5000",
    ..INGRESS_FIELD
};

const POLICY: &str = "failed calls are always retried with growing delays";
const POSITION: &str = "set `startupPosition`";
const PROXY: &str = "properties cannot set a proxy";
const TRUST: &str = "certificates are always checked";

const LATER: &str = "connections are opened and closed as they are needed";
const NAME: &str = "the client sets its own user agent";

/// Those of ingresses and egresses alike.
const CLIENT: &[Property] = &[
    sets("aws.region", FLINK, Setting::Region),
    sets("aws.endpoint", FLINK, Setting::Endpoint),
    sets("aws.credentials.provider", FLINK, Setting::Provider),
    sets("aws.credentials.provider.basic.accesskeyid", FLINK, Setting::AccessKeyId),
    sets("aws.credentials.provider.basic.secretkey", FLINK, Setting::SecretAccessKey),
    sets("aws.credentials.provider.profile.name", FLINK, Setting::ProfileName),
    sets("aws.credentials.provider.profile.path", FLINK, Setting::ProfilePath),
    sets("aws.credentials.provider.role.arn", FLINK, Setting::RoleArn),
    sets("aws.credentials.provider.role.sessionName", FLINK, Setting::SessionName),
    sets("aws.credentials.provider.role.externalId", FLINK, Setting::ExternalId),
    sets("aws.credentials.provider.webIdentityToken.file", FLINK, Setting::TokenFile),
    property(
        "aws.credentials.provider.role.provider",
        FLINK,
        Effect::Always("AUTO", "roles are assumed with the credentials of the AWS default chain"),
    ),
    nothing("aws.credentials.provider.role.stsEndpoint", FLINK, "set the environment variable `AWS_ENDPOINT_URL_STS`"),
    nothing("aws.credentials.provider.custom.class", FLINK, "Java classes are not supported: set `awsCredentials`"),
    sets("aws.http-client.read-timeout", FLINK, Setting::ReadTimeout),
    sets("aws.http-client.max-concurrency", FLINK, Setting::MaxConnections),
    nothing("aws.http.protocol.version", FLINK, "the client and the service agree on the version"),
    property("aws.trust.all.certificates", FLINK, Effect::Always("false", TRUST)),
    sets("ConnectionTimeout", SDK, Setting::ConnectTimeout),
    sets("SocketTimeout", SDK, Setting::ReadTimeout),
    sets("RequestTimeout", SDK, Setting::RequestTimeout),
    sets("ClientExecutionTimeout", SDK, Setting::RequestTimeout),
    sets("MaxConnections", SDK, Setting::MaxConnections),
    nothing("MaxErrorRetry", SDK, POLICY),
    nothing("RetryPolicy", SDK, POLICY),
    nothing("ConnectionMaxIdleMillis", SDK, LATER),
    nothing("ConnectionTTL", SDK, LATER),
    property("UseTcpKeepAlive", SDK, Effect::Always("true", "connections are always kept alive")),
    nothing("ProxyHost", SDK, PROXY),
    nothing("ProxyPort", SDK, PROXY),
    nothing("ProxyUsername", SDK, PROXY),
    nothing("ProxyPassword", SDK, PROXY),
    nothing("NonProxyHosts", SDK, PROXY),
    nothing("Protocol", SDK, "requests go over HTTPS, unless `awsRegion` has another endpoint"),
    nothing("UserAgent", SDK, NAME),
    nothing("UserAgentPrefix", SDK, NAME),
    nothing("UserAgentSuffix", SDK, NAME),
];

/// Those of ingresses: the source of Flink, by the names that it has had since Flink 1.20 and before.
const SOURCE: &[Property] = &[
    sets("source.reader.type", FLINK, Setting::ConsumerType),
    sets("source.efo.consumer.name", FLINK, Setting::ConsumerName),
    sets("source.efo.lifecycle", FLINK, Setting::Lifecycle),
    sets("source.shard.discovery.interval", FLINK, Setting::DiscoveryInterval),
    sets("source.shard.get-records.max-record-count", FLINK, Setting::MaxRecords),
    sets("source.reader.empty-records-fetch-interval", FLINK, Setting::IdleInterval),
    sets("source.shard.get-records.idle-source-interval", FLINK, Setting::IdleInterval),
    nothing(
        "source.shard.get-records.interval",
        FLINK,
        "a shard with new records is polled as fast as the service \
     allows",
    ),
    nothing("source.init.position", FLINK, POSITION),
    nothing("source.init.timestamp", FLINK, POSITION),
    nothing("source.init.timestamp.format", FLINK, POSITION),
    nothing("source.efo.subscription.timeout", FLINK, "a subscription that is not answered is opened again"),
    nothing("source.efo.deregister.timeout", FLINK, "calls about consumers take as long as other calls may"),
    sets("flink.stream.recordpublisher", FLINK, Setting::ConsumerType),
    sets("flink.stream.efo.consumername", FLINK, Setting::ConsumerName),
    sets("flink.stream.efo.registration", FLINK, Setting::Lifecycle),
    sets("flink.shard.discovery.intervalmillis", FLINK, Setting::DiscoveryInterval),
    sets("flink.shard.getrecords.maxrecordcount", FLINK, Setting::MaxRecords),
    sets("flink.shard.getrecords.intervalmillis", FLINK, Setting::IdleInterval),
    nothing("flink.stream.initpos", FLINK, POSITION),
    nothing("flink.stream.initpos.timestamp", FLINK, POSITION),
    nothing("flink.stream.initpos.timestamp.format", FLINK, POSITION),
    nothing("flink.shard.adaptivereads", FLINK, "reading always adapts to the size of records"),
];

/// Those of egresses: the library with which Apache StateFun writes.
const PRODUCER: &[Property] = &[
    sets("AggregationEnabled", KPL, Setting::Aggregation),
    sets("AggregationMaxCount", KPL, Setting::AggregationMaxRecords),
    sets("AggregationMaxSize", KPL, Setting::AggregationMaxBytes),
    sets("RecordTtl", KPL, Setting::FailedRecordTimeout),
    sets("ConnectTimeout", KPL, Setting::ConnectTimeout),
    nothing("MinConnections", KPL, LATER),
    nothing("CollectionMaxCount", KPL, BUFFER),
    nothing("CollectionMaxSize", KPL, BUFFER),
    nothing("RecordMaxBufferedTime", KPL, BUFFER),
    nothing("RateLimit", KPL, SLOWER),
    property("FailIfThrottled", KPL, Effect::Always("false", SLOWER)),
    nothing("Region", KPL, "set `awsRegion`"),
    nothing("KinesisEndpoint", KPL, ENDPOINT),
    nothing("KinesisPort", KPL, ENDPOINT),
    property("VerifyCertificate", KPL, Effect::Always("true", TRUST)),
    nothing("LogLevel", KPL, LOGS),
    nothing("MetricsLevel", KPL, LOGS),
    nothing("MetricsGranularity", KPL, LOGS),
    nothing("MetricsNamespace", KPL, LOGS),
    nothing("ThreadingModel", KPL, THREADS),
    nothing("ThreadPoolSize", KPL, THREADS),
];

const BUFFER: &str = "requests are filled and sent by the egress itself";
const SLOWER: &str = "what a shard refuses is sent again more slowly";
const ENDPOINT: &str = "set `awsRegion` with type `custom-endpoint`";
const LOGS: &str = "the process has its own log and metrics";
const THREADS: &str = "there is no pool of threads to size";

impl Setting {
    /// What a property of this setting takes.
    pub(crate) const fn takes(self) -> &'static Takes {
        const COUNT: &Takes = &Takes::Integer { min: 1, max: u32::MAX };
        const TIME: &Takes = &Takes::Duration { may_be_zero: false };
        match self {
            Self::Region => &Takes::Text(Text::RegionId),
            Self::Endpoint => &Takes::Text(Text::Endpoint),
            Self::Provider => &Takes::Word(&[
                Word { name: "AUTO", doc: "" },
                Word { name: "BASIC", doc: "" },
                Word { name: "PROFILE", doc: "" },
                Word { name: "ASSUME_ROLE", doc: "" },
                Word { name: "WEB_IDENTITY_TOKEN", doc: "" },
                Word { name: "ENV_VAR", doc: "" },
                Word { name: "SYS_PROP", doc: "" },
                Word { name: "CUSTOM", doc: "" },
            ]),
            Self::AccessKeyId | Self::SecretAccessKey | Self::ExternalId => &Takes::Text(Text::Secret),
            Self::ProfileName | Self::SessionName => &Takes::Text(Text::Any),
            Self::ProfilePath | Self::TokenFile => &Takes::Text(Text::Path),
            Self::RoleArn => &Takes::Text(Text::RoleArn),
            Self::ConsumerType => &Takes::Word(&[Word { name: "POLLING", doc: "" }, Word { name: "EFO", doc: "" }]),
            Self::ConsumerName => &Takes::Text(Text::ConsumerName),
            Self::Lifecycle => &Takes::Word(&[
                Word { name: "JOB_MANAGED", doc: "" },
                Word { name: "SELF_MANAGED", doc: "" },
                Word { name: "LAZY", doc: "" },
                Word { name: "EAGER", doc: "" },
                Word { name: "NONE", doc: "" },
            ]),
            Self::MaxRecords => &super::consumer::MAX_RECORDS,
            Self::IdleInterval
            | Self::DiscoveryInterval
            | Self::ConnectTimeout
            | Self::ReadTimeout
            | Self::RequestTimeout
            | Self::FailedRecordTimeout => TIME,
            Self::MaxConnections => COUNT,
            Self::Aggregation => &Takes::Word(&[Word { name: "true", doc: "" }, Word { name: "false", doc: "" }]),
            Self::AggregationMaxBytes => &super::egress::AGGREGATE_BYTES,
            Self::AggregationMaxRecords => COUNT,
        }
    }

    /// Whether a field of the document sets the same.
    pub(crate) const fn has_field(self) -> bool {
        !matches!(self, Self::ConnectTimeout | Self::ReadTimeout | Self::RequestTimeout | Self::MaxConnections)
    }

    /// Flink's name for it, for those about credentials.
    pub(super) fn flink(self) -> &'static str {
        let named = CLIENT.iter().find(|property| matches!(property.effect, Effect::Sets(setting) if setting == self));
        named.map_or("", |property| property.name)
    }
}

/// A client property that sets something.
#[derive(Debug)]
struct Set<'n> {
    setting: Setting,
    name: &'static str,
    key: Place,
    value: Node<'n>,
}

impl Set<'_> {
    fn entry(&self) -> Entry<'_> {
        let Self { setting, name, key, ref value } = *self;
        Entry { name, is_item: false, key, node: value, takes: setting.takes(), example: "" }
    }
}

/// What the client properties of a document set.
#[derive(Debug, Default)]
pub(super) struct Settings<'n> {
    found: Vec<Set<'n>>,
    /// Those that have no effect.
    pub(super) rest: ClientProperties,
}

impl Settings<'_> {
    /// The property that sets this.
    pub(super) fn get(&self, setting: Setting) -> Option<Entry<'_>> {
        self.found.iter().find(|set| set.setting == setting).map(Set::entry)
    }
}

impl Decoder<'_> {
    /// The properties, as a mapping or as a list of mappings with one entry each, and whether they were right.
    pub(super) fn settings<'n>(&mut self, entry: Option<Entry<'n>>) -> (Settings<'n>, bool) {
        let mut settings = Settings::default();
        let Some(entry) = entry else { return (settings, true) };
        let Takes::Properties(known) = *entry.takes else { unreachable!("{} takes properties", entry.name) };
        let help = || format!("write it as\n{}", entry.example);
        let mut is_right = true;
        match &entry.node.value {
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    is_right &= self.property(&mut settings, known, key, value).is_some();
                }
            }
            Value::Sequence(items) => {
                for item in items {
                    if let Value::Mapping(entries) = &item.value {
                        for (key, value) in entries {
                            is_right &= self.property(&mut settings, known, key, value).is_some();
                        }
                    } else {
                        let item = Entry { is_item: true, node: item, key: item.place, ..entry };
                        self.wrong_type(item, "a mapping", Some(help()));
                        is_right = false;
                    }
                }
            }
            // A name with nothing behind it, or with everything commented out, sets no property.
            Value::Scalar(scalar) if scalar.kind == Kind::Null => {}
            Value::Scalar(_) => {
                self.wrong_type(entry, "a list of mappings", Some(help()));
                is_right = false;
            }
        }
        (settings, is_right)
    }

    fn property<'n>(
        &mut self,
        settings: &mut Settings<'n>,
        known: &'static [&'static [Property]],
        key: &'n Node<'n>,
        value: &'n Node<'n>,
    ) -> Option<()> {
        let (Value::Scalar(name), Value::Scalar(text)) = (&key.value, &value.value) else {
            let message = "a client property is a name with a string, a number or a boolean";
            self.findings.push(Finding::error(Code::WrongType, key.place, message));
            return None;
        };
        let found = known.iter().copied().flatten().find(|property| is_name(property, &name.text));
        let (why, is_set) = match found.map(|property| (property, property.effect)) {
            Some((property, Effect::Sets(setting))) => {
                let again = settings.found.iter().find(|set| set.setting == setting);
                if let Some(first) = again {
                    let is_same_name = first.name == property.name;
                    let (code, message) = if is_same_name {
                        (Code::DuplicateField, format!("the client property `{}` is set twice", property.name))
                    } else {
                        let (one, two) = (first.name, property.name);
                        (Code::ConflictingSettings, format!("`{two}` sets what `{one}` sets already"))
                    };
                    let finding = Finding::error(code, key.place, message).label(first.key, "first here");
                    self.findings.push(finding);
                    return None;
                }
                // Flink and the SDK take every scalar as a text.
                let kind = match text.kind {
                    Kind::Boolean | Kind::Number => Kind::String,
                    kind @ (Kind::Null | Kind::String | Kind::Unknown) => kind,
                };
                let scalar = Scalar { text: text.text.clone(), kind, written: text.written.clone() };
                let value = value.with_value(Value::Scalar(scalar));
                settings.found.push(Set { setting, name: property.name, key: key.place, value });
                return Some(());
            }
            Some((_, Effect::Always(only, why))) => (Some(why.to_owned()), only.eq_ignore_ascii_case(&text.text)),
            Some((_, Effect::Nothing(why))) => (Some(why.to_owned()), false),
            None => (None, false),
        };
        if settings.rest.set(name.text.as_ref(), text.text.as_ref()).is_some() {
            let message = format!("the client property `{}` is set twice", shown(&name.text));
            self.findings.push(Finding::error(Code::DuplicateField, key.place, message));
            return None;
        }
        if !is_set {
            let help = why.unwrap_or_else(|| {
                let names = known.iter().copied().flatten().map(|property| property.name);
                // Findings beyond the limit are not shown, so they need no help.
                let word = if self.findings.keeps(Severity::Warning) { name.text.as_ref() } else { "" };
                match suggest::nearest(word, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "it has no effect".to_owned(),
                }
            });
            self.property_without_effect(key.place, &shown(&name.text), &help);
        }
        Some(())
    }

    pub(super) fn property_without_effect(&mut self, key: Place, name: &str, help: &str) {
        let message = format!("the client property `{name}` has no effect here");
        self.findings.push(Finding::warning(Code::PropertyWithoutEffect, key, message).help(help.to_owned()));
    }

    /// Reports that a property says something else than a field does.
    pub(super) fn conflict(&mut self, property: Entry<'_>, field: Option<Entry<'_>>, name: &str) {
        let message = format!("the client property `{}` contradicts `{name}`", property.name);
        let mut finding = Finding::error(Code::ConflictingSettings, property.key, message);
        if let Some(field) = field {
            finding = finding.label(field.key, "which says something else");
        }
        self.findings.push(finding.help("leave the property out".to_owned()));
    }
}

/// Whether a name in a file is that of a property.
fn is_name(property: &Property, name: &str) -> bool {
    if property.name == name {
        return true;
    }
    if property.of == FLINK {
        return false;
    }
    let name = name.strip_prefix(SDK_PREFIX).unwrap_or(name);
    let (Some(known), Some(first)) = (property.name.get(..1), name.get(..1)) else { return false };
    known.eq_ignore_ascii_case(first) && property.name[1..] == name[1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_in_a_table_twice() {
        for tables in [[CLIENT, SOURCE], [CLIENT, PRODUCER]] {
            let table: Vec<&Property> = tables.into_iter().flatten().collect();
            for (index, property) in table.iter().enumerate() {
                assert!(!table[..index].iter().any(|other| is_name(other, property.name)), "{}", property.name);
            }
        }
    }

    #[test]
    fn names_of_the_sdk_have_a_prefix_and_either_case() {
        let property = CLIENT.iter().find(|property| property.name == "SocketTimeout").unwrap();
        for name in ["SocketTimeout", "socketTimeout", "aws.clientconfig.socketTimeout"] {
            assert!(is_name(property, name), "{name}");
        }
        for name in ["sockettimeout", "", "ß", "aws.clientconfig."] {
            assert!(!is_name(property, name), "{name}");
        }
    }
}
