//! The seam between this project and Kinesis: traits, their values, one error type.
