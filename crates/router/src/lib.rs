//! The engine: consumer to functions to producer, by exact stream ARN.
