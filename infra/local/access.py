"""The functions' roles: the tests of the gate that enforces them, and its report."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import boto3
import requests
from botocore.exceptions import ClientError
from common import REGION, ROOT, StackError
from stack import EMULATOR_PYTHON, GATE, STACK, Stack

# Permissions that a run of all tests may leave unused: the function, the action, a part of the resource, and when they
# are used.
RARELY_USED = [
    ("api", "secretsmanager:DescribeSecret", ":secret:/local/inbound/", "a secret of an inbound webhook is rotated"),
    ("api", "secretsmanager:PutSecretValue", ":secret:/local/inbound/", "a secret of an inbound webhook is rotated"),
    ("api", "secretsmanager:UpdateSecretVersionStage", ":secret:/local/inbound/", "the same, after a lost answer"),
    ("api", "secretsmanager:RestoreSecret", ":secret:/local/inbound/", "a deleted inbound webhook is restored"),
    ("deliver", "dynamodb:GetItem", "-RegistryTable-", "a refused write does not return the item that it met"),
    ("deliver", "ses:SendEmail", ":configuration-set/", "an identity has a default configuration set"),
    ("deployment", "cloudformation:DescribeStacks", ":stack/", "an update is rolled back; the second stack tries it"),
    ("deployment", "dynamodb:DescribeTable", "-SecretsTable-", "an update to SecretStorage=kms is rolled back"),
    ("deployment", "dynamodb:UpdateTable", ":table/", "DeletionProtection changes; the second stack tries it"),
    ("fanout", "dynamodb:Query", "/index/", "a source has related items that are found in an index"),
    ("render", "dynamodb:PutItem", "-EventsTable-", "a rendering is large, or reaches a tenant's budget"),
    ("render", "dynamodb:Query", "-EventsTable-", "an event is large"),
    ("sweep", "dynamodb:GetItem", "-EventsTable-", "a job sends an event again whose row has no body"),
    ("sweep", "dynamodb:PutItem", "-EventsTable-", "a job renders a large body again"),
    ("sweep", "sqs:DeleteMessage", "-ExhaustedQueue-", "letters are checked, at certain times of an hour"),
    ("sweep", "sqs:ReceiveMessage", "-ExhaustedQueue-", "letters are checked, at certain times of an hour"),
    ("sweep", "sqs:GetQueueAttributes", "-SlowQueue-", "a slow receiver's parked deliveries are released"),
]


def check_gate() -> None:
    """Runs the gate's own tests, in the emulator's environment."""
    tests = [
        "-m",
        "unittest",
        "discover",
        "--start-directory",
        str(GATE / "tests"),
        "--top-level-directory",
        str(GATE.parent),
    ]
    if subprocess.run([str(EMULATOR_PYTHON), *tests], cwd=ROOT, check=False).returncode != 0:
        raise StackError("the gate's tests do not pass")


def session(stack: Stack, role: str, name: str, of: str = STACK) -> dict[str, str]:
    """Returns credentials of a role of the template, by its logical id, as a process finds them in its environment."""
    found = stack.client("cloudformation").describe_stack_resource(StackName=of, LogicalResourceId=role)
    name_of_role = found["StackResourceDetail"]["PhysicalResourceId"]
    arn = stack.client("iam").get_role(RoleName=name_of_role)["Role"]["Arn"]
    # The longest that a session may last; the tests are shorter.
    assumed = stack.client("sts").assume_role(RoleArn=arn, RoleSessionName=name, DurationSeconds=12 * 3600)
    return {
        "AWS_ACCESS_KEY_ID": assumed["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": assumed["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": assumed["Credentials"]["SessionToken"],
    }


def credentials(stack: Stack) -> Path:
    """Writes credentials for the functions that tests run themselves, by logical id; returns where."""
    resources = stack.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    roles = [each["LogicalResourceId"] for each in resources if each["ResourceType"] == "AWS::IAM::Role"]
    names = [role.removesuffix("Role") for role in roles]
    sessions = {f"{name}Function": session(stack, f"{name}Role", f"tests-{name.lower()}") for name in names}
    # For a test that tries what the role forbids.
    sessions["OnPurposeFanout"] = session(stack, "FanoutRole", "on-purpose-fanout")
    file = stack.folder / "credentials.json"
    file.write_text(json.dumps(sessions))
    return file


def check_refusals(stack: Stack) -> None:
    """Tries something that a role forbids, to notice a gate that allows everything."""
    keys = session(stack, "InboundRole", "on-purpose-inbound")
    client = boto3.client(
        "dynamodb",
        endpoint_url=stack.endpoint,
        region_name=REGION,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
    )
    try:
        client.get_item(TableName=stack.outputs["DeliveriesTable"], Key={"pk": {"S": "D#x"}, "sk": {"S": "x"}})
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDeniedException":
            return
        raise
    raise StackError("the gate allowed the role of inbound to read the Deliveries table")


def check_access(stack: Stack, whole: bool = True) -> list[str]:
    """Shows the calls of each function. Returns what the roles refused and, after a `whole` run, allow for nothing."""
    check_refusals(stack)
    report = requests.get(f"{stack.endpoint}/_gate/report", timeout=60).json()
    file = stack.folder / "calls.json"
    file.write_text(json.dumps(report, indent=2))
    print(f"\ncalls to AWS, and the items or messages in them (the gate's whole report: {file.relative_to(ROOT)})")
    for caller, operations in report["calls"].items():
        for operation, count in operations.items():
            print(f"  {caller:24} {operation:44} {count['calls']:8} {count['entries']:8}")
    refused = [line(refusal) for refusal in report["refused"] if not refusal["on_purpose"]]
    return refused + report["services"] + (needless(report["unused"]) if whole else [])


def needless(unused: list[str]) -> list[str]:
    """Returns the unused permissions that are not known to be used rarely."""

    def is_rare(grant: str) -> bool:
        function, action, resource = grant.split(" ", 2)
        return any(one[:2] == (function, action) and one[2] in resource for one in RARELY_USED)

    return [
        f"{grant} is allowed and no test used it; remove it, or say in access.py when it is used"
        for grant in unused
        if not is_rare(grant)
    ]


def line(refusal: dict) -> str:
    """Returns one line about a refusal: what infra/template.yaml must allow, or the function must not call."""
    keys = f" [{refusal['keys']}]" if refusal["keys"] else ""
    what = f"{refusal['caller']} {refusal['action']} {refusal['resource']}{keys}"
    return f"{what}, {refusal['times']} times, {refusal['why']}"
