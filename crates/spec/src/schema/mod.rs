//! What the tables of the decoder say, for others to read: editors and people.

mod arrival;
mod examples;
mod json;
mod json_schema;
mod reference;

pub use arrival::assert_fields_arrive;
pub use examples::{FieldExample, field_examples};
pub use json_schema::json_schema;
pub use reference::reference;
