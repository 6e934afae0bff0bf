#!/usr/bin/env python3
"""Replays records that fan-out could not process: those in the queue stream-failures, and the batches that Lambda gave
up and wrote to the bucket.

    pip install boto3 zstandard
    python3 infra/replay.py --stack-name dynahook [--dry-run]

Credentials and region are configured as for every AWS tool. Event and delivery ids are derived from the record, so
replaying one twice, or one that was delivered meanwhile, is harmless. Replayed records are deleted from the queue and
the bucket; the others stay. The exit code is 1 if any stay.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# The keys of Lambda's objects: aws/lambda/<mapping>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<random UUID>.
PREFIX = "aws/lambda/"
UUID_LENGTH = 36

# How long a message is hidden while it is processed, in seconds.
HIDDEN = 600

# Longer than the function's own timeout.
PATIENCE = Config(read_timeout=90, retries={"mode": "standard", "max_attempts": 5})


class ReplayError(Exception):
    """A fault that the operator can fix; its text is the whole error message."""


class Replay:
    """One run over the queue and the bucket of a stack."""

    def __init__(self, stack_name: str, dry_run: bool) -> None:
        clients = {
            name: boto3.client(name, config=PATIENCE) for name in ("cloudformation", "dynamodb", "lambda", "s3", "sqs")
        }
        self.dynamodb, self.functions, self.s3, self.sqs = (
            clients[name] for name in ("dynamodb", "lambda", "s3", "sqs")
        )
        self.dry_run = dry_run
        stacks = clients["cloudformation"].describe_stacks(StackName=stack_name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        try:
            self.function, self.table = outputs["FanoutFunction"], outputs["EventsTable"]
            self.bucket, self.queue = outputs["StreamFailuresBucket"], outputs["StreamFailuresQueueUrl"]
        except KeyError as missing:
            raise ReplayError(f"the stack {stack_name} has no output {missing}: is it Dynahook's main stack?") from None
        self.counts: Counter[str] = Counter()
        # Digests of replayed records: fan-out puts a record that fails again into the queue as a new message.
        self.replayed: set[bytes] = set()
        # The tables whose totals start again.
        self.restarted: set[str] = set()
        # Messages that stay, and notices about objects in the bucket.
        self.held: list[str] = []
        self.notices: list[tuple[str, str]] = []

    def run(self) -> int:
        """Replays everything; returns the exit code."""
        try:
            self.run_queue()
            self.run_bucket()
            self.settle_notices()
        finally:
            self.release([*self.held, *(receipt for _, receipt in self.notices)])
        left = sum(count for what, count in self.counts.items() if what != "replayed")
        for what, count in sorted(self.counts.items()):
            print(f"{count} {what}")
        if not self.counts:
            print("nothing to replay")
        return 1 if left else 0

    def release(self, receipts: list[str]) -> None:
        """Makes messages visible again at once, also if this run ends early."""
        for receipt in receipts:
            try:
                self.sqs.change_message_visibility(QueueUrl=self.queue, ReceiptHandle=receipt, VisibilityTimeout=0)
            except ClientError:
                # The message is already visible again, or will be after its visibility timeout.
                continue

    # ------------------------------------------------------------ the queue

    def run_queue(self) -> None:
        """Replays the messages of the queue until only those remain that stay."""
        while messages := self.receive():
            for message in sorted(messages, key=lambda message: int(message["Attributes"]["SentTimestamp"])):
                receipt = message["ReceiptHandle"]
                if self.is_done(message["MessageId"], message["Body"], receipt):
                    self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=receipt)

    def receive(self) -> list[dict]:
        """Returns up to ten messages, none if the queue is empty. Long polling asks all servers of SQS."""
        answer = self.sqs.receive_message(
            QueueUrl=self.queue,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["SentTimestamp"],
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=2,
        )
        return answer.get("Messages", [])

    def is_done(self, name: str, body: str, receipt: str) -> bool:
        """Replays a message and returns whether it may be deleted; otherwise it is held."""
        try:
            failure = json.loads(body)
            if "object" in failure:
                self.notices.append((failure["object"], receipt))
                return False
            record = self.record(failure)
        except (ValueError, TypeError, ReplayError) as error:
            return self.hold(receipt, name, f"cannot be replayed: {error}")
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
        if digest in self.replayed:
            return self.hold(receipt, name, f"failed again: {failure.get('reason')}")
        if self.dry_run:
            return self.hold(receipt, name, f"would be replayed: {failure.get('reason')}")
        self.replayed.add(digest)
        self.forget(failure)
        if fault := self.invoke([record]):
            return self.hold(receipt, name, f"not done: {fault}")
        self.counts["replayed"] += 1
        return True

    def forget(self, failure: dict) -> None:
        """Removes a record from its table's list of failures, and lets the total start again. Fan-out lists the record
        again if it fails again."""
        table, name = failure.get("table"), failure.get("id")
        if not table or not name:
            return
        forgotten = [f"RECORD#{name}"] if table in self.restarted else ["TOTAL", f"RECORD#{name}"]
        self.restarted.add(table)
        for sk in forgotten:
            self.dynamodb.delete_item(TableName=self.table, Key={"pk": {"S": f"FAILURES#{table}"}, "sk": {"S": sk}})

    def hold(self, receipt: str, name: str, why: str) -> bool:
        """Leaves a message in the queue, hidden until the end of the run."""
        print(f"message {name}: {why}")
        self.held.append(receipt)
        self.counts[f"left in the queue: {why.partition(':')[0]}"] += 1
        return False

    def record(self, failure: dict) -> dict:
        """Returns the record of a message, from the Events table if it was too large for one."""
        if "record" in failure:
            return failure["record"]
        if "record_ref" not in failure:
            raise ReplayError("it holds no record")
        parts = self.dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"BODY#{failure['record_ref']}"}},
            ConsistentRead=True,
        )
        packed = b"".join(item["zstd"]["B"] for page in parts for item in page["Items"])
        if not packed:
            raise ReplayError("its record has expired")
        return json.loads(unpack(packed))

    # ------------------------------------------------------------ the bucket

    def run_bucket(self) -> None:
        """Replays the objects of the bucket, for each shard in the order of its records."""
        stopped = set()
        for second, keys in itertools.groupby(self.keys(), lambda key: key[:-UUID_LENGTH]):
            shard = second.rsplit("/", 4)[0]
            for key, records in self.load(list(keys)):
                if shard in stopped:
                    self.leave(key, "behind one that is not done")
                elif self.dry_run:
                    self.leave(key, f"would be replayed: {len(records)} records")
                elif fault := self.invoke(records):
                    stopped.add(shard)
                    self.leave(key, f"not done: {fault}")
                else:
                    self.s3.delete_object(Bucket=self.bucket, Key=key)
                    self.counts["replayed"] += len(records)

    def keys(self) -> Iterator[str]:
        """Returns the keys in their order: by mapping, shard and second."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX):
            yield from (found["Key"] for found in page.get("Contents", []))

    def load(self, keys: list[str]) -> list[tuple[str, list[dict]]]:
        """Returns the records of all objects of one second, in the order of the shard. Names are accurate to a second
        only."""
        batches = []
        for key in keys:
            try:
                content = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
                # The event that the function received, as text within the JSON.
                records = json.loads(content["payload"])["Records"]
                first = int(content["DDBStreamBatchInfo"]["startSequenceNumber"])
                if not isinstance(records, list):
                    raise TypeError("its records are not a list")
            except (ValueError, KeyError, TypeError) as error:
                self.leave(key, f"cannot be replayed: {error!r}")
                continue
            batches.append((first, key, records))
        return [(key, records) for _, key, records in sorted(batches, key=lambda batch: batch[0])]

    def leave(self, key: str, why: str) -> None:
        """Leaves an object in the bucket."""
        print(f"object {key}: {why}")
        self.counts[f"left in the bucket: {why.partition(':')[0]}"] += 1

    def settle_notices(self) -> None:
        """Deletes notices about objects that no longer exist."""
        notices, self.notices = self.notices, []
        for key, receipt in notices:
            if self.s3.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1).get("KeyCount", 0):
                self.notices.append((key, receipt))
            else:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=receipt)

    # ------------------------------------------------------------ the function

    def invoke(self, records: list[dict]) -> str | None:
        """Invokes fan-out with the records, again for those that it returns for lack of time; returns the reason of a
        failure."""
        while records:
            # As compact as the original, because an event has at most 6 MB.
            event = json.dumps({"Records": records}, ensure_ascii=False, separators=(",", ":")).encode()
            answer = self.functions.invoke(FunctionName=self.function, Payload=event)
            said = json.loads(answer["Payload"].read())
            if "FunctionError" in answer:
                return f"the function failed ({said.get('errorType', answer['FunctionError'])}); see its log"
            failed = {failure["itemIdentifier"] for failure in said["batchItemFailures"]}
            if not failed:
                return None
            # The first named record is the first that is not done; all after it are not done either.
            numbers = [record.get("dynamodb", {}).get("SequenceNumber") for record in records]
            first = next((index for index, number in enumerate(numbers) if number in failed), 0)
            if first == 0:
                return "fan-out returned it; see its log"
            records = records[first:]
        return None


def unpack(packed: bytes) -> bytes:
    """Decompresses a stored record; Python can do it itself from 3.14 on."""
    try:
        from compression import zstd  # noqa: PLC0415
    except ImportError:
        try:
            import zstandard  # noqa: PLC0415
        except ImportError:
            raise ReplayError("it is compressed, and zstandard is not installed: pip install zstandard") from None
        return zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    return zstd.decompress(packed)


def main() -> int:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description="Replays the records that fan-out could not process.")
    parser.add_argument("--stack-name", default="dynahook", help="the main stack (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be replayed")
    arguments = parser.parse_args()
    try:
        return Replay(arguments.stack_name, arguments.dry_run).run()
    except (ReplayError, ClientError, BotoCoreError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
