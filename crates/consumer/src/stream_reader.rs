//! Reads one stream: starts its shards when their parents are finished, and looks for new ones.

use std::{ops::ControlFlow, sync::Arc};

use statefun_kinesis_client::{ChildShard, Error, InstantExt as _, ShardFilter};
use statefun_kinesis_types::ShardId;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    ConsumerError,
    context::{ReadContext, ShardContext},
    cursor::Begin,
    graph::{ListingId, ShardGraph},
    hold::ShardProgress,
    invalid_handling::InvalidRecords,
    metrics::StreamCounters,
    pages::Pages,
    registration::Registration,
    shard_end::{LISTING_LAG, Verdict, is_closed},
    shard_reader::OutOfRangeLog,
    shard_reader::{Failure, Output, ShardReader},
    stream::Stream,
    stream_client::{Listing, StreamClient},
    time::now,
    unpack::Unpacker,
};

/// One of so many periodic listings is complete. The others list only new shards; a complete one also shows which finished
/// shards the service has removed, so that their positions can be removed too.
const COMPLETE_EVERY: u32 = 60;

/// One stream, and what reading it needs.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) stream: Arc<Stream>,
    pub(crate) counters: Arc<StreamCounters>,
    pub(crate) invalid: Arc<InvalidRecords>,
    /// The consumer of enhanced fan-out; `None` where the stream is always polled.
    pub(crate) registration: Option<Arc<Registration>>,
}

/// What a listing is for; a later kind does what the earlier ones do as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListingKind {
    /// Looks for new shards.
    New,
    /// Looks for the children of a shard that ended, and for finished shards that the service has removed.
    Complete,
    /// All known shards are finished: finds out whether the stream is closed.
    Final,
}

/// What reads a shard, while it does not read.
#[derive(Debug)]
struct PausedShard {
    reader: ShardReader,
    pages: Pages,
}

#[derive(Debug)]
enum Event {
    Ended(ShardId, Vec<ChildShard>),
    Failed(Box<PausedShard>, Failure),
    Diagnosed(Box<PausedShard>, Result<Verdict, ConsumerError>),
    Finished(ShardId),
    Listed(ListingKind, ListingId, Result<(Listing, usize), ConsumerError>),
    Due,
}

/// Reads one stream until it is finished, reading is stopped, or something fails permanently.
#[derive(Debug)]
pub(crate) struct StreamReader {
    context: Arc<ReadContext>,
    source: Source,
    stream: Arc<Stream>,
    graph: ShardGraph,
    output: Output,
    random: fastrand::Rng,
    tasks: JoinSet<Event>,
    finished: mpsc::UnboundedReceiver<ShardId>,
    finished_sender: mpsc::UnboundedSender<ShardId>,
    listing_in_flight: bool,
    /// A listing that was requested while another one was in flight.
    next_listing: Option<ListingKind>,
    listing_due: Instant,
    periodic_listings: u32,
}

impl StreamReader {
    pub(crate) fn new(
        context: Arc<ReadContext>,
        source: Source,
        graph: ShardGraph,
        output: Output,
        random: fastrand::Rng,
    ) -> Self {
        let (finished_sender, finished) = mpsc::unbounded_channel();
        let listing_due = Instant::now().saturating_add(context.settings.discovery_interval);
        Self {
            context,
            stream: Arc::clone(&source.stream),
            source,
            graph,
            output,
            random,
            tasks: JoinSet::new(),
            finished,
            finished_sender,
            listing_in_flight: false,
            next_listing: None,
            listing_due,
            periodic_listings: 0,
        }
    }

