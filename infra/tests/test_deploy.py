"""Tests of `make deploy`: its checks, what it asks, and what it saves. The issuer is a local HTTPS server, and AWS is
botocore's stub."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import unittest
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import boto3
import deploy
import jwt
import preflight
from botocore.stub import Stubber
from common import ROOT, StackError
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from openid import OpenIdIssuer
from preflight import Findings
from samcli.cli.types import CfnParameterOverridesType, CfnTags
from samcli.lib.config.samconfig import SamConfig

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


class Issuers(WithIssuer):
    """The issuer and its keys."""

    def test_the_key_set_is_found(self) -> None:
        self.issuer.publish([RSA_KEY])
        self.assertEqual(preflight.check_issuer(self.issuer.url, self.found), f"{self.issuer.url}/jwks")
        preflight.check_keys(f"{self.issuer.url}/jwks", self.found)
        self.assertEqual(self.found, Findings())

    def test_an_issuer_without_a_document_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer(self.issuer.url, self.found))
        self.assert_fault("was answered with status 404. Correct JwtIssuer, or set JwksUrl")

    def test_an_issuer_that_does_not_answer_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer("https://localhost:1", self.found))
        self.assert_fault("cannot be fetched: .*Connection refused. Correct JwtIssuer")

    def test_an_issuer_without_tls_is_a_fault(self) -> None:
        self.assertIsNone(preflight.check_issuer("http://localhost", self.found))
        self.assert_fault("starts with https://")

    def test_another_name_of_the_issuer_is_a_fault_with_the_right_one(self) -> None:
        self.issuer.publish([RSA_KEY], issuer=f"{self.issuer.url}/")
        preflight.check_issuer(self.issuer.url, self.found)
        self.assert_fault(f"Set JwtIssuer={self.issuer.url}/.")

    def test_a_document_without_keys_is_a_fault(self) -> None:
        self.issuer.documents[preflight.DISCOVERY] = (200, json.dumps({"issuer": self.issuer.url}).encode())
        self.assertIsNone(preflight.check_issuer(self.issuer.url, self.found))
        self.assert_fault("names no key set")

    def test_what_the_authorizer_cannot_fetch_is_a_fault(self) -> None:
        url = f"{self.issuer.url}/jwks"
        for answer, why in (
            ((302, b""), "status 302"),
            ((200, b"<html>"), "is not JSON"),
            ((200, b"[]"), "is not a JSON object"),
            ((200, b" " * preflight.FETCH_BYTES + b"{}"), "is larger than"),
            ((200, b'{"keys": {}}'), "is not a key set"),
        ):
            self.found = Findings()
            self.issuer.documents["/jwks"] = answer
            preflight.check_keys(url, self.found)
            self.assert_fault(why)

    def test_a_set_without_a_usable_key_is_a_fault_with_the_reason_for_each(self) -> None:
        preflight.check_key_set({"keys": [{**RSA_KEY, "alg": "RS512"}, {**EC_KEY, "use": "enc"}]}, "Jwks", self.found)
        self.assert_fault("key 1: `alg` is not RS256; key 2: `use` or `key_ops` does not allow")
        self.found = Findings()
        preflight.check_key_set({"keys": []}, "Jwks", self.found)
        self.assert_fault("it has no key")

    def test_one_usable_key_is_enough(self) -> None:
        preflight.check_inline_keys(json.dumps({"keys": [{"kty": "OKP"}, {**EC_KEY, "alg": "ES256"}]}), self.found)
        self.assertEqual(self.found, Findings())
        preflight.check_inline_keys("keys", self.found)
        self.assert_fault("Jwks is not JSON")

    def test_keys_are_judged_as_the_authorizer_does(self) -> None:
        for key, why in (
            ({**RSA_KEY, "use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5t": "a"}, None),
            (EC_KEY, None),
            ("key", "not a JSON object"),
            ({**RSA_KEY, "kid": 1}, "`kid` is not a string"),
            ({"kty": "oct", "k": "c2VjcmV0"}, "neither RSA nor EC"),
            ({**EC_KEY, "crv": "P-384"}, "not P-256"),
            ({**RSA_KEY, "key_ops": ["encrypt"]}, "does not allow"),
            ({**EC_KEY, "alg": "RS256"}, "not ES256"),
            ({"kty": "RSA", "e": "AQAB"}, "missing or invalid"),
        ):
            self.assertRegex(preflight.unusable_because(key) or "", why or "^$")


class Checks(unittest.TestCase):
    """The checks of AWS."""

    def setUp(self) -> None:
        self.found = Findings()

    def test_credentials_are_needed(self) -> None:
        self.assertEqual(preflight.check_account(Account(identity()), self.found), "123456789012")
        self.assertEqual(self.found, Findings())
        expired = Account(("sts", "get_caller_identity", "ExpiredToken: the token has expired"))
        self.assertIsNone(preflight.check_account(expired, self.found))
        self.assertRegex(self.found.faults[0], "ExpiredToken.*Sign in, or set AWS_PROFILE")

    def test_a_region_is_needed_and_does_not_hide_missing_credentials(self) -> None:
        nothing = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "HOME": "/nowhere"}
        with mock.patch.dict(os.environ, {**nothing, "AWS_EC2_METADATA_DISABLED": "true"}, clear=True):
            session = boto3.Session()
            self.assertIsNone(preflight.check_account(session, self.found))
        self.assertRegex("\n".join(self.found.faults), "No region is set.*\n.*Unable to locate credentials")

    def test_a_new_stack_is_no_fault(self) -> None:
        self.assertIsNone(preflight.find_stack(Account(*no_stack()), "dynahook", self.found))
        in_review = Account(stack("REVIEW_IN_PROGRESS"), no_stack()[1])
        self.assertIsNone(preflight.find_stack(in_review, "dynahook", self.found))
        self.assertEqual(self.found, Findings())

    def test_a_deleted_stack_that_kept_its_tables_is_a_fault(self) -> None:
        def account(kind: str) -> Account:
            skipped = {"StackId": "old", "EventId": "1", "StackName": "dynahook", "Timestamp": datetime.now(UTC)}
            skipped |= {"ResourceStatus": "DELETE_SKIPPED", "ResourceType": kind}
            return Account(*no_stack("old"), ("cloudformation", "describe_stack_events", {"StackEvents": [skipped]}))

        self.assertIsNone(preflight.find_stack(account("AWS::DynamoDB::Table"), "dynahook", self.found))
        self.assertRegex(self.found.faults[0], "make recover.*FRESH=1 make deploy")
        found = Findings()
        with mock.patch.dict(os.environ, {"FRESH": "1"}):
            preflight.find_stack(account("AWS::DynamoDB::Table"), "dynahook", found)
        preflight.find_stack(account("AWS::S3::Bucket"), "dynahook", found)
        self.assertEqual(found, Findings())

    def test_a_stack_that_may_not_be_described_is_a_fault(self) -> None:
        denied = Account(("cloudformation", "describe_stacks", "AccessDenied: not authorized"))
        self.assertIsNone(preflight.find_stack(denied, "dynahook", self.found))
        self.assertRegex(self.found.faults[0], "AccessDenied")

    def check_stack(self, status: str, stage: str = "prod", to: str = "secrets-manager", **deployed: str) -> str:
        found = Findings()
        existing = preflight.find_stack(Account(stack(status, Stage=stage, **deployed)), "dynahook", found)
        assert existing
        preflight.check_stack("dynahook", existing, "prod", to, found)
        return "\n".join(found.faults)

    def test_the_stack_must_be_updatable_and_keep_its_stage(self) -> None:
        self.assertEqual(self.check_stack("UPDATE_COMPLETE"), "")
        self.assertEqual(self.check_stack("UPDATE_ROLLBACK_COMPLETE"), "")
        self.assertIn("aws cloudformation delete-stack --stack-name dynahook", self.check_stack("ROLLBACK_COMPLETE"))
        self.assertIn("continue-update-rollback", self.check_stack("UPDATE_ROLLBACK_FAILED"))
        self.assertIn("Wait until that has ended", self.check_stack("UPDATE_IN_PROGRESS"))
        self.assertIn("has Stage=dev, which cannot become prod", self.check_stack("UPDATE_COMPLETE", "dev"))

    def test_secrets_do_not_leave_their_table(self) -> None:
        for old, new in (("secrets-manager", "secrets-manager"), ("secrets-manager", "kms"), ("kms", "kms")):
            self.assertEqual(self.check_stack("UPDATE_COMPLETE", to=new, SecretStorage=old), "")
        self.assertEqual(self.check_stack("UPDATE_COMPLETE", to="kms"), "", "a stack of the time before")
        refused = self.check_stack("UPDATE_COMPLETE", SecretStorage="kms")
        self.assertIn("has SecretStorage=kms, which cannot become secrets-manager", refused)

    def concurrency(self, limit: int, free: int, deployed: dict[str, str] | None = None, **parameters: str) -> None:
        self.found = Findings()
        values = {name: str(deploy.DECLARED[name]["Default"]) for name in (*preflight.RESERVED, *preflight.MAPPED)}
        values.update(parameters)
        session = Account(executions(limit, free))
        preflight.check_concurrency(session, values.__getitem__, deployed or {}, self.found)

    def test_concurrency_is_reserved_for_the_api_and_its_authorizer_or_for_neither(self) -> None:
        for given, authorizer in (("50", "0"), ("0", "50")):
            self.concurrency(1000, 1000, ApiReservedConcurrency=given, AuthorizerReservedConcurrency=authorizer)
            self.assertEqual(len(self.found.faults), 1)
            said = f"ApiReservedConcurrency={given} and AuthorizerReservedConcurrency={authorizer}: set both or neither"
            self.assertIn(said, self.found.faults[0])
        for value in ("0", "50"):
            self.concurrency(1000, 1000, ApiReservedConcurrency=value, AuthorizerReservedConcurrency=value)
            self.assertEqual(self.found.faults, [])

    def test_what_is_reserved_leaves_100_executions(self) -> None:
        self.concurrency(1000, 1000, ApiReservedConcurrency="850", AuthorizerReservedConcurrency="50")
        self.assertEqual(self.found.faults, [])
        self.concurrency(1000, 1000, ApiReservedConcurrency="851", AuthorizerReservedConcurrency="50")
        self.assertRegex(self.found.faults[0], "reserve 901 executions.*Reserve at most 900, or request more")
        self.concurrency(
            *(1000, 1000),
            ApiReservedConcurrency="800",
            AuthorizerReservedConcurrency="50",
            DeliverReservedConcurrency="90",
        )
        self.assertRegex(self.found.faults[0], "reserve 940 executions")
        self.concurrency(1000, 150, ApiReservedConcurrency="50", AuthorizerReservedConcurrency="10")
        self.assertRegex(self.found.faults[0], "Reserve at most 50")

    def test_what_the_stack_has_reserved_already_is_free_for_it(self) -> None:
        before = {"ApiReservedConcurrency": "50"}
        self.concurrency(1000, 150, before, ApiReservedConcurrency="90", AuthorizerReservedConcurrency="10")
        self.assertEqual(self.found.faults, [])

    def test_what_deliver_reserves_covers_its_queues(self) -> None:
        self.concurrency(1000, 1000, DeliverReservedConcurrency="89")
        self.assertRegex(self.found.faults[0], "invoke deliver 90 times at once.*Set it to 90 or more, or to 0")
        self.concurrency(200, 200, DeliverReservedConcurrency="90")
        self.assertEqual((self.found.faults, self.found.warnings), ([], []))

    def test_a_new_account_can_reserve_nothing_and_is_warned(self) -> None:
        self.concurrency(10, 10)
        self.assertEqual(self.found.faults, [])
        self.assertRegex(self.found.warnings[0], "invoke functions 95 times at once.*the account has 10 ")
        self.concurrency(10, 10, ApiReservedConcurrency="1", AuthorizerReservedConcurrency="1")
        self.assertRegex(self.found.faults[0], "Reserve at most 0")

    def test_an_account_that_may_not_be_read_is_a_warning(self) -> None:
        values = dict.fromkeys((*preflight.RESERVED, *preflight.MAPPED), "10")
        denied = Account(("lambda", "get_account_settings", "AccessDeniedException: no"))
        preflight.check_concurrency(denied, values.__getitem__, {}, self.found)
        self.assertEqual((self.found.faults, len(self.found.warnings)), ([], 1))

    def test_a_certificate_must_be_issued_for_the_domain(self) -> None:
        arn = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
        good = {"DomainName": "example.com", "SubjectAlternativeNames": ["*.example.com"], "Status": "ISSUED"}
        for given, answer, faults, warnings in (
            (arn, {"Certificate": good}, "^$", 0),
            (arn, {"Certificate": {**good, "Status": "PENDING_VALIDATION"}}, "is PENDING_VALIDATION. Validate it", 0),
            (arn, {"Certificate": {**good, "SubjectAlternativeNames": ["a.example.com"]}}, "not for hooks.example", 0),
            (arn, "ResourceNotFoundException: no", "There is no certificate", 0),
            (arn, "AccessDeniedException: no", "^$", 1),
            ("", {"Certificate": good}, "DomainName needs CertificateArn", 0),
            (arn.replace("eu-west-1", "us-east-1"), {"Certificate": good}, "in the stack's region, eu-west-1", 0),
        ):
            found = Findings()
            preflight.check_certificate(
                Account(("acm", "describe_certificate", answer)), "hooks.example.com", given, found
            )
            self.assertRegex("\n".join(found.faults), faults)
            self.assertEqual(len(found.warnings), warnings)

    def test_parameters_are_checked_as_cloudformation_does(self) -> None:
        good = {"Stage": "prod", "LogLevel": "debug", "SlowConcurrency": "2", "PayloadRetentionDays": "0"}
        preflight.check_parameters(good, deploy.DECLARED, self.found)
        self.assertEqual(self.found, Findings())
        bad = {
            "Stage": "Prod",
            "LogLevel": "trace",
            "SlowConcurrency": "1",
            "Sloth": "1",
            "EgressAddresses": "nat",
            "ApiReservedConcurrency": "-1",
        }
        preflight.check_parameters(bad, deploy.DECLARED, self.found)
        for fault, part in zip(
            self.found.faults,
            (
                "Stage=Prod must match",
                "one of info, debug",
                "2 to 1000",
                "no parameter Sloth",
                "addresses",
                "at least 0",
            ),
            strict=True,
        ):
            self.assertIn(part, fault)

    def test_the_toolchain_must_build_for_the_processor(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rustc = Path(folder) / "rustc"
            for library, faults in ((folder, 0), (f"{folder}/none", 1)):
                rustc.write_text(f"#!/bin/sh\necho {library}\n")
                rustc.chmod(0o755)
                found = Findings()
                with mock.patch.dict(os.environ, {"PATH": f"{folder}:{os.environ['PATH']}"}):
                    preflight.check_toolchain("arm64", found)
                self.assertEqual(len(found.faults), faults)
        self.assertIn("rustup target add aarch64-unknown-linux-gnu", found.faults[0])


class Deployments(WithIssuer):
    """Questions, answers, and what is saved."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        shutil.copy(ROOT / "samconfig.toml", self.folder)
        self.issuer.publish([RSA_KEY])
        self.asked: list[str] = []

    def answers(self, *given: str) -> deploy.Ask:
        left = list(given)

        def ask(question: str) -> str:
            self.asked.append(question)
            return left.pop(0)

        return ask

    def prepare(self, settings: deploy.Settings, *answers: tuple[str, str, dict | str]) -> None:
        """Runs the checks in an account with these answers."""
        account = Account(identity(), executions(1000, 1000), topic(), *answers)
        with mock.patch("deploy.session_of", lambda _: account), mock.patch("preflight.check_toolchain"):
            deploy.prepare(settings)

    def saved(self, environment: str) -> dict[str, Any]:
        """Returns what `sam deploy` reads."""
        return SamConfig(str(self.folder), "samconfig.toml").get_all(["deploy"], "parameters", environment)

    def test_two_answers_and_the_topic_are_asked_once_and_saved(self) -> None:
        settings = deploy.read_settings(self.folder, "prod")
        deploy.answer(settings, self.answers(self.issuer.url, "", "dynahook", TOPIC))
        self.assertEqual([question.split()[0] for question in self.asked], ["Issuer", "Audience", "Audience", "ARN"])
        self.prepare(settings, *no_stack())
        saved = self.saved("prod")
        parameters = CfnParameterOverridesType().convert(saved["parameter_overrides"], None, None)
        self.assertEqual(
            parameters,
            {
                "Stage": "prod",
                "LogRetentionDays": "90",
                "JwtIssuer": self.issuer.url,
                "JwtAudience": "dynahook",
                "AlarmTopicArn": TOPIC,
                "JwksUrl": f"{self.issuer.url}/jwks",
            },
        )
        self.assertEqual(
            (saved["region"], saved["stack_name"], saved["confirm_changeset"]), ("eu-west-1", "dynahook-prod", True)
        )
        again = deploy.read_settings(self.folder, "prod")
        deploy.answer(again, self.answers())
        self.prepare(again, stack(Stage="prod"))

    def test_every_fault_is_named_at_once_and_nothing_is_saved(self) -> None:
        before = (self.folder / "samconfig.toml").read_text()
        self.issuer.publish([{"kty": "OKP"}])
        settings = deploy.read_settings(self.folder, "prod")
        reserved = "ApiReservedConcurrency=900 AuthorizerReservedConcurrency=50"
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=dynahook {reserved}", "")
        with self.assertRaises(StackError) as refused:
            self.prepare(settings, stack("UPDATE_IN_PROGRESS", Stage="dev"))
        said = str(refused.exception)
        for part in ("no key for RS256 or ES256", "UPDATE_IN_PROGRESS", "Stage=dev, which cannot", "reserve 950"):
            self.assertIn(part, said)
        self.assertEqual(said.count("\n  - "), 4, said)
        self.assertEqual((self.folder / "samconfig.toml").read_text(), before)

    def test_a_region_that_is_ignored_is_a_warning(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.region = "eu-west-1"
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC}", "")
        for elsewhere, warnings in (("eu-west-1", 0), ("us-east-1", 1)):
            account = Account(identity(), executions(1000, 1000), topic(), *no_stack())
            with (
                mock.patch("deploy.session_of", lambda _, account=account: account),
                mock.patch("preflight.check_toolchain"),
                mock.patch.dict(os.environ, {"AWS_REGION": elsewhere}),
            ):
                self.assertEqual(len(deploy.check(settings).warnings), warnings)

    def test_the_key_and_the_topic_are_checked(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        key = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
        given = f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC} KmsKeyArn={key}"
        deploy.change(settings, given, "")
        no_key = ("kms", "describe_key", "NotFoundException: no")
        account = Account(identity(), executions(1000, 1000), topic(key="alias/aws/sns"), no_key, *no_stack())
        with (
            mock.patch("deploy.session_of", lambda _: account),
            mock.patch("preflight.check_toolchain"),
            self.assertRaisesRegex(StackError, "alias/aws/sns(.|\n)*There is no key"),
        ):
            deploy.prepare(settings)

    def run_deploy(self, interactive: bool, *answers: tuple[str, str, dict | str]) -> tuple[list[str], list[str]]:
        """Runs `make deploy`; returns the processors that it built for, and the command that deployed."""
        built: list[str] = []
        ran: list[list[str]] = []

        def run(command: list[str], **_: object) -> mock.Mock:
            ran.append(command)
            return mock.Mock(returncode=0)

        given = f"JwtIssuer={self.issuer.url} JwtAudience=dynahook AlarmTopicArn={TOPIC} Architecture=x86_64"
        outputs = [
            {"OutputKey": name, "OutputValue": "https://a.example"}
            for name in ("ApiUrl", "FanoutFunction", "StreamFailuresBucketArn")
        ]
        (_, _, deployed) = stack(Stage="prod")
        after = Account(
            ("cloudformation", "describe_stacks", {"Stacks": [{**deployed["Stacks"][0], "Outputs": outputs}]})
        )
        before = Account(identity(), executions(1000, 1000), topic(), *answers)
        sessions = iter([before, after])
        with (
            mock.patch.dict(os.environ, {"STAGE": "prod", "PARAMETERS": given, "TAGS": ""}),
            mock.patch("deploy.ROOT", self.folder),
            mock.patch("deploy.session_of", lambda _: next(sessions)),
            mock.patch("deploy.sam_build", built.append),
            mock.patch("preflight.check_toolchain"),
            mock.patch("sys.stdin.isatty", lambda: interactive),
            mock.patch("subprocess.run", run),
        ):
            deploy.deploy()
        (command,) = ran
        return built, command

    def test_it_builds_for_the_processor_and_deploys_the_environment(self) -> None:
        built, command = self.run_deploy(True, *no_stack())
        self.assertEqual(built, ["x86_64"])
        file = str(self.folder / "samconfig.toml")
        self.assertEqual(command, ["sam", "deploy", "--config-file", file, "--config-env", "prod"])

    def test_nothing_is_confirmed_where_there_is_no_terminal(self) -> None:
        _, command = self.run_deploy(False, *no_stack())
        self.assertEqual(command[-1], "--no-confirm-changeset")

    def test_without_a_terminal_the_answers_are_parameters(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        with self.assertRaisesRegex(StackError, 'add PARAMETERS="JwtIssuer=… JwtAudience=…"'):
            deploy.answer(settings, None)
        deploy.change(settings, f'JwtIssuer={self.issuer.url} JwtAudience="a b"', "team=billing cost-center=42")
        deploy.answer(settings, None)
        self.prepare(settings, *no_stack())
        saved = self.saved("default")
        self.assertEqual(CfnTags().convert(saved["tags"], None, None), {"team": "billing", "cost-center": "42"})
        parameters = CfnParameterOverridesType().convert(saved["parameter_overrides"], None, None)
        self.assertEqual(parameters["JwtAudience"], "a b")
        self.assertEqual(saved["stack_name"], "dynahook")

    def test_a_new_stage_is_a_deployment_of_its_own(self) -> None:
        default = deploy.read_settings(self.folder, "default")
        deploy.change(default, f"JwtIssuer={self.issuer.url} JwtAudience=first AlarmTopicArn={TOPIC}", "team=first")
        self.prepare(default, *no_stack())
        settings = deploy.read_settings(self.folder, "staging")
        self.assertEqual(
            (settings.stack, settings.parameters, settings.tags), ("dynahook-staging", {"Stage": "staging"}, {})
        )
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=second AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        saved = self.saved("staging")
        self.assertEqual((saved["resolve_s3"], saved["capabilities"]), (True, "CAPABILITY_IAM"))
        built = SamConfig(str(self.folder), "samconfig.toml").get_all(["build"], "parameters", "staging")
        self.assertEqual(built["template_file"], "infra/template.yaml")
        with self.assertRaisesRegex(StackError, "STAGE=Staging must match"):
            deploy.read_settings(self.folder, "Staging")

    def test_another_issuer_has_another_key_set(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer="https://old.example", JwksUrl="https://old.example/jwks", JwtAudience="a")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        self.assertEqual(settings.parameters["JwksUrl"], f"{self.issuer.url}/jwks")

    def test_of_two_key_sets_the_other_is_emptied(self) -> None:
        # CloudFormation would keep one that is left out, and the authorizer prefers Jwks.
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer="https://old.example", Jwks='{"keys": []}', JwtAudience="a")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, *no_stack())
        self.assertEqual((settings.parameters["Jwks"], settings.parameters["JwksUrl"]), ("", f"{self.issuer.url}/jwks"))
        settings.parameters["Jwks"] = '{"keys": []}'
        deploy.change(settings, f"JwksUrl={self.issuer.url}/jwks", "")
        self.assertEqual(settings.parameters["Jwks"], "")
        deploy.change(settings, 'Jwks="{}"', "")
        self.assertEqual(settings.parameters["JwksUrl"], "")

    def test_a_key_set_that_only_the_vpc_may_reach_is_a_warning(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer=self.issuer.url, JwksUrl=f"{self.issuer.url}/nothing")
        deploy.check_tokens(settings, self.found)
        self.assertEqual(len(self.found.faults), 1)
        settings.parameters["VpcSubnetIds"] = "subnet-1"
        found = Findings()
        deploy.check_tokens(settings, found)
        self.assertEqual(found.faults, [])
        self.assertIn("from the VPC, which was not tried", "\n".join(found.warnings))

    def test_a_key_set_of_another_issuer_is_a_warning(self) -> None:
        self.issuer.documents["/old"] = self.issuer.documents["/jwks"]
        settings = deploy.read_settings(self.folder, "default")
        settings.parameters.update(JwtIssuer=self.issuer.url, JwksUrl=f"{self.issuer.url}/old")
        deploy.check_tokens(settings, self.found)
        self.assertEqual((self.found.faults, len(self.found.warnings)), ([], 1))

    def test_values_of_the_stack_are_kept_unless_they_are_set(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        deploy.change(settings, f"JwtIssuer={self.issuer.url} JwtAudience=a AlarmTopicArn={TOPIC}", "")
        self.prepare(settings, stack(Stage="prod", Architecture="x86_64"))
        self.assertEqual((settings.parameter("Stage"), settings.parameter("Architecture")), ("prod", "x86_64"))

    def test_the_next_steps_name_what_was_deployed(self) -> None:
        settings = deploy.read_settings(self.folder, "default")
        deploy.change(settings, "JwtIssuer=https://i.example JwtAudience=dynahook RolesClaim=cognito:groups", "")
        settings.region = "eu-west-1"
        output = {"ApiUrl": "https://a.example", "FanoutFunction": "fan", "StreamFailuresBucketArn": "arn:aws:s3:::b"}
        said = deploy.next_steps(settings, output)
        for part in (
            *("https://a.example/console", "https://a.example/api/v1/integration", "iss     https://i.example"),
            *('cognito:groups ["OPERATOR"]', "docs/use/api.md#jwts", "FanoutFunction=fan", "arn:aws:s3:::b"),
            *("docs/use/sources.md#on-aws", "claim tenant_id"),
        ):
            self.assertIn(part, said)
        self.assertNotIn("CNAME", said)
        domain = {**output, "ApiUrl": "https://hooks.example", "DomainTarget": "d-1.execute-api.example"}
        self.assertIn("hooks.example CNAME d-1.execute-api.example", deploy.next_steps(settings, domain))
        settings.parameters["HostedZoneId"] = "Z1"
        self.assertNotIn("CNAME", deploy.next_steps(settings, domain))
        settings.parameters["PublicUrl"] = "https://hooks.example"
        self.assertIn("https://hooks.example/console", deploy.next_steps(settings, output))


if __name__ == "__main__":
    unittest.main()
