//! `check --live`: asks the service whether what a module needs is there.

mod ask;
mod connect;
mod finding;
mod json;
mod table;

pub(crate) use connect::Connect;
pub(crate) use json::LiveJson;

use futures::{StreamExt, stream};

use crate::needs::Need;
use ask::ask;
use finding::{Answer, Problem};

/// Streams that are asked about at a time. DescribeStreamSummary gives 20 answers a second to an account.
const AT_A_TIME: usize = 8;

/// What was found out about all needs of a module, in their order.
#[derive(Debug)]
pub(crate) struct Findings {
    answers: Vec<Answer>,
}

impl Findings {
    /// Asks about each need: several at a time, each for a bounded time.
    pub(crate) async fn gather(needs: Vec<Need>, connect: &dyn Connect) -> Self {
        let asking = |(index, need)| async move { (index, ask(need, connect).await) };
        let asked = stream::iter(needs.into_iter().enumerate().map(asking)).buffer_unordered(AT_A_TIME);
        let mut answers: Vec<_> = asked.collect().await;
        answers.sort_by_key(|(index, _)| *index);
        Self { answers: answers.into_iter().map(|(_, answer)| answer).collect() }
    }

    /// Whether nothing is missing. What could not be tried is not missing.
    pub(crate) fn passed(&self) -> bool {
        self.answers.iter().all(|answer| answer.problems.is_empty())
    }

    fn problems(&self) -> impl Iterator<Item = (&Answer, &Problem)> {
        self.answers.iter().flat_map(|answer| answer.problems.iter().map(move |problem| (answer, problem)))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::examples;
