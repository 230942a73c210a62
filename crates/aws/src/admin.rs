use async_trait::async_trait;
use aws_sdk_kinesis::types::{StreamMode, StreamModeDetails};
use statefun_kinesis_client::{Error, ErrorKind, KinesisAdmin, Operation, Result};
use statefun_kinesis_types::{HashKey, ShardId, StreamName, StreamRef};

use crate::{AwsKinesis, answer, client::name_and_arn, failure::Call};

#[async_trait]
impl KinesisAdmin for AwsKinesis {
    async fn create_stream(&self, name: &StreamName, shards: usize) -> Result<()> {
        let call = Call::on_stream(Operation::CreateStream, name);
        let provisioned =
            StreamModeDetails::builder().stream_mode(StreamMode::Provisioned).build().map_err(|error| {
                Error::new(call.operation, ErrorKind::Unexpected, format!("{name}: the SDK refused the stream mode"))
                    .with_source(error)
            })?;
        let request = self
            .sdk
            .create_stream()
            .stream_name(name.as_str())
            .shard_count(i32::try_from(shards).unwrap_or(i32::MAX))
            .stream_mode_details(provisioned);
        request.send().await.map_err(|error| self.failed(&call, error))?;
        Ok(())
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<()> {
        let call = Call::on_stream(Operation::DeleteStream, stream);
        let (name, arn) = name_and_arn(stream);
        let request = self.sdk.delete_stream().set_stream_name(name).set_stream_arn(arn);
        request.send().await.map_err(|error| self.failed(&call, error))?;
        Ok(())
    }

    async fn list_streams(&self) -> Result<Vec<StreamName>> {
        let call = Call::on_account(Operation::ListStreams);
        let mut names: Vec<StreamName> = Vec::new();
        let mut token = None;
        loop {
            // Older servers have no token; there the next page begins after the last name.
            let last = names.last().filter(|_| token.is_none()).map(StreamName::to_string);
            let request = self.sdk.list_streams().set_next_token(token).set_exclusive_start_stream_name(last);
            let output = request.send().await.map_err(|error| self.failed(&call, error))?;
            let page = answer::stream_names(&output).map_err(|invalid| call.makes_no_sense(invalid))?;
            let came_forward = !page.is_empty();
            names.extend(page);
            if !output.has_more_streams {
                break;
            }
            token = output.next_token;
            if token.is_none() && !came_forward {
                return Err(call.makes_no_sense(answer::Invalid::absent("NextToken")));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn split_shard(&self, stream: &StreamRef, shard: &ShardId, new_starting_hash_key: HashKey) -> Result<()> {
        let call = Call::on_shard(Operation::SplitShard, stream, shard);
        let (name, arn) = name_and_arn(stream);
        let request = self
            .sdk
            .split_shard()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .shard_to_split(shard.as_str())
            .new_starting_hash_key(new_starting_hash_key.to_string());
        request.send().await.map_err(|error| self.failed(&call, error))?;
        Ok(())
    }

    async fn merge_shards(&self, stream: &StreamRef, shard: &ShardId, adjacent: &ShardId) -> Result<()> {
        let call = Call::on_shard(Operation::MergeShards, stream, shard);
        let (name, arn) = name_and_arn(stream);
        let request = self
            .sdk
            .merge_shards()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .shard_to_merge(shard.as_str())
            .adjacent_shard_to_merge(adjacent.as_str());
        request.send().await.map_err(|error| self.failed(&call, error))?;
        Ok(())
    }
}
