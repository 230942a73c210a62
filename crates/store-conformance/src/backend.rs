use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_store::Store;

/// A kind of store that is held to the behaviours, with data of its own.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens a store on the data, which are empty at first. It is called once for a behaviour.
    async fn open(&self) -> Arc<dyn Store>;

    /// Ends the process that has the store, as far as the data can tell, and opens them again. A crash is the harder
    /// test, so that an implementation that can simulate one does not close the store.
    ///
    /// The behaviour has dropped all other references to the store.
    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;

    /// Opens the data a second time, while another store is open on them: that one is fenced.
    ///
    /// None when data that are open cannot be opened again, such as by a lock. Nothing is to be shown of fenced writers
    /// then.
    async fn take_over(&self) -> Option<Arc<dyn Store>>;
}
