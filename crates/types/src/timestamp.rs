use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use crate::InvalidValue;

/// An instant in milliseconds since 1970-01-01T00:00:00Z, the precision that the service keeps.
///
/// Its text is the module file's pattern `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`, always printed in UTC. Read, it takes that
/// pattern and every other RFC 3339 instant with an offset, cut to milliseconds.
///
/// ```
/// use statefun_kinesis_types::Timestamp;
///
/// let time: Timestamp = "2026-04-23T02:00:00.000+02:00".parse()?;
/// assert_eq!(time.to_string(), "2026-04-23T00:00:00.000Z");
/// assert!("1713830400".parse::<Timestamp>().is_err());
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Milliseconds from the epoch to 0000-01-01 and to the end of the year 9999, what the text form can say.
    const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

    /// The instant so many milliseconds after the epoch; beyond the years 0 to 9999 it is the nearest one within.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(*Self::RANGE.start(), *Self::RANGE.end()))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// What the system's clock says.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time from `earlier` to this instant; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// The instant so much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The instant so much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(millis))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self::EPOCH.after(since),
            Err(before) => Self::EPOCH.before(before.duration()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        if time.0 < 0 { Self::UNIX_EPOCH - distance } else { Self::UNIX_EPOCH + distance }
    }
}

impl FromStr for Timestamp {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |expected| InvalidValue::new("timestamp", text, expected);
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(invalid("an ISO-8601 string such as `2026-04-23T00:00:00.000Z`, not a numeric epoch"));
        }
        // RFC 3339 lets `t` and `z` be small. The parser takes a blank for the `T` too, and offsets without a colon, which
        // neither RFC 3339's own form nor the pattern has.
        let text = &text.to_ascii_uppercase();
        let bytes = text.as_bytes();
        let has_date_and_t = bytes.len() > 10 && bytes[10] == b'T';
        let offset = match text.rfind(['+', '-', 'Z']) {
            Some(at) if at > 10 => &text[at..],
            _ => "",
        };
        let colon = offset == "Z" || (offset.len() == 6 && offset.as_bytes()[3] == b':');
        let expected =
            "yyyy-MM-dd'T'HH:mm:ss.SSSXXX, such as `2026-04-23T00:00:00.000Z` or `2026-04-23T02:00:00.000+02:00`";
        if !has_date_and_t || !colon {
            return Err(invalid(expected));
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| invalid(expected))?;
        Ok(Self::from_millis(instant.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        f.pad(&format!("{instant:.3}"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_pattern_and_rfc_3339_are_read() {
        for (text, millis) in [
            ("2026-04-23T00:00:00.000Z", 1_776_902_400_000),
            ("2026-04-23T02:00:00.000+02:00", 1_776_902_400_000),
            ("2026-04-22T16:00:00.500-08:00", 1_776_902_400_500),
            ("2026-04-23T00:00:00Z", 1_776_902_400_000),
            ("2026-04-23t02:30:00.1234567+02:30", 1_776_902_400_123),
            ("2026-04-23t00:00:00z", 1_776_902_400_000),
            ("2026-04-23T00:00:00-00:00", 1_776_902_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "1713830400",
            "1713830400.5",
            "2026-04-23",
            "2026-04-23T00:00:00.000",
            "2026-04-23 00:00:00.000Z",
            "2026-04-23T00:00:00.000+0200",
            "2026-02-30T00:00:00.000Z",
            "yesterday",
            "2026-04-23T00:00:00.000+02:00[Europe/Berlin]",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        let epoch = "1713830400".parse::<Timestamp>().unwrap_err();
        assert!(epoch.to_string().contains("not a numeric epoch"), "{epoch}");
    }

    proptest! {
        #[test]
        fn text_and_system_time_come_back(millis in -62_167_219_200_000_i64..=253_402_300_799_999) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
            prop_assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }
}
