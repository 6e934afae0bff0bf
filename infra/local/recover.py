"""`make recover STAGE=…`: makes a stack again of what a deleted stack has kept: the tables, the secret, the
bucket, and the key of the table of secrets.

CloudFormation imports existing resources only into a stack that has no others, so `make deploy` follows and adds the
rest."""

from __future__ import annotations

import json
import os
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError
from common import ROOT, StackError, step
from deploy import read_settings, session_of
from samcli.yamlhelper import yaml_parse

# The property that identifies a resource of each kind that a deleted stack keeps.
IDENTIFIERS = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::KMS::Key": "KeyId",
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
    retained = retained_by(template, settings.parameters)
    deleted, kept = find_kept(session, settings.stack, retained, os.environ.get("STACK_ID"))
    if more := sorted(set(kept) - retained):
        raise StackError(
            f"the deleted stack has also kept {', '.join(more)}, which only SecretStorage=kms has: its webhooks' "
            f"secrets are there. Add SecretStorage=kms to the parameters of {settings.environment} in samconfig.toml, "
            "and run this again"
        )
    if (lost := lost_parameters(session, deleted, template, settings.parameters)) and not os.environ.get("CHANGED"):
        raise StackError(
            f"the deleted stack had other parameters than {settings.environment} in samconfig.toml. It had\n\n"
            + "".join(f"    {one}\n" for one in lost)
            + "\nWrite them there, or its data may be out of reach: a stage, for example, cannot be changed later. "
            "CHANGED=1 make recover takes what samconfig.toml says"
        )
    step(f"importing into {settings.stack}: {', '.join(f'{name} ({one[1]})' for name, one in kept.items())}")
    import_kept(session, settings.stack, template, settings.parameters, kept)
    stage = "" if settings.environment == "default" else f" STAGE={settings.environment}"
    print(f"{settings.stack} has its data again. Run `make deploy{stage}`, which adds everything else.")
    return 0


def retained_by(template: dict[str, Any], parameters: dict[str, str]) -> set[str]:
    """Returns which resources a deleted stack keeps that had these parameters."""
    in_table = parameters.get("SecretStorage") == "kms"
    holds = {None: True, "InSecretsTable": in_table}
    resources = template["Resources"].items()
    return {
        name for name, one in resources if "Retain" in one.get("DeletionPolicy", "") and holds[one.get("Condition")]
    }


def lost_parameters(
    session: boto3.Session, deleted: str, template: dict[str, Any], parameters: dict[str, str]
) -> list[str]:
    """Returns the parameters of a deleted stack that a new one would not have, as samconfig.toml writes them."""
    stack = session.client("cloudformation").describe_stacks(StackName=deleted)["Stacks"][0]
    known = template["Parameters"]
    had = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    will_have = {name: parameters.get(name, str(one.get("Default", ""))) for name, one in known.items()}
    return [f"{name}={value}" for name, value in had.items() if will_have.get(name, value) != value]


def find_kept(
    session: boto3.Session, name: str, retained: set[str], stack_id: str | None = None
) -> tuple[str, dict[str, tuple[str, str]]]:
    """Returns the id of a deleted stack of a name, and what it has kept: kind and physical id by logical id. It is the
    one with that id, or the last one that has kept everything. CloudFormation remembers a deleted stack for 90 days."""
    cloudformation = session.client("cloudformation")
    try:
        status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        if status != "REVIEW_IN_PROGRESS":
            raise StackError(f"the stack {name} exists ({status}); recover only a stack that was deleted")
        # What an import that failed has left. It has no resources.
        cloudformation.delete_stack(StackName=name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name)
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    deleted = [stack for page in pages for stack in page["StackSummaries"] if stack["StackName"] == name]
    if not deleted:
        raise StackError(f"CloudFormation remembers no deleted stack {name}; correct the region, or stack_name")
    newest_first = sorted(deleted, key=lambda stack: stack["CreationTime"], reverse=True)
    lacking = []
    for identifier in [stack_id] if stack_id else [stack["StackId"] for stack in newest_first]:
        kept = kept_by(cloudformation, identifier)
        if retained <= set(kept):
            return identifier, kept
        lacking.append(f"{identifier} has not kept {', '.join(sorted(retained - set(kept)))}")
    raise StackError(f"no deleted stack {name} has kept all that a deployment needs:\n" + "\n".join(lacking))


def kept_by(cloudformation: Any, stack: str) -> dict[str, tuple[str, str]]:
    """Returns what a deleted stack has kept. A deletion that failed and was repeated has several parts."""
    kept: dict[str, tuple[str, str]] = {}
    # Newest first. Events before the deletion are about resources that an update replaced.
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack):
        for event in page["StackEvents"]:
            identifier, kind, status = event["PhysicalResourceId"], event["ResourceType"], event["ResourceStatus"]
            if identifier == stack and not status.startswith("DELETE"):
                return kept
            if status == "DELETE_SKIPPED" and kind in IDENTIFIERS:
                kept.setdefault(event["LogicalResourceId"], (kind, identifier))
    return kept


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
    conditions = {
        name: one
        for name, one in template["Conditions"].items()
        if f'"Fn::If": ["{name}"' in text or f'"Condition": "{name}"' in text
    }
    text += json.dumps(conditions)
    parameters = {name: one for name, one in template["Parameters"].items() if f'"Ref": "{name}"' in text}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": template["Description"],
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": resources,
    }
