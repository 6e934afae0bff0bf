"""Tests of what `make deploy` checks about the AWS account, the stack, its parameters and the toolchain."""

from __future__ import annotations

import os
import tempfile
import unittest
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import boto3
import deploy
import preflight
from account import Account, executions, identity, no_stack, stack
from preflight import Findings


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


if __name__ == "__main__":
    unittest.main()
