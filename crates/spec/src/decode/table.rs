//! The words in which the tables of the surface are written: what a module file may have in it, as data.
//!
//! Decoding reads files by these tables, and whatever describes module files to others (schema, reference) reads the
//! tables themselves, so that the three cannot say different things.

use statefun_kinesis_types::{
    ConsumerName, InvalidValue, LogLevel, StreamArn, StreamName, StreamRef, Timestamp, TypeName,
};

use crate::Code;

/// A kind of document.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The value of `kind`.
    pub(crate) name: &'static str,
    pub(crate) reads: Reads,
    /// What a document of this kind declares: plain sentences of Markdown.
    pub(crate) doc: &'static str,
    /// The dialect that the kind belongs to, and the kind that is used here.
    pub(crate) dialect: Option<Alias>,
}

/// How the `spec` of a document is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reads {
    Ingress(&'static Shape),
    Egress(&'static Shape),
    Endpoint(&'static Shape),
    /// Not at all: the transport belongs to other runtimes.
    Elsewhere,
}

impl Reads {
    /// The fields of the `spec`; none for a kind that is not supported.
    pub(crate) fn shape(self) -> Option<&'static Shape> {
        match self {
            Self::Ingress(shape) | Self::Egress(shape) | Self::Endpoint(shape) => Some(shape),
            Self::Elsewhere => None,
        }
    }
}

/// What a mapping may have in it.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The thing with its article, as it goes into a sentence: "an ingress".
    pub(crate) what: &'static str,
    /// What the mapping is for: plain sentences of Markdown; empty where the field that has it says all.
    pub(crate) doc: &'static str,
    pub(crate) fields: &'static [Field],
    /// Fields of which at least one has to be there.
    pub(crate) one_of: &'static [&'static str],
    /// Names that people look for here and that are elsewhere, each with what to do.
    pub(crate) hints: &'static [(&'static str, &'static str)],
}

impl Shape {
    pub(super) const fn new(what: &'static str, doc: &'static str, fields: &'static [Field]) -> Self {
        Self { what, doc, fields, one_of: &[], hints: &[] }
    }

    pub(super) const fn with_one_of(self, one_of: &'static [&'static str]) -> Self {
        Self { one_of, ..self }
    }

    pub(super) const fn with_hints(self, hints: &'static [(&'static str, &'static str)]) -> Self {
        Self { hints, ..self }
    }
}

/// Another name for the same thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    /// The other name; for a kind or a type the name that is used here.
    pub(crate) name: &'static str,
    /// Whose it is, such as `Apache StateFun`.
    pub(crate) dialect: &'static str,
}

/// A field of a mapping.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) presence: Presence,
    /// What the field is: one to three plain sentences of Markdown with unit and range.
    pub(crate) doc: &'static str,
    /// What a number counts, such as `records`; a duration has its unit in the file.
    pub(crate) unit: Option<&'static str>,
    /// Where the default comes from, as a phrase: "StateFun's default".
    pub(crate) source: Option<&'static str>,
    /// The field with a value, for help with a missing one. More lines are indented below the field.
    pub(crate) example: &'static str,
    /// What help with a missing one says besides.
    pub(crate) about: Option<&'static str>,
    /// Other names for the same field.
    pub(crate) aliases: &'static [Alias],
    /// Names that people write in its place, which are errors. Spelling alone does not lead from them to the field.
    pub(crate) mistaken: &'static [&'static str],
    /// Set when the field itself belongs to another dialect, and says where its value belongs here.
    pub(crate) dialect: Option<Alias>,
}

