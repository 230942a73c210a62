use statefun_kinesis_types::{InvalidRecordHandling, StreamRef};

use super::{
    Decoder, Entry, Object, Placed,
    table::{Field, LOG_LEVELS, TYPE, Tagged, Takes, Text, Variant},
};
use crate::{FailedRecordHandling, FailureHandling, GiveUp};

const LOG_LEVEL: Field = Field::new(
    "logLevel",
    Takes::Word(LOG_LEVELS),
    "logLevel: warn",
    "The log level of the line about each one, with stream, shard and sequence number where they are known.",
)
.default("warn");

const DEAD_LETTERS: Field = Field::new(
    "stream",
    Takes::Text(Text::StreamRef),
    "stream: orders-dead-letters",
    "The stream for dead letters: its ARN, or its short name in the account and region of the client.",
)
.required();

const MAX_ATTEMPTS: Field = Field::new(
    "maxAttempts",
    Takes::Integer { min: 1, max: u32::MAX },
    "maxAttempts: 10",
    "Maximum number of attempts. Without it only `timeout` counts.",
)
.in_units("attempts");

const TIMEOUT: Field = Field::new(
    "timeout",
    Takes::Duration { may_be_zero: false },
    "timeout: 5 min",
    "Maximum time from the first attempt on. Without it only `maxAttempts` counts.",
);

const INVALID_RECORDS: Tagged = Tagged {
    what: "`invalidRecordHandling`",
    example: "invalidRecordHandling:\n  type: skip",
    default: None,
    variants: &[
        Variant::new(
            "fail",
            "`invalidRecordHandling` of type `fail`",
            "The module stops with an error that names the record.",
            &[TYPE],
        ),
        Variant::new(
            "skip",
            "`invalidRecordHandling` of type `skip`",
            "The record is logged, counted and left out.",
            &[TYPE, LOG_LEVEL],
        ),
        Variant::new(
            "dead-letter",
            "`invalidRecordHandling` of type `dead-letter`",
            "The record is put into another stream as it is, logged and counted. Its position counts as read only then.",
            &[TYPE, DEAD_LETTERS, LOG_LEVEL],
        ),
    ],
};

pub(super) const INVALID_RECORDS_FIELD: Field = Field::new(
    "invalidRecordHandling",
    Takes::Tagged(&INVALID_RECORDS),
    INVALID_RECORDS.example,
    "What happens to a record that cannot be turned into messages: one without a partition key, a corrupt aggregate, \
     or one that a deserializer refuses.",
);

const FAILED_RECORDS: Tagged = Tagged {
    what: "`failedRecordHandling`",
    example: "failedRecordHandling:\n  type: dead-letter\n  stream: orders-dead-letters",
    default: None,
    variants: &[
        Variant::new(
            "fail",
            "`failedRecordHandling` of type `fail`",
            "The module stops with an error that names the record.",
            &[TYPE, MAX_ATTEMPTS, TIMEOUT],
        ),
        Variant::new(
            "skip",
            "`failedRecordHandling` of type `skip`",
            "The record is logged, counted and left out.",
            &[TYPE, LOG_LEVEL, MAX_ATTEMPTS, TIMEOUT],
        ),
        Variant::new(
            "dead-letter",
            "`failedRecordHandling` of type `dead-letter`",
            "The record is put into another stream, logged and counted.",
            &[TYPE, DEAD_LETTERS, LOG_LEVEL, MAX_ATTEMPTS, TIMEOUT],
        ),
    ],
};

pub(super) const FAILED_RECORDS_FIELD: Field = Field::new(
    "failedRecordHandling",
    Takes::Tagged(&FAILED_RECORDS),
    FAILED_RECORDS.example,
    "What happens to a record that the service does not take. A record that can never be stored fails at once: it is \
     too large or not valid (such as one with an empty key), or the stream that it names does not exist. Other records are retried until `maxAttempts` or `timeout` \
     is reached; the timeout is 2 minutes unless it is set. A call that fails as a whole (network, credentials, an \
     answer that is not from Kinesis) is no fault of its records: it is retried until the timeout is over, and then \
     the module stops whatever is set here.",
)
.default("{type: fail}");

