"""Tests of how a deployment starts, changes and ends, with the relevant part of the template, on the running
emulator."""

from __future__ import annotations

import json
import time

from botocore.client import BaseClient
from botocore.exceptions import ClientError
from common import ROOT, StackError
from recover import find_kept, import_kept, lost_parameters, only
from samcli.yamlhelper import yaml_parse
from stack import Stack

# A second stack on the same emulator.
NAME = "dynahook-begins-and-ends"
STAGE = "begins-and-ends"

KEPT = ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::KMS::Key")
DECIDING = ("DeploymentFunction", "DeploymentRole", "DeploymentLogs", "StageCheck", "TableProtection")

# The function has no code, so CloudFormation fails to create it after everything else.
BROKEN = {
    "Broken": {
        "Type": "Custom::Nothing",
        "DependsOn": ["TableProtection", "StageCheck"],
        "Properties": {"ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:nothing"},
    }
}


def check_deployment(stack: Stack) -> None:
    """Tries what an operator may run into; each step says what should hold."""
    trial = Trial(stack)
    try:
        trial.run()
    finally:
        trial.give_up_the_data()


class Trial:
    """A stack of tables, key and deployment function."""

    def __init__(self, stack: Stack) -> None:
        template = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
        resources = template["Resources"]
        deciding = {name for name, one in resources.items() if name in DECIDING or one["Type"] in KEPT}
        self.template = template
        self.parts = {**only(template, deciding), "Resources": {name: resources[name] for name in deciding}}
        self.stack = stack
        self.cloudformation = stack.client("cloudformation")
        self.dynamodb = stack.client("dynamodb")
        self.secrets = stack.client("secretsmanager")

    def run(self) -> None:
        """Fails to deploy, deploys, tries to change the stage, deletes, and deploys again."""
        self.expect(self.create(BROKEN), "ROLLBACK_COMPLETE")
        self.expect(self.tables() + self.keys(), [])
        self.cloudformation.delete_stack(StackName=NAME)
        self.wait()

        self.expect(self.create(), "CREATE_COMPLETE")
        tables = self.tables()
        self.expect([self.is_protected(table) for table in tables], [True, True, True])
        try:
            self.dynamodb.delete_table(TableName=tables[0])
            raise StackError("a protected table can be deleted")
        except ClientError as error:
            self.expect("protect" in str(error), True)

        self.expect(self.update(Stage="another"), "UPDATE_ROLLBACK_COMPLETE")
        reason = f"Stage of this stack is {STAGE} and cannot become another"
        self.expect([reason in text for text in self.reasons("StageCheck")], [True])
        self.expect(self.update(Stage=STAGE, DeletionProtection="false"), "UPDATE_COMPLETE")
        self.expect([self.is_protected(table) for table in tables], [False, False, False])
        self.expect(self.update(Stage=STAGE, DeletionProtection="true"), "UPDATE_COMPLETE")

        self.expect(self.update(Stage=STAGE, SecretStorage="kms", DeletionProtection="true"), "UPDATE_COMPLETE")
        tables = self.tables()
        self.expect([self.is_protected(table) for table in tables], [True] * 4)
        self.expect(self.update(Stage=STAGE, DeletionProtection="true"), "UPDATE_ROLLBACK_COMPLETE")
        reason = "SecretStorage of this stack is kms and cannot become secrets-manager"
        self.expect([reason in text for text in self.reasons("StageCheck")][:1], [True])
        self.expect((self.tables(), [self.is_protected(table) for table in tables]), (tables, [True] * 4))

        self.cloudformation.delete_stack(StackName=NAME)
        self.expect(self.wait(), "DELETE_COMPLETE")
        self.expect([self.is_protected(table) for table in tables], [True] * 4)
        self.expect(len(self.keys()), 1)
        # AWS would create new tables here. The emulator derives their names and reuses the ones that are left.
        self.expect(self.create(SecretStorage="kms"), "CREATE_COMPLETE")
        self.recover(tables)
        print(f"{NAME}: failed, deployed, kept its stage, was deleted, recovered, and had a table restored")

    def recover(self, tables: list[str]) -> None:
        """Deletes the stack and recovers it with its tables, as `make recover` and `make deploy` do."""
        self.dynamodb.put_item(TableName=tables[0], Item={"pk": {"S": "kept"}, "sk": {"S": "kept"}})
        self.cloudformation.delete_stack(StackName=NAME)
        self.expect(self.wait(), "DELETE_COMPLETE")
        retained = {name for name, one in self.template["Resources"].items() if one["Type"] in KEPT}
        self.expect({"SecretsTable", "SecretsKey"} < retained, True)
        deleted, kept = find_kept(self.stack, NAME, retained)
        for settings in ({}, {"SecretStorage": "kms"}):
            lost = lost_parameters(self.stack, deleted, self.template, settings)
            self.expect("SecretStorage=kms" in lost, not settings)
        self.expect(sorted(identifier for kind, identifier in kept.values() if kind == KEPT[0]), sorted(tables))
        self.expect([kind for kind, _ in kept.values() if kind == KEPT[1]], [KEPT[1]])
        # The emulator imports no secrets.
        imported = {name: one for name, one in kept.items() if one[0] != KEPT[1]}
        import_kept(self.stack, NAME, self.template, {"SecretStorage": "kms"}, imported)
        self.expect(self.wait(), "IMPORT_COMPLETE")
        self.cloudformation.update_stack(
            StackName=NAME,
            TemplateBody=json.dumps(self.parts),
            Parameters=given({"Stage": STAGE, "SecretStorage": "kms"}),
            Capabilities=["CAPABILITY_IAM"],
        )
        self.expect(self.wait(), "UPDATE_COMPLETE")
        self.expect(sorted(self.tables()), sorted(tables))
        self.expect(self.has_item(tables[0]), True)
        restore(self.dynamodb, tables[0])
        self.expect(self.has_item(tables[0]), True)
        off = self.update(Stage=STAGE, SecretStorage="kms", DeletionProtection="false")
        self.expect((off, self.is_protected(tables[0])), ("UPDATE_COMPLETE", False))

    def has_item(self, table: str) -> bool:
        """Says whether the table has the item that was written before the stack was deleted."""
        key = {"pk": {"S": "kept"}, "sk": {"S": "kept"}}
        return "Item" in self.dynamodb.get_item(TableName=table, Key=key)

    def give_up_the_data(self) -> None:
        """Deletes everything, as described in docs/use/deploy.md."""
        self.cloudformation.delete_stack(StackName=NAME)
        self.wait()
        for table in self.tables():
            self.dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
            self.dynamodb.delete_table(TableName=table)
        for key in self.keys():
            self.secrets.delete_secret(SecretId=key)

    def create(self, more: dict | None = None, **parameters: str) -> str:
        """Creates the stack; returns its final state."""
        template = {**self.parts, "Resources": {**self.parts["Resources"], **(more or {})}}
        self.cloudformation.create_stack(
            StackName=NAME,
            TemplateBody=json.dumps(template),
            Parameters=given({"Stage": STAGE, **parameters}),
            Capabilities=["CAPABILITY_IAM"],
        )
        return self.wait()

    def update(self, **parameters: str) -> str:
        """Changes parameters of the stack; returns its final state."""
        self.cloudformation.update_stack(
            StackName=NAME, UsePreviousTemplate=True, Parameters=given(parameters), Capabilities=["CAPABILITY_IAM"]
        )
        return self.wait()

    def wait(self) -> str:
        """Waits for the final state of the stack and returns it."""
        for _ in range(300):
            state = max(
                (one for one in self.cloudformation.list_stacks()["StackSummaries"] if one["StackName"] == NAME),
                key=lambda one: one["CreationTime"],
            )["StackStatus"]
            if not state.endswith("IN_PROGRESS"):
                return state
            time.sleep(0.1)
        raise StackError(f"{NAME} stays {state}")

    def reasons(self, resource: str) -> list[str]:
        """Returns the reason why an update of a resource failed."""
        events = self.cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
        of_it = [event for event in events if event["LogicalResourceId"] == resource]
        return [event["ResourceStatusReason"] for event in of_it if event["ResourceStatus"] == "UPDATE_FAILED"]

    def tables(self) -> list[str]:
        """Returns the tables of all stacks of this name, deleted ones too."""
        return [name for name in self.dynamodb.list_tables()["TableNames"] if name.startswith(NAME)]

    def keys(self) -> list[str]:
        """Returns their fingerprint keys."""
        pages = self.secrets.get_paginator("list_secrets").paginate()
        return [secret["ARN"] for page in pages for secret in page["SecretList"] if secret["Name"].startswith(NAME)]

    def is_protected(self, table: str) -> bool:
        """Says whether a table has deletion protection."""
        return self.dynamodb.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"]

    def expect(self, found: object, wanted: object) -> None:
        """Compares, and on a difference shows what CloudFormation reported."""
        if found != wanted:
            events = self.cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
            lines = [
                f"{event['LogicalResourceId']} {event['ResourceStatus']} {event.get('ResourceStatusReason', '')}"
                for event in events
            ]
            raise StackError(f"{found!r}, and not {wanted!r}\n" + "\n".join(lines[:10]))


def given(parameters: dict[str, str]) -> list[dict[str, str]]:
    """Returns parameters in the form of CloudFormation."""
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]


def restore(dynamodb: BaseClient, table: str) -> None:
    """Restores a table under its own name, as in docs/use/runbook.md."""
    restored = f"{table}-restored"
    dynamodb.restore_table_to_point_in_time(
        SourceTableName=table, TargetTableName=restored, UseLatestRestorableTime=True
    )
    dynamodb.get_waiter("table_exists").wait(TableName=restored)
    backup = dynamodb.create_backup(TableName=restored, BackupName="restored")["BackupDetails"]["BackupArn"]
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=table)
    dynamodb.get_waiter("table_not_exists").wait(TableName=table)
    dynamodb.restore_table_from_backup(TargetTableName=table, BackupArn=backup)
    dynamodb.get_waiter("table_exists").wait(TableName=table)
    dynamodb.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )
    recovery = {"PointInTimeRecoveryEnabled": True}
    dynamodb.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=recovery)
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=True)
    dynamodb.delete_table(TableName=restored)
