use std::sync::Arc;

use statefun_kinesis_client::{FanOutClient, KinesisClient};
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_module::IngressSpec;

use crate::Deserializer;

/// An ingress with the client that reads it.
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
    /// An ingress whose records are routed as its module file says.
    ///
    /// All its streams have to be where the client is: in one region of one account.
    pub fn new(spec: IngressSpec, client: Arc<dyn KinesisClient>) -> Self {
        Self { spec, client, fan_out: None, dead_letters: None, deserializer: None, settings: Settings::default() }
    }

    /// Subscribes through this client, if the ingress asks for enhanced fan-out.
    #[must_use]
    pub fn fan_out(mut self, client: Arc<dyn FanOutClient>) -> Self {
        self.fan_out = Some(client);
        self
    }

    /// Writes dead letters through this client; through the one that reads otherwise.
    #[must_use]
    pub fn dead_letters(mut self, client: Arc<dyn KinesisClient>) -> Self {
        self.dead_letters = Some(client);
        self
    }

    /// Makes messages of records this way, in place of value type and targets of the module file.
    #[must_use]
    pub fn deserializer(mut self, deserializer: Arc<dyn Deserializer>) -> Self {
        self.deserializer = Some(deserializer);
        self
    }

    /// Reads this way: intervals, bounds, retries. What the ingress' own `consumer` sets goes before.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }
}
