"""Tests of the inline source of WatchFunction, with the answers of AWS."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import unittest
from unittest import mock

from botocore.exceptions import ClientError
from metrics import documented, faults_of
from resolved import TEMPLATE

SOURCE = TEMPLATE["Resources"]["WatchFunction"]["Properties"]["Code"]["ZipFile"]
ENVIRONMENT = {
    "REGISTRY_TABLE": "registry",
    "STREAMED": "events,ledger",
    "FUNCTIONS": "fanout,render,deliver,tally",
    "QUEUES": ",".join(f"arn:aws:sqs:us-east-1:123456789012:{name}" for name in ("deliveries", "retries")),
    "METRICS_NAMESPACE": "Dynahook/dynahook",
}


CONTEXT = mock.Mock(invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:watch")


def stream(table: str, label: str = "2026-11-29T00:00:00.000", account: str = "123456789012") -> str:
    return f"arn:aws:dynamodb:us-east-1:{account}:table/{table}/stream/{label}"


class NotFoundError(ClientError):
    """What DynamoDB answers where there is no such table."""

    def __init__(self) -> None:
        super().__init__({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "DescribeTable")


class Cloud:
    """Lambda and DynamoDB: a deployment in which all is well, until a test changes it."""

    def __init__(self) -> None:
        self.sources = ["orders"]
        self.refused: set[str] = set()
        self.tables = {
            name: {"StreamSpecification": {"StreamEnabled": True}, "LatestStreamArn": stream(name)}
            for name in ("events", "ledger", "orders")
        }
        self.mappings = {
            "fanout": [self.mapping(stream("events")), self.mapping(stream("orders"), "No records processed")],
            "render": [],
            "deliver": [self.mapping(queue, None) for queue in ENVIRONMENT["QUEUES"].split(",")],
            "tally": [self.mapping(stream("ledger"))],
        }

    def mapping(self, arn: str, result: str | None = "OK", state: str = "Enabled") -> dict:
        # Mappings of queues have no result.
        last = {} if result is None else {"LastProcessingResult": result}
        return {"EventSourceArn": arn, "State": state, **last}

    def client(self, service: str) -> mock.Mock:
        client = mock.Mock()
        client.get_paginator = lambda operation: mock.Mock(paginate=getattr(self, operation))
        client.describe_table = self.describe_table
        return client

    def list_event_source_mappings(self, FunctionName: str) -> list[dict]:  # noqa: N803
        # A page for each, because AWS returns pages.
        return [{"EventSourceMappings": [mapping]} for mapping in self.mappings[FunctionName]]

    def query(self, **_: object) -> list[dict]:
        return [{"Items": [{"sk": {"S": f"TABLE#{name}"}}]} for name in self.sources]

    def describe_table(self, TableName: str) -> dict:  # noqa: N803
        if TableName in self.refused:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeTable")
        if TableName not in self.tables:
            raise NotFoundError()
        return {"Table": self.tables[TableName]}


class Watch(unittest.TestCase):
    """What it finds."""

    def setUp(self) -> None:
        patch = mock.patch.dict(os.environ, ENVIRONMENT)
        patch.start()
        self.addCleanup(patch.stop)
        self.module: dict = {}
        exec(SOURCE, self.module)
        self.start()

    def start(self) -> None:
        """Starts with a cloud in which all is well."""
        self.cloud = Cloud()
        self.module["boto3"] = mock.Mock(client=self.cloud.client)

    def run_once(self) -> tuple[dict, list[dict]]:
        """Returns what is wrong, and the lines of the log."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            faults = self.module["handler"]({}, CONTEXT)
        return faults, [json.loads(line) for line in said.getvalue().splitlines()]

    def test_a_check_that_finds_nothing_leaves_a_line(self) -> None:
        faults, [line] = self.run_once()
        self.assertEqual(faults, {})
        self.assertEqual([line["level"], line["mappings"], line["faults"]], ["INFO", 5, 0])

    def test_finds_whatever_stops_a_source_or_a_queue(self) -> None:
        def disabled(cloud: Cloud) -> None:
            cloud.mappings["fanout"][1]["State"] = "Disabled"

        def unreadable(cloud: Cloud) -> None:
            cloud.mappings["fanout"][1]["LastProcessingResult"] = "PROBLEM: Lambda cannot access your stream"

        def detached(cloud: Cloud) -> None:
            cloud.mappings["fanout"].pop()

        def replaced(cloud: Cloud) -> None:
            cloud.tables["orders"]["LatestStreamArn"] = stream("orders", "2026-11-30T00:00:00.000")

        def switched_off(cloud: Cloud) -> None:
            del cloud.tables["orders"]["StreamSpecification"]

        def deleted(cloud: Cloud) -> None:
            del cloud.tables["orders"]
            cloud.mappings["fanout"].pop()

        def deleted_with_a_mapping(cloud: Cloud) -> None:
            del cloud.tables["orders"]

        def forbidden(cloud: Cloud) -> None:
            cloud.refused.add("orders")

        def no_events(cloud: Cloud) -> None:
            cloud.mappings["fanout"].pop(0)

        def no_statistics(cloud: Cloud) -> None:
            cloud.mappings["tally"][0]["State"] = "Disabled"

        def ledger_restored(cloud: Cloud) -> None:
            cloud.tables["ledger"]["LatestStreamArn"] = stream("ledger", "2026-11-30T00:00:00.000")

        def queue(cloud: Cloud) -> None:
            cloud.mappings["deliver"][0]["State"] = "Disabled"

        def queue_without_a_mapping(cloud: Cloud) -> None:
            cloud.mappings["deliver"].pop()

        changes = (disabled, unreadable, detached, replaced, switched_off, deleted, forbidden, no_events, queue)
        others = (deleted_with_a_mapping, no_statistics, ledger_restored, queue_without_a_mapping)
        for change in (*changes, *others):
            with self.subTest(change.__name__):
                self.start()
                change(self.cloud)
                faults, lines = self.run_once()
                self.assertEqual(len(faults), 1, faults)
                self.assertEqual([line.get("level") for line in lines], ["ERROR", "INFO", None])
                self.assertEqual(list(faults_of(lines[2], documented(), "Dynahook/dynahook")), [])
                self.assertEqual([lines[1]["faults"], lines[2]["DetachedSources"]], [1, 1])

    def test_it_looks_at_every_function_that_has_a_mapping(self) -> None:
        mappings = [one for one in TEMPLATE["Resources"].values() if one["Type"] == "AWS::Lambda::EventSourceMapping"]
        mapped = {one["Properties"]["FunctionName"]["Ref"] for one in mappings}
        watched = TEMPLATE["Resources"]["WatchFunction"]["Properties"]["Environment"]["Variables"]["FUNCTIONS"]
        self.assertEqual(set(re.findall(r"\$\{(\w+)\}", watched["Fn::Sub"])), mapped)

    def test_it_expects_a_mapping_of_every_queue_that_has_one(self) -> None:
        mappings = [one for one in TEMPLATE["Resources"].values() if one["Type"] == "AWS::Lambda::EventSourceMapping"]
        sources = [one["Properties"]["EventSourceArn"].get("Fn::GetAtt") for one in mappings]
        mapped = {source[0] for source in sources if source and source[0].endswith("Queue")}
        watched = TEMPLATE["Resources"]["WatchFunction"]["Properties"]["Environment"]["Variables"]["QUEUES"]
        self.assertEqual(set(re.findall(r"\$\{(\w+)\.Arn\}", watched["Fn::Sub"])), mapped)
        self.assertEqual(len(mapped), 5)

    def test_a_table_of_another_account_is_known_by_its_mapping(self) -> None:
        self.cloud.sources.append("theirs")
        theirs = stream("theirs", account="210987654321")
        self.cloud.mappings["fanout"].append(self.cloud.mapping(theirs))
        self.assertEqual(self.run_once()[0], {})

    def test_a_check_that_fails_is_an_error_of_the_function(self) -> None:
        failing = mock.patch.object(self.cloud, "query", side_effect=NotFoundError)
        with failing, self.assertRaises(ClientError):
            self.run_once()


if __name__ == "__main__":
    unittest.main()
