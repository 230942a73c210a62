//! Who is at fault for a failed call, and what follows: the one table for reading and writing.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::ErrorKind;

/// How long a failure that the service alone does not explain is retried before it counts as permanent: two minutes.
///
/// Long enough for a clock that is being set, keys that are being replaced, a policy that is being repaired, and a load
/// balancer that restarts. Not longer, because an operator has to learn of a lasting failure.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Who or what is at fault for a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// One record of the call: the service will never take it. The only fault that the policies for records are about.
    Record,
    /// The call itself: a used-up iterator or token, or a request that the service does not accept.
    Call,
    /// The stream or its key: gone, being changed, or not readable.
    Stream,
    /// The credentials: missing, expired, or without the permission.
    Credentials,
    /// A clock: the signature is too old or too new.
    Clock,
    /// The way to the service: no connection, no answer in time.
    Network,
    /// The service: overloaded, broken, or an answer that lacks something.
    Service,
    /// Somebody who is not Kinesis answered: a proxy, a captive portal, a load balancer, a wrong endpoint.
    NotKinesis,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Record => "the record",
            Self::Call => "the call",
            Self::Stream => "the stream",
            Self::Credentials => "the credentials",
            Self::Clock => "a clock",
            Self::Network => "the network",
            Self::Service => "the service",
            Self::NotKinesis => "an endpoint that is not Kinesis",
        })
    }
}

/// How long a failed call is retried while a stream is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// At once, with a new iterator or from the first page: nothing is wrong.
    Renewed,
    /// As long as it takes; a writer gives up on a record after its own time limit.
    Unlimited,
    /// For this long in a row. Then the failure ends the run, whatever the policies for records say.
    For(Duration),
    /// Not at all: the same call will always fail.
    Never,
}

/// What follows a failed call: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Treatment {
    /// Who is at fault.
    pub fault: Fault,
    /// How long the call is retried while a stream is read or written.
    pub retry: Retry,
    /// Whether a start waits for it to pass, as for a service that cannot be reached. If not, the start fails at once,
    /// because a person has to act.
    pub start_waits: bool,
}

impl Treatment {
    const fn new(fault: Fault, retry: Retry, start_waits: bool) -> Self {
        Self { fault, retry, start_waits }
    }
}

impl ErrorKind {
    /// The row of the table for a call that failed so.
    ///
    /// | kind | fault | retried | a start waits |
    /// |---|---|---|---|
    /// | [`NotFound`](Self::NotFound) | stream | two minutes | no |
    /// | [`InUse`](Self::InUse) | stream | unlimited | yes |
    /// | [`ExpiredIterator`](Self::ExpiredIterator) | call | renewed | no |
    /// | [`ExpiredToken`](Self::ExpiredToken) | call | renewed | no |
    /// | [`Throttled`](Self::Throttled) | service | unlimited | yes |
    /// | [`LimitExceeded`](Self::LimitExceeded) | service | unlimited | yes |
    /// | [`AccessDenied`](Self::AccessDenied) | credentials | two minutes | no |
    /// | [`ExpiredCredentials`](Self::ExpiredCredentials) | credentials | two minutes | yes |
    /// | [`ClockSkew`](Self::ClockSkew) | clock | two minutes | yes |
    /// | [`Encryption`](Self::Encryption) | stream | two minutes | no |
    /// | [`InvalidArgument`](Self::InvalidArgument) | call | never | no |
    /// | [`Unavailable`](Self::Unavailable) | service | unlimited | yes |
    /// | [`Timeout`](Self::Timeout) | network | unlimited | yes |
    /// | [`Incomplete`](Self::Incomplete) | service | two minutes | yes |
    /// | [`Unexpected`](Self::Unexpected) | not Kinesis | two minutes | yes |
    pub const fn treatment(self) -> Treatment {
        use Fault::{Call, Clock, Credentials, Network, NotKinesis, Service, Stream};
        use Retry::{For, Never, Renewed, Unlimited};

        match self {
            Self::NotFound => Treatment::new(Stream, For(PATIENCE), false),
            Self::InUse => Treatment::new(Stream, Unlimited, true),
            Self::ExpiredIterator | Self::ExpiredToken => Treatment::new(Call, Renewed, false),
            Self::Throttled | Self::LimitExceeded | Self::Unavailable => Treatment::new(Service, Unlimited, true),
            Self::AccessDenied => Treatment::new(Credentials, For(PATIENCE), false),
            Self::ExpiredCredentials => Treatment::new(Credentials, For(PATIENCE), true),
            Self::ClockSkew => Treatment::new(Clock, For(PATIENCE), true),
            Self::Encryption => Treatment::new(Stream, For(PATIENCE), false),
            Self::InvalidArgument => Treatment::new(Call, Never, false),
            Self::Timeout => Treatment::new(Network, Unlimited, true),
            Self::Incomplete => Treatment::new(Service, For(PATIENCE), true),
            Self::Unexpected => Treatment::new(NotKinesis, For(PATIENCE), true),
        }
    }

    /// What follows when a PutRecords call with a single record failed so: where the call alone would be at fault, the
    /// record is.
    ///
    /// A call with several records does not say which of them it is about, so a writer first sends each by itself.
    pub const fn treatment_of_single_record(self) -> Treatment {
        let treatment = self.treatment();
        match self {
            Self::InvalidArgument => Treatment { fault: Fault::Record, ..treatment },
            Self::NotFound
            | Self::InUse
            | Self::ExpiredIterator
            | Self::ExpiredToken
            | Self::Throttled
            | Self::LimitExceeded
            | Self::AccessDenied
            | Self::ExpiredCredentials
            | Self::ClockSkew
            | Self::Encryption
            | Self::Unavailable
            | Self::Timeout
            | Self::Incomplete
            | Self::Unexpected => treatment,
        }
    }

