use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_types::FunctionType;
use tokio::time::timeout;

use super::context::Context;
use crate::{Answer, BoxError, Invoke, InvokeError, Message, Request, StateSpec};

/// A stateful function in process.
#[async_trait]
pub trait Function: Send + Sync + 'static {
    /// The states that the function uses. It cannot use any others. Default: none.
    fn states(&self) -> Vec<StateSpec> {
        Vec::new()
    }

    /// Handles a message. The messages of one address are handled one after the other.
    ///
    /// # Errors
    ///
    /// When the message cannot be handled. The batch with the message is then retried, or handled as the failure
    /// handling of the function says. A panic counts as an error.
    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError>;
}

/// Functions in process, by name.
///
/// This counter keeps a total for each key of a stream, and writes each new total to an egress:
///
/// ```
/// use std::sync::Arc;
///
/// use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
/// use statefun_kinesis_fake::FakeKinesis;
/// use statefun_kinesis_functions::{
///     BoxError, Context, Function, Message, Payload, Registry, StateSpec, StatefulFunctions, ValueSpec,
/// };
/// use statefun_kinesis_router::{Handler, Ingress, Router};
/// use statefun_kinesis_module::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
/// use statefun_kinesis_types::{PutRecord, StreamArn};
/// use tokio_util::sync::CancellationToken;
///
/// struct Counter {
///     total: ValueSpec<i64>,
/// }
///
/// #[async_trait::async_trait]
/// impl Function for Counter {
///     fn states(&self) -> Vec<StateSpec> {
///         vec![(&self.total).into()]
///     }
///
///     async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
///         let total = context.get(&self.total)?.unwrap_or(0) + message.read::<i64>()?;
///         context.set(&self.total, &total)?;
///         let key = context.self_address().id.parse()?;
///         context.egress("counter/results".parse()?, PutRecord::new(key, total.to_string()));
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// let registry = Registry::new().function("counter/fn".parse()?, Counter { total: ValueSpec::new("total") });
/// let functions = StatefulFunctions::builder().in_process(registry).build().await?;
///
/// let kinesis = FakeKinesis::new();
/// for name in ["commands", "results"] {
///     kinesis.create_stream(&name.parse()?, 1).await?;
/// }
/// let commands: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/commands".parse()?;
/// for delta in [1_i64, 2, 3] {
///     let command = PutRecord::new("anna".parse()?, Payload::to_bytes(&delta));
///     kinesis.put_record(&commands.clone().into(), command).await?;
/// }
/// let route = StreamRoute::new(commands, i64::TYPENAME.parse()?, vec!["counter/fn".parse()?]);
/// let mut ingress = IngressSpec::new("counter/commands".parse()?, vec![route]);
/// ingress.startup = StartupPosition::TrimHorizon;
/// let egress = EgressSpec::new("counter/results".parse()?, "results".parse()?);
/// let client = Arc::new(kinesis.clone());
/// let router = Router::builder(Handler::stateful(Arc::new(functions)))
///     .ingress(Ingress::new(ingress, client.clone()))
///     .egress(egress, client)
///     .clock(kinesis.clock())
///     .build()
///     .await?;
/// let (progress, shutdown) = (router.progress(), CancellationToken::new());
/// let running = tokio::spawn(router.run(shutdown.clone()));
/// while progress.counts().records_done < 3 {
///     tokio::time::sleep(std::time::Duration::from_millis(100)).await;
/// }
/// shutdown.cancel();
/// running.await??;
///
/// let results = kinesis.records(&"results".parse()?);
/// let totals: Vec<_> = results.iter().map(|(_, record)| record.data.as_ref()).collect();
/// assert_eq!(totals, [b"1", b"3", b"6"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    functions: HashMap<FunctionType, Arc<dyn Function>>,
}

impl Registry {
    /// Returns a registry without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function. It replaces a function of the same name.
    #[must_use]
    pub fn function(mut self, name: FunctionType, function: impl Function) -> Self {
        self.functions.insert(name, Arc::new(function));
        self
    }

    /// The states of all functions.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&FunctionType, StateSpec)> {
        self.functions.iter().flat_map(|(name, function)| function.states().into_iter().map(move |spec| (name, spec)))
    }

    /// The names of all functions.
    pub fn names(&self) -> impl Iterator<Item = &FunctionType> {
        self.functions.keys()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.functions.keys()).finish()
    }
}

#[async_trait]
impl Invoke for Registry {
    async fn invoke(&self, request: &Request, time: Duration) -> Result<Answer, InvokeError> {
        let function = self.functions.get(&request.target.function);
        let function = function.ok_or_else(|| InvokeError::new("this process has no such function"))?;
        let missing: Vec<StateSpec> = function
            .states()
            .into_iter()
            .filter(|spec| !request.states.iter().any(|(name, _)| *name == spec.name))
            .collect();
        if !missing.is_empty() {
            return Ok(Answer::StatesMissing(missing));
        }
        let mut context = Context::new(request);
        let handle = async {
            for message in request.messages.iter() {
                context.begin(message);
                function.handle(&mut context, message).await?;
            }
            Ok(())
        };
        match timeout(time, handle).await {
            Ok(Ok(())) => Ok(Answer::Handled(context.into_effects())),
            Ok(Err(error)) => {
                let error: BoxError = error;
                Err(InvokeError::new("the function failed").because(error))
            }
            Err(_) => Err(InvokeError::new(format!("the function did not finish within {time:?}"))),
        }
    }
}
