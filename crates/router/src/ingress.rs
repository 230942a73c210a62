use std::sync::Arc;

use statefun_kinesis_client::{FanOutClient, KinesisClient};
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_module::IngressSpec;

use crate::Deserializer;

/// An ingress, with its clients and settings.
#[derive(Debug)]
pub struct Ingress {
    pub(crate) spec: IngressSpec,
    pub(crate) client: Arc<dyn KinesisClient>,
    pub(crate) fan_out: Option<Arc<dyn FanOutClient>>,
    pub(crate) dead_letters: Option<Arc<dyn KinesisClient>>,
    pub(crate) deserializer: Option<Arc<dyn Deserializer>>,
    pub(crate) settings: Settings,
}

impl Ingress {
    /// Creates an ingress whose records are routed as the module says.
    ///
    /// All its streams have to be in the client's region and account.
    pub fn new(spec: IngressSpec, client: Arc<dyn KinesisClient>) -> Self {
        Self { spec, client, fan_out: None, dead_letters: None, deserializer: None, settings: Settings::default() }
    }

    /// Sets the client for enhanced fan-out. It is required if the ingress uses enhanced fan-out.
    #[must_use]
    pub fn fan_out(mut self, client: Arc<dyn FanOutClient>) -> Self {
        self.fan_out = Some(client);
        self
    }

    /// Sets the client that writes dead letters. Default: the client that reads.
    #[must_use]
    pub fn dead_letters(mut self, client: Arc<dyn KinesisClient>) -> Self {
        self.dead_letters = Some(client);
        self
    }

    /// Makes messages of records with a deserializer, in place of the module's value types and targets.
    #[must_use]
    pub fn deserializer(mut self, deserializer: Arc<dyn Deserializer>) -> Self {
        self.deserializer = Some(deserializer);
        self
    }

    /// Sets intervals, limits and retries of the consumer. The ingress' own `consumer` settings take precedence.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }
}
