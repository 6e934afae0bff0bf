"""Tests of the permissions that services need, from the configuration of functions."""

import unittest
from unittest import mock

from ministack.core.iam_evaluator import parse_policy_document

from gate import services
from gate.callers import Caller

QUEUE = "arn:aws:sqs:us-east-1:000000000000:orders"
STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/Games/stream/2026"
API = "arn:aws:execute-api:us-east-1:000000000000:a1"
FUNCTION = {"FunctionName": "stack-DeliverFunction-1", "LoggingConfig": {"LogGroup": "logs"}}
LOGS = {"Effect": "Allow", "Action": "logs:*", "Resource": "arn:aws:logs:us-east-1:000000000000:log-group:logs:*"}


def mapping(source, destination=None):
    """Returns an event source mapping of the function."""
    failures = {"OnFailure": {"Destination": destination}} if destination else {}
    return {"FunctionName": FUNCTION["FunctionName"], "EventSourceArn": source, "DestinationConfig": failures}


def faults(statements, mappings=(), function=None, invocations=(), policy=None, key=None):
    """Returns the missing permissions of a function whose role has these statements."""
    caller = Caller("deliver", "arn", [parse_policy_document({"Statement": [LOGS, *statements]})])
    with (
        mock.patch("gate.cloud.functions", lambda: [function or FUNCTION]),
        mock.patch("gate.cloud.mappings", lambda: list(mappings)),
        mock.patch("gate.cloud.key", lambda resource: key),
        mock.patch("gate.cloud.invocations", lambda: list(invocations)),
        mock.patch("gate.cloud.function_policy", lambda name: policy or {}),
        mock.patch("gate.callers.function", lambda config: caller),
    ):
        return services.faults()


def allow(resource, *actions):
    """Returns a statement."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


class Services(unittest.TestCase):
    def test_a_queue_is_polled_with_three_permissions(self):
        self.assertEqual(faults([allow(QUEUE, *services.QUEUE_ACTIONS)], [mapping(QUEUE)]), [])
        missing = faults([allow(QUEUE, "sqs:ReceiveMessage", "sqs:DeleteMessage")], [mapping(QUEUE)])
        self.assertEqual(len(missing), 1)
        self.assertIn("deliver sqs:GetQueueAttributes", missing[0])

    def test_a_stream_is_polled_with_a_list_of_streams_that_takes_no_resource(self):
        read = allow(STREAM, *services.STREAM_ACTIONS, "dynamodb:ListStreams")
        self.assertIn("dynamodb:ListStreams *", faults([read], [mapping(STREAM)])[0])
        self.assertEqual(faults([read, allow("*", "dynamodb:ListStreams")], [mapping(STREAM)]), [])

    def test_a_table_with_a_key_of_its_own_needs_the_key(self):
        read = [allow(STREAM, *services.STREAM_ACTIONS), allow("*", "dynamodb:ListStreams")]
        key = "arn:aws:kms:us-east-1:000000000000:key/k"
        self.assertIn(f"kms:Decrypt {key}", faults(read, [mapping(STREAM)], key=key)[0])
        via = {"StringEquals": {"kms:ViaService": "dynamodb.us-east-1.amazonaws.com"}}
        self.assertEqual(
            faults([*read, {**allow(key, "kms:Decrypt"), "Condition": via}], [mapping(STREAM)], key=key), []
        )

    def test_a_queue_with_a_key_of_its_own_needs_the_key(self):
        read = [allow(QUEUE, *services.QUEUE_ACTIONS)]
        key = "arn:aws:kms:us-east-1:000000000000:key/k"
        self.assertIn(f"kms:Decrypt {key}", faults(read, [mapping(QUEUE)], key=key)[0])
        via = {"StringEquals": {"kms:ViaService": ["s3.us-east-1.amazonaws.com", "sqs.us-east-1.amazonaws.com"]}}
        allowed = {**allow(key, "kms:Decrypt"), "Condition": via}
        self.assertEqual(faults([*read, allowed], [mapping(QUEUE)], key=key), [])

    def test_what_failed_needs_a_way_out(self):
        poll = [allow(QUEUE, *services.QUEUE_ACTIONS)]
        self.assertIn("sqs:SendMessage", faults(poll, [mapping(QUEUE, f"{QUEUE}-failed")])[0])
        self.assertEqual(len(faults(poll, [mapping(QUEUE, "arn:aws:s3:::failed")])), 2)
        bucket = [allow("arn:aws:s3:::failed", "s3:ListBucket"), allow("arn:aws:s3:::failed/*", "s3:PutObject")]
        self.assertEqual(faults(poll + bucket, [mapping(QUEUE, "arn:aws:s3:::failed")]), [])

    def test_logs_of_another_group_are_refused(self):
        other = {**FUNCTION, "LoggingConfig": {"LogGroup": "others"}}
        self.assertEqual(len(faults([], function=other)), 2)

    def test_a_function_in_a_network_needs_interfaces(self):
        inside = {**FUNCTION, "VpcConfig": {"SubnetIds": ["subnet-1"]}}
        self.assertEqual(len(faults([], function=inside)), len(services.NETWORK_ACTIONS))
        self.assertEqual(faults([allow("*", *services.NETWORK_ACTIONS)], function=inside), [])

    def test_an_api_invokes_what_lets_it(self):
        invocation = (FUNCTION["FunctionName"], "apigateway.amazonaws.com", f"{API}/$default/GET/any")
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{FUNCTION['FunctionName']}"
        lets = {
            "Effect": "Allow",
            "Principal": {"Service": "apigateway.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Resource": arn,
        }
        its = {**lets, "Condition": {"ArnLike": {"AWS:SourceArn": f"{API}/*"}}}
        others = {**lets, "Condition": {"ArnLike": {"AWS:SourceArn": f"{API}/authorizers/*"}}}
        self.assertEqual(faults([], invocations=[invocation], policy={"Statement": [its]}), [])
        self.assertEqual(len(faults([], invocations=[invocation], policy={"Statement": [others]})), 1)
        self.assertEqual(len(faults([], invocations=[invocation])), 1)


if __name__ == "__main__":
    unittest.main()
