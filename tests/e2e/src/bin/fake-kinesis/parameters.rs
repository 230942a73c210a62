//! The parameters of a request.

use std::{num::NonZeroU16, str::FromStr};

use serde_json::Value;
use statefun_kinesis_client::{Error, ErrorKind};
use statefun_kinesis_types::{InvalidValue, StreamArn, StreamRef, Timestamp};

/// A request that is refused, as the service words it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl ToString) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.to_string() }
    }

    pub(crate) fn validation(message: impl ToString) -> Self {
        Self::new("ValidationException", message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let is_fault = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Unexpected);
        let code = error.code().unwrap_or(if is_fault { "InternalFailure" } else { "InvalidArgumentException" });
        Self { status: if is_fault { 500 } else { 400 }, ..Self::new(code, &error) }
    }
}

impl From<InvalidValue> for Refusal {
    fn from(invalid: InvalidValue) -> Self {
        Self::validation(invalid)
    }
}

/// The body of a request, or an object in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters<'a>(pub(crate) &'a Value);

impl<'a> Parameters<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn object(self, name: &str) -> Option<Self> {
        self.get(name).map(Self)
    }

    pub(crate) fn list(self, name: &str) -> Result<impl Iterator<Item = Self>, Refusal> {
        let list = self.get(name).and_then(Value::as_array).ok_or_else(|| missing(name))?;
        Ok(list.iter().map(Self))
    }

    pub(crate) fn text(self, name: &str) -> Result<&'a str, Refusal> {
        self.get(name).and_then(Value::as_str).ok_or_else(|| missing(name))
    }

    pub(crate) fn parsed<T: FromStr<Err = InvalidValue>>(self, name: &str) -> Result<T, Refusal> {
        Ok(self.text(name)?.parse()?)
    }

    pub(crate) fn parsed_if_there<T: FromStr<Err = InvalidValue>>(self, name: &str) -> Result<Option<T>, Refusal> {
        self.get(name).is_some().then(|| self.parsed(name)).transpose()
    }

    pub(crate) fn number(self, name: &str) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| Refusal::validation(format!("{name} is {value}")))
    }

    pub(crate) fn page_size(self) -> Result<Option<NonZeroU16>, Refusal> {
        let Some(number) = self.number("MaxResults")? else { return Ok(None) };
        let size = u16::try_from(number).ok().and_then(NonZeroU16::new);
        size.map(Some).ok_or_else(|| Refusal::validation(format!("MaxResults is {number}")))
    }

    /// Seconds since 1970, with a fraction.
    pub(crate) fn time(self, name: &str) -> Result<Timestamp, Refusal> {
        let seconds = self.get(name).and_then(Value::as_f64).ok_or_else(|| missing(name))?;
        Ok(Timestamp::from_millis((seconds * 1_000.0).round() as i64))
    }

    pub(crate) fn stream(self) -> Result<StreamRef, Refusal> {
        match self.parsed_if_there::<StreamArn>("StreamARN")? {
            Some(arn) => Ok(arn.into()),
            None => self.parsed("StreamName"),
        }
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::validation(format!("{name} is missing, or of another type"))
}
