//! Functions between an ingress and an egress.

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::{Clock, KinesisAdmin, KinesisClient};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    Answer, DeadLetters, Effects, EgressMessage, Expiration, GroupSettings, Invoke, InvokeError, Limits, Request,
    StateChange, StateSpec, StatefulFunctions, Value,
};
use statefun_kinesis_module::{EgressSpec, FailureHandling, IngressSpec, RecordMetadata, StartupPosition, StreamRoute};
use statefun_kinesis_router::{EgressMetrics, Handler, Ingress, Progress, Router, RunError, Unfinished};
use statefun_kinesis_types::{ErrorChain, InvalidRecordHandling, PutRecord, StreamArn};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const IN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/in";

pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Answer, InvokeError>> + Send>>;

/// Functions made of a closure.
pub(crate) struct Code(Box<dyn Fn(Request) -> Handling + Send + Sync>);

impl Code {
    pub(crate) fn new<F>(code: impl Fn(Request) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Answer, InvokeError>> + Send + 'static,
    {
        Arc::new(Self(Box::new(move |request| Box::pin(code(request)))))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

#[async_trait]
impl Invoke for Code {
    async fn invoke(&self, request: &Request, _: Duration) -> Result<Answer, InvokeError> {
        (self.0)(request.clone()).await
    }
}

pub(crate) fn text(value: &Value) -> String {
    String::from_utf8(value.bytes.clone().unwrap_or_default().to_vec()).unwrap()
}

pub(crate) fn texts(request: &Request) -> Vec<String> {
    request.messages.iter().map(|message| text(&message.value)).collect()
}

pub(crate) fn to_out(key: &str, data: String) -> EgressMessage {
    EgressMessage::Record {
        egress: "t/out".parse().unwrap(),
        stream: None,
        record: PutRecord::new(key.parse().unwrap(), data),
    }
}

/// Counts the messages of an address, and sends each count to the egress.
pub(crate) fn count(request: &Request) -> Answer {
    let Some((_, total)) = request.states.iter().find(|(name, _)| &**name == "total") else {
        let spec = StateSpec { name: "total".into(), typename: "t/text".into(), expiration: Expiration::Never };
        return Answer::StatesMissing(vec![spec]);
    };
    let mut total: usize = total.as_ref().map_or(0, |value| text(value).parse().unwrap());
    let mut effects = Effects::default();
    for _ in request.messages.iter() {
        total += 1;
        effects.egress.push(to_out(&request.target.id, total.to_string()));
    }
    let value = Some(Value::new("t/text", total.to_string()));
    effects.states.push(StateChange { name: "total".into(), value });
    Answer::Handled(effects)
}

pub(crate) fn forward(request: &Request) -> Answer {
    let egress = texts(request).into_iter().map(|text| to_out(&request.target.id, text)).collect();
    Answer::Handled(Effects { egress, ..Effects::default() })
}

pub(crate) struct Scene {
    pub(crate) kinesis: FakeKinesis,
    pub(crate) functions: Arc<StatefulFunctions>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) egresses: EgressMetrics,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<Unfinished, RunError>>,
}

pub(crate) struct Plan {
    pub(crate) settings: GroupSettings,
    pub(crate) failures: FailureHandling,
    pub(crate) limits: Limits,
    pub(crate) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(crate) targets: Vec<&'static str>,
    /// What the egress does with records that fail permanently.
    pub(crate) failed_records: InvalidRecordHandling,
    pub(crate) record_metadata: RecordMetadata,
    /// The clock of the run, instead of that of Kinesis.
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: GroupSettings::default(),
            failures: FailureHandling::KeepTrying,
            limits: Limits::default(),
            dead_letters: None,
            targets: vec!["t/f"],
            failed_records: InvalidRecordHandling::Fail,
            record_metadata: RecordMetadata::Omit,
            clock: None,
        }
    }
}

impl Plan {
    pub(crate) async fn start(self, code: Arc<Code>, records: &[(&str, &str)]) -> Scene {
        let kinesis = FakeKinesis::new();
        for name in ["in", "out", "dead"] {
            kinesis.create_stream(&name.parse().unwrap(), 2).await.unwrap();
        }
        let stream: StreamArn = IN.parse().unwrap();
        for records in records.chunks(500) {
            let puts: Vec<_> =
                records.iter().map(|(key, data)| PutRecord::new(key.parse().unwrap(), data.to_string())).collect();
            for put in kinesis.put_records(&stream.clone().into(), &puts).await.unwrap() {
                put.unwrap();
            }
        }
        let targets = self.targets.iter().map(|target| target.parse().unwrap()).collect();
        let route = StreamRoute::new(stream, "t/text".parse().unwrap(), targets);
        let mut ingress = IngressSpec::new("t/in".parse().unwrap(), vec![route]);
        ingress.startup = StartupPosition::TrimHorizon;
        ingress.record_metadata = self.record_metadata;
        let mut builder = StatefulFunctions::builder().limits(self.limits);
        if let Some(dead_letters) = self.dead_letters {
            builder = builder.dead_letters(dead_letters);
        }
        let functions = builder.functions("t/*".parse().unwrap(), self.settings, self.failures, code);
        let functions = Arc::new(functions.build().await.unwrap());
        let client = Arc::new(kinesis.clone());
        let mut egress = EgressSpec::new("t/out".parse().unwrap(), "out".parse().unwrap());
        egress.failed_records.given_up = self.failed_records;
        let router = Router::builder(Handler::stateful(Arc::clone(&functions) as Arc<_>))
            .ingress(Ingress::new(ingress, client.clone()))
            .egress(egress, client)
            .clock(self.clock.unwrap_or_else(|| kinesis.clock()))
            .build()
            .await
            .unwrap();
        let (progress, egresses, shutdown) = (router.progress(), router.egress_metrics(), CancellationToken::new());
        let running = tokio::spawn(router.run(shutdown.clone()));
        Scene { kinesis, functions, progress, egresses, shutdown, running }
    }
}

impl Scene {
    /// Waits until a condition holds. The time is paused, so a day is long enough for everything.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(86_400), waiting).await;
        assert!(waited.is_ok(), "{what}: {:?}, {:?}", self.progress.counts(), self.functions.usage());
    }

    pub(crate) async fn until_done(&self, records: u64) {
        let is_done = |scene: &Self| {
            let usage = scene.functions.usage();
            scene.progress.counts().records_done == records && usage.messages == 0 && usage.egress_records == 0
        };
        self.until("all is done", is_done).await;
    }

    /// What the egress stream holds, by key.
    pub(crate) fn out(&self) -> BTreeMap<String, Vec<String>> {
        let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, record) in self.kinesis.records(&"out".parse().unwrap()) {
            let data = String::from_utf8(record.data.to_vec()).unwrap();
            out.entry(record.partition_key.unwrap().to_string()).or_default().push(data);
        }
        out
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// The errors of a run that ends by itself, from the outermost to the innermost.
pub(crate) async fn end(scene: Scene) -> String {
    let error = scene.running.await.unwrap().unwrap_err();
    ErrorChain(&error).to_string()
}
