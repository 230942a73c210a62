//! Records to Kinesis in batches, in order per partition key, through partial failures.