impl Field {
    pub(super) const fn new(name: &'static str, takes: Takes, example: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            takes,
            presence: Presence::Optional,
            doc,
            unit: None,
            source: None,
            example,
            about: None,
            aliases: &[],
            mistaken: &[],
            dialect: None,
        }
    }

    pub(super) const fn required(self) -> Self {
        Self { presence: Presence::Required, ..self }
    }

    pub(super) const fn expected(self) -> Self {
        Self { presence: Presence::Expected, ..self }
    }

    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { presence: Presence::Default(value), ..self }
    }

    /// What a number counts.
    pub(super) const fn in_units(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Where the default comes from.
    pub(super) const fn source(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    pub(super) const fn about(self, about: &'static str) -> Self {
        Self { about: Some(about), ..self }
    }

    pub(super) const fn or(self, aliases: &'static [Alias]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn mistaken_for(self, mistaken: &'static [&'static str]) -> Self {
        Self { mistaken, ..self }
    }

    pub(super) const fn of(self, dialect: &'static str, here: &'static str) -> Self {
        Self { dialect: Some(Alias { name: here, dialect }), ..self }
    }
}

/// Whether a field has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    /// It belongs into every file, but files of another dialect have none: they are read with a note.
    Expected,
    /// Without it, what its documentation says.
    Optional,
    /// Without it, this value: YAML in one line.
    Default(&'static str),
}

/// What a field takes, or an entry of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    Text(Text),
    /// The `type` of a [`Tagged`]: the name of one of its variants.
    Tag,
    /// One of these words.
    Word(&'static [Word]),
    /// A whole number of this range, both ends included, in quotes or not.
    Integer {
        min: u32,
        max: u32,
    },
    /// A duration as Flink writes it: `30sec`, `1 min`, `2m`; a bare number is in milliseconds.
    Duration {
        may_be_zero: bool,
    },
    /// A list with at least one entry.
    List(&'static Takes),
    Object(&'static Shape),
    Tagged(&'static Tagged),
    /// A mapping of names to scalars, or a list of mappings with one entry each.
    Properties(&'static [&'static [Property]]),
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Anything that is not blank.
    Any,
    /// A key or a password: anything that is not blank, and is shown nowhere.
    Secret,
    TypeName,
    FunctionPattern,
    StreamArn,
    StreamName,
    /// An ARN or a short name.
    StreamRef,
    ConsumerName,
    RoleArn,
    RegionId,
    /// The address of a server.
    Endpoint,
    /// The address of functions.
    UrlTemplate,
    /// The path of a file.
    Path,
    /// An instant of RFC 3339 with an offset.
    Timestamp,
    /// The date of Apache StateFun, `yyyy-MM-dd HH:mm:ss.SSS Z`.
    Date,
}

impl Text {
    /// The code of a text that is not one.
    pub(super) const fn code(self) -> Code {
        match self {
            Self::Any | Self::Secret | Self::Path => Code::WrongType,
            Self::TypeName | Self::FunctionPattern | Self::ConsumerName => Code::InvalidName,
            Self::StreamArn => Code::InvalidStreamArn,
            Self::RoleArn => Code::InvalidRoleArn,
            Self::StreamName | Self::StreamRef => Code::InvalidStreamName,
            Self::RegionId => Code::InvalidRegion,
            Self::Endpoint | Self::UrlTemplate => Code::InvalidEndpoint,
            Self::Timestamp | Self::Date => Code::InvalidTimestamp,
        }
    }

    /// How the text looks, as a phrase: "`<namespace>/<name>`".
    pub(crate) const fn form(self) -> &'static str {
        match self {
            Self::Any => "a text",
            Self::Secret => "a text that is shown nowhere",
            Self::TypeName => "`<namespace>/<name>`",
            Self::FunctionPattern => "`<namespace>/<name>`, or `<namespace>/*` for all of a namespace",
            Self::StreamArn => "the ARN of a stream: `arn:aws:kinesis:<region>:<account>:stream/<name>`",
            Self::StreamName => "the short name of a stream: 1 to 128 letters, digits, `_`, `.` or `-`",
            Self::StreamRef => "the ARN or the short name of a stream",
            Self::ConsumerName => "1 to 128 letters, digits, `_`, `.` or `-`",
            Self::RoleArn => "the ARN of a role: `arn:aws:iam::<account>:role/<name>`",
            Self::RegionId => "the id of a region, such as `us-east-1`",
            Self::Endpoint => "an `http://` or `https://` address, without user and password",
            Self::UrlTemplate => {
                "an address with `http`, `https`, `http+unix` or `https+unix`, without user and password"
            }
            Self::Path => "the path of a file",
            Self::Timestamp => "an instant of RFC 3339 with an offset, such as `2026-04-23T00:00:00.000Z`",
            Self::Date => "`yyyy-MM-dd HH:mm:ss.SSS Z`, such as `2020-02-01 04:15:00.000 +0000`",
        }
    }

    /// A regular expression (ECMA-262, anchored) that every right text matches. What it matches may still be wrong.
    pub(crate) const fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Any | Self::Secret | Self::Path => Some(r"\S"),
            Self::TypeName => Some(r"^.+/[^/]+$"),
            Self::FunctionPattern => Some(r"^[^*]+/([^/*]+|\*)$"),
            Self::StreamArn => {
                Some(r"^arn:aws(-[a-z0-9-]+)?:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[A-Za-z0-9_.-]{1,128}$")
            }
            Self::StreamName | Self::ConsumerName => Some(r"^[A-Za-z0-9_.-]{1,128}$"),
            Self::StreamRef => {
                Some(r"^(arn:aws(-[a-z0-9-]+)?:kinesis:[a-z0-9-]+:[0-9]{12}:stream/)?[A-Za-z0-9_.-]{1,128}$")
            }
            Self::RoleArn => Some(r"^arn:aws(-[a-z0-9-]+)?:iam::[0-9]{12}:role/\S+$"),
            Self::RegionId => Some(r"^[a-z0-9-]{1,64}$"),
            Self::Endpoint => Some(r"^[hH][tT][tT][pP][sS]?://[^/?#@\s]+([/?#]\S*)?$"),
            Self::UrlTemplate => Some(r"^[hH][tT][tT][pP][sS]?(\+[uU][nN][iI][xX])?://\S+$"),
            Self::Timestamp => Some(
                r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
            ),
            Self::Date => Some(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)? (Z|[+-][0-9]{4})$"),
        }
    }
}

/// A type whose values are texts of one sort.
pub(super) trait OfText: std::str::FromStr<Err = InvalidValue> {
    const TEXT: Text;
}

impl OfText for TypeName {
    const TEXT: Text = Text::TypeName;
}

impl OfText for StreamArn {
    const TEXT: Text = Text::StreamArn;
}

impl OfText for StreamName {
    const TEXT: Text = Text::StreamName;
}

impl OfText for StreamRef {
    const TEXT: Text = Text::StreamRef;
}

impl OfText for ConsumerName {
    const TEXT: Text = Text::ConsumerName;
}

impl OfText for Timestamp {
    const TEXT: Text = Text::Timestamp;
}

/// A word that a field takes.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
}

