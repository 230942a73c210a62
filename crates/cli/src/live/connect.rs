use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    clients::{AwsClients, StreamClient},
    failure::lines,
    needs::Need,
};

/// Provides clients for regions and credentials.
#[async_trait]
pub(crate) trait Connect: Send + Sync + 'static {
    /// The client that a run would use, or the errors why it cannot be created, outermost first.
    async fn connect(&self, need: &Need) -> Result<Arc<dyn StreamClient>, Vec<String>>;

    /// Whether calls go to AWS itself. Other servers do not reject everything that AWS rejects.
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
