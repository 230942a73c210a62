"""Takes aggregates apart or makes them, with the module of those who made the format.

python aggregation.py apart | together MAX_BYTES

Reads a list of records as JSON and writes one. A record has "key", "hashKey" (decimal, or null) and "data" (base64);
of those to be taken apart, and of what comes out, "sequence" is the sequence number and "sub" the place in the aggregate.
"""

import base64
import json
import sys

from aws_kinesis_agg import aggregator, deaggregator


def apart(records):
    for record in records:
        whole = {
            "SequenceNumber": record["sequence"],
            "PartitionKey": record["key"],
            "ApproximateArrivalTimestamp": 0,
            "Data": base64.b64decode(record["data"]),
        }
        for user in deaggregator.iter_deaggregate_records(whole, data_format="Boto3"):
            user = user["kinesis"]
            data = user["data"] if "aggregated" in user else base64.b64encode(user["data"])
            yield {
                "key": user["partitionKey"],
                "hashKey": user.get("explicitHashKey"),
                "data": data.decode(),
                "sequence": user["sequenceNumber"],
                "sub": user.get("subSequenceNumber", 0),
            }


def together(records, max_bytes):
    packed = aggregator.RecordAggregator(max_bytes)
    full = [packed.add_user_record(record["key"], base64.b64decode(record["data"]), record["hashKey"]) for record in records]
    for whole in full + [packed.clear_and_get()]:
        if whole:
            key, hash_key, data = whole.get_contents()
            yield {"key": key, "hashKey": hash_key, "data": base64.b64encode(data).decode()}


given = json.load(sys.stdin)
made = apart(given) if sys.argv[1] == "apart" else together(given, int(sys.argv[2]))
json.dump(list(made), sys.stdout)
