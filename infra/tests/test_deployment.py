"""Tests of the deployment function of infra/template.yaml, run as CloudFormation does: events in, answers to a URL
out."""

from __future__ import annotations

import json
import os
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from unittest import mock

from common import ROOT
from samcli.yamlhelper import yaml_parse

TEMPLATE = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/dynahook/8e2a5a50-cb1d-11f0-9a6b-0affd1a0b2c3"


class Listener:
    """A server for the answer to CloudFormation, and for calls to DynamoDB and CloudFormation."""

    def __init__(self) -> None:
        self.answers: list[dict] = []
        self.protected = {"registry": False, "events": False}
        self.stack_status = "CREATE_COMPLETE"
        # How many calls are refused.
        self.refuses_calls = 0
        self.lost_answers = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if listener.lost_answers:
                    listener.lost_answers -= 1
                    self.send_error(503)
                    return
                # The URL is signed for a request without a content type.
                assert self.headers["Content-Type"] == "", self.headers
                listener.answers.append(json.loads(body))
                self.reply(b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                target = self.headers.get("X-Amz-Target")
                if listener.refuses_calls:
                    listener.refuses_calls -= 1
                    self.reply(b'{"__type": "AccessDeniedException", "message": "no"}', 400)
                elif target is None:
                    self.reply(listener.stacks(body))
                elif json.loads(body)["TableName"] not in listener.protected:
                    self.reply(b'{"__type": "AccessDeniedException", "message": "not of this role"}', 400)
                else:
                    self.reply(json.dumps(listener.dynamodb(target.split(".")[1], json.loads(body))).encode())

            def reply(self, body: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def dynamodb(self, action: str, request: dict) -> dict:
        """Answers as DynamoDB."""
        table = request["TableName"]
        if action == "UpdateTable":
            assert self.protected[table] != request["DeletionProtectionEnabled"], (
                "AWS refuses an update that changes nothing"
            )
            self.protected[table] = request["DeletionProtectionEnabled"]
        return {"Table": {"TableStatus": "ACTIVE", "DeletionProtectionEnabled": self.protected[table]}}

    def stacks(self, query: str) -> bytes:
        """Answers as CloudFormation's DescribeStacks."""
        assert "Action=DescribeStacks" in query, query
        status = f"<StackStatus>{self.stack_status}</StackStatus>"
        member = f"<StackName>dynahook</StackName><CreationTime>2026-11-28T00:00:00Z</CreationTime>{status}"
        result = f"<DescribeStacksResult><Stacks><member>{member}</member></Stacks></DescribeStacksResult>"
        space = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
        return f'<DescribeStacksResponse xmlns="{space}">{result}</DescribeStacksResponse>'.encode()


class Deployment(unittest.TestCase):
    """The inline source of DeploymentFunction."""

    def setUp(self) -> None:
        self.listener = Listener()
        self.addCleanup(self.listener.close)
        environment = {
            "AWS_ENDPOINT_URL": self.listener.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        self.module: dict = {}
        exec(RESOURCES["DeploymentFunction"]["Properties"]["Code"]["ZipFile"], self.module)
        # The pauses between retries of an answer.
        self.module["time"] = mock.Mock()

    def send(
        self, logical_id: str, kind: str, properties: dict, old: dict | None = None, physical_id: str | None = None
    ) -> dict:
        """Sends an event in the form of CloudFormation, and returns its only answer."""
        token = "arn:aws:lambda:us-east-1:123456789012:function:dynahook-DeploymentFunction"
        event = {
            "RequestType": kind,
            "ServiceToken": token,
            "ResponseURL": f"{self.listener.url}/arn%3Aaws%3Acloudformation%3Aus-east-1?X-Amz-Signature=0",
            "StackId": STACK_ID,
            "RequestId": f"{kind}-{len(self.listener.answers)}",
            "LogicalResourceId": logical_id,
            "ResourceType": RESOURCES[logical_id]["Type"],
            "ResourceProperties": {"ServiceToken": token, "ServiceTimeout": "600", **properties},
        }
        if physical_id is not None:
            event["PhysicalResourceId"] = physical_id
        if old is not None:
            event["OldResourceProperties"] = {"ServiceToken": token, "ServiceTimeout": "600", **old}
        before = len(self.listener.answers)
        self.module["handler"](event, None)
        (answer,) = self.listener.answers[before:]
        for name in ("StackId", "RequestId", "LogicalResourceId"):
            self.assertEqual(answer[name], event[name])
        self.assertLess(len(json.dumps(answer)), 4096)
        return answer

    def stage(self, kind: str, new: str, old: str | None = None, physical_id: str | None = None) -> dict:
        """Sends an event about the stage."""
        return self.send("StageCheck", kind, {"Stage": new}, {"Stage": old} if old else None, physical_id)

    def test_a_stage_is_taken_once_and_kept(self) -> None:
        created = self.stage("Create", "dev")
        self.assertEqual(created["Status"], "SUCCESS")
        kept = created["PhysicalResourceId"]
        same = self.stage("Update", "dev", "dev", kept)
        self.assertEqual((same["Status"], same["PhysicalResourceId"]), ("SUCCESS", kept))

    def test_a_change_is_refused_with_a_reason_and_can_be_rolled_back(self) -> None:
        kept = self.stage("Create", "dev")["PhysicalResourceId"]
        refused = self.stage("Update", "prod", "dev", kept)
        self.assertEqual(refused["Status"], "FAILED")
        self.assertIn("Stage of this stack is dev and cannot become prod", refused["Reason"])
        self.assertIn("/dev/webhooks", refused["Reason"])
        # With another id it would be another resource, and CloudFormation would delete the old one.
        self.assertEqual(refused["PhysicalResourceId"], kept)
        # CloudFormation sends the refused properties as the old ones.
        rolled_back = self.stage("Update", "dev", "prod", kept)
        self.assertEqual((rolled_back["Status"], rolled_back["PhysicalResourceId"]), ("SUCCESS", kept))

    def storage(self, old: str | None, new: str | None) -> dict:
        """Sends an update of the storage of secrets. A stack of the time before has none."""
        before, after = ({"Stage": "dev", **({"SecretStorage": storage} if storage else {})} for storage in (old, new))
        return self.send("StageCheck", "Update", after, before, "dev")

    def test_secrets_do_not_leave_their_table(self) -> None:
        for old, new in ((None, "secrets-manager"), (None, "kms"), ("secrets-manager", "kms"), ("kms", "kms")):
            self.assertEqual(self.storage(old, new)["Status"], "SUCCESS", f"{old} to {new}")
        refused = self.storage("kms", "secrets-manager")
        self.assertEqual(refused["Status"], "FAILED")
        self.assertIn("SecretStorage of this stack is kms and cannot become secrets-manager", refused["Reason"])
        # CloudFormation sends the refused properties as the old ones.
        self.assertEqual(self.storage("secrets-manager", "kms")["Status"], "SUCCESS")
        self.assertEqual(self.storage("kms", None)["Status"], "FAILED")

    def test_an_update_to_the_table_of_secrets_can_be_rolled_back(self) -> None:
        self.listener.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
        for old in ("secrets-manager", None):
            self.assertEqual(self.storage("kms", old)["Status"], "SUCCESS")

    def test_a_deletion_is_never_refused(self) -> None:
        for physical_id in ("dev", "StageCheck", "2026/11/28/[$LATEST]abc"):
            self.assertEqual(self.stage("Delete", "prod", physical_id=physical_id)["Status"], "SUCCESS")

    def test_a_lost_answer_is_sent_again(self) -> None:
        self.listener.lost_answers = 2
        self.assertEqual(self.stage("Create", "dev")["Status"], "SUCCESS")

    def test_an_answer_that_cannot_be_sent_is_an_error_so_that_lambda_tries_again(self) -> None:
        self.listener.lost_answers = 3
        with self.assertRaises(OSError):
            self.stage("Create", "dev")

    def test_an_event_that_makes_no_sense_is_answered(self) -> None:
        broken = self.send("StageCheck", "Create", {})
        self.assertEqual((broken["Status"], broken["Reason"]), ("FAILED", "'Stage'"))
        self.assertEqual(self.send("StageCheck", "Delete", {}, physical_id="dev")["Status"], "SUCCESS")

    def protection(self, kind: str, enabled: str, physical_id: str | None = "TableProtection") -> dict:
        """Sends an event about the tables' protection."""
        return self.send(
            "TableProtection", kind, {"Enabled": enabled, "Tables": ["registry", "events"]}, physical_id=physical_id
        )

    def test_tables_are_protected_and_the_protection_follows_the_parameter(self) -> None:
        created = self.protection("Create", "true", None)
        self.assertEqual(created["Status"], "SUCCESS")
        self.assertEqual(self.listener.protected, {"registry": True, "events": True})
        off = self.protection("Update", "false", created["PhysicalResourceId"])
        self.assertEqual((off["Status"], off["PhysicalResourceId"]), ("SUCCESS", created["PhysicalResourceId"]))
        self.assertEqual(self.listener.protected, {"registry": False, "events": False})

    def test_a_table_that_is_as_wanted_is_not_updated(self) -> None:
        self.listener.protected["events"] = True
        self.assertEqual(self.protection("Create", "true")["Status"], "SUCCESS")

    def test_a_deleted_stack_leaves_its_tables_protected(self) -> None:
        self.protection("Create", "true")
        for status in ("DELETE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
            self.listener.stack_status = status
            self.assertEqual(self.protection("Delete", "true")["Status"], "SUCCESS")
            self.assertEqual(self.listener.protected, {"registry": True, "events": True})

    def test_a_first_deployment_that_is_rolled_back_can_delete_its_tables(self) -> None:
        self.protection("Create", "true")
        self.listener.stack_status = "ROLLBACK_IN_PROGRESS"
        self.assertEqual(self.protection("Delete", "true")["Status"], "SUCCESS")
        self.assertEqual(self.listener.protected, {"registry": False, "events": False})

    def rolled_back(self, status: str = "UPDATE_ROLLBACK_IN_PROGRESS") -> dict:
        """Sends the event that rolls back an update which created the table of secrets. The event lists this table only
        in the old properties."""
        self.listener.protected = {"registry": True, "events": True, "secrets": True}
        self.listener.stack_status = status
        after, before = ({"Enabled": "true", "Tables": ["registry", "events", *more]} for more in ([], ["secrets"]))
        return self.send("TableProtection", "Update", after, before, "TableProtection")

    def test_an_update_that_is_rolled_back_can_delete_the_table_that_it_created(self) -> None:
        self.assertEqual(self.rolled_back()["Status"], "SUCCESS")
        self.assertEqual(self.listener.protected, {"registry": True, "events": True, "secrets": False})

    def test_an_update_that_is_not_rolled_back_unprotects_no_table(self) -> None:
        for status in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"):
            self.assertEqual(self.rolled_back(status)["Status"], "SUCCESS")
            self.assertTrue(self.listener.protected["secrets"], status)

    def test_a_table_that_cannot_be_unprotected_does_not_fail_the_rollback(self) -> None:
        self.listener.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
        after, before = ({"Enabled": "true", "Tables": ["registry", *more]} for more in ([], ["gone"]))
        answer = self.send("TableProtection", "Update", after, before, "TableProtection")
        self.assertEqual(answer["Status"], "SUCCESS")
        self.assertTrue(self.listener.protected["registry"])
        # A role that is already rolled back does not get the permission, so waiting for it would be useless.
        self.module["time"].sleep.assert_not_called()

    def test_a_refused_call_fails_a_deployment_with_its_reason_but_no_deletion(self) -> None:
        self.listener.refuses_calls = 1000
        refused = self.protection("Create", "true")
        self.assertEqual(refused["Status"], "FAILED")
        self.assertIn("AccessDeniedException", refused["Reason"])
        self.assertEqual(self.protection("Delete", "true")["Status"], "SUCCESS")

    def test_a_permission_that_iam_does_not_know_yet_is_waited_for(self) -> None:
        self.listener.refuses_calls = 2
        self.assertEqual(self.protection("Update", "true")["Status"], "SUCCESS")
        self.assertEqual(self.listener.protected, {"registry": True, "events": True})
        self.assertEqual([call.args for call in self.module["time"].sleep.call_args_list], [(5,), (10,)])


def protected() -> list[tuple[str, str | None]]:
    """Returns the tables that TableProtection protects, each with its condition."""
    tables = RESOURCES["TableProtection"]["Properties"]["Tables"]
    return [
        (table["Fn::If"][1]["Ref"], table["Fn::If"][0]) if "Fn::If" in table else (table["Ref"], None)
        for table in tables
    ]


class Template(unittest.TestCase):
    """What a stack leaves behind, and what would block the next one."""

    # Properties that fix a physical name, which must be unique in an account or region.
    NAMES = (
        *("AlarmName", "BucketName", "FunctionName", "LogGroupName", "Name", "PolicyName"),
        *("QueueName", "RoleName", "RuleName", "TableName", "TopicName"),
    )
    # Names within another resource of the stack, references to one, and names that need not be unique.
    HARMLESS: ClassVar = {
        "AWS::ApiGatewayV2::Api": {"Name"},
        "AWS::ApiGatewayV2::Authorizer": {"Name"},
        # These need a name; it contains the stack's, and the stack removes them.
        "AWS::CloudWatch::InsightRule": {"RuleName"},
        "AWS::Logs::QueryDefinition": {"Name"},
        "AWS::IAM::Policy": {"PolicyName"},
        "AWS::Lambda::EventInvokeConfig": {"FunctionName"},
        "AWS::Lambda::EventSourceMapping": {"FunctionName"},
        "AWS::Lambda::Permission": {"FunctionName"},
        "AWS::Logs::MetricFilter": {"LogGroupName"},
        "AWS::Route53::RecordSet": {"Name"},
    }

    def test_no_resource_has_a_physical_name(self) -> None:
        for name, resource in RESOURCES.items():
            named = set(self.NAMES) & set(resource.get("Properties", {})) - self.HARMLESS.get(resource["Type"], set())
            self.assertFalse(named, f"{name} sets {named}: what a deleted stack has kept blocks the next one")

    def test_what_is_retained_goes_when_a_first_deployment_is_rolled_back(self) -> None:
        kept = {
            *("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::SecretsManager::Secret"),
            "AWS::KMS::Key",
        }
        for name, resource in RESOURCES.items():
            policies = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
            if resource["Type"] in kept or any(policies):
                self.assertEqual(policies, ("RetainExceptOnCreate", "Retain"), name)
                # A protected table cannot be rolled back, so TableProtection protects it afterwards.
                self.assertNotIn("DeletionProtectionEnabled", resource["Properties"], name)

    def test_every_table_is_protected(self) -> None:
        tables = {name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::DynamoDB::Table"}
        self.assertEqual({name for name, _ in protected()}, tables)
        for name, condition in protected():
            self.assertEqual(RESOURCES[name].get("Condition"), condition, name)

    def test_functions_that_read_secrets_are_updated_before_the_one_that_writes_them(self) -> None:
        readers = {
            name
            for name, resource in RESOURCES.items()
            if resource["Type"] == "AWS::Serverless::Function"
            and "SECRETS_TABLE" in resource["Properties"].get("Environment", {}).get("Variables", {})
        }
        self.assertEqual(readers, {"ApiFunction", "DeliverFunction", "InboundFunction"})
        self.assertLessEqual(readers - {"ApiFunction"}, set(RESOURCES["ApiFunction"]["DependsOn"]))

    def test_what_has_the_stage_in_it_waits_for_the_check_of_it(self) -> None:
        users = [
            name
            for name, resource in RESOURCES.items()
            if '"Ref": "Stage"' in (text := json.dumps(resource)) or "${Stage}" in text
        ]
        self.assertIn("StageCheck", users)
        self.assertGreater(len(users), 3)
        for name in users:
            if name != "StageCheck":
                after = RESOURCES[name].get("DependsOn", [])
                self.assertIn(
                    "StageCheck",
                    [after] if isinstance(after, str) else after,
                    f"{name} must have DependsOn: StageCheck",
                )

    def test_the_function_may_do_what_it_does_and_no_more(self) -> None:
        (policy,) = RESOURCES["DeploymentRole"]["Properties"]["Policies"]
        allowed = {
            str(statement["Action"]): statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]
        }
        arns = {name: {"Fn::GetAtt": [name, "Arn"]} for name, _ in protected()}
        tables: list[dict] = [
            {"Fn::If": [condition, arns[name], {"Ref": "AWS::NoValue"}]} if condition else arns[name]
            for name, condition in protected()
        ]
        # A table that only the failed update has is unprotected by its name, whatever the condition is by then.
        for name, condition in protected():
            if condition:
                own = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${AWS::StackName}"
                tables.append({"Fn::Sub": f"{own}-{name}-*"})
        self.assertEqual(
            allowed,
            {
                "['logs:CreateLogStream', 'logs:PutLogEvents']": {"Fn::GetAtt": ["DeploymentLogs", "Arn"]},
                "['dynamodb:DescribeTable', 'dynamodb:UpdateTable']": tables,
                "cloudformation:DescribeStacks": {"Ref": "AWS::StackId"},
            },
        )
