//! `statefun-kinesis state inspect`.

use std::fmt::Write;

use serde::Serialize;
use statefun_kinesis_functions::StoredValue;
use statefun_kinesis_store::{ModuleRecord, Overview, overview, values_of};
use statefun_kinesis_types::Address;

use super::{
    entry::{Line, position_text, start_text},
    store::{Stdout, open, unusable},
};
use crate::{
    ExitCode,
    args::{InspectArguments, InspectFormat},
    failure::Failure,
    records::push_json_line,
};

/// Prints an overview of a store, or the states of one address.
pub(super) async fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let store = open(&arguments.directory).await?;
    let unreadable = |error| unusable(&error);
    let mut text = String::new();
    match arguments.address() {
        Some(address) => {
            let values = values_of(&store, &address).await.map_err(unreadable)?;
            let lines = values.into_iter().map(|(name, stored)| match StoredValue::decode(stored) {
                Some(stored) => Ok(Line::of_state(&name, &stored)),
                None => Err(Failure::new(
                    ExitCode::Setup,
                    format!("cannot read the state `{name}` of {address}: its format is unknown"),
                )),
            });
            let address = Values::new(&address, lines.collect::<Result<_, _>>()?);
            match arguments.format {
                InspectFormat::Human => address.render(&mut text),
                InspectFormat::Json => push_json_line(&mut text, &address),
            }
        }
        None => {
            let contents = Contents::new(&overview(&store).await.map_err(unreadable)?);
            match arguments.format {
                InspectFormat::Human => contents.render(&mut text),
                InspectFormat::Json => push_json_line(&mut text, &contents),
            }
        }
    }
    let mut out = Stdout::new();
    out.write(&text)?;
    out.finish()?;
    store.close().await.map_err(unreadable)
}

/// The states of an address.
#[derive(Serialize)]
struct Values {
    function: String,
    id: String,
    values: Vec<Line>,
}

impl Values {
    fn new(address: &Address, values: Vec<Line>) -> Self {
        Self { function: address.function.to_string(), id: address.id.to_string(), values }
    }

    fn render(&self, text: &mut String) {
        if self.values.is_empty() {
            *text += "no state is stored for this address\n";
        }
        let rows = self.values.iter().map(|line| {
            let value = match (&line.value, &line.payload, &line.payload_base64) {
                (Some(value), ..) => value.to_string(),
                (None, Some(payload), _) => payload.escape_debug().to_string(),
                (None, None, base64) => format!("base64 {}", base64.as_deref().unwrap_or_default()),
            };
            let expires = line.expires.as_ref().map(|at| format!("expires {at}")).unwrap_or_default();
            [line.name.clone().unwrap_or_default(), value, line.typename.clone().unwrap_or_default(), expires]
        });
        render_rows(text, "", rows);
    }
}

/// An overview of a store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Contents {
    last_commit: u64,
    /// None before the first run.
    module: Option<Module>,
    positions: Vec<Stream>,
    tables: Vec<TableSize>,
}

#[derive(Serialize)]
struct Module {
    fingerprint: String,
    ingresses: Vec<Ingress>,
    egresses: Vec<Egress>,
}

#[derive(Serialize)]
struct Ingress {
    id: String,
    streams: Vec<Route>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    stream_arn: String,
    value_type: String,
    targets: Vec<String>,
}

#[derive(Serialize)]
struct Egress {
    id: String,
    stream: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    ingress: String,
    stream_arn: String,
    created: String,
    start: String,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    shard_id: String,
    position: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TableSize {
    table: &'static str,
    entries: u64,
    key_bytes: u64,
    value_bytes: u64,
    stored_bytes: u64,
}

impl Module {
    fn new(record: &ModuleRecord) -> Self {
        let ingresses = record.ingresses.iter().map(|(id, streams)| Ingress {
            id: id.to_string(),
            streams: streams
                .iter()
                .map(|(stream, route)| Route {
                    stream_arn: stream.to_string(),
                    value_type: route.value_type.to_string(),
                    targets: route.targets.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        });
        let egresses = record
            .egresses
            .iter()
            .map(|(id, stream)| Egress { id: id.to_string(), stream: stream.as_ref().map(ToString::to_string) });
        Self { fingerprint: record.fingerprint(), ingresses: ingresses.collect(), egresses: egresses.collect() }
    }
}

impl Contents {
    fn new(overview: &Overview) -> Self {
        let positions = overview.positions.iter().map(|((ingress, stream), checkpoint)| Stream {
            ingress: ingress.to_string(),
            stream_arn: stream.to_string(),
            created: checkpoint.created.to_string(),
            start: start_text(checkpoint.start),
            shards: checkpoint
                .shards
                .iter()
                .map(|(shard, position)| Shard { shard_id: shard.to_string(), position: position_text(*position) })
                .collect(),
        });
        let tables = overview.tables.iter().map(|size| TableSize {
            table: size.table.name(),
            entries: size.entries,
            key_bytes: size.key_bytes,
            value_bytes: size.value_bytes,
            stored_bytes: size.stored_bytes,
        });
        Self {
            last_commit: overview.last_commit.0,
            module: overview.module.as_ref().map(Module::new),
            positions: positions.collect(),
            tables: tables.collect(),
        }
    }

    fn render(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = self.try_render(text);
    }

    fn try_render(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "last commit  {}", self.last_commit)?;
        match &self.module {
            None => writeln!(text, "module       none: no run has used this store yet")?,
            Some(module) => {
                writeln!(text, "module       {}", module.fingerprint)?;
                for ingress in &module.ingresses {
                    writeln!(text, "  ingress {}", ingress.id)?;
                    for Route { stream_arn, value_type, targets } in &ingress.streams {
                        writeln!(text, "    {stream_arn}: {value_type} to {}", targets.join(", "))?;
                    }
                }
                for Egress { id, stream } in &module.egresses {
                    let stream = stream.as_deref().unwrap_or("the streams that the records name");
                    writeln!(text, "  egress {id}: to {stream}")?;
                }
            }
        }
        text.push_str("\npositions\n");
        if self.positions.is_empty() {
            text.push_str("  none: the next run reads from the startup positions\n");
        }
        for Stream { ingress, stream_arn, created, start, shards } in &self.positions {
            writeln!(text, "  {ingress}: {stream_arn}, created {created}, read from {start}")?;
            render_rows(text, "    ", shards.iter().map(|shard| [shard.shard_id.clone(), shard.position.clone()]));
        }
        text.push('\n');
        let head = ["table", "entries", "bytes of keys", "bytes of values", "bytes on disk"].map(str::to_owned);
        let rows = self.tables.iter().map(|size| {
            [
                size.table.to_owned(),
                size.entries.to_string(),
                size.key_bytes.to_string(),
                size.value_bytes.to_string(),
                size.stored_bytes.to_string(),
            ]
        });
        render_rows(text, "", std::iter::once(head).chain(rows));
        Ok(())
    }
}

/// Appends rows with aligned columns.
fn render_rows<const N: usize>(text: &mut String, indent: &str, rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<_> = rows.collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in rows {
        let mut line = String::from(indent);
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
