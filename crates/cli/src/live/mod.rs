//! `check --live`: checks by calls that the service has everything that a module needs.

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

/// Needs that are checked concurrently. An account may call DescribeStreamSummary 20 times a second.
const CONCURRENT_CHECKS: usize = 8;

/// The results for all needs of a module, in the order of the module.
#[derive(Debug)]
pub(crate) struct Findings {
    answers: Vec<Answer>,
}

impl Findings {
    /// Checks all needs: several concurrently, each with a time limit.
    pub(crate) async fn gather(needs: Vec<Need>, connect: &dyn Connect) -> Self {
        let asking = |(index, need)| async move { (index, ask(need, connect).await) };
        let asked = stream::iter(needs.into_iter().enumerate().map(asking)).buffer_unordered(CONCURRENT_CHECKS);
        let mut answers: Vec<_> = asked.collect().await;
        answers.sort_by_key(|(index, _)| *index);
        Self { answers: answers.into_iter().map(|(_, answer)| answer).collect() }
    }

    /// Whether there are no problems. Untested calls are not problems.
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
