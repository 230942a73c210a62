use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    clients::{AwsClients, StreamClient},
    failure::lines,
    needs::Need,
};

/// Whoever has clients for regions and credentials.
#[async_trait]
pub(crate) trait Connect: Send + Sync + 'static {
    /// The client that a run would use, or the reasons why there is none, outermost first.
    async fn connect(&self, need: &Need) -> Result<Arc<dyn StreamClient>, Vec<String>>;

    /// Whether it is AWS itself that answers. Other servers do not refuse everything that AWS refuses.
    fn is_aws(&self, need: &Need) -> bool;
}

#[async_trait]
impl Connect for AwsClients {
    async fn connect(&self, need: &Need) -> Result<Arc<dyn StreamClient>, Vec<String>> {
        self.get(&need.region, &need.credentials, &need.client).await.map_err(|error| lines(&error))
    }

    fn is_aws(&self, need: &Need) -> bool {
        Self::is_aws(self, &need.region)
    }
}
