use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use statefun_kinesis_client::{
    PutOutcome, RecordPage, ShardIterator, ShardPage, ShardPageRequest, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{
    GET_RECORDS_MAX_BYTES, GET_RECORDS_MAX_RECORDS, HashKey, ITERATOR_LIFETIME, LIST_SHARDS_MAX_RESULTS,
    PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord, ShardId, StartPosition, StreamArn, StreamName,
    StreamRef, Timestamp,
};

use crate::{
    numbering::Generations,
    refusal::Refusal,
    stream::{Reshard, Stream},
    token::{IteratorState, PageState, Seal},
};

/// How long a token lives (API reference, ListShards and ListStreamConsumers).
pub(crate) const PAGE_TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// Shards of a ListShards page when the request does not say (API reference, ListShards).
const LIST_SHARDS_DEFAULT_RESULTS: usize = 1_000;

/// Open shards of an account in the large regions (AWS documentation, "Quotas and limits").
const ACCOUNT_MAX_SHARDS: usize = 20_000;

/// Streams of an account that can be CREATING at a time (API reference, CreateStream).
const ACCOUNT_MAX_CREATING: usize = 5;

/// How a fake behaves as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) enforce_throughput: bool,
    /// How long a stream is CREATING, UPDATING or DELETING.
    pub(crate) status_delay: Duration,
}

/// The streams of one account in one region. Every function is told the time, which must not go back.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) settings: Settings,
    pub(crate) seal: Seal,
    /// By incarnation, so that an iterator of a removed stream never finds a new one of the same name.
    pub(crate) streams: HashMap<u64, Stream>,
    names: BTreeMap<StreamName, u64>,
    incarnations: u64,
    generations: Generations,
    /// How often all iterators have been declared expired.
    round: u64,
    /// Counts the consumers and subscriptions of all streams.
    pub(crate) serials: u64,
}

impl Store {
    pub(crate) fn new(settings: Settings, secret: u64) -> Self {
        Self {
            settings,
            seal: Seal::new(secret),
            streams: HashMap::new(),
            names: BTreeMap::new(),
            incarnations: 0,
            generations: Generations::default(),
            round: 0,
            serials: 0,
        }
    }

    pub(crate) fn arn(&self, name: &StreamName) -> StreamArn {
        StreamArn::new(&self.settings.region, &self.settings.account, name)
            .expect("region and account were checked when the fake was built")
    }

    fn missing(&self, name: &StreamName) -> Refusal {
        let Settings { region, account, .. } = &self.settings;
        Refusal::not_found(format!("account {account} has no stream {name} in {region}"))
    }

    /// The stream of this reference, with everything that was due by now carried out.
    pub(crate) fn stream(&mut self, stream: &StreamRef, now: Timestamp) -> Result<(u64, &mut Stream), Refusal> {
        let name = stream.name();
        if let Some(arn) = stream.arn() {
            let Settings { region, account, .. } = &self.settings;
            // The service checks who may do it before it looks whether the stream is there.
            if arn.account() != account {
                return Err(Refusal::access_denied(format!(
                    "account {account} is not permitted to use {arn}, which belongs to another one"
                )));
            }
            if arn.region() != region {
                return Err(Refusal::not_found(format!("{arn} is not in {region}")));
            }
        }
        let Some(&incarnation) = self.names.get(&name) else { return Err(self.missing(&name)) };
        self.settle(incarnation, now);
        // Looked up again, because settling may have removed it.
        match self.streams.get_mut(&incarnation) {
            Some(found) => Ok((incarnation, found)),
            None => Err(Refusal::not_found(format!("stream {name} has been removed"))),
        }
    }

    pub(crate) fn settle(&mut self, incarnation: u64, now: Timestamp) {
        let Some(stream) = self.streams.get_mut(&incarnation) else { return };
        if !stream.settle(now, &mut self.generations) {
            let name = stream.arn.name();
            self.streams.remove(&incarnation);
            self.names.remove(&name);
        }
    }

    /// The stream, if it can be read and written. While it is CREATING or DELETING the service denies that it exists.
    pub(crate) fn usable(&mut self, stream: &StreamRef, now: Timestamp) -> Result<(u64, &mut Stream), Refusal> {
        let (incarnation, found) = self.stream(stream, now)?;
        match found.status() {
            status if status.is_usable() => Ok((incarnation, found)),
            status => Err(Refusal::not_found(format!("stream {stream} is {status}"))),
        }
    }

    pub(crate) fn describe(&mut self, stream: &StreamRef, now: Timestamp) -> Result<StreamSummary, Refusal> {
        Ok(self.stream(stream, now)?.1.summary())
    }

