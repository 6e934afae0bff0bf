"""Tests of how streams are read, and of what happens to records that fan-out could not process."""

from __future__ import annotations

import io
import json
import re
import sys
import unittest
from collections.abc import Set
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from unittest import mock

from resolved import Resolved
from samcli.yamlhelper import yaml_parse

INFRA = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(INFRA))
import replay  # noqa: E402

RELATED = (INFRA.parent / "shared" / "aws" / "src" / "related.rs").read_text()
SOURCE = yaml_parse((INFRA / "source.yaml").read_text())
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/{}/stream/2026-11-21T10:00:00.000"
KEY = "arn:aws:kms:us-east-1:123456789012:key/{}"


def granted(action: str, **parameters: str) -> list[str]:
    """Returns the resources on which fan-out's role allows an action."""
    policy = Resolved(**parameters).resource("FanoutRole")["Policies"][0]["PolicyDocument"]
    found = [one for one in policy["Statement"] if one["Effect"] == "Allow" and action in one["Action"]]
    return [
        resource
        for one in found
        for resource in (one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]])
    ]


def reads(table: str, **parameters: str) -> bool:
    return any(fnmatchcase(STREAM.format(table), pattern) for pattern in granted("dynamodb:GetRecords", **parameters))


class Mappings(unittest.TestCase):
    """The stream mappings of both templates."""

    def test_retry_until_just_before_the_stream_loses_a_record(self) -> None:
        main = Resolved().resource("EventsStream")
        for mapping in (main, SOURCE["Resources"]["TableStream"]["Properties"]):
            self.assertEqual(str(mapping["MaximumRetryAttempts"]), "-1")
            self.assertLess(int(mapping["MaximumRecordAgeInSeconds"]), 24 * 3600)
            self.assertGreaterEqual(int(mapping["MaximumRecordAgeInSeconds"]), 22 * 3600)
            self.assertTrue(mapping["BisectBatchOnFunctionError"])
        self.assertEqual(main["DestinationConfig"]["OnFailure"]["Destination"], "<StreamFailuresBucket.Arn>")

    def test_write_to_a_bucket_that_is_private_and_that_the_role_may_write(self) -> None:
        bucket = Resolved().resource("StreamFailuresBucket")
        self.assertNotIn("BucketName", bucket)
        self.assertEqual(set(bucket["PublicAccessBlockConfiguration"].values()), {True})
        self.assertEqual(granted("s3:PutObject"), ["<StreamFailuresBucket.Arn>/*"])
        self.assertEqual(granted("s3:ListBucket"), ["<StreamFailuresBucket.Arn>"])

    def test_of_a_source_bring_no_policy(self) -> None:
        self.assertEqual(list(SOURCE["Resources"]), ["TableStream"])


class Sources(unittest.TestCase):
    """Which tables fan-out may read."""

    def test_are_all_unless_named(self) -> None:
        self.assertTrue(reads("orders"))

    def test_can_be_named_and_have_a_prefix(self) -> None:
        names = {"SourceTables": "orders, shop-*"}
        self.assertTrue(reads("orders", **names) and reads("shop-items", **names))
        self.assertFalse(reads("customers", **names) or reads("orders2", **names))

    def test_fit_one_policy_by_the_hundred(self) -> None:
        names = ",".join(f"a-table-of-some-team-{number:03}" for number in range(80))
        policy = Resolved(SourceTables=names).resource("FanoutRole")["Policies"][0]["PolicyDocument"]
        self.assertLess(len(json.dumps(policy, separators=(",", ":"))), 10_240)

    def test_have_keys_only_if_they_are_named(self) -> None:
        self.assertEqual(granted("kms:Decrypt"), [])
        keys = [KEY.format("a"), KEY.format("b")]
        self.assertEqual(granted("kms:Decrypt", SourceKeyArns=",".join(keys)), keys)


class Related(unittest.TestCase):
    """Which tables fan-out may query for related items, and how long it keeps what it found."""

    def test_are_kept_for_longer_than_a_batch_can_be_replayed(self) -> None:
        (kept,) = re.findall(r"const KEPT: SignedDuration = SignedDuration::from_hours\(24 \* (\d+)\);", RELATED)
        rules = Resolved().resource("StreamFailuresBucket")["LifecycleConfiguration"]["Rules"]
        self.assertGreater(int(kept), max(int(rule["ExpirationInDays"]) for rule in rules))

    def queries(self, resource: str, **parameters: str) -> bool:
        arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{resource}"
        return any(fnmatchcase(arn, pattern) for pattern in granted("dynamodb:Query", **parameters))

    def test_are_none_unless_named(self) -> None:
        self.assertFalse(self.queries("threads") or self.queries("threads/index/by_author"))

    def test_can_be_named_and_have_a_prefix_with_their_indexes(self) -> None:
        names = {"RelatedTables": "threads,shop-*"}
        for resource in ("threads", "threads/index/by_author", "shop-items", "shop-items/index/by_day"):
            self.assertTrue(self.queries(resource, **names), resource)
        for resource in ("orders", "threads2", "orders/index/by_day"):
            self.assertFalse(self.queries(resource, **names), resource)

    def test_fit_one_policy_next_to_the_sources(self) -> None:
        names = ",".join(f"a-table-of-some-team-{number:03}" for number in range(30))
        policy = Resolved(SourceTables=names, RelatedTables=names).resource("FanoutRole")["Policies"][0][
            "PolicyDocument"
        ]
        self.assertLess(len(json.dumps(policy, separators=(",", ":"))), 10_240)


