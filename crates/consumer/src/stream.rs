//! The reading of one stream: its shards, one after the other and side by side.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use statefun_kinesis_client::{ChildShard, Clock, Error, InstantExt as _, KinesisClient, ShardFilter};
use statefun_kinesis_types::ShardId;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ConsumerError, Settings,
    ack::{Moved, ShardProgress},
    cursor::Begin,
    fan_out::Enrolment,
    graph::{ListingId, ShardGraph},
    invalid::InvalidRecords,
    metrics::StreamCounters,
    pages::{Pages, Site},
    prefetch::Prefetch,
    reader::{Failure, Output, Reader},
    service::{Listing, Service, Stream, Trimmed},
    unpack::Unpacker,
};

/// Of so many periodic listings one is complete. The others ask for what is new; this one also finds out which finished
/// shards need not be remembered any more.
const COMPLETE_EVERY: u32 = 60;

/// What all streams of a consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Arc<dyn KinesisClient>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) moved: Arc<Moved>,
    pub(crate) stop: CancellationToken,
}

/// What one stream is read with.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) stream: Arc<Stream>,
    pub(crate) counters: Arc<StreamCounters>,
    pub(crate) invalid: Arc<InvalidRecords>,
    /// The consumer to which records are pushed; `None` is polling for good.
    pub(crate) enrolment: Option<Arc<Enrolment>>,
}

/// Why shards are listed; a later reason includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Survey {
    /// It is time to look for new shards.
    New,
    /// A shard ended whose children are not known, or finished ones may be forgotten.
    Complete,
    /// All known shards are finished: is the stream?
    Last,
}

#[derive(Debug)]
enum Event {
    Ended(ShardId, Vec<ChildShard>),
    Failed(Arc<ShardProgress>, Failure),
    Judged(Arc<ShardProgress>, Result<Trimmed, ConsumerError>),
    Finished(ShardId),
    Listed(Survey, ListingId, Result<(Listing, usize), ConsumerError>),
    Due,
}

/// Reads one stream until it is finished, reading is stopped, or something fails for good.
#[derive(Debug)]
pub(crate) struct StreamReader {
    shared: Arc<Shared>,
    source: Source,
    stream: Arc<Stream>,
    graph: ShardGraph,
    output: Output,
    random: fastrand::Rng,
    tasks: JoinSet<Event>,
    finished: mpsc::UnboundedReceiver<ShardId>,
    finished_sender: mpsc::UnboundedSender<ShardId>,
    surveying: bool,
    /// A survey that was asked for while another one was under way.
    survey_next: Option<Survey>,
    survey_due: Instant,
    surveys: u32,
}