    pub(crate) fn list_shards(
        &mut self,
        stream: &StreamRef,
        page: &ShardPageRequest,
        now: Timestamp,
    ) -> Result<ShardPage, Refusal> {
        let seal = self.seal;
        let (incarnation, found) = self.stream(stream, now)?;
        let (filter, after, max_results) = match page {
            ShardPageRequest::First { filter, max_results } => (filter.clone(), None, max_results),
            ShardPageRequest::Next { token, max_results } => {
                let page = seal
                    .open_page(token)
                    .filter(|page| page.stream == incarnation)
                    .ok_or_else(|| Refusal::invalid(format!("no listing of {stream} gave out this token")))?;
                if page.issued.after(PAGE_TOKEN_LIFETIME) < now {
                    return Err(Refusal::expired_token(format!(
                        "the token of {} is older than 5 minutes",
                        page.issued
                    )));
                }
                (page.filter, Some(page.after), max_results)
            }
        };
        let size = max_results.map_or(LIST_SHARDS_DEFAULT_RESULTS, |max| max.get().into());
        if size > LIST_SHARDS_MAX_RESULTS {
            return Err(Refusal::validation(format!("a page of {size} shards is over {LIST_SHARDS_MAX_RESULTS}")));
        }
        if !found.status().is_usable() {
            found.check_active()?;
        }
        let mut listed = found.list(&filter, after, now);
        let mut shards = Vec::new();
        let mut last = 0;
        for (number, shard) in listed.by_ref().take(size) {
            shards.push(shard.describe());
            last = number;
        }
        let more = listed.next().is_some();
        drop(listed);
        let next = more.then(|| seal.page(&PageState { stream: incarnation, filter, after: last, issued: now }));
        Ok(ShardPage::new(shards, next))
    }

    pub(crate) fn shard_iterator(
        &mut self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
        now: Timestamp,
    ) -> Result<ShardIterator, Refusal> {
        let (seal, round, enforce) = (self.seal, self.round, self.settings.enforce_throughput);
        let (incarnation, found) = self.usable(stream, now)?;
        let number = found.number(shard, now)?;
        let log = found.shard_mut(number, now)?;
        if enforce && !log.throughput.admit_iterator(now) {
            return Err(Refusal::throttled(format!("rate of iterators exceeded for shard {shard} of stream {stream}")));
        }
        let offset = log.offset(from, now)?;
        Ok(seal.iterator(&IteratorState { stream: incarnation, shard: number, offset, issued: now, round }))
    }

    /// Makes every iterator that was given out so far an expired one.
    pub(crate) fn expire_iterators(&mut self) {
        self.round += 1;
    }

    pub(crate) fn get_records(
        &mut self,
        iterator: &ShardIterator,
        limit: usize,
        now: Timestamp,
    ) -> Result<RecordPage, Refusal> {
        let (seal, round, enforce) = (self.seal, self.round, self.settings.enforce_throughput);
        if !(1..=GET_RECORDS_MAX_RECORDS).contains(&limit) {
            return Err(Refusal::validation(format!("a limit of {limit} is not in 1 to {GET_RECORDS_MAX_RECORDS}")));
        }
        let at = seal.open_iterator(iterator).ok_or_else(|| Refusal::invalid("the shard iterator is not valid"))?;
        if at.issued.after(ITERATOR_LIFETIME) < now || at.round < round {
            return Err(Refusal::expired_iterator(format!(
                "the iterator was given out at {} and it is {now}: it lived 5 minutes",
                at.issued
            )));
        }
        self.settle(at.stream, now);
        let stream = self
            .streams
            .get_mut(&at.stream)
            .filter(|stream| stream.status().is_usable())
            .ok_or_else(|| Refusal::not_found("the stream of the shard iterator has been removed"))?;
        let shard = stream.shard_mut(at.shard, now)?;
        if enforce && !shard.throughput.admit_read(now) {
            return Err(Refusal::throttled(format!("rate of reads exceeded for shard {}", shard.id)));
        }
        let read = shard.read(at.offset, limit, GET_RECORDS_MAX_BYTES, now);
        if enforce {
            shard.throughput.count_read(read.bytes);
        }
        let next = read.next.map(|offset| seal.iterator(&IteratorState { offset, issued: now, round, ..at }));
        let mut page = RecordPage::new(read.records, next, read.behind);
        if page.next_iterator.is_none() {
            page.child_shards = stream.children(at.shard);
        }
        Ok(page)
    }

    /// Has all subscriptions of all streams look again.
    pub(crate) fn wake(&self) {
        self.streams.values().for_each(Stream::wake);
    }

