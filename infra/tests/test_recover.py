"""Tests of `make recover`: what it finds, and what it imports."""

from __future__ import annotations

import json
import unittest
from datetime import UTC, datetime
from typing import Any

import boto3
import recover
from botocore.stub import ANY, Stubber
from common import StackError
from resolved import TEMPLATE

OLD = "arn:aws:cloudformation:eu-west-1:123456789012:stack/dynahook/old"
ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/dynahook/new"
KEPT = {
    "RegistryTable": ("AWS::DynamoDB::Table", "dynahook-RegistryTable-1A"),
    "FingerprintKey": (
        "AWS::SecretsManager::Secret",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf",
    ),
    "StreamFailuresBucket": ("AWS::S3::Bucket", "dynahook-streamfailures-1a"),
}


class Account(boto3.Session):
    """A session with a stubbed CloudFormation."""

    def __init__(self) -> None:
        super().__init__(region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
        self.cloudformation = boto3.Session.client(self, "cloudformation")
        self.stub = Stubber(self.cloudformation)
        self.stub.activate()

    def client(self, *_: object, **__: object) -> Any:
        return self.cloudformation


def event(name: str, kind: str, identifier: str, status: str) -> dict[str, Any]:
    return {
        "StackId": ID,
        "EventId": f"{name}-{status}",
        "StackName": "dynahook",
        "LogicalResourceId": name,
        "ResourceType": kind,
        "PhysicalResourceId": identifier,
        "ResourceStatus": status,
        "Timestamp": datetime.now(UTC),
    }


def skipped(kept: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    return [event(name, kind, identifier, "DELETE_SKIPPED") for name, (kind, identifier) in kept.items()]


def deleted(identifier: str, day: int) -> dict[str, Any]:
    time = datetime(2026, 11, day, tzinfo=UTC)
    return {"StackId": identifier, "StackName": "dynahook", "CreationTime": time, "StackStatus": "DELETE_COMPLETE"}


class Found(unittest.TestCase):
    """What a deleted stack has kept."""

    def setUp(self) -> None:
        self.account = Account()
        self.stub = self.account.stub

    def test_what_the_last_deleted_stack_kept_when_it_was_deleted(self) -> None:
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        stacks = [deleted(OLD, 1), deleted(ID, 2), {**deleted(OLD, 3), "StackName": "other"}]
        self.stub.add_response("list_stacks", {"StackSummaries": stacks})
        events = [
            event("dynahook", "AWS::CloudFormation::Stack", ID, "DELETE_COMPLETE"),
            *skipped(KEPT),
            event("DeliveriesQueue", "AWS::SQS::Queue", "queue", "DELETE_COMPLETE"),
            event("dynahook", "AWS::CloudFormation::Stack", ID, "DELETE_IN_PROGRESS"),
            # An update had replaced this one, and kept it.
            event("RegistryTable", "AWS::DynamoDB::Table", "replaced", "DELETE_SKIPPED"),
        ]
        self.stub.add_response("describe_stack_events", {"StackEvents": events}, {"StackName": ID})
        self.assertEqual(recover.find_kept(self.account, "dynahook", set(KEPT))[1], KEPT)
        self.stub.assert_no_pending_responses()

    def test_an_earlier_stack_if_the_last_one_kept_less(self) -> None:
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        self.stub.add_response("list_stacks", {"StackSummaries": [deleted(OLD, 1), deleted(ID, 2)]})
        # A deployment that was made by mistake, and rolled back.
        rolled_back = event("dynahook", "AWS::CloudFormation::Stack", ID, "DELETE_COMPLETE")
        self.stub.add_response("describe_stack_events", {"StackEvents": [rolled_back]}, {"StackName": ID})
        self.stub.add_response("describe_stack_events", {"StackEvents": skipped(KEPT)}, {"StackName": OLD})
        self.assertEqual(recover.find_kept(self.account, "dynahook", set(KEPT))[1], KEPT)

    def test_the_stack_that_is_named(self) -> None:
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        self.stub.add_response("list_stacks", {"StackSummaries": [deleted(OLD, 1), deleted(ID, 2)]})
        self.stub.add_response("describe_stack_events", {"StackEvents": skipped(KEPT)}, {"StackName": OLD})
        self.assertEqual(recover.find_kept(self.account, "dynahook", set(KEPT), OLD), (OLD, KEPT))

    def test_a_part_is_not_recovered(self) -> None:
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        self.stub.add_response("list_stacks", {"StackSummaries": [deleted(ID, 2)]})
        part = {"RegistryTable": KEPT["RegistryTable"]}
        self.stub.add_response("describe_stack_events", {"StackEvents": skipped(part)}, {"StackName": ID})
        with self.assertRaisesRegex(StackError, f"{ID} has not kept FingerprintKey, StreamFailuresBucket"):
            recover.find_kept(self.account, "dynahook", set(KEPT))

    def test_what_a_failed_import_left_is_removed(self) -> None:
        review = {**deleted(ID, 3), "StackStatus": "REVIEW_IN_PROGRESS"}
        self.stub.add_response("describe_stacks", {"Stacks": [review]})
        self.stub.add_response("delete_stack", {}, {"StackName": "dynahook"})
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        self.stub.add_response("list_stacks", {"StackSummaries": [deleted(OLD, 1)]})
        self.stub.add_response("describe_stack_events", {"StackEvents": skipped(KEPT)}, {"StackName": OLD})
        self.assertEqual(recover.find_kept(self.account, "dynahook", set(KEPT))[1], KEPT)
        self.stub.assert_no_pending_responses()

    def test_an_existing_stack_is_left_alone(self) -> None:
        existing = {**deleted(ID, 2), "StackStatus": "UPDATE_COMPLETE"}
        self.stub.add_response("describe_stacks", {"Stacks": [existing]})
        with self.assertRaisesRegex(StackError, r"exists \(UPDATE_COMPLETE\)"):
            recover.find_kept(self.account, "dynahook", set(KEPT))

    def test_parameters_that_would_be_lost_are_named(self) -> None:
        had = {"Stage": "prod", "LogLevel": "info", "JwtIssuer": "https://a.example", "OfAnEarlierVersion": "x"}
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in had.items()]
        self.stub.add_response(
            "describe_stacks", {"Stacks": [{**deleted(OLD, 1), "Parameters": parameters}]}, {"StackName": OLD}
        )
        settings = {"JwtIssuer": "https://a.example", "JwtAudience": "dynahook"}
        self.assertEqual(recover.lost_parameters(self.account, OLD, TEMPLATE, settings), ["Stage=prod"])

    def test_a_name_that_no_stack_had_is_said(self) -> None:
        self.stub.add_client_error("describe_stacks", "ValidationError", "Stack with id dynahook does not exist")
        self.stub.add_response("list_stacks", {"StackSummaries": []})
        with self.assertRaisesRegex(StackError, "remembers no deleted stack dynahook"):
            recover.find_kept(self.account, "dynahook", set(KEPT))


class Imported(unittest.TestCase):
    """The template of the import."""

    def test_every_kind_that_is_kept_can_be_imported(self) -> None:
        kept = [one for one in TEMPLATE["Resources"].values() if one.get("UpdateReplacePolicy") == "Retain"]
        self.assertGreater(len(kept), 4)
        self.assertLessEqual({one["Type"] for one in kept}, set(recover.IDENTIFIERS))

    def test_secrets_in_a_table_are_kept_with_their_key(self) -> None:
        of_all = recover.retained_by(TEMPLATE, {"SecretStorage": "kms"})
        self.assertEqual(of_all - recover.retained_by(TEMPLATE, {}), {"SecretsTable", "SecretsKey"})
        self.assertEqual(
            of_all - recover.retained_by(TEMPLATE, {"SecretStorage": "secrets-manager"}), {"SecretsTable", "SecretsKey"}
        )
        template = recover.only(TEMPLATE, {"SecretsTable", "SecretsKey"})
        self.assertEqual(set(template["Conditions"]), {"HasKey", "InSecretsTable"})
        self.assertEqual(set(template["Parameters"]), {"KmsKeyArn", "SecretStorage"})

    def test_it_has_these_resources_and_what_they_need(self) -> None:
        template = recover.only(TEMPLATE, set(KEPT))
        self.assertEqual(set(template["Resources"]), set(KEPT))
        self.assertEqual((list(template["Parameters"]), list(template["Conditions"])), (["KmsKeyArn"], ["HasKey"]))
        # The transform of SAM would change nothing, and an import refuses it.
        self.assertNotIn("Transform", template)
        for name, resource in template["Resources"].items():
            self.assertEqual(resource["DeletionPolicy"], "Retain", "a rollback of the import must delete nothing")
            self.assertEqual(resource["Properties"], TEMPLATE["Resources"][name]["Properties"])

    def test_each_is_named_by_its_identifier(self) -> None:
        account = Account()
        wanted = [
            {
                "ResourceType": kind,
                "LogicalResourceId": name,
                "ResourceIdentifier": {recover.IDENTIFIERS[kind]: identifier},
            }
            for name, (kind, identifier) in KEPT.items()
        ]
        account.stub.add_response(
            "create_change_set",
            {},
            {
                "StackName": "dynahook",
                "ChangeSetName": "import",
                "ChangeSetType": "IMPORT",
                "TemplateBody": ANY,
                "ResourcesToImport": wanted,
                "Parameters": [{"ParameterKey": "KmsKeyArn", "ParameterValue": "key"}],
            },
        )
        account.stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"})
        account.stub.add_response("execute_change_set", {})
        account.stub.add_response("describe_stacks", {"Stacks": [{**deleted(ID, 2), "StackStatus": "IMPORT_COMPLETE"}]})
        recover.import_kept(account, "dynahook", TEMPLATE, {"KmsKeyArn": "key", "Stage": "prod"}, KEPT)
        account.stub.assert_no_pending_responses()
        self.assertLess(
            len(json.dumps(recover.only(TEMPLATE, set(KEPT)))), 51_200, "CloudFormation takes no longer body"
        )


if __name__ == "__main__":
    unittest.main()
