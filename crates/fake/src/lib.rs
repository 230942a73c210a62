//! Kinesis in memory, as awkward as the service: for tests, demos and local runs.
