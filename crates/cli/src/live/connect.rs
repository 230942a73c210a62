use std::{error::Error, sync::Arc};

use async_trait::async_trait;

use crate::{
    clients::{AwsClients, Service},
    needs::Need,
};

/// Whoever has clients for regions and credentials.
#[async_trait]
pub(crate) trait Connect: Send + Sync + 'static {
    /// The client that a run would use, or the reasons why there is none, outermost first.
    async fn connect(&self, need: &Need) -> Result<Arc<dyn Service>, Vec<String>>;

    /// Whether it is AWS itself that answers. Other servers do not refuse everything that AWS refuses.
    fn is_aws(&self, need: &Need) -> bool;
}

#[async_trait]
impl Connect for AwsClients {
    async fn connect(&self, need: &Need) -> Result<Arc<dyn Service>, Vec<String>> {
        self.get(&need.region, &need.credentials, &need.client).await.map_err(|error| chain(&error))
    }

    fn is_aws(&self, need: &Need) -> bool {
        Self::is_aws(self, &need.region)
    }
}

/// An error and the ones below it, without those that repeat the end of the one above.
pub(super) fn chain(error: &dyn Error) -> Vec<String> {
    let mut lines = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let line = error.to_string();
        if !lines.last().is_some_and(|last| last.ends_with(&line)) {
            lines.push(line);
        }
        next = error.source();
    }
    lines
}
