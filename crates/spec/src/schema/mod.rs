//! What the tables of the decoder say, for others to read: editors and people.

mod examples;
mod json;
mod json_schema;
mod reference;

pub use examples::{FieldExample, field_examples};
pub use json_schema::json_schema;
pub use reference::reference;
