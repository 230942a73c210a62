//! Every behaviour of the client's traits, through the AWS SDK and the server under test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use statefun_kinesis_client::{FanOutClient, KinesisAdmin};
use statefun_kinesis_conformance::{Backend, Behaviour, Capabilities, behaviours};
use statefun_kinesis_e2e::{Case, Suite};
use statefun_kinesis_types::StreamName;

/// What is known of a server by its name.
pub(crate) fn capabilities(backend: &str) -> Capabilities {
    match backend {
        "localstack" => Capabilities::LOCALSTACK,
        "kinesis-mock" => Capabilities::KINESIS_MOCK,
        "ferrokinesis" => Capabilities::FERROKINESIS,
        // The fake behind HTTP, whose time is the machine's.
        "fake" => Capabilities { movable_time: false, ..Capabilities::FAKE },
        // Whoever brings a server that is not known here is told where it differs from the service.
        _ => Capabilities::AWS,
    }
}

pub(crate) fn add(suite: &mut Suite) {
    let environment = suite.environment();
    let besides = environment.besides.as_deref().map(capabilities);
    let capabilities = capabilities(&environment.backend);
    for behaviour in behaviours() {
        let applies = |to: &Capabilities| behaviour.not_applicable(to).is_none();
        if besides.is_some_and(|other| applies(&other) || !applies(&capabilities)) {
            continue;
        }
        let name = format!("conformance::{behaviour}");
        match behaviour.not_applicable(&capabilities) {
            Some(requirement) => suite.not_applicable(&name, format!("for a backend {requirement}")),
            None => suite.case(&name, async move |case: &Case| check(behaviour, capabilities, case).await),
        }
    }
}

async fn check(behaviour: &Behaviour, capabilities: Capabilities, case: &Case) -> Result<()> {
    behaviour.check(&Server { case, capabilities }).await;
    Ok(())
}

struct Server<'a> {
    case: &'a Case,
    capabilities: Capabilities,
}

#[async_trait]
impl Backend for Server<'_> {
    fn client(&self) -> Arc<dyn KinesisAdmin> {
        Arc::new(self.case.client().clone())
    }

    fn fan_out(&self) -> Arc<dyn FanOutClient> {
        Arc::new(self.case.client().clone())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn advance(&self, by: Duration) {
        unreachable!("no one moves a server's time by {by:?}");
    }

    fn fresh_name(&self) -> StreamName {
        self.case.name("conformance")
    }
}