    /// Stores records, but for those that `fails` has another outcome for.
    pub(crate) fn put_records(
        &mut self,
        stream: &StreamRef,
        records: &[PutRecord],
        now: Timestamp,
        mut fails: impl FnMut(usize, &PutRecord) -> Option<PutOutcome>,
    ) -> Result<Vec<PutOutcome>, Refusal> {
        if !(1..=PUT_RECORDS_MAX_RECORDS).contains(&records.len()) {
            let count = records.len();
            return Err(Refusal::validation(format!("{count} records are not 1 to {PUT_RECORDS_MAX_RECORDS}")));
        }
        let enforce = self.settings.enforce_throughput;
        let (_, found) = self.usable(stream, now)?;
        let mut total = 0;
        for (index, record) in records.iter().enumerate() {
            let size = record.size();
            total += size;
            if size > found.max_record_bytes {
                return Err(Refusal::invalid(format!(
                    "record {index} has {size} bytes; stream {stream} takes {} at most",
                    found.max_record_bytes
                )));
            }
        }
        if total > PUT_RECORDS_MAX_BYTES {
            return Err(Refusal::invalid(format!("{total} bytes of records are over {PUT_RECORDS_MAX_BYTES}")));
        }
        let put = |(index, record)| fails(index, record).unwrap_or_else(|| found.put(record, now, enforce));
        Ok(records.iter().enumerate().map(put).collect())
    }

    pub(crate) fn create(&mut self, name: &StreamName, shards: usize, now: Timestamp) -> Result<(), Refusal> {
        if shards == 0 {
            return Err(Refusal::validation("a stream has at least one shard"));
        }
        self.settle_all(now);
        if self.names.contains_key(name) {
            return Err(Refusal::in_use(format!("stream {name} exists already")));
        }
        self.check_shard_quota(shards)?;
        let creating = self.streams.values().filter(|stream| stream.status() == StreamStatus::Creating).count();
        if creating >= ACCOUNT_MAX_CREATING {
            return Err(Refusal::limit_exceeded(format!("{creating} streams are CREATING, which is the most")));
        }
        let active = now.after(self.settings.status_delay);
        let stream = Stream::new(self.arn(name), shards, now, active, &mut self.generations);
        self.incarnations += 1;
        self.names.insert(name.clone(), self.incarnations);
        self.streams.insert(self.incarnations, stream);
        Ok(())
    }

    pub(crate) fn settle_all(&mut self, now: Timestamp) {
        for incarnation in self.names.values().copied().collect::<Vec<_>>() {
            self.settle(incarnation, now);
        }
    }

    fn check_shard_quota(&self, more: usize) -> Result<(), Refusal> {
        let open: usize = self.streams.values().map(Stream::open_shards).sum();
        if open.saturating_add(more) > ACCOUNT_MAX_SHARDS {
            return Err(Refusal::limit_exceeded(format!(
                "{more} more shards than {open} are over the account's {ACCOUNT_MAX_SHARDS}"
            )));
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, stream: &StreamRef, now: Timestamp) -> Result<(), Refusal> {
        let until = now.after(self.settings.status_delay);
        let (incarnation, found) = self.stream(stream, now)?;
        found.check_active()?;
        if found.consumers.count() > 0 {
            return Err(Refusal::in_use(format!("stream {stream} has {} consumers", found.consumers.count())));
        }
        found.delete(until);
        found.wake();
        self.settle(incarnation, now);
        Ok(())
    }

    pub(crate) fn list(&mut self, now: Timestamp) -> Vec<StreamName> {
        self.settle_all(now);
        self.names.keys().cloned().collect()
    }

    pub(crate) fn split(
        &mut self,
        stream: &StreamRef,
        shard: &ShardId,
        at: HashKey,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (_, found) = self.stream(stream, now)?;
        found.check_active()?;
        let number = found.open_number(shard, now)?;
        let range = found.shards[number].range;
        // The service leaves two keys at least to the first child and to the second.
        if at.get().saturating_sub(1) <= range.start().get() || at >= range.end() {
            return Err(Refusal::invalid(format!("{at} does not divide the range {range} of shard {shard}")));
        }
        self.check_shard_quota(1)?;
        self.reshard(stream, Reshard::Split { shard: number, at }, now)
    }

    pub(crate) fn merge(
        &mut self,
        stream: &StreamRef,
        shard: &ShardId,
        adjacent: &ShardId,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (_, found) = self.stream(stream, now)?;
        found.check_active()?;
        let (a, b) = (found.open_number(shard, now)?, found.open_number(adjacent, now)?);
        if !found.shards[a].range.is_adjacent_to(&found.shards[b].range) {
            return Err(Refusal::invalid(format!("shards {shard} and {adjacent} of {stream} are not adjacent")));
        }
        self.reshard(stream, Reshard::Merge { shard: a, adjacent: b }, now)
    }

    fn reshard(&mut self, stream: &StreamRef, change: Reshard, now: Timestamp) -> Result<(), Refusal> {
        let until = now.after(self.settings.status_delay);
        let (incarnation, found) = self.stream(stream, now)?;
        found.update(change, until);
        self.settle(incarnation, now);
        Ok(())
    }
}