def record(number: int) -> dict:
    return {"eventID": str(number), "dynamodb": {"SequenceNumber": str(number)}}


def batch(*numbers: int) -> bytes:
    """An object in the form of Lambda."""
    payload = json.dumps({"Records": [record(number) for number in numbers]})
    return json.dumps({"DDBStreamBatchInfo": {"startSequenceNumber": str(numbers[0])}, "payload": payload}).encode()


def key(shard: str, second: int, name: str) -> str:
    return (
        f"aws/lambda/6f1a7b4e-0000-4000-8000-000000000000/{shard}/2026/11/28/2026-11-28T00.13.{second:02}-{name * 36}"
    )


class Replays(unittest.TestCase):
    """Replays of the bucket, with a function that fails when a test says so."""

    def run_with(
        self, objects: dict[str, bytes], hands_back: Set[int] = frozenset(), seconds: Set[int] = frozenset()
    ) -> tuple:
        """Returns the exit code, the processed records in order, and the rest; `seconds` succeed at the second call."""
        self.done: list[int] = []
        late, left = set(seconds), set(objects)

        def invoke(FunctionName: str, Payload: bytes) -> dict:  # noqa: N803
            failed = []
            for one in json.loads(Payload)["Records"]:
                number = int(one["eventID"])
                if number in hands_back or number in late:
                    late.discard(number)
                    failed = [{"itemIdentifier": str(number)}]
                    break
                self.done.append(number)
            return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failed}).encode())}

        client = mock.MagicMock()
        names = ("FanoutFunction", "EventsTable", "StreamFailuresBucket", "StreamFailuresQueueUrl")
        outputs = [{"OutputKey": name, "OutputValue": name} for name in names]
        client.describe_stacks.return_value = {"Stacks": [{"Outputs": outputs}]}
        client.receive_message.return_value = {}
        client.get_paginator.return_value.paginate.side_effect = lambda **_: [
            {"Contents": [{"Key": one} for one in sorted(objects)]}
        ]
        client.get_object.side_effect = lambda Bucket, Key: {"Body": io.BytesIO(objects[Key])}  # noqa: N803
        client.delete_object.side_effect = lambda Bucket, Key: left.discard(Key)  # noqa: N803
        client.invoke.side_effect = invoke
        with mock.patch.object(replay.boto3, "client", return_value=client), redirect_stdout(io.StringIO()):
            code = replay.Replay("dynahook", dry_run=False).run()
        return code, self.done, left

    def test_are_in_the_order_of_each_shard(self) -> None:
        objects = {
            key("a", 1, "0"): batch(30),
            key("a", 1, "f"): batch(9, 10),
            key("a", 0, "c"): batch(8),
            key("b", 0, "0"): batch(1),
        }
        self.assertEqual(self.run_with(objects), (0, [8, 9, 10, 30, 1], set()))

    def test_stop_a_shard_at_what_is_not_done_and_no_other(self) -> None:
        objects = {key("a", 0, "0"): batch(1, 2), key("a", 1, "0"): batch(3), key("b", 0, "0"): batch(4)}
        code, done, left = self.run_with(objects, hands_back={2})
        self.assertEqual((code, done, left), (1, [1, 4], {key("a", 0, "0"), key("a", 1, "0")}))

    def test_go_on_from_what_was_handed_back_for_lack_of_time(self) -> None:
        code, done, left = self.run_with({key("a", 0, "0"): batch(1, 2, 3)}, seconds={2, 3})
        self.assertEqual((code, done, left), (0, [1, 2, 3], set()))

    def test_leave_what_they_cannot_read(self) -> None:
        objects = {key("a", 0, "0"): b"{}", key("a", 1, "0"): batch(1), "aws/lambda/strange": b"x"}
        code, done, left = self.run_with(objects)
        self.assertEqual((code, done, left), (1, [1], {key("a", 0, "0"), "aws/lambda/strange"}))