    /// Whether a call that failed so may have been carried out nevertheless. For calls that change nothing it does not
    /// matter.
    pub const fn may_be_carried_out(self) -> bool {
        match self {
            Self::Unavailable | Self::Timeout | Self::Incomplete | Self::Unexpected => true,
            Self::NotFound
            | Self::InUse
            | Self::ExpiredIterator
            | Self::ExpiredToken
            | Self::Throttled
            | Self::LimitExceeded
            | Self::AccessDenied
            | Self::ExpiredCredentials
            | Self::ClockSkew
            | Self::Encryption
            | Self::InvalidArgument => false,
        }
    }
}

/// Decides which failures in a row of a call are retried.
///
/// A state machine without I/O: results and the time go in, the decision comes out. The time counts from the first
/// failure of the same [`Fault`]; a success or another fault restarts it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use statefun_kinesis_client::{ErrorKind, PATIENCE, Patience};
///
/// let (mut patience, start) = (Patience::default(), Instant::now());
/// assert!(patience.allows_retry(start, ErrorKind::ClockSkew));
/// assert!(!patience.allows_retry(start + PATIENCE, ErrorKind::ClockSkew));
/// assert!(patience.allows_retry(start + PATIENCE, ErrorKind::Throttled));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience(Option<(Fault, Instant)>);

impl Patience {
    /// A call failed so. Says whether it is retried.
    pub fn allows_retry(&mut self, now: Instant, kind: ErrorKind) -> bool {
        let Treatment { fault, retry, .. } = kind.treatment();
        let limit = match retry {
            Retry::For(limit) => limit,
            // What is retried without limit must leave no time behind that a later failure would inherit.
            Retry::Renewed | Retry::Unlimited => {
                self.0 = None;
                return true;
            }
            Retry::Never => return false,
        };
        let since = match self.0 {
            Some((before, since)) if before == fault => since,
            Some(_) | None => now,
        };
        self.0 = Some((fault, since));
        now.saturating_duration_since(since) < limit
    }

    /// A call succeeded.
    pub fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The kind's name as the table has it, in words: `NotFound`.
    fn row(kind: ErrorKind) -> String {
        let Treatment { fault, retry, start_waits } = kind.treatment();
        let fault = match fault {
            Fault::NotKinesis => "not Kinesis",
            Fault::Record => "record",
            Fault::Call => "call",
            Fault::Stream => "stream",
            Fault::Credentials => "credentials",
            Fault::Clock => "clock",
            Fault::Network => "network",
            Fault::Service => "service",
        };
        let retry = match retry {
            Retry::Renewed => "renewed",
            Retry::Unlimited => "unlimited",
            Retry::For(PATIENCE) => "two minutes",
            Retry::For(other) => panic!("{other:?} has no name in the table"),
            Retry::Never => "never",
        };
        let start = if start_waits { "yes" } else { "no" };
        format!("    /// | [`{kind:?}`](Self::{kind:?}) | {fault} | {retry} | {start} |")
    }

    #[test]
    fn the_documented_table_is_the_one_that_is_used() {
        let source = include_str!("fault.rs");
        let documented: Vec<&str> = source.lines().filter(|line| line.starts_with("    /// | [`")).collect();
        let expected: Vec<String> = ErrorKind::ALL.into_iter().map(row).collect();
        assert_eq!(documented, expected);
    }

    #[test]
    fn a_record_is_at_fault_only_for_what_no_other_call_would_meet() {
        for kind in ErrorKind::ALL {
            assert_ne!(kind.treatment().fault, Fault::Record, "{kind}: a call of several records names none");
            let single = kind.treatment_of_single_record();
            // What is retried passes or ends the run, so that no policy for records may see it.
            assert_eq!(single.fault == Fault::Record, single.retry == Retry::Never, "{kind}");
        }
    }

    #[test]
    fn failures_in_a_row_are_retried_as_long_as_their_fault_lasts() {
        for kind in ErrorKind::ALL {
            let (mut patience, start) = (Patience::default(), Instant::now());
            let retried = (0..1_000).take_while(|s| patience.allows_retry(start + *s * SECOND, kind)).count();
            let expected = match kind.treatment().retry {
                Retry::Renewed | Retry::Unlimited => 1_000,
                Retry::For(limit) => limit.as_secs() as usize,
                Retry::Never => 0,
            };
            assert_eq!(retried, expected, "{kind}");
        }
    }

    #[test]
    fn a_success_and_another_fault_restart_the_time() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let late = start + PATIENCE;
        assert!(patience.allows_retry(start, ErrorKind::AccessDenied));
        let mut succeeded = patience;
        succeeded.reset();
        assert!(succeeded.allows_retry(late, ErrorKind::AccessDenied));
        let mut elsewhere = patience;
        assert!(elsewhere.allows_retry(late, ErrorKind::Timeout));
        assert!(elsewhere.allows_retry(late, ErrorKind::AccessDenied));
        // Of the same fault, whatever its name.
        assert!(!patience.allows_retry(late, ErrorKind::ExpiredCredentials));
    }

    #[test]
    fn hours_of_throttling_do_not_use_up_the_time_of_another_failure_of_the_service() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert_eq!(ErrorKind::Throttled.treatment().fault, ErrorKind::Incomplete.treatment().fault);
        for second in 0..7_200 {
            assert!(patience.allows_retry(start + second * SECOND, ErrorKind::Throttled));
        }
        assert!(patience.allows_retry(start + 7_200 * SECOND, ErrorKind::Incomplete));
    }
}