    pub(crate) async fn run(mut self) -> Result<(), ConsumerError> {
        let stop = self.context.stop.clone();
        if let Some(registration) = self.source.registration.clone() {
            let random = self.random.fork();
            self.tasks.spawn(async move { match registration.register_when_possible(random).await {} });
        }
        self.start();
        let result = loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(joined) = self.tasks.join_next() => match joined {
                    Ok(event) => event,
                    Err(_) => break Err(ConsumerError::Panicked { what: format!("reads stream {}", self.stream.arn) }),
                },
                Some(shard) = self.finished.recv() => Event::Finished(shard),
                () = sleep_until(self.listing_due), if !self.listing_in_flight => Event::Due,
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
            Event::Ended(shard, children) => self.ended(&shard, children),
            Event::Finished(shard) => {
                self.source.counters.finished(&shard);
                self.graph.finished(&shard);
                self.start();
            }
            Event::Failed(_, Failure::Invalid(error)) => return Err(error),
            Event::Failed(shard, Failure::Call(error)) => self.diagnose(shard, error),
            Event::Diagnosed(shard, diagnosis) => self.diagnosed(shard, diagnosis?),
            Event::Listed(kind, id, result) => {
                let (listing, open) = result?;
                return Ok(self.listed(kind, id, listing, open));
            }
            Event::Due => {
                self.periodic_listings += 1;
                let is_complete = self.graph.awaits_parents() || self.periodic_listings.is_multiple_of(COMPLETE_EVERY);
                self.list(match is_complete {
                    _ if self.graph.is_exhausted() => ListingKind::Final,
                    true => ListingKind::Complete,
                    false => ListingKind::New,
                });
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A shard was read to its end.
    fn ended(&mut self, shard: &ShardId, children: Vec<ChildShard>) {
        tracing::debug!(stream = %self.stream.arn, %shard, children = children.len(), "read to the end");
        self.graph.reported(children);
        if !self.graph.has_child(shard) {
            self.list(ListingKind::Complete);
        }
        // `Finished` may have been handled before this event, when the children were not known.
        self.start();
    }

    fn diagnosed(&mut self, mut paused: Box<PausedShard>, verdict: Verdict) {
        let progress = Arc::clone(&paused.reader.progress);
        match verdict {
            Verdict::Ended(children) => {
                progress.end();
                self.ended(&progress.shard, children);
            }
            Verdict::Removed => {
                tracing::warn!(
                    stream = %self.stream.arn, shard = %progress.shard,
                    "the service has removed the shard: its records that were not read are older than the stream's retention"
                );
                progress.end();
            }
            Verdict::ReadAgain => {
                paused.pages.read_again();
                self.read_on(paused);
            }
        }
    }

    /// Starts to read all shards whose parents are finished.
    fn start(&mut self) {
        for (shard, begin) in self.graph.start() {
            tracing::debug!(stream = %self.stream.arn, %shard, ?begin, "reading begins");
            self.read(shard, begin);
        }
        if self.graph.is_exhausted() {
            self.list(ListingKind::Final);
        }
    }

    fn read(&mut self, shard: ShardId, begin: Begin) {
        let Source { stream, counters: stream_counters, invalid, registration } = self.source.clone();
        let moved = Arc::clone(&self.context.moved);
        let counters = stream_counters.shard(shard.clone());
        let progress = ShardProgress::new(
            Arc::clone(&stream),
            shard.clone(),
            Arc::clone(&stream_counters),
            Arc::clone(&counters),
            moved,
            self.finished_sender.clone(),
            self.context.stop.clone(),
        );
        let keeps_all = self.context.settings.keep_out_of_range_records;
        let range = self.graph.hash_range(&shard).filter(|_| stream.keys_decide && !keeps_all);
        let shard_context = ShardContext {
            shared: Arc::clone(&self.context),
            stream: stream.reference.clone(),
            shard: shard.clone(),
            stream_counters: Arc::clone(&stream_counters),
            counters: Arc::clone(&counters),
        };
        let reader = ShardReader {
            stream,
            progress: Arc::clone(&progress),
            invalid,
            unpacker: Unpacker::new(range, begin.done()),
            out_of_range: OutOfRangeLog::default(),
            output: self.output.clone(),
            stream_counters,
            counters,
        };
        let pages = Pages::new(Arc::new(shard_context), registration, begin, self.random.fork());
        self.read_on(Box::new(PausedShard { reader, pages }));
    }

    /// Reads a shard from where it was read to.
    fn read_on(&mut self, mut shard: Box<PausedShard>) {
        self.tasks.spawn(async move {
            let PausedShard { reader, pages } = &mut *shard;
            match reader.run(pages).await {
                Ok(children) => Event::Ended(reader.progress.shard.clone(), children),
                Err(failure) => Event::Failed(shard, failure),
            }
        });
    }

    fn client(&mut self) -> StreamClient {
        StreamClient::new(Arc::clone(&self.context.client), self.context.settings.backoff, self.random.fork())
            .counted(Arc::clone(&self.source.counters))
    }

    /// Finds out in a task what the failure to read a shard means.
    fn diagnose(&mut self, paused: Box<PausedShard>, error: Error) {
        let mut client = self.client();
        let stream = Arc::clone(&self.stream);
        let registration = self.source.registration.clone();
        self.tasks.spawn(async move {
            let (shard, since) = (&paused.reader.progress.shard, paused.pages.doubt_since());
            let mut diagnosis = client.diagnose_shard_failure(&stream, shard, since, error).await;
            if let Some(registration) = registration {
                diagnosis = diagnosis.map_err(|error| registration.name_consumer(error));
            }
            Event::Diagnosed(paused, diagnosis)
        });
    }

    /// Lists shards in a task, now or after the listing in flight, which may have begun before what this one is to find.
    fn list(&mut self, kind: ListingKind) {
        if self.listing_in_flight {
            self.next_listing = self.next_listing.max(Some(kind));
            return;
        }
        self.listing_in_flight = true;
        let id = self.graph.begin_listing();
        let last = self.graph.last_listed().filter(|_| kind == ListingKind::New);
        let filter = last.map_or(ShardFilter::FromTrimHorizon, |last| ShardFilter::AfterShardId(last.clone()));
        let mut client = self.client();
        let stream = Arc::clone(&self.stream);
        self.tasks.spawn(async move {
            let listed = async {
                let open = match kind {
                    ListingKind::Final => match client.describe(&stream.reference).await {
                        Ok(summary) => summary.open_shards,
                        Err(error) => return Err(client.diagnose_stream_failure(&stream, error).await),
                    },
                    ListingKind::New | ListingKind::Complete => 0,
                };
                Ok((client.list_again(&stream, filter).await?, open))
            };
            Event::Listed(kind, id, listed.await)
        });
    }

    fn listed(&mut self, kind: ListingKind, id: ListingId, listing: Listing, open: usize) -> ControlFlow<()> {
        self.listing_in_flight = false;
        // That the summary counts no open shard may be a missing field.
        let all_closed =
            kind == ListingKind::Final && listing.shards.iter().all(|shard| is_closed(shard, &listing.shards));
        if listing.complete {
            let forgotten = self.graph.forget_unlisted(now(), id, &listing.shards, self.stream.retention);
            self.context.moved.forget(self.stream.index, forgotten);
        }
        self.graph.listed(now(), listing.shards);
        let wait = self.context.settings.discovery_interval;
        let wait = if self.graph.awaits_parents() { wait.min(LISTING_LAG) } else { wait };
        self.listing_due = Instant::now().saturating_add(wait);
        // Before `start`, which would request a final listing if nothing is left to read.
        let exhausted = self.graph.is_exhausted();
        if exhausted && all_closed && open == 0 {
            tracing::info!(stream = %self.stream.arn, "the stream is closed and was read to its end");
            return ControlFlow::Break(());
        }
        if !exhausted {
            self.start();
        }
        if let Some(next) = self.next_listing.take() {
            self.list(next);
        }
        ControlFlow::Continue(())
    }
}
