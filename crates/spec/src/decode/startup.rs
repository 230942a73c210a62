use statefun_kinesis_types::{StartupPosition, Timestamp};

use super::{
    Decoder, Entry, STATEFUN,
    table::{Field, TYPE, Tagged, Takes, Text, Variant},
};
use crate::{
    Code,
    findings::Finding,
    yaml::{Kind, Value},
};

pub(super) const STARTUP: Tagged = Tagged {
    what: "`startupPosition`",
    example: "startupPosition:\n  type: trim-horizon",
    default: None,
    variants: &[
        Variant::new(
            "latest",
            "`startupPosition` of type `latest`",
            "With the records that arrive after the first start. That instant is stored, so that a restart before the \
             first checkpoint loses nothing.",
            &[TYPE],
        ),
        Variant::new(
            "trim-horizon",
            "`startupPosition` of type `trim-horizon`",
            "With the oldest record that the stream still has.",
            &[TYPE],
        ),
        Variant::new(
            "at-timestamp",
            "`startupPosition` of type `at-timestamp`",
            "With the first record that arrived at `timestamp` or later. An instant before what the stream still has \
             means the oldest record.",
            &[
                TYPE,
                Field::new(
                    "timestamp",
                    Takes::Text(Text::Timestamp),
                    "timestamp: \"2026-04-23T00:00:00.000Z\"",
                    "The instant, as an ISO-8601 string `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`; any other instant of RFC 3339 \
                     with an offset does as well, cut to milliseconds. Numbers are rejected because their unit is \
                     ambiguous.",
                )
                .about("an ISO-8601 string, not a numeric epoch")
                .required(),
            ],
        ),
        Variant::new(
            "earliest",
            "`startupPosition` of type `earliest`",
            "Apache StateFun's name for `trim-horizon`.",
            &[TYPE],
        )
        .of(STATEFUN, "trim-horizon"),
        Variant::new(
            "date",
            "`startupPosition` of type `date`",
            "Apache StateFun's name for `at-timestamp`.",
            &[
                TYPE,
                Field::new(
                    "date",
                    Takes::Text(Text::Date),
                    "date: 2020-02-01 04:15:00.000 +0000",
                    "The instant as `yyyy-MM-dd HH:mm:ss.SSS Z`.",
                )
                .required(),
            ],
        )
        .of(STATEFUN, "at-timestamp"),
    ],
};

impl Decoder<'_> {
    /// Where reading starts. `None` means that an error was reported; a field that is not there is the default.
    pub(super) fn startup(&mut self, entry: Option<Entry<'_>>) -> Option<StartupPosition> {
        let Some(entry) = entry else { return Some(StartupPosition::default()) };
        let (name, object) = self.tagged(entry)?;
        match name {
            "trim-horizon" | "earliest" => Some(StartupPosition::TrimHorizon),
            "at-timestamp" => {
                let entry = object.get("timestamp")?;
                self.timestamp(entry).map(StartupPosition::AtTimestamp)
            }
            "date" => {
                let entry = object.get("date")?;
                self.date(entry).map(StartupPosition::AtTimestamp)
            }
            "latest" => Some(StartupPosition::Latest),
            name => unreachable!("the table has a startup position `{name}` that is not read"),
        }
    }

    fn timestamp(&mut self, entry: Entry<'_>) -> Option<Timestamp> {
        if let Value::Scalar(scalar) = &entry.node.value
            && (scalar.kind == Kind::Number || is_digits(&scalar.text))
        {
            let message = format!("`{}` must be an ISO-8601 string, not a numeric epoch", entry.name);
            let epoch = scalar.written.as_ref().unwrap_or(&scalar.text);
            let instant = instant_of_epoch(epoch).unwrap_or_else(|| "2026-04-23T00:00:00.000Z".to_owned());
            let help = format!("write timestamp: \"{instant}\"");
            self.findings.push(Finding::error(Code::InvalidTimestamp, entry.place(), message).help(help));
            return None;
        }
        Some(self.value(entry)?.value)
    }

    fn date(&mut self, entry: Entry<'_>) -> Option<Timestamp> {
        let text = self.text(entry)?;
        let time = iso_of_date(text).and_then(|iso| iso.parse().ok());
        if time.is_none() {
            let message = format!("{} is not a date of the form yyyy-MM-dd HH:mm:ss.SSS Z", entry.quoted(text));
            let help = "for example `2020-02-01 04:15:00.000 +0000`".to_owned();
            self.findings.push(Finding::error(Code::InvalidTimestamp, entry.place(), message).help(help));
        }
        time
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The timestamp that a number of seconds or milliseconds since 1970 was probably meant to be.
fn instant_of_epoch(text: &str) -> Option<String> {
    // In seconds this is the year 5138, in milliseconds 1973.
    const FIRST_MILLIS: i64 = 100_000_000_000;
    let number: i64 = text.parse().ok().filter(|number| *number >= 0)?;
    let millis = if number < FIRST_MILLIS { number * 1000 } else { number };
    Some(Timestamp::from_millis(millis).to_string())
}

/// StateFun's `yyyy-MM-dd HH:mm:ss.SSS Z`, such as `2020-02-01 04:15:00.000 +0000`, in the form that timestamps have
/// here. Its documentation ends an example in `Z` alone, which is taken too.
fn iso_of_date(text: &str) -> Option<String> {
    let mut parts = text.split(' ');
    let (Some(day), Some(time), Some(zone), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let zone = match zone.as_bytes() {
        b"Z" => zone.to_owned(),
        [b'+' | b'-', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit) => {
            format!("{}:{}", &zone[..3], &zone[3..])
        }
        _ => return None,
    };
    Some(format!("{day}T{time}{zone}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_for_seconds_or_milliseconds() {
        for (text, expected) in [
            ("1713830400", Some("2024-04-23T00:00:00.000Z")),
            ("1713830400000", Some("2024-04-23T00:00:00.000Z")),
            ("-1", None),
            ("1.5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(instant_of_epoch(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn statefuns_dates_are_read() {
        for (text, expected) in [
            ("2020-02-01 04:15:00.000 +0000", Some("2020-02-01T04:15:00.000+00:00")),
            ("2020-02-01 04:15:00.00 Z", Some("2020-02-01T04:15:00.00Z")),
            ("2020-02-01 04:15:00.000", None),
            ("2020-02-01 04:15:00.000 UTC", None),
            ("2020-02-01 04:15:00.000 +00é", None),
        ] {
            assert_eq!(iso_of_date(text).as_deref(), expected, "{text}");
        }
    }
}
