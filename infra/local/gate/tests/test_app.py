"""Tests of the gate in front of an application that accepts everything."""

import asyncio
import json
import logging
import unittest
from typing import ClassVar
from unittest import mock

from ministack.core.iam_evaluator import parse_policy_document

from gate.app import Gate, read
from gate.callers import Caller, name
from gate.front import is_for_api

ROLE = "arn:aws:sts::000000000000:assumed-role/r"
POLICY = {"Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:*:*:orders"}]}
CALLERS = {
    "ASIADELIVER": Caller("deliver", f"{ROLE}/deliver", [parse_policy_document(POLICY)]),
    "ASIAPURPOSE": Caller("on-purpose", f"{ROLE}/on-purpose", []),
}


class Emulator:
    """Answers every request with 200 and keeps the requests."""

    def __init__(self):
        self.arrived = []

    async def __call__(self, scope, receive, send):
        event = await receive()
        self.arrived.append((dict(scope["headers"]), event["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Front(unittest.TestCase):
    """The deployed API at the emulator's own address."""

    CALL: ClassVar = {"host": "127.0.0.1:4566", "authorization": "Bearer e30.e30.sig"}

    def test_what_is_not_signed_is_for_the_api(self):
        for path in (
            "/api/v1/integration/webhooks",
            "/docs",
            "/health",
            "/openapi.json",
            "/.well-known/webhooks/acme/keys.json",
            "/nowhere",
        ):
            self.assertTrue(is_for_api(path, self.CALL, ""), path)
        self.assertTrue(is_for_api("/docs", {"host": "localhost:4566"}, ""))

    def test_calls_of_aws_and_the_emulators_own_paths_are_not(self):
        signed = {**self.CALL, "authorization": "AWS4-HMAC-SHA256 Credential=test/20261128/us-east-1/s3/aws4_request"}
        for path, headers, query in (
            ("/api", signed, ""),
            ("/", {**self.CALL, "x-amz-target": "DynamoDB_20120810.GetItem"}, ""),
            ("/bucket/key", self.CALL, "X-Amz-Signature=0"),
            ("/_ministack/health", self.CALL, ""),
            ("/_gate/report", self.CALL, ""),
            ("/docs", {"host": "0123abcd.execute-api.localhost:4566"}, ""),
        ):
            self.assertFalse(is_for_api(path, headers, query), path)

    def test_the_api_is_called_by_its_name(self):
        reached = []

        async def emulator(scope, receive, send):
            reached.append(scope)

        gate = Gate(emulator)
        scope = {"type": "http", "method": "GET", "path": "/docs", "query_string": b"", "server": ("127.0.0.1", 4566)}
        scope["headers"] = [(b"host", b"127.0.0.1:4566"), (b"accept", b"text/html")]
        gate.api = "0123abcd"
        asyncio.run(gate(scope, None, None))
        self.assertEqual(
            reached[0]["headers"], [(b"host", b"0123abcd.execute-api.localhost:4566"), (b"accept", b"text/html")]
        )


@mock.patch("gate.callers.find", CALLERS.get)
class App(unittest.TestCase):
    def setUp(self):
        logging.disable(logging.WARNING)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.emulator = Emulator()
        self.gate = Gate(self.emulator)

    def request(self, key, target, data, path="/"):
        """Sends a request with that access key; returns status, headers and body of the answer."""
        sent = []
        headers = [(b"x-amz-target", target.encode()), (b"x-amz-security-token", b"t")]
        if key:
            credential = f"AWS4-HMAC-SHA256 Credential={key}/20261128/us-east-1/sqs/aws4_request, Signature=0"
            headers.append((b"authorization", credential.encode()))
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}

        async def receive():
            return {"type": "http.request", "body": json.dumps(data).encode(), "more_body": False}

        async def send(event):
            sent.append(event)

        asyncio.run(self.gate(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])

    def send(self, key="ASIADELIVER", queue="orders", action="SendMessage"):
        """Calls SQS."""
        return self.request(key, f"AmazonSQS.{action}", {"QueueUrl": f"http://localhost/000000000000/{queue}"})

    def test_what_the_role_allows_passes_as_the_account(self):
        self.assertEqual(self.send()[0], 200)
        headers, body = self.emulator.arrived[0]
        self.assertIn(b"Credential=test/", headers[b"authorization"])
        self.assertNotIn(b"x-amz-security-token", headers)
        self.assertIn(b"orders", body)
        self.assertEqual(
            self.gate.record.report()["calls"], {"deliver": {"sqs:SendMessage": {"calls": 1, "entries": 1}}}
        )

    def test_what_the_role_does_not_allow_is_refused_and_remembered(self):
        status, headers, body = self.send(queue="others")
        self.assertEqual((status, headers[b"x-amzn-query-error"]), (403, b"AccessDenied;Sender"))
        self.assertEqual(body["__type"], "com.amazonaws.sqs#AccessDeniedException")
        self.assertEqual(self.emulator.arrived, [])
        refused = self.gate.record.report()["refused"][0]
        self.assertEqual((refused["caller"], refused["action"], refused["times"]), ("deliver", "sqs:SendMessage", 1))
        self.assertFalse(refused["on_purpose"])

    def test_dynamodb_answers_as_dynamodb(self):
        with mock.patch("gate.cloud.partition_key", lambda *_: "pk"):
            asked = {"TableName": "t", "Key": {"pk": {"S": "K#1"}}}
            status, _, body = self.request("ASIADELIVER", "DynamoDB_20120810.GetItem", asked)
        self.assertEqual((status, body["__type"]), (400, "com.amazon.coral.service#AccessDeniedException"))
        self.assertIn("dynamodb:GetItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/t", body["message"])
        self.assertEqual(self.gate.record.report()["refused"][0]["keys"], "dynamodb:leadingkeys = ['K#1']")

    def test_a_query_protocol_is_read_from_its_form(self):
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        headers["authorization"] = (
            "AWS4-HMAC-SHA256 Credential=A/20261128/us-east-1/cloudformation/aws4_request, Signature=0"
        )
        call = read("POST", "/", "", headers, b"Action=DescribeStacks&StackName=arn%3Aaws%3As")
        self.assertEqual((call.title, call.data), ("cloudformation:DescribeStacks", {"StackName": "arn:aws:s"}))

    def test_an_unknown_operation_is_refused(self):
        status, _, body = self.send(action="PurgeQueue")
        self.assertEqual(status, 403)
        self.assertIn("the gate does not know sqs:PurgeQueue", body["message"])

    def test_the_query_protocol_names_its_operation_in_the_body(self):
        scope = "20261128/us-east-1/cloudformation/aws4_request"
        headers = {
            "authorization": f"AWS4-HMAC-SHA256 Credential=ASIA/{scope}, Signature=0",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        }
        call = read("POST", "/", "", headers, b"Action=DescribeStacks&StackName=arn%3Aaws%3Acloudformation")
        self.assertEqual(
            (call.title, call.data), ("cloudformation:DescribeStacks", {"StackName": "arn:aws:cloudformation"})
        )

    def test_an_unknown_key_is_refused(self):
        self.assertEqual(self.send(key="ASIANOBODY")[0], 403)
        self.assertEqual(self.gate.record.report()["refused"][0]["caller"], "unknown key ASIANOBODY")

    def test_the_account_and_unsigned_requests_pass(self):
        self.assertEqual(self.send(key="test", queue="others")[0], 200)
        self.assertEqual(self.request("", "", {}, "/api/v1/integration/webhooks")[0], 200)
        self.assertEqual(self.gate.record.report()["calls"], {})

    def test_a_refusal_on_purpose_is_marked(self):
        self.send(key="ASIAPURPOSE")
        self.assertTrue(self.gate.record.report()["refused"][0]["on_purpose"])

    def test_a_throttled_queue_is_throttled_as_often_as_asked(self):
        self.request("", "", {"kind": "throttle", "resource": ":orders", "calls": 2}, "/_gate/faults")
        self.assertEqual([self.send()[0] for _ in range(3)], [400, 400, 200])

    def test_a_repeated_call_arrives_twice(self):
        self.request(
            "", "", {"kind": "repeat", "resource": ":orders", "action": "sqs:SendMessage", "calls": 1}, "/_gate/faults"
        )
        self.assertEqual([self.send()[0] for _ in range(2)], [200, 200])
        self.assertEqual(len(self.emulator.arrived), 3)

    def test_permissions_that_nothing_used(self):
        config = {"FunctionName": "stack-DeliverFunction-1"}
        with (
            mock.patch("gate.cloud.functions", lambda: [config]),
            mock.patch("gate.cloud.mappings", list),
            mock.patch("gate.callers.function", lambda _: CALLERS["ASIADELIVER"]),
        ):
            self.assertEqual(self.gate.grants.unused(), ["deliver sqs:SendMessage arn:aws:sqs:*:*:orders"])
            self.send()
            self.assertEqual(self.gate.grants.unused(), [])

    def test_functions_have_short_names(self):
        self.assertEqual(name("dynahook-local-DeliverFunction-1F0A9c"), "deliver")
        self.assertEqual(name("tests-deliver"), "tests-deliver")


if __name__ == "__main__":
    unittest.main()