/// The words of `logLevel`, which are read in any case.
pub(super) const LOG_LEVELS: &[Word] = &[
    Word { name: LogLevel::Error.as_str(), doc: "As an error." },
    Word { name: LogLevel::Warn.as_str(), doc: "As a warning." },
    Word { name: LogLevel::Info.as_str(), doc: "As information." },
    Word { name: LogLevel::Debug.as_str(), doc: "Detailed logs for troubleshooting." },
    Word { name: LogLevel::Trace.as_str(), doc: "The most detailed logs." },
];

/// A mapping whose `type` says which other fields it has.
#[derive(Debug)]
pub(crate) struct Tagged {
    pub(crate) what: &'static str,
    pub(crate) example: &'static str,
    pub(crate) variants: &'static [Variant],
    /// The variant of a mapping without `type`; where there is none, `type` is required.
    pub(crate) default: Option<&'static str>,
}

/// One `type` and what goes with it. Among the fields of the shape is `type` itself.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// The dialect that the name belongs to, and the name that is used here.
    pub(crate) dialect: Option<Alias>,
    pub(crate) shape: Shape,
}

impl Variant {
    pub(super) const fn new(
        name: &'static str,
        what: &'static str,
        doc: &'static str,
        fields: &'static [Field],
    ) -> Self {
        Self { name, dialect: None, shape: Shape::new(what, doc, fields) }
    }

