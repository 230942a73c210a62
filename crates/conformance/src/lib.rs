//! The behaviours that every Kinesis client must show, as plain async functions.
