"""Tests of what `make deploy` checks about the key of the stack and the topic of the alarms."""

from __future__ import annotations

import json
import os
import re
import unittest
from typing import Any, ClassVar
from unittest import mock

import encryption
from account import TOPIC, Account, topic
from common import ROOT
from preflight import Findings
from resolved import Resolved

ACCOUNT = "123456789012"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b"
KEY_DATA = {
    "KeyId": "0a1b",
    "Arn": KEY,
    "KeyState": "Enabled",
    "KeySpec": "SYMMETRIC_DEFAULT",
    "KeyManager": "CUSTOMER",
}

# The policy of the stack's key that docs/use/deploy.md shows, its statement for a change of the key, and the one for
# the key of the alarms' topic.
KEY_POLICY, CHANGE, ALARMS = (
    json.loads(text) for text in re.findall(r"```json\n(.*?)```", (ROOT / "docs/use/deploy.md").read_text(), re.DOTALL)
)
IAM, LOGS, EVENTS = KEY_POLICY["Statement"]

CLOUDWATCH = {
    "Effect": "Allow",
    "Principal": {"Service": "cloudwatch.amazonaws.com"},
    "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
    "Resource": "*",
}


def described(**changed: str) -> tuple[str, str, dict]:
    return ("kms", "describe_key", {"KeyMetadata": {**KEY_DATA, **changed}})


def policy(*statements: dict) -> tuple[str, str, dict]:
    return ("kms", "get_key_policy", {"Policy": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})})


class Checks(unittest.TestCase):
    def assert_said(self, found: Findings, faults: list[str], warnings: list[str]) -> None:
        """Each expected part is in one fault or warning, in this order, and there are no others."""
        for said, wanted in ((found.faults, faults), (found.warnings, warnings)):
            self.assertEqual(len(said), len(wanted), said)
            for text, part in zip(said, wanted, strict=True):
                self.assertIn(part, text)


class Changes(Checks):
    """A change of `KmsKeyArn`."""

    def test_a_change_is_refused_until_someone_has_prepared_it(self) -> None:
        for former, key in ((KEY, f"{KEY}2"), (KEY, ""), ("", KEY)):
            found = Findings()
            encryption.check_change("dynahook", former, key, found)
            self.assert_said(found, [f"has KmsKeyArn={former}, and would get KmsKeyArn={key}"], [])
            with mock.patch.dict(os.environ, {"CHANGED": "1"}):
                encryption.check_change("dynahook", former, key, found)
            self.assertEqual(len(found.faults), 1)
        for key in (KEY, ""):
            found = Findings()
            encryption.check_change("dynahook", key, key, found)
            self.assert_said(found, [], [])

    def test_the_documented_statement_allows_what_the_roles_do(self) -> None:
        roles = Resolved(KmsKeyArn=KEY).resources("AWS::IAM::Role").values()
        documents = [policy["PolicyDocument"] for role in roles for policy in role["Policies"]]
        statements = [one for document in documents for one in document["Statement"] if one["Resource"] == KEY]
        used = {action for one in statements for action in encryption.listed(one["Action"])}
        self.assertEqual(set(CHANGE["Action"]), used)


