//! Checks that records can be written.

use statefun_kinesis_client::{Operation, StreamStatus};
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PartitionKey, PutRecord};

use super::{
    call::call,
    finding::{Problem, Verdict},
    probe::Probe,
};

impl Probe<'_> {
    /// Puts a record that is one byte too large for the stream. The service checks the stream's limit after permissions,
    /// so the error shows whether the call is allowed, and nothing is stored.
    pub(super) async fn write(&mut self) {
        const OPERATION: Operation = Operation::PutRecords;
        let Some(summary) = &self.answer.summary else {
            return self.answer.rest_untested(
                "without DescribeStreamSummary the stream's record limit is unknown, so a test record could be stored",
            );
        };
        // LocalStack and others store records above their own limit. No AWS account has the number of zeros.
        if !self.is_aws || summary.arn.account() == "000000000000" {
            return self.answer.rest_untested("the server is not AWS and might store the oversized test record");
        }
        if summary.status != StreamStatus::Active {
            // The update may change its record limit.
            return self.answer.rest_untested("the stream is being updated, so a test record could be stored");
        }
        let limit = summary.max_record_bytes;
        if limit >= PUT_RECORDS_MAX_BYTES {
            return self.answer.rest_untested(
                "the stream's record limit is the limit of a request, so no record is too large for the stream only",
            );
        }
        let key: PartitionKey =
            "statefun-kinesis check --live".parse().unwrap_or_else(|_| unreachable!("a constant of valid length"));
        let stream = self.answer.need.stream.clone();
        let record = [PutRecord::new(key.clone(), vec![0; limit + 1 - key.size()])];
        let put = call(OPERATION, async || self.client.put_records(&stream, &record).await).await;
        let verdict = match put {
            Err(error) => self.failed(OPERATION, &error),
            Ok(outcomes) => {
                if outcomes.iter().any(std::result::Result::is_ok) {
                    self.answer.problems.push(Problem {
                        message: format!(
                            "the service stored a test record of {} bytes, one byte above the stream's limit",
                            limit + 1
                        ),
                        because: Vec::new(),
                        help:
                            "the record has the partition key `statefun-kinesis check --live` and contains only zero \
                               bytes; readers of the stream will see it"
                                .to_owned(),
                    });
                }
                Verdict::Allowed
            }
        };
        self.answer.found(OPERATION, verdict);
    }
}
