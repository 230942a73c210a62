use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_store::Store;

/// A kind of store under test, with data of its own.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens a store on the data, which are empty at first. Called once per behaviour.
    async fn open(&self) -> Arc<dyn Store>;

    /// Simulates a restart of the process, and opens the data again. If possible, simulate a crash, without closing the
    /// store: that is the harder test.
    ///
    /// The behaviour has dropped all other references to the store.
    async fn restart(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;

    /// Opens the data a second time, while another store has them open, which fences the other one.
    ///
    /// Returns `None` when data cannot be opened twice, for example because of a lock. The behaviours of fenced stores
    /// are then not checked.
    async fn take_over(&self) -> Option<Arc<dyn Store>>;
}