class Topics(Checks):
    """`AlarmTopicArn`."""

    def check(self, arn: str, *answers: tuple[str, str, Any]) -> Findings:
        found = Findings()
        encryption.check_topic(Account(*answers), ACCOUNT, "dynahook", arn, found)
        return found

    def test_alarms_need_one_with_a_subscription_in_the_region(self) -> None:
        for arn, answers, faults, warnings in (
            (TOPIC, [topic()], [], []),
            ("", [], [], ["AlarmTopicArn is not set"]),
            (TOPIC, [topic("0")], [], ["no confirmed subscription"]),
            (TOPIC.replace("eu-west-1", "us-east-1"), [], ["a topic in its region, eu-west-1"], []),
            (TOPIC, [("sns", "get_topic_attributes", "NotFound: no")], ["There is no topic"], []),
            (TOPIC, [("sns", "get_topic_attributes", "AuthorizationError: no")], [], ["is not checked"]),
        ):
            self.assert_said(self.check(arn, *answers), faults, warnings)

    def test_the_key_of_aws_is_a_fault(self) -> None:
        alias = "alias/aws/sns"
        for key in (alias, f"arn:aws:kms:eu-west-1:{ACCOUNT}:{alias}"):
            found = self.check(TOPIC, topic(key=key))
            self.assert_said(found, ["AWS-managed key alias/aws/sns, which CloudWatch cannot use"], [])
            self.assertIn(
                "Encrypt it with a key of yours whose policy allows cloudwatch.amazonaws.com", found.faults[0]
            )
        by_id = self.check(TOPIC, topic(key="0a1b"), described(KeyManager="AWS"))
        self.assert_said(by_id, ["AWS-managed key"], [])

    def test_the_policy_of_another_key_must_allow_cloudwatch(self) -> None:
        alarms = {"ArnLike": {"aws:SourceArn": f"arn:aws:cloudwatch:eu-west-1:{ACCOUNT}:alarm:*"}}
        for statement, warnings in (
            (CLOUDWATCH, []),
            (ALARMS, []),
            ({**CLOUDWATCH, "Condition": alarms}, []),
            ({**CLOUDWATCH, "Principal": {"Service": ["events.amazonaws.com", "cloudwatch.amazonaws.com"]}}, []),
            ({**CLOUDWATCH, "Action": "kms:*"}, []),
            (IAM, ["does not allow CloudWatch kms:Decrypt, kms:GenerateDataKey. Check that it allows cloudwatch."]),
            ({**CLOUDWATCH, "Action": "kms:Decrypt"}, ["does not allow CloudWatch kms:GenerateDataKey."]),
            (
                {**CLOUDWATCH, "Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}}},
                ["may not allow CloudWatch kms:Decrypt, kms:GenerateDataKey."],
            ),
        ):
            for key in ("0a1b", "alias/alarms", KEY):
                found = self.check(TOPIC, topic(key=key), described(), policy(statement))
                self.assert_said(found, [], warnings)

    def test_a_policy_that_cannot_be_read_is_a_warning_that_says_what_to_check(self) -> None:
        for answers in (
            [("kms", "describe_key", "NotFoundException: no")],
            [described(), ("kms", "get_key_policy", "AccessDeniedException: no")],
        ):
            found = self.check(TOPIC, topic(key="alias/alarms"), *answers)
            self.assert_said(found, [], ["allows cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*"])

    def test_the_key_is_looked_up_in_the_account_of_the_topic(self) -> None:
        """An alias of this name in the stack's account would be another key."""
        elsewhere = TOPIC.replace(ACCOUNT, "210987654321")
        found = self.check(elsewhere, topic(key="alias/alarms"), ("kms", "describe_key", "AccessDeniedException: no"))
        self.assert_said(found, [], ["arn:aws:kms:eu-west-1:210987654321:alias/alarms"])


class Keys(Checks):
    """`KmsKeyArn`."""

    def check(self, *answers: tuple[str, str, Any], arn: str = KEY) -> Findings:
        found = Findings()
        encryption.check_key(Account(*answers), ACCOUNT, "dynahook", arn, found)
        return found

    def check_policy(self, *statements: dict) -> Findings:
        return self.check(described(), policy(*statements))

    def test_must_be_usable(self) -> None:
        for arn, answer, faults, warnings in (
            (KEY, described(), [], []),
            (KEY, described(KeyState="PendingDeletion"), ["is PendingDeletion. Enable it"], []),
            (KEY, described(KeySpec="RSA_2048"), ["must be a symmetric key that you manage"], []),
            (KEY, described(KeyManager="AWS"), ["must be a symmetric key that you manage"], []),
            (KEY, ("kms", "describe_key", "NotFoundException: no"), ["There is no key"], []),
            (KEY, ("kms", "describe_key", "AccessDeniedException: no"), [], ["is not checked"]),
            (KEY.replace("eu-west-1", "us-east-1"), described(), ["in the stack's region, eu-west-1"], []),
            ("alias/dynahook", described(), ["in the stack's region, eu-west-1"], []),
        ):
            found = self.check(answer, policy(*KEY_POLICY["Statement"]), arn=arn)
            self.assert_said(found, faults, warnings)

    def test_the_policy_must_allow_the_services_that_use_it_on_their_own(self) -> None:
        found = self.check_policy(IAM)
        self.assert_said(found, ["does not allow CloudWatch Logs (logs.eu"], ["does not allow EventBridge (events."])
        self.assertIn("kms:Encrypt, kms:Decrypt, kms:ReEncryptFrom", found.faults[0])
        self.assertIn("the one in docs/use/deploy.md", found.faults[0])

    def test_of_a_policy_that_names_logs_the_statement_counts(self) -> None:
        refused = ["does not allow CloudWatch Logs"]
        for changed, faults in (
            ({"Principal": "*"}, []),
            ({"Principal": {"AWS": "*"}}, []),
            ({"Principal": {"Service": ["a.amazonaws.com", "logs.eu-west-1.amazonaws.com"]}}, []),
            ({"Action": "kms:*"}, []),
            ({"Action": ["KMS:encrypt", "kms:D*", "kms:ReEncrypt*", "kms:GenerateDataKey"]}, []),
            ({"NotAction": "kms:ScheduleKeyDeletion"}, []),
            ({"Effect": "Deny"}, refused),
            ({"Principal": {"Service": "logs.us-east-1.amazonaws.com"}}, refused),
            ({"Action": ["kms:Encrypt", "kms:DescribeKey"]}, refused),
            ({"Principal": {"AWS": IAM["Principal"]["AWS"]}, "Sid": "logs.eu-west-1.amazonaws.com"}, refused),
        ):
            statement = {**LOGS, **changed}
            if "NotAction" in changed:
                del statement["Action"]
            self.assert_said(self.check_policy(IAM, statement, EVENTS), faults, [])

    def test_a_deny_counts_more(self) -> None:
        deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
        found = self.check_policy(*KEY_POLICY["Statement"], deny)
        self.assert_said(found, ["(logs.eu-west-1.amazonaws.com) kms:Encrypt. "], [])
        other = {**deny, "Action": "kms:ScheduleKeyDeletion"}
        self.assert_said(self.check_policy(*KEY_POLICY["Statement"], other), [], [])

    # Changes of the statement for logs whose effect only a request of the service would show.
    UNDECIDED: ClassVar[list[dict]] = [
        {"Condition": {"StringEquals": {"aws:SourceOrgID": "o-1"}}},
        {
            "Condition": {
                "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:eu-west-1:{ACCOUNT}:*:other-*"}
            }
        },
        {"Condition": {"StringNotLike": {"kms:EncryptionContext:aws:logs:arn": "*"}}},
        {"Principal": {"Service": "logs.amazonaws.com"}},
        {"Resource": "arn:aws:kms:eu-west-1:123456789012:key/other"},
    ]

    def test_what_cannot_be_decided_is_a_warning(self) -> None:
        for changed in self.UNDECIDED:
            found = self.check_policy(IAM, {**LOGS, **changed}, EVENTS)
            self.assert_said(found, [], ["may not allow CloudWatch Logs (logs.eu-west-1.amazonaws.com) kms:Encrypt, "])
        not_principal = {**LOGS, "NotPrincipal": LOGS["Principal"], "Effect": "Deny"}
        del not_principal["Principal"], not_principal["Condition"]
        self.assert_said(
            self.check_policy(*KEY_POLICY["Statement"], not_principal),
            [],
            ["may not allow CloudWatch Logs", "EventBridge"],
        )

    def test_eventbridge_sends_no_source_to_kms(self) -> None:
        statement = {**EVENTS, "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}}}
        self.assert_said(self.check_policy(IAM, LOGS, statement), [], ["may not allow EventBridge"])

    def test_a_policy_that_cannot_be_read_is_a_warning(self) -> None:
        found = self.check(described(), ("kms", "get_key_policy", "AccessDenied: no"))
        self.assert_said(found, [], ["is not checked"])


if __name__ == "__main__":
    unittest.main()
