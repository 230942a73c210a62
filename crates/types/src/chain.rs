use std::{error::Error, fmt, iter};

/// An error and the ones below it on one line, as a log or a dead letter wants it: `outer: middle: inner`.
///
/// `Display` of the project's errors leaves out the [`source`](Error::source); code that shows an error to a person shows
/// the chain. Other libraries repeat the error below at the end of their own text: it is not written a second time.
///
/// ```
/// use statefun_kinesis_types::ErrorChain;
///
/// #[derive(Debug)]
/// struct Unreadable(std::num::ParseIntError);
///
/// impl std::fmt::Display for Unreadable {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         f.write_str("the position cannot be read")
///     }
/// }
///
/// impl std::error::Error for Unreadable {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         Some(&self.0)
///     }
/// }
///
/// let error = Unreadable("x".parse::<u32>().unwrap_err());
/// assert_eq!(ErrorChain(&error).to_string(), "the position cannot be read: invalid digit found in string");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl<'a> ErrorChain<'a> {
    /// The errors that the line shows, the outermost first: for those who show them otherwise than on one line.
    pub fn errors(self) -> impl Iterator<Item = &'a dyn Error> {
        let mut shown: Option<&dyn Error> = None;
        let mut next = Some(self.0);
        iter::from_fn(move || {
            loop {
                let error = next?;
                next = error.source();
                if shown.is_none_or(|shown| !shown.to_string().ends_with(&error.to_string())) {
                    shown = Some(error);
                    return shown;
                }
            }
        })
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors().enumerate() {
            if index > 0 {
                f.write_str(": ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of a list of texts, the outermost first.
    #[derive(Debug)]
    struct Told(String, Option<Box<Told>>);

    impl Told {
        fn of(texts: &[&str]) -> Option<Box<Self>> {
            let (text, below) = texts.split_first()?;
            Some(Box::new(Self((*text).to_owned(), Self::of(below))))
        }
    }

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // In pieces, as most errors write themselves.
            self.0.split_inclusive(' ').try_for_each(|piece| f.write_str(piece))
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|below| below as _)
        }
    }

    #[track_caller]
    fn check(texts: &[&str], line: &str) {
        assert_eq!(ErrorChain(&*Told::of(texts).unwrap()).to_string(), line);
    }

    #[test]
    fn an_error_and_those_below_it_are_one_line() {
        check(&["no route"], "no route");
        check(&["no route", "no network"], "no route: no network");
        check(&["a", "b", "c"], "a: b: c");
    }

    #[test]
    fn what_the_error_above_says_already_is_left_out() {
        check(&["no route: no network", "no network"], "no route: no network");
        check(&["no route: no network", "no network", "no cable"], "no route: no network: no cable");
        check(&["a: b: c", "b: c", "c"], "a: b: c");
        check(&["same", "same", "same"], "same");
        check(&["a", ""], "a");
        // Only the end counts, and only the whole text of the error below.
        check(&["no network, no route", "no network"], "no network, no route: no network");
        check(&["network", "no network"], "network: no network");
        check(&["", "a"], ": a");
        check(&["über", "ber"], "über");
    }
}