const FAILURES: Tagged = Tagged {
    what: "`failureHandling`",
    example: "failureHandling:\n  type: keep-trying",
    default: None,
    variants: &[
        Variant::new(
            "keep-trying",
            "`failureHandling` of type `keep-trying`",
            "The message that fails, and those behind it at the same address, wait and are retried with growing delays. \
             Messages of other addresses are not affected.",
            &[TYPE],
        ),
        Variant::new(
            "skip",
            "`failureHandling` of type `skip`",
            "The messages are logged, counted and left out.",
            &[TYPE, LOG_LEVEL, MAX_ATTEMPTS, TIMEOUT],
        ),
        Variant::new(
            "dead-letter",
            "`failureHandling` of type `dead-letter`",
            "The messages are put into a stream, logged and counted. The region and the credentials are those of the egress \
             that writes to this stream, or else of the module's first ingress.",
            &[TYPE, DEAD_LETTERS, LOG_LEVEL, MAX_ATTEMPTS, TIMEOUT],
        ),
        Variant::new(
            "fail",
            "`failureHandling` of type `fail`",
            "The module stops with an error that names the address.",
            &[TYPE, MAX_ATTEMPTS, TIMEOUT],
        ),
    ],
};

pub(super) const FAILURES_FIELD: Field = Field::new(
    "failureHandling",
    Takes::Tagged(&FAILURES),
    FAILURES.example,
    "What happens to messages for which no request succeeds. A request of several messages that fails is sent in parts, \
     until the message that fails is alone; then its attempts are counted. Without `maxAttempts` and `timeout`, the \
     attempts end after `call`.",
)
.default("{type: keep-trying}");

impl Decoder<'_> {
    /// What happens to invalid records. `None` means that an error was reported.
    pub(super) fn invalid_records(&mut self, entry: Entry<'_>) -> Option<InvalidRecordHandling> {
        let (name, object) = self.tagged(entry)?;
        self.handling(name, &object)
    }

    /// What happens to failed records. `None` means that an error was reported.
    pub(super) fn failed_records(&mut self, entry: Entry<'_>) -> Option<FailedRecordHandling> {
        let (name, object) = self.tagged(entry)?;
        let given_up = self.handling(name, &object);
        let GiveUp { max_attempts, timeout } = self.give_up(&object)?;
        Some(FailedRecordHandling { given_up: given_up?, max_attempts, timeout })
    }

    /// What happens to messages that no request delivers. `None` means that an error was reported.
    pub(super) fn failures(&mut self, entry: Entry<'_>) -> Option<FailureHandling> {
        let (name, object) = self.tagged(entry)?;
        if name == "keep-trying" {
            return Some(FailureHandling::KeepTrying);
        }
        let handling = self.handling(name, &object);
        let after = self.give_up(&object)?;
        Some(match handling? {
            InvalidRecordHandling::Skip { log } => FailureHandling::Skip { after, log },
            InvalidRecordHandling::DeadLetter { stream, log } => FailureHandling::DeadLetter { after, stream, log },
            InvalidRecordHandling::Fail => FailureHandling::Fail { after },
        })
    }

    fn handling(&mut self, name: &str, object: &Object<'_>) -> Option<InvalidRecordHandling> {
        match name {
            "skip" => self.log_level(object.get("logLevel")).map(|log| InvalidRecordHandling::Skip { log }),
            "dead-letter" => {
                let stream = object.get("stream").and_then(|entry| self.stream_ref(entry));
                let log = self.log_level(object.get("logLevel"));
                Some(InvalidRecordHandling::DeadLetter { stream: stream?.value, log: log? })
            }
            "fail" => Some(InvalidRecordHandling::Fail),
            name => unreachable!("the table has a handling `{name}` that is not read"),
        }
    }

    fn give_up(&mut self, object: &Object<'_>) -> Option<GiveUp> {
        let max_attempts = self.optional(object.get("maxAttempts"), Self::integer);
        let timeout = self.optional(object.get("timeout"), Self::duration);
        Some(GiveUp { max_attempts: max_attempts?, timeout: timeout? })
    }

    /// A stream by ARN or short name.
    pub(super) fn stream_ref(&mut self, entry: Entry<'_>) -> Option<Placed<StreamRef>> {
        self.value(entry)
    }
}
