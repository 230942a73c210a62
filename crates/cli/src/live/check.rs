//! Checks one need of a module within its time limits.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    call::CALL_TIMEOUT,
    connect::Connect,
    finding::{Answer, Problem},
    probe::Probe,
};
use crate::needs::{self, Need};

/// How long all calls for one need may take together.
const NEED_TIMEOUT: Duration = Duration::from_secs(90);

/// Checks one need.
pub(super) async fn check(need: Need, connect: &dyn Connect) -> Answer {
    let mut answer = Answer::new(need);
    let is_aws = connect.is_aws(&answer.need);
    let connected = connect.connect(&answer.need);
    match timeout(CALL_TIMEOUT, connected).await {
        Ok(Ok(client)) => {
            // Results from before the time limit are kept.
            let checking = async { Probe { client, is_aws, answer: &mut answer }.all().await };
            if timeout(NEED_TIMEOUT, checking).await.is_err() {
                answer.problems.push(Problem {
                    message: format!("the calls for this stream took longer than {} s", NEED_TIMEOUT.as_secs()),
                    because: Vec::new(),
                    help:
                        "try again; if it happens again, check the network path to the service: proxies, firewalls, VPC endpoints"
                            .to_owned(),
                });
                answer.rest_untested("the time limit was reached");
            }
        }
        Ok(Err(because)) => {
            let who = needs::describe(&answer.need.credentials);
            let message =
                format!("cannot create an AWS client with the region and the credentials of the module: {who}");
            let help =
                "check `awsRegion` and `awsCredentials`, and that this machine has the profile or keys that they name";
            answer.problems.push(Problem { message, because, help: help.to_owned() });
            answer.rest_untested("the client could not be created");
        }
        Err(_) => {
            answer.problems.push(Problem {
                message: format!("could not determine the region within {} s", CALL_TIMEOUT.as_secs()),
                because: Vec::new(),
                help: "set `awsRegion` in the module file, or set AWS_REGION".to_owned(),
            });
            answer.rest_untested("the client could not be created");
        }
    }
    answer
}
