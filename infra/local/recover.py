"""`make recover STAGE=…`: makes a stack again of the tables, the secret and the bucket that a deleted stack has kept.

CloudFormation imports existing resources only into a stack that has no others, so `make deploy` follows and adds the
rest."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

import boto3
from botocore.exceptions import ClientError, WaiterError
from common import ROOT, StackError, step
from deploy import read_settings, session_of
from samcli.yamlhelper import yaml_parse

# The property that identifies a resource of each kind that a deleted stack keeps.
IDENTIFIERS = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SecretsManager::Secret": "Id",
}

CHANGE_SET = "import"


def recover() -> int:
    """Recovers the stack of an environment of samconfig.toml."""
    settings = read_settings(ROOT, os.environ.get("STAGE") or "default")
    session = session_of(settings)
    template = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
    kept = find_kept(session, settings.stack)
    step(f"importing into {settings.stack}: {', '.join(f'{name} ({one[1]})' for name, one in kept.items())}")
    import_kept(session, settings.stack, template, settings.parameters, kept)
    stage = "" if settings.environment == "default" else f" STAGE={settings.environment}"
    print(f"{settings.stack} has its data again. Run `make deploy{stage}`, which adds everything else.")
    return 0


def find_kept(session: boto3.Session, name: str) -> dict[str, tuple[str, str]]:
    """Returns what the last deleted stack of a name has kept: kind and physical id by logical id. CloudFormation
    remembers a deleted stack for 90 days."""
    cloudformation = session.client("cloudformation")
    try:
        status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        raise StackError(f"the stack {name} exists ({status}); recover only a stack that was deleted")
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    deleted = [stack for page in pages for stack in page["StackSummaries"] if stack["StackName"] == name]
    if not deleted:
        raise StackError(f"CloudFormation remembers no deleted stack {name}; correct the region, or stack_name")
    last = max(deleted, key=lambda stack: stack["CreationTime"])
    kept: dict[str, tuple[str, str]] = {}
    # Newest first. Events before the deletion are about resources that an update replaced.
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=last["StackId"]):
        for event in page["StackEvents"]:
            identifier, kind = event["PhysicalResourceId"], event["ResourceType"]
            if identifier == last["StackId"] and event["ResourceStatus"] == "DELETE_IN_PROGRESS":
                return kept or fail(last["StackId"])
            if event["ResourceStatus"] == "DELETE_SKIPPED" and kind in IDENTIFIERS:
                kept[event["LogicalResourceId"]] = (kind, identifier)
    return kept or fail(last["StackId"])


def fail(stack: str) -> NoReturn:
    """Raises that a deleted stack has kept nothing."""
    raise StackError(f"the deleted stack {stack} has kept nothing")


def import_kept(
    session: boto3.Session,
    name: str,
    template: dict[str, Any],
    parameters: dict[str, str],
    kept: dict[str, tuple[str, str]],
) -> None:
    """Creates a stack of existing resources."""
    reduced = only(template, set(kept))
    cloudformation = session.client("cloudformation")
    cloudformation.create_change_set(
        StackName=name,
        ChangeSetName=CHANGE_SET,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(reduced),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": parameters[key]}
            for key in reduced["Parameters"]
            if key in parameters
        ],
        ResourcesToImport=[
            {"ResourceType": kind, "LogicalResourceId": key, "ResourceIdentifier": {IDENTIFIERS[kind]: identifier}}
            for key, (kind, identifier) in kept.items()
        ],
    )
    try:
        quick = {"Delay": 2, "MaxAttempts": 150}
        cloudformation.get_waiter("change_set_create_complete").wait(
            StackName=name, ChangeSetName=CHANGE_SET, WaiterConfig=quick
        )
        cloudformation.execute_change_set(StackName=name, ChangeSetName=CHANGE_SET)
        cloudformation.get_waiter("stack_import_complete").wait(StackName=name, WaiterConfig=quick)
    except WaiterError as error:
        reason = cloudformation.describe_change_set(StackName=name, ChangeSetName=CHANGE_SET).get("StatusReason", "")
        raise StackError(f"{name} is not imported: {error} {reason}. Nothing was deleted") from None


def only(template: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Returns a template with these resources, and the parameters and conditions that they need."""
    resources = {}
    for name in names:
        resource = {key: value for key, value in template["Resources"][name].items() if key != "Metadata"}
        # Nothing must delete them if the import is rolled back.
        resources[name] = {**resource, "DeletionPolicy": "Retain"}
    text = json.dumps(resources)
    conditions = {name: one for name, one in template["Conditions"].items() if f'"Fn::If": ["{name}"' in text}
    text += json.dumps(conditions)
    parameters = {name: one for name, one in template["Parameters"].items() if f'"Ref": "{name}"' in text}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": template["Description"],
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": resources,
    }
