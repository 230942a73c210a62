//! `statefun-kinesis state export`.

use statefun_kinesis_store::Export;

use super::{
    entry::Line,
    store::{Stdout, open, unusable},
};
use crate::{args::ExportArguments, failure::Failure, records::push_json_line};

/// Prints every entry as a line of JSON, table by table, in the order of the keys. Holds only one page of entries in
/// memory.
pub(super) async fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    let store = open(&arguments.directory).await?;
    let unreadable = |error| unusable(&error);
    let mut out = Stdout::new();
    let mut export = Export::new(&store);
    let mut line = String::new();
    while let Some(entry) = export.next().await.map_err(unreadable)? {
        line.clear();
        push_json_line(&mut line, &Line::of(&entry));
        out.write(&line)?;
    }
    out.finish()?;
    store.close().await.map_err(unreadable)
}