    pub(super) const fn of(self, dialect: &'static str, here: &'static str) -> Self {
        Self { dialect: Some(Alias { name: here, dialect }), ..self }
    }
}

/// The field that every variant has.
pub(crate) const TYPE: Field = Field::new("type", Takes::Tag, "type: <type>", "Which of the types it is.").required();

/// A client property, by the name that another runtime gives it.
#[derive(Debug)]
pub(crate) struct Property {
    /// The name. For the AWS SDK for Java and the Kinesis Producer Library the case of its first letter and the prefix
    /// `aws.clientconfig.` are free.
    pub(crate) name: &'static str,
    /// Whose it is, such as `Flink`.
    pub(crate) of: &'static str,
    pub(crate) effect: Effect,
}

/// What happens to a client property.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// It is another way to write this field (a path such as `consumer.maxRecords`), or the setting of the client that
    /// the doc names.
    Sets(Setting),
    /// Nothing is different with this value, since it is what is done anyway; another one has no effect, and this says
    /// what to do.
    Always(&'static str, &'static str),
    /// It has no effect, and this says what to do.
    Nothing(&'static str),
}

/// What a client property sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Setting {
    Region,
    Endpoint,
    Provider,
    AccessKeyId,
    SecretAccessKey,
    ProfileName,
    ProfilePath,
    RoleArn,
    SessionName,
    ExternalId,
    TokenFile,
    ConsumerType,
    ConsumerName,
    Lifecycle,
    MaxRecords,
    IdleInterval,
    DiscoveryInterval,
    ConnectTimeout,
    ReadTimeout,
    RequestTimeout,
    MaxConnections,
    Aggregation,
    AggregationMaxBytes,
    AggregationMaxRecords,
    FailedRecordTimeout,
}

impl Setting {
    /// What it sets, for the reference and for messages: a field by its path, or words.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Region => "`awsRegion.id`",
            Self::Endpoint => "`awsRegion.endpoint`",
            Self::Provider => "`awsCredentials.type`",
            Self::AccessKeyId => "`awsCredentials.accessKeyId`",
            Self::SecretAccessKey => "`awsCredentials.secretAccessKey`",
            Self::ProfileName => "`awsCredentials.profile`",
            Self::ProfilePath => "`awsCredentials.profilePath`",
            Self::RoleArn => "`awsCredentials.roleArn`",
            Self::SessionName => "`awsCredentials.sessionName`",
            Self::ExternalId => "`awsCredentials.externalId`",
            Self::TokenFile => "`awsCredentials.tokenFile`",
            Self::ConsumerType => "`consumer.type`",
            Self::ConsumerName => "`consumer.name`",
            Self::Lifecycle => "`consumer.lifecycle`",
            Self::MaxRecords => "`consumer.maxRecords`",
            Self::IdleInterval => "`consumer.idleInterval`",
            Self::DiscoveryInterval => "`consumer.discoveryInterval`",
            Self::ConnectTimeout => "the connect timeout",
            Self::ReadTimeout => "the read timeout",
            Self::RequestTimeout => "the timeout of a call",
            Self::MaxConnections => "the maximum number of connections",
            Self::Aggregation => "`aggregation`",
            Self::AggregationMaxBytes => "`aggregation.maxBytes`",
            Self::AggregationMaxRecords => "`aggregation.maxRecords`",
            Self::FailedRecordTimeout => "`failedRecordHandling.timeout`",
        }
    }
}
