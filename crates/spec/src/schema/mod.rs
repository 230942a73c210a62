//! What the tables of the decoder say, for others to read: editors and people.

mod json;
mod json_schema;
mod reference;

pub use json_schema::json_schema;
pub use reference::reference;
