use futures::{StreamExt, stream};

use super::{
    check::check,
    connect::Connect,
    finding::{Answer, Problem},
};
use crate::needs::Need;

/// Needs that are checked concurrently. An account may call DescribeStreamSummary 20 times a second.
const CONCURRENT_CHECKS: usize = 8;

/// The results for all needs of a module, in the order of the module.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(super) answers: Vec<Answer>,
}

impl Findings {
    /// Checks all needs: several concurrently, each with a time limit.
    pub(crate) async fn gather(needs: Vec<Need>, connect: &dyn Connect) -> Self {
        let check_need = |(index, need)| async move { (index, check(need, connect).await) };
        let checked = stream::iter(needs.into_iter().enumerate().map(check_need)).buffer_unordered(CONCURRENT_CHECKS);
        let mut answers: Vec<_> = checked.collect().await;
        answers.sort_by_key(|(index, _)| *index);
        Self { answers: answers.into_iter().map(|(_, answer)| answer).collect() }
    }

    /// Whether there are no problems. Untested calls are not problems.
    pub(crate) fn passed(&self) -> bool {
        self.answers.iter().all(|answer| answer.problems.is_empty())
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = (&Answer, &Problem)> {
        self.answers.iter().flat_map(|answer| answer.problems.iter().map(move |problem| (answer, problem)))
    }
}
