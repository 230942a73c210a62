//! The records of `--input` on their way through a run.

use std::{path::Path, sync::Arc};

use statefun_kinesis_spec::StartupPosition;
use statefun_kinesis_types::Timestamp;
use tracing::warn;

use crate::{
    ExitCode,
    failure::Failure,
    handler::RunHandler,
    input::{InputStreams, put_records, read_records},
    records::InputRecord,
    regional_ingress::RegionalIngress,
};

/// The records of `--input`, and the streams that take them.
#[derive(Debug)]
pub(super) struct Input {
    records: Vec<InputRecord>,
    streams: InputStreams,
}

impl Input {
    /// Reads and checks all records, so that broken ones are reported before anything starts.
    ///
    /// # Errors
    ///
    /// When a line is not a record, or a stream cannot be described.
    pub(super) async fn read(path: &Path, ingresses: &[RegionalIngress]) -> Result<Self, Failure> {
        let streams = streams(ingresses).await?;
        Ok(Self { records: read_records(path, &streams)?, streams })
    }

    /// Puts the records into their streams, and waits until all of them are processed.
    ///
    /// # Errors
    ///
    /// When a record cannot be put.
    pub(super) async fn feed(self, ingresses: &[RegionalIngress], handler: &RunHandler) -> Result<(), Failure> {
        let put = Timestamp::now();
        let last = put_records(self.records, &self.streams).await?;
        for ingress in ingresses {
            if let StartupPosition::AtTimestamp(start) = ingress.spec.startup
                && start > put
            {
                warn!(ingress = %ingress.spec.id, %start, "the startup position is in the future, so no record of the input is read");
                continue;
            }
            handler.processed(&ingress.spec.id, &last).await;
        }
        Ok(())
    }
}

/// The streams into which input can be put.
async fn streams(ingresses: &[RegionalIngress]) -> Result<InputStreams, Failure> {
    let mut streams = InputStreams::new();
    for ingress in ingresses {
        for route in &ingress.spec.streams {
            let summary = ingress.client.describe_stream_summary(&route.stream).await;
            let summary = summary.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
            streams.insert(summary.arn, (Arc::clone(&ingress.client) as Arc<_>, summary.max_record_bytes));
        }
    }
    Ok(streams)
}
