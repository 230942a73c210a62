//! The format of a checkpoint file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statefun_kinesis_types::{StartPosition, StreamArn};

use crate::{Extent, Position, ShardPosition, StreamCheckpoint};

const VERSION: u32 = 1;

/// The part that a file of any version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// Of the same content with an empty checksum, as it is written.
    checksum: String,
    stream: String,
    created: String,
    start: Start,
    shards: BTreeMap<String, Place>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Start {
    TrimHorizon,
    Latest,
    AtTimestamp(String),
    AtSequenceNumber(String),
    AfterSequenceNumber(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Place {
    Unread,
    At(At),
    Finished,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct At {
    sequence_number: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
}

impl Content {
    fn to_json(&self) -> Vec<u8> {
        // Text and numbers in maps with text keys can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// FNV-1a: it detects damage, not manipulation.
    fn checksum(&self) -> String {
        let hash = self.to_json().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

pub(super) fn render(stream: &StreamArn, checkpoint: &StreamCheckpoint) -> Vec<u8> {
    let start = match checkpoint.start {
        StartPosition::TrimHorizon => Start::TrimHorizon,
        StartPosition::Latest => Start::Latest,
        StartPosition::AtTimestamp(time) => Start::AtTimestamp(time.to_string()),
        StartPosition::AtSequenceNumber(number) => Start::AtSequenceNumber(number.to_string()),
        StartPosition::AfterSequenceNumber(number) => Start::AfterSequenceNumber(number.to_string()),
    };
    let place = |position: &ShardPosition| match position {
        ShardPosition::Unread => Place::Unread,
        ShardPosition::Finished => Place::Finished,
        ShardPosition::At(position) => Place::At(At {
            sequence_number: position.sequence_number.to_string(),
            sub_sequence_number: match position.extent {
                Extent::All => None,
                Extent::UpTo(number) => Some(number),
            },
        }),
    };
    let mut content = Content {
        version: VERSION,
        checksum: String::new(),
        stream: stream.to_string(),
        created: checkpoint.created.to_string(),
        start,
        shards: checkpoint.shards.iter().map(|(shard, position)| (shard.to_string(), place(position))).collect(),
    };
    content.checksum = content.checksum();
    content.to_json()
}

/// The content of a file. The error is a phrase that follows the file's name.
pub(super) fn parse(text: &[u8], stream: &StreamArn) -> Result<StreamCheckpoint, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("is damaged ({error})");
    let Head { version } = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    if version > VERSION {
        return Err(format!("is of version {version}, and this program reads up to version {VERSION}"));
    }
    let mut content: Content = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    let checksum = std::mem::take(&mut content.checksum);
    if content.checksum() != checksum {
        return Err(damaged(&"its checksum is wrong"));
    }
    if content.stream != stream.as_str() {
        return Err(format!("is that of {}", content.stream));
    }
    let invalid = |error: statefun_kinesis_types::InvalidValue| damaged(&error);
    let number = |text: &str| text.parse().map_err(invalid);
    let start = match &content.start {
        Start::TrimHorizon => StartPosition::TrimHorizon,
        Start::Latest => StartPosition::Latest,
        Start::AtTimestamp(time) => StartPosition::AtTimestamp(time.parse().map_err(invalid)?),
        Start::AtSequenceNumber(text) => StartPosition::AtSequenceNumber(number(text)?),
        Start::AfterSequenceNumber(text) => StartPosition::AfterSequenceNumber(number(text)?),
    };
    let mut checkpoint = StreamCheckpoint::new(content.created.parse().map_err(invalid)?, start);
    for (shard, place) in content.shards {
        let position = match place {
            Place::Unread => ShardPosition::Unread,
            Place::Finished => ShardPosition::Finished,
            Place::At(At { sequence_number, sub_sequence_number }) => ShardPosition::At(Position {
                sequence_number: number(&sequence_number)?,
                extent: sub_sequence_number.map_or(Extent::All, Extent::UpTo),
            }),
        };
        checkpoint.shards.insert(shard.parse().map_err(invalid)?, position);
    }
    Ok(checkpoint)
}
