use futures::{StreamExt, stream};

use statefun_kinesis_spec::Module;

use super::{
    check::check,
    connect::Connect,
    endpoint::{self, EndpointAnswer},
    finding::{Answer, Problem},
};
use crate::needs::{self, Need};

/// Needs that are checked concurrently. An account may call DescribeStreamSummary 20 times a second.
const CONCURRENT_CHECKS: usize = 8;

/// The results for all needs of a module, in the order of the module.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(super) answers: Vec<Answer>,
    pub(super) endpoints: Vec<EndpointAnswer>,
}

impl Findings {
    /// Checks everything that a module needs: its streams, and its endpoints.
    pub(crate) async fn of(module: &Module, connect: &dyn Connect) -> Self {
        let (streams, endpoints) =
            futures::join!(Self::gather(needs::of(module), connect), endpoint::check_all(module));
        Self { endpoints, ..streams }
    }

    /// Checks all needs: several concurrently, each with a time limit.
    pub(crate) async fn gather(needs: Vec<Need>, connect: &dyn Connect) -> Self {
        let check_need = |(index, need)| async move { (index, check(need, connect).await) };
        let checked = stream::iter(needs.into_iter().enumerate().map(check_need)).buffer_unordered(CONCURRENT_CHECKS);
        let mut answers: Vec<_> = checked.collect().await;
        answers.sort_by_key(|(index, _)| *index);
        Self { answers: answers.into_iter().map(|(_, answer)| answer).collect(), endpoints: Vec::new() }
    }

    /// Whether there are no problems. Untested calls are not problems.
    pub(crate) fn passed(&self) -> bool {
        self.problems().next().is_none()
    }

    /// The problems, each with the document that has it.
    pub(super) fn problems(&self) -> impl Iterator<Item = (String, &Problem)> {
        let of_streams = self
            .answers
            .iter()
            .flat_map(|answer| answer.problems.iter().map(move |problem| (answer.need.document.to_string(), problem)));
        let of_endpoints = self.endpoints.iter().flat_map(|answer| {
            answer.problem.iter().map(move |problem| (format!("endpoint {}", answer.functions), problem))
        });
        of_streams.chain(of_endpoints)
    }
}
