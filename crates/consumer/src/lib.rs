//! Kinesis shards as ordered batches of records, right about resharding.
