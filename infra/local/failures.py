"""`make replay-failures`, and the check of it: infra/replay.py against the running stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid

from common import ROOT, StackError
from receiver import Receiver
from stack import STACK, Stack

TABLE = "items"
SHARD = "shardId-00000001573689847184-864758bb"


def replay_failures() -> int:
    """Replays the records that the running stack could not process."""
    stack = Stack("run", int(os.environ.get("DYNAHOOK_PORT", "4566")))
    stack.join()
    return replay(stack).returncode


def replay(stack: Stack, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs the script as an operator would."""
    command = [sys.executable, str(ROOT / "infra" / "replay.py"), "--stack-name", STACK, *arguments]
    environment = {**os.environ, **stack.environment}
    return subprocess.run(command, env=environment, capture_output=quiet, text=True, check=False)


def check_replay(stack: Stack) -> None:
    """Checks that a replay delivers and deletes batches that Lambda gave up, and that failing records stay.

    Needs the table of the end-to-end tests."""
    s3, bucket = stack.client("s3"), stack.outputs["StreamFailuresBucket"]
    # Ignore what earlier tests left in the queue.
    stack.client("sqs").purge_queue(QueueUrl=stack.outputs["StreamFailuresQueueUrl"])
    tenant = f"replay-{uuid.uuid4().hex[:8]}"
    receiver = Receiver(0)
    try:
        admin = stack.issuer.token(tenant, ["ADMIN"])
        webhook = {"name": "replay", "url": f"{receiver.url}/hook", "event_types": ["item.created"]}
        receiver.secrets["/hook"] = stack.expect(201, "POST", "/webhooks", admin, webhook)["secret"]
        # Two batches of the same second. The later one comes first by name, because the end of the name is random.
        later = put(s3, bucket, [record(tenant, 3)], "00000000-0000-4000-8000-000000000000")
        first = put(s3, bucket, [record(tenant, 1), record(tenant, 2)], "ffffffff-ffff-4fff-8fff-ffffffffffff")
        expect(replay(stack, "--dry-run", quiet=True), 1, "2 left in the bucket: would be replayed")
        if set(keys(s3, bucket)) != {first, later}:
            raise StackError("a dry run changed what is in the bucket")
        expect(replay(stack, quiet=True), 0, "3 replayed")
        if not receiver.wait(lambda arrivals: {"i1", "i2", "i3"} <= arrived(arrivals), 30):
            raise StackError(f"the replayed records were not delivered: {arrived(receiver.arrivals)}")
        if keys(s3, bucket):
            raise StackError(f"what was replayed is still there: {keys(s3, bucket)}")
        # The notice of an object may come after it was replayed.
        eventually(lambda: replay(stack, quiet=True).stdout == "nothing to replay\n", "a second run does nothing")
        check_failing(stack, s3, bucket, tenant)
    finally:
        receiver.close()


def check_failing(stack: Stack, s3, bucket: str, tenant: str) -> None:
    """Checks that records that fail transiently stay, and that permanently failing ones return to the queue."""
    unmapped, large = record(tenant, 5), record(tenant, 6)
    unmapped["dynamodb"]["NewImage"]["item_id"] = {"BOOL": True}
    large["dynamodb"]["NewImage"] = {"tenant_id": {"S": tenant}, "text": {"S": noise(950_000)}}
    put(s3, bucket, [record(tenant, 4)], str(uuid.uuid4()))
    put(s3, bucket, [unmapped, large], str(uuid.uuid4()), second=50)
    functions, function = stack.client("lambda"), stack.outputs["FanoutFunction"]
    variables = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    try:
        # Nothing listens at this address, so DynamoDB is unavailable, and no role is checked.
        away = {"Variables": {**variables, "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9"}}
        functions.update_function_configuration(FunctionName=function, Environment=away)
        expect(
            replay(stack, quiet=True),
            1,
            "1 left in the bucket: not done",
            "1 left in the bucket: behind one that is not done",
        )
    finally:
        functions.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
    if len(keys(s3, bucket)) != 2:
        raise StackError("a batch that was not done is gone")
    replay(stack, quiet=True)
    if keys(s3, bucket):
        raise StackError(f"what was replayed is still there: {keys(s3, bucket)}")
    # One record is in its message; the other is too large and in the Events table. The notices of both batches may be
    # late.
    eventually(
        lambda: "\n2 left in the queue: failed again\n" in replay(stack, quiet=True).stdout, "both records fail again"
    )
    stack.client("sqs").purge_queue(QueueUrl=stack.outputs["StreamFailuresQueueUrl"])


def record(tenant: str, number: int) -> dict:
    """Returns a stream record in the form of Lambda."""
    return {
        "eventID": f"{tenant}-{number}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": time.time() // 1,
            "Keys": {"tenant_id": {"S": tenant}, "item_id": {"S": f"i{number}"}},
            "NewImage": {"tenant_id": {"S": tenant}, "item_id": {"S": f"i{number}"}},
            "SequenceNumber": str(800000000003126276362 + number),
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2026-11-21T10:00:00.000",
    }


def put(s3, bucket: str, records: list[dict], name: str, second: int = 49) -> str:
    """Writes an object in the form that Lambda documents for batches that it gives up; returns the key."""
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    content = {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:fanout",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 900,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": f"2026-11-28T00:13:{second}.717Z",
        "DDBStreamBatchInfo": {
            "shardId": SHARD,
            "startSequenceNumber": numbers[0],
            "endSequenceNumber": numbers[-1],
            "approximateArrivalOfFirstRecord": "2026-11-27T01:13:19Z",
            "approximateArrivalOfLastRecord": "2026-11-27T01:13:19Z",
            "batchSize": len(records),
            "streamArn": f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2026-11-21T10:00:00.000",
        },
        "payload": json.dumps({"Records": records}),
    }
    key = f"aws/lambda/6f1a7b4e-0000-4000-8000-000000000000/{SHARD}/2026/11/28/2026-11-28T00.13.{second}-{name}"
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(content).encode())
    return key


def keys(s3, bucket: str) -> list[str]:
    """Returns the keys in the bucket."""
    return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def arrived(arrivals: list) -> set[str]:
    """Returns the entities that arrived."""
    return {json.loads(arrival.body)["entityId"] for arrival in arrivals}


def noise(length: int) -> str:
    """Returns text that hardly compresses."""
    return os.urandom(length // 2).hex()


def expect(run: subprocess.CompletedProcess[str], code: int, *lines: str) -> None:
    """Checks that a run of the script ended with that code and printed those lines."""
    if run.returncode != code or any(line not in run.stdout for line in lines):
        raise StackError(
            f"infra/replay.py ended with {run.returncode} instead of {code}, or did not print {lines}:\n"
            f"{run.stdout}{run.stderr}"
        )


def eventually(holds, what: str) -> None:
    """Waits until something holds, for half a minute."""
    end = time.monotonic() + 30
    while not holds():
        if time.monotonic() > end:
            raise StackError(f"waited 30 s: {what}")
        time.sleep(1)
