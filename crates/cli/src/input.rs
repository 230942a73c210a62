//! The records of `--input`: all of them are read and checked before anything starts, then put into the streams.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::Arc,
};

use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_types::{
    PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord, SequenceNumber, ShardId, StreamArn, StreamRef,
};

use crate::{
    ExitCode,
    args::is_standard_stream,
    failure::Failure,
    records::{InputRecord, read_line},
};

/// The streams that take input, each with its client and its limit of bytes per record.
pub(crate) type InputStreams = BTreeMap<StreamArn, (Arc<dyn KinesisClient>, usize)>;

/// Problems to show; the rest is only counted.
const SHOWN_PROBLEMS: usize = 20;

/// Reads and checks all records of a file; `-` is stdin.
///
/// # Errors
///
/// Lists all broken lines, each with its number.
pub(crate) fn read_records(path: &Path, streams: &InputStreams) -> Result<Vec<InputRecord>, Failure> {
    let name = if is_standard_stream(path) { "stdin".into() } else { path.display().to_string() };
    let unreadable = |error: io::Error| {
        let failure =
            Failure::new(ExitCode::InvalidInput, format!("cannot read the input file {name}")).because(&error);
        match error.kind() {
            io::ErrorKind::NotFound => failure.hint("check the path; `--input -` reads records from stdin"),
            _ => failure,
        }
    };
    let reader: Box<dyn BufRead> = if is_standard_stream(path) {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            let message = format!("{name} is a directory, not a file of records");
            return Err(Failure::new(ExitCode::InvalidInput, message).hint("name a file in it"));
        }
        Box::new(BufReader::new(file))
    };
    let mut records = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.map_err(unreadable)?;
        let read = match std::str::from_utf8(&line) {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => read_line(line, |stream| find(stream, streams)),
            Err(_) => Err("not UTF-8 text".to_owned()),
        };
        match read {
            Ok(record) => records.push(record),
            Err(problem) => problems.push(format!("{name}:{}: {problem}", index + 1)),
        }
    }
    if problems.is_empty() {
        return Ok(records);
    }
    let count = problems.len();
    let mut text = format!("{name} has {count} invalid line{}; no record was put", if count == 1 { "" } else { "s" });
    for problem in problems.iter().take(SHOWN_PROBLEMS) {
        text = text + "\n  " + problem;
    }
    if count > SHOWN_PROBLEMS {
        text += &format!("\n  … and {} more", count - SHOWN_PROBLEMS);
    }
    Err(Failure::new(ExitCode::InvalidInput, text)
        .hint(r#"each line has to be a record: {"stream": "name or ARN", "partitionKey": "…", "data": "text"} or "dataBase64""#))
}

/// The ingress stream that a line names: by ARN, or by a name that is unique among them.
fn find(stream: &StreamRef, streams: &InputStreams) -> Result<(StreamArn, usize), String> {
    let mut found = streams.iter().filter(|(arn, _)| match stream {
        StreamRef::Arn(wanted) => *arn == wanted,
        StreamRef::Name(wanted) => arn.name() == *wanted,
    });
    match (found.next(), found.next()) {
        (Some((arn, (_, limit))), None) => Ok((arn.clone(), *limit)),
        (Some(_), Some(_)) => Err(format!("several ingress streams have the name {stream}: write the ARN")),
        (None, _) => {
            let known: Vec<String> = streams.keys().map(|arn| arn.name().to_string()).collect();
            Err(format!("no ingress of the module reads the stream {stream}; the streams are {}", known.join(", ")))
        }
    }
}

/// The sequence number of the last record of each shard.
pub(crate) type LastPositions = HashMap<(StreamArn, ShardId), SequenceNumber>;

/// Puts the records into their streams. Each stream gets its records in the order of the file.
pub(crate) async fn put_records(records: Vec<InputRecord>, streams: &InputStreams) -> Result<LastPositions, Failure> {
    let mut by_stream: BTreeMap<StreamArn, Vec<PutRecord>> = BTreeMap::new();
    for record in records {
        by_stream.entry(record.stream).or_default().push(record.record);
    }
    let mut last = LastPositions::new();
    for (stream, records) in by_stream {
        let Some((client, _)) = streams.get(&stream) else { continue };
        for request in requests(&records) {
            let failed = |error: &dyn std::error::Error| {
                Failure::new(ExitCode::Kinesis, format!("cannot put the records of the input file into {stream}"))
                    .because(error)
            };
            let outcomes = client.put_records(&stream.clone().into(), request).await.map_err(|error| failed(&error))?;
            for outcome in outcomes {
                let placement = outcome.map_err(|error| failed(&error))?;
                last.insert((stream.clone(), placement.shard), placement.sequence_number);
            }
        }
    }
    Ok(last)
}

/// Splits records into requests within the limits of PutRecords.
fn requests(mut records: &[PutRecord]) -> impl Iterator<Item = &[PutRecord]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = records.iter().take(PUT_RECORDS_MAX_RECORDS).take_while(|record| {
            bytes += record.size();
            bytes <= PUT_RECORDS_MAX_BYTES
        });
        let (request, rest) = records.split_at(fits.count());
        records = rest;
        (!request.is_empty()).then_some(request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_within_the_services_limits() {
        let record = |bytes| PutRecord::new("key".parse().unwrap(), vec![0; bytes]);
        let sizes = |records: &[PutRecord]| requests(records).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![record(1); 1_001]), [500, 500, 1]);
        assert_eq!(sizes(&vec![record((1 << 20) - 3); 21]), [10, 10, 1]);
    }
}