impl StreamReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        source: Source,
        graph: ShardGraph,
        output: Output,
        random: fastrand::Rng,
    ) -> Self {
        let (finished_sender, finished) = mpsc::unbounded_channel();
        let survey_due = Instant::now().saturating_add(shared.settings.discovery_interval);
        Self {
            shared,
            stream: Arc::clone(&source.stream),
            source,
            graph,
            output,
            random,
            tasks: JoinSet::new(),
            finished,
            finished_sender,
            surveying: false,
            survey_next: None,
            survey_due,
            surveys: 0,
        }
    }

    pub(crate) async fn run(mut self) -> Result<(), ConsumerError> {
        let stop = self.shared.stop.clone();
        if let Some(enrolment) = self.source.enrolment.clone() {
            let random = self.random.fork();
            self.tasks.spawn(async move { match enrolment.rejoin(random).await {} });
        }
        self.start();
        let result = loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(joined) = self.tasks.join_next() => match joined {
                    Ok(event) => event,
                    Err(_) => break Err(ConsumerError::Panicked { what: format!("stream {}", self.stream.arn) }),
                },
                Some(shard) = self.finished.recv() => Event::Finished(shard),
                () = sleep_until(self.survey_due), if !self.surveying => Event::Due,
            };
            match self.handle(event) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.tasks.shutdown().await;
        result
    }

    fn handle(&mut self, event: Event) -> Result<ControlFlow<()>, ConsumerError> {
        match event {
            Event::Ended(shard, children) => {
                tracing::debug!(stream = %self.stream.arn, %shard, children = children.len(), "read to the end");
                self.graph.reported(children);
                if !self.graph.has_child(&shard) {
                    self.survey(Survey::Complete);
                }
                // The shard may have been finished before its end was told here.
                self.start();
            }
            Event::Finished(shard) => {
                self.source.counters.finished(&shard);
                self.graph.finished(&shard);
                self.start();
            }
            Event::Failed(_, Failure::Invalid(error)) => return Err(error),
            Event::Failed(progress, Failure::Call(error)) => self.judge(progress, error),
            Event::Judged(progress, verdict) => {
                let Trimmed = verdict?;
                tracing::warn!(
                    stream = %self.stream.arn, shard = %progress.shard,
                    "the shard is gone: what was not read of it was older than the stream's retention"
                );
                progress.end();
            }
            Event::Listed(survey, id, result) => {
                let (listing, open) = result?;
                return Ok(self.listed(survey, id, listing, open));
            }
            Event::Due => {
                self.surveys += 1;
                self.survey(match self.surveys.is_multiple_of(COMPLETE_EVERY) {
                    _ if self.graph.is_exhausted() => Survey::Last,
                    true => Survey::Complete,
                    false => Survey::New,
                });
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Starts all shards that can be read.
    fn start(&mut self) {
        for (shard, begin) in self.graph.start() {
            tracing::debug!(stream = %self.stream.arn, %shard, ?begin, "reading begins");
            self.read(shard, begin);
        }
        if self.graph.is_exhausted() {
            self.survey(Survey::Last);
        }
    }

    fn read(&mut self, shard: ShardId, begin: Begin) {
        let Source { stream, counters: stream_counters, invalid, enrolment } = self.source.clone();
        let moved = Arc::clone(&self.shared.moved);
        let progress = ShardProgress::new(stream.index, shard.clone(), invalid, moved, self.finished_sender.clone());
        let counters = stream_counters.shard(shard.clone());
        let range = self.graph.hash_range(&shard).filter(|_| stream.keys_decide);
        let site = Site {
            shared: Arc::clone(&self.shared),
            stream: stream.reference.clone(),
            shard: shard.clone(),
            stream_counters: Arc::clone(&stream_counters),
            counters: Arc::clone(&counters),
        };
        let reader = Reader {
            stream,
            progress: Arc::clone(&progress),
            unpacker: Unpacker::new(range, begin.done()),
            output: self.output.clone(),
            stream_counters,
            counters,
        };
        let pages = Pages::new(Arc::new(site), enrolment, begin, self.random.fork());
        self.tasks.spawn(async move {
            match reader.run(pages).await {
                Ok(children) => Event::Ended(shard, children),
                Err(failure) => Event::Failed(progress, failure),
            }
        });
    }

    fn service(&mut self) -> Service {
        Service::new(Arc::clone(&self.shared.client), self.shared.settings.backoff, self.random.fork())
            .counted(Arc::clone(&self.source.counters))
    }

    fn judge(&mut self, progress: Arc<ShardProgress>, error: Error) {
        let mut service = self.service();
        let stream = Arc::clone(&self.stream);
        let enrolment = self.source.enrolment.clone();
        self.tasks.spawn(async move {
            let mut verdict = service.judge(&stream, &progress.shard, error).await;
            if let Some(enrolment) = enrolment {
                verdict = verdict.map_err(|error| enrolment.explain(error));
            }
            Event::Judged(progress, verdict)
        });
    }

    /// Lists shards, now or after the listing that is under way: that one may have begun too early to tell.
    fn survey(&mut self, survey: Survey) {
        if self.surveying {
            self.survey_next = self.survey_next.max(Some(survey));
            return;
        }
        self.surveying = true;
        let id = self.graph.begin_listing();
        let filter = match (survey, self.graph.last_listed()) {
            (Survey::New, Some(last)) => ShardFilter::AfterShardId(last.clone()),
            (Survey::New, None) | (Survey::Complete | Survey::Last, _) => ShardFilter::FromTrimHorizon,
        };
        let mut service = self.service();
        let stream = Arc::clone(&self.stream);
        self.tasks.spawn(async move {
            let looked = async {
                let open = match survey {
                    Survey::Last => service.describe(&stream.reference).await?.open_shards,
                    Survey::New | Survey::Complete => 0,
                };
                Ok((service.list(&stream.reference, filter).await?, open))
            };
            let result = match looked.await {
                Ok(listing) => Ok(listing),
                Err(error) => Err(service.explain(&stream, error).await),
            };
            Event::Listed(survey, id, result)
        });
    }

    fn listed(&mut self, survey: Survey, id: ListingId, listing: Listing, open: usize) -> ControlFlow<()> {
        self.surveying = false;
        self.survey_due = Instant::now().saturating_add(self.shared.settings.discovery_interval);
        if listing.complete {
            let ids: BTreeSet<ShardId> = listing.shards.iter().map(|shard| shard.id.clone()).collect();
            let forgotten = self.graph.forget_unlisted(id, &ids);
            self.shared.moved.forget(self.stream.index, forgotten);
        }
        self.graph.listed(listing.shards);
        // Children of shards that are finished start here, and may be all that is left.
        let exhausted = self.graph.is_exhausted();
        if exhausted && survey == Survey::Last && open == 0 {
            tracing::info!(stream = %self.stream.arn, "the stream is closed and was read to its end");
            return ControlFlow::Break(());
        }
        if !exhausted {
            self.start();
        }
        if let Some(next) = self.survey_next.take() {
            self.survey(next);
        }
        ControlFlow::Continue(())
    }
}
