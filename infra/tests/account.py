"""What tests of `make deploy` need: an AWS account, which is botocore's stub, and an issuer, which is a local HTTPS
server."""

from __future__ import annotations

import os
import unittest
from datetime import UTC, datetime
from typing import Any, ClassVar
from unittest import mock

import boto3
import jwt
from botocore.stub import Stubber
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from openid import OpenIdIssuer
from preflight import Findings

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
RSA_KEY: dict[str, Any] = jwt.get_algorithm_by_name("RS256").to_jwk(
    rsa.generate_private_key(65537, 2048).public_key(), as_dict=True
)
EC_KEY: dict[str, Any] = jwt.get_algorithm_by_name("ES256").to_jwk(
    ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True
)


class Account(boto3.Session):
    """A session whose clients are botocore's stubs, with these answers: service, operation and answer or error."""

    def __init__(self, *answers: tuple[str, str, dict | str]) -> None:
        super().__init__(region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
        self.stubbed: dict[str, Any] = {}
        stubs: dict[str, Stubber] = {}
        for service, operation, wanted in answers:
            if service not in stubs:
                self.stubbed[service] = boto3.Session.client(self, service)
                stubs[service] = Stubber(self.stubbed[service])
                stubs[service].activate()
            stub = stubs[service]
            if isinstance(wanted, str):
                code, _, message = wanted.partition(": ")
                stub.add_client_error(operation, code, message)
            else:
                stub.add_response(operation, wanted)

    def client(self, service: str, **_: object) -> Any:
        return self.stubbed[service]


def identity() -> tuple[str, str, dict]:
    return ("sts", "get_caller_identity", {"Account": "123456789012"})


def stack(status: str = "UPDATE_COMPLETE", **parameters: str) -> tuple[str, str, dict]:
    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    described = {"StackName": "dynahook", "CreationTime": datetime.now(UTC), "StackStatus": status, "Parameters": given}
    return ("cloudformation", "describe_stacks", {"Stacks": [described]})


def no_stack(*deleted: str) -> list[tuple[str, str, Any]]:
    """There is no stack; the ids are those of deleted ones."""
    at = datetime.now(UTC)
    stacks = [
        {"StackId": one, "StackName": "dynahook", "CreationTime": at, "StackStatus": "DELETE_COMPLETE"}
        for one in deleted
    ]
    return [
        ("cloudformation", "describe_stacks", "ValidationError: Stack with id dynahook does not exist"),
        ("cloudformation", "list_stacks", {"StackSummaries": stacks}),
    ]


def executions(limit: int, free: int) -> tuple[str, str, dict]:
    limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": free}
    return ("lambda", "get_account_settings", {"AccountLimit": limits})


def topic(subscriptions: str = "1", key: str | None = None) -> tuple[str, str, dict]:
    encrypted = {"KmsMasterKeyId": key} if key else {}
    return ("sns", "get_topic_attributes", {"Attributes": {"SubscriptionsConfirmed": subscriptions, **encrypted}})


class WithIssuer(unittest.TestCase):
    """Tests with an issuer, whose certificate `requests` trusts."""

    issuer: ClassVar[OpenIdIssuer]

    @classmethod
    def setUpClass(cls) -> None:
        cls.issuer = OpenIdIssuer()
        cls.addClassCleanup(cls.issuer.close)
        patch = mock.patch.dict(os.environ, cls.issuer.trust)
        patch.start()
        cls.addClassCleanup(patch.stop)

    def setUp(self) -> None:
        self.issuer.documents.clear()
        self.found = Findings()

    def assert_fault(self, pattern: str) -> None:
        self.assertEqual(len(self.found.faults), 1, self.found)
        self.assertRegex(self.found.faults[0], pattern)
