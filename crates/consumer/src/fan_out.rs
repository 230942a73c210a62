use statefun_kinesis_types::ConsumerName;

/// Enhanced fan-out: the name of the registered consumer, and whether the reader registers it.
///
/// Give each reader its own name: the service pushes a shard's records only to the reader that subscribed last.
///
/// ```
/// use statefun_kinesis_consumer::FanOut;
///
/// // Registered if it does not exist, and kept: a restart finds it and need not wait for a new one.
/// let kept = FanOut::managed("billing".parse()?);
/// // For a single run.
/// let once = FanOut::managed("export-2026-11-23".parse()?).deregister_on_close();
/// // Registered by whatever created the stream, such as CloudFormation.
/// let given = FanOut::given("billing".parse()?);
/// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOut {
    pub(crate) name: ConsumerName,
    pub(crate) lifecycle: Lifecycle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    Managed { deregister: bool },
    Given,
}

impl FanOut {
    /// A consumer of this name on each stream, which is registered if it does not exist. It stays registered when reading
    /// ends.
    pub fn managed(name: ConsumerName) -> Self {
        Self { name, lifecycle: Lifecycle::Managed { deregister: false } }
    }

    /// A consumer of this name that is registered on each stream already. It is never registered or removed here.
    pub fn given(name: ConsumerName) -> Self {
        Self { name, lifecycle: Lifecycle::Given }
    }

    /// Deregisters managed consumers in [`Consumer::close`](crate::Consumer::close). Does not change one that is given.
    #[must_use]
    pub fn deregister_on_close(mut self) -> Self {
        if let Lifecycle::Managed { deregister } = &mut self.lifecycle {
            *deregister = true;
        }
        self
    }

    /// The consumer's name.
    pub fn name(&self) -> &ConsumerName {
        &self.name
    }
}
