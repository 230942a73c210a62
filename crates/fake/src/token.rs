//! Shard iterators and page tokens. They are sealed texts rather than entries of a table, so that a reader that takes
//! a million iterators costs no memory; a seal from another fake, or a changed digit, does not open.

use statefun_kinesis_client::{PageToken, ShardFilter, ShardIterator};
use statefun_kinesis_types::Timestamp;

/// What a shard iterator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IteratorState {
    /// The stream's incarnation: a stream made later under the same name has another one.
    pub(crate) stream: u64,
    /// The shard's number in the stream.
    pub(crate) shard: usize,
    /// How many records of the shard lie before the place, counted from the shard's birth.
    pub(crate) offset: u64,
    pub(crate) issued: Timestamp,
    /// How often all iterators had been declared expired when this one was given out.
    pub(crate) round: u64,
}

/// What a page token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageState {
    /// The stream's incarnation.
    pub(crate) stream: u64,
    /// `AfterShardId` comes back as `FromTrimHorizon`: the number in `after` says all that it said.
    pub(crate) filter: ShardFilter,
    /// The number of the last shard of the page before.
    pub(crate) after: usize,
    pub(crate) issued: Timestamp,
}

/// What a page token of ListStreamConsumers says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerPageState {
    /// The stream's incarnation.
    pub(crate) stream: u64,
    /// The serial number of the last consumer of the page before.
    pub(crate) after: u64,
    pub(crate) issued: Timestamp,
}

/// Seals and opens tokens of one fake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    secret: u64,
}

impl Seal {
    const ITERATOR: u64 = 1;
    const PAGE: u64 = 2;
    const CONSUMER_PAGE: u64 = 3;

    pub(crate) fn new(secret: u64) -> Self {
        Self { secret }
    }

    pub(crate) fn iterator(self, state: &IteratorState) -> ShardIterator {
        let fields =
            [state.stream, state.shard as u64, state.offset, state.issued.as_millis().cast_unsigned(), state.round];
        ShardIterator::new(self.close(Self::ITERATOR, &fields))
    }

    pub(crate) fn open_iterator(self, iterator: &ShardIterator) -> Option<IteratorState> {
        let [stream, shard, offset, issued, round] = self.open(Self::ITERATOR, iterator.as_str())?;
        let issued = Timestamp::from_millis(issued.cast_signed());
        Some(IteratorState { stream, shard: usize::try_from(shard).ok()?, offset, issued, round })
    }

    pub(crate) fn page(self, state: &PageState) -> PageToken {
        let (filter, time) = match &state.filter {
            ShardFilter::AtTrimHorizon => (1, Timestamp::EPOCH),
            ShardFilter::AtLatest => (2, Timestamp::EPOCH),
            ShardFilter::AtTimestamp(time) => (3, *time),
            ShardFilter::FromTimestamp(time) => (4, *time),
            // The page begins after a shard in any case.
            ShardFilter::FromTrimHorizon | ShardFilter::AfterShardId(_) => (0, Timestamp::EPOCH),
        };
        let millis = |time: Timestamp| time.as_millis().cast_unsigned();
        let fields = [state.stream, filter, millis(time), state.after as u64, millis(state.issued)];
        PageToken::new(self.close(Self::PAGE, &fields))
    }

    pub(crate) fn open_page(self, token: &PageToken) -> Option<PageState> {
        let [stream, filter, time, after, issued] = self.open(Self::PAGE, token.as_str())?;
        let time = Timestamp::from_millis(time.cast_signed());
        let filter = match filter {
            0 => ShardFilter::FromTrimHorizon,
            1 => ShardFilter::AtTrimHorizon,
            2 => ShardFilter::AtLatest,
            3 => ShardFilter::AtTimestamp(time),
            4 => ShardFilter::FromTimestamp(time),
            _ => return None,
        };
        let issued = Timestamp::from_millis(issued.cast_signed());
        Some(PageState { stream, filter, after: usize::try_from(after).ok()?, issued })
    }

    pub(crate) fn consumer_page(self, state: &ConsumerPageState) -> PageToken {
        let fields = [state.stream, state.after, state.issued.as_millis().cast_unsigned()];
        PageToken::new(self.close(Self::CONSUMER_PAGE, &fields))
    }

    pub(crate) fn open_consumer_page(self, token: &PageToken) -> Option<ConsumerPageState> {
        let [stream, after, issued] = self.open(Self::CONSUMER_PAGE, token.as_str())?;
        Some(ConsumerPageState { stream, after, issued: Timestamp::from_millis(issued.cast_signed()) })
    }

    fn close<const N: usize>(self, kind: u64, fields: &[u64; N]) -> String {
        fields.iter().chain([&self.check(kind, fields)]).map(|field| format!("{field:016x}")).collect()
    }

    fn open<const N: usize>(self, kind: u64, text: &str) -> Option<[u64; N]> {
        if text.len() != 16 * (N + 1) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = |index: usize| u64::from_str_radix(&text[16 * index..16 * (index + 1)], 16).ok();
        let mut fields = [0; N];
        for (index, field) in fields.iter_mut().enumerate() {
            *field = number(index)?;
        }
        (number(N)? == self.check(kind, &fields)).then_some(fields)
    }

    /// FNV-1a over the fields. It guards against mistakes, not against an adversary.
    fn check(self, kind: u64, fields: &[u64]) -> u64 {
        [self.secret, kind]
            .iter()
            .chain(fields)
            .flat_map(|field| field.to_be_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: IteratorState =
        IteratorState { stream: 7, shard: 3, offset: u64::MAX, issued: Timestamp::EPOCH, round: 2 };

    #[test]
    fn what_was_sealed_opens() {
        let seal = Seal::new(1);
        let iterator = seal.iterator(&STATE);
        assert_eq!(seal.open_iterator(&iterator), Some(STATE));
        assert!(iterator.as_str().len() <= 512, "the service's iterators have at most 512 characters");

        let time = Timestamp::from_millis(-1);
        for filter in [
            ShardFilter::FromTrimHorizon,
            ShardFilter::AtTrimHorizon,
            ShardFilter::AtLatest,
            ShardFilter::AtTimestamp(time),
            ShardFilter::FromTimestamp(time),
        ] {
            let page = PageState { stream: 7, filter, after: 9, issued: time };
            assert_eq!(seal.open_page(&seal.page(&page)), Some(page));
        }
        let page = ConsumerPageState { stream: 7, after: 9, issued: time };
        assert_eq!(seal.open_consumer_page(&seal.consumer_page(&page)), Some(page));
    }

    #[test]
    fn nothing_else_opens() {
        let seal = Seal::new(1);
        let text = seal.iterator(&STATE).as_str().to_owned();
        let page = seal.page(&PageState { stream: 7, filter: ShardFilter::AtLatest, after: 0, issued: STATE.issued });
        let changed = text.replacen('7', "8", 1);
        let longer = format!("{text}0");
        for bad in ["", "garbage", &text[1..], &changed, &longer, &"ü".repeat(48), page.as_str()] {
            assert_eq!(seal.open_iterator(&ShardIterator::new(bad)), None, "{bad}");
        }
        assert_eq!(seal.open_page(&PageToken::new(text.as_str())), None);
        assert_eq!(Seal::new(2).open_iterator(&ShardIterator::new(text.as_str())), None);
    }
}
