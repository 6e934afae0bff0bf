"""What `make deploy` checks about KMS: the key of the stack, and the key of the topic that alarms notify. AWS services
use both keys without a role of the stack, so only the policies of the keys can allow it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import boto3
from botocore.exceptions import ClientError
from preflight import Findings

# The AWS-managed key of SNS. Its policy cannot be changed, and allows no service to use it.
SNS_KEY = "alias/aws/sns"

# The operators of conditions that are evaluated.
EXACT = ("StringEquals",)
PATTERNS = ("StringLike", "ArnLike", "ArnEquals")

# Whether a policy allows something. `None`: it cannot be decided here, for example because of a condition.
Verdict = bool | None


@dataclass
class Use:
    """What an AWS service does with a key on its own."""

    principal: str
    actions: tuple[str, ...]
    # The values of the condition keys that are known, by their names in lowercase. EventBridge sends none.
    context: dict[str, str]


@dataclass
class Lacking:
    """The actions that a policy does not allow, and those for which it cannot be decided."""

    denied: list[str]
    undecided: list[str]


def lacking(policy: str, key: str, use: Use) -> Lacking:
    """Evaluates the policy of a key for a service."""
    statements = listed(json.loads(policy)["Statement"])
    verdicts = {action: verdict(statements, key, use, action) for action in use.actions}
    return Lacking(
        [action for action, allowed in verdicts.items() if allowed is False],
        [action for action, allowed in verdicts.items() if allowed is None],
    )


def verdict(statements: list[dict[str, Any]], key: str, use: Use, action: str) -> Verdict:
    """Returns whether a service may do one action: a statement allows it, and none denies it."""
    found = {(one["Effect"], applies(one, key, use, action)) for one in statements}
    if ("Deny", True) in found or not found & {("Allow", True), ("Allow", None)}:
        return False
    return True if ("Allow", True) in found and ("Deny", None) not in found else None


def applies(statement: dict[str, Any], key: str, use: Use, action: str) -> Verdict:
    """Returns whether a statement is about an action of a service."""
    verdicts = (
        names_principal(statement, use.principal),
        names_action(statement, action),
        # The resource of a key's policy is the key itself. AWS writes it as `*`.
        matches(key, listed(statement.get("Resource", []))) or None,
        *(
            holds(operator, value, use.context.get(name.lower()))
            for operator, conditions in statement.get("Condition", {}).items()
            for name, value in conditions.items()
        ),
    )
    return False if False in verdicts else None if None in verdicts else True


def names_principal(statement: dict[str, Any], principal: str) -> Verdict:
    """Returns whether a statement is about a service."""
    if "Principal" not in statement:
        return None
    named = statement["Principal"]
    if named == "*" or "*" in listed(named.get("AWS", [])):
        return True
    services = [name.removesuffix(".cn") for name in listed(named.get("Service", []))]
    if matches(principal, services):
        return True
    # `logs.amazonaws.com` instead of `logs.<region>.amazonaws.com`, which AWS documents.
    return None if re.sub(r"[.][a-z0-9-]+[.]amazonaws", ".amazonaws", principal) in services else False


def names_action(statement: dict[str, Any], action: str) -> bool:
    """Returns whether a statement is about an action."""
    names, other = statement.get("Action", []), statement.get("NotAction")
    if other is not None:
        return not names_action({"Action": other}, action)
    return matches(action.lower(), [name.lower() for name in listed(names)])


def holds(operator: str, wanted: Any, value: str | None) -> Verdict:
    """Returns whether a condition holds. One that seems not to is undecided, because the value is only an example: a
    policy may list the log groups of the stack one by one."""
    if value is None:
        return None
    if operator in EXACT:
        return value in listed(wanted) or None
    return (operator in PATTERNS and matches(value, listed(wanted))) or None


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Returns whether a text matches one of the patterns of a policy."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def listed(value: Any) -> list:
    """Returns the values of an element of a policy, which may be a list or a single value."""
    return value if isinstance(value, list) else [value]


def check_change(stack: str, former: str, key: str, found: Findings) -> None:
    """Checks that someone has prepared a change of the key of a stack that exists."""
    if former == key or os.environ.get("CHANGED"):
        return
    found.faults.append(
        f"The stack {stack} has KmsKeyArn={former}, and would get KmsKeyArn={key}. CloudFormation changes tables and "
        f"queues before the roles, so its functions would fail for minutes; and its secrets and the messages in its "
        f"queues stay encrypted with the former key, which the roles could no longer use. Follow *Change the key* in "
        f"docs/use/deploy.md, and run CHANGED=1 make deploy."
    )


def check_key(session: boto3.Session, account: str, stack: str, arn: str, found: Findings) -> None:
    """Checks that the services of the stack can use its key."""
    partition, region = arn.split(":")[1:4:2] if arn.count(":") >= 5 else ("", "")
    if region != session.region_name:
        found.faults.append(f"KmsKeyArn is {arn}, but the key must be in the stack's region, {session.region_name}.")
        return
    kms = session.client("kms")
    try:
        key = kms.describe_key(KeyId=arn)["KeyMetadata"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException":
            found.faults.append(f"There is no key {arn}. Create it, or correct KmsKeyArn.")
        else:
            found.warnings.append(f"The key {arn} is not checked: {error}.")
        return
    if key["KeyState"] != "Enabled":
        found.faults.append(f"The key {arn} is {key['KeyState']}. Enable it, or nothing that it encrypts can be read.")
    if key.get("KeySpec") != "SYMMETRIC_DEFAULT" or key.get("KeyManager") != "CUSTOMER":
        found.faults.append(f"The key {arn} must be a symmetric key that you manage.")
        return
    try:
        policy = kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"]
    except ClientError as error:
        found.warnings.append(
            f"The policy of the key {arn} is not checked: {error}. Compare it with the one in docs/use/deploy.md: if "
            f"CloudWatch Logs may not use the key, CloudFormation cannot create the log groups."
        )
        return
    # These two use the key on their own; everything else does so in the name of a role or of the principal that
    # deploys.
    group = f"arn:{partition}:logs:{region}:{account}:log-group:{stack}-…"
    uses = ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "DescribeKey")
    logs = Use(
        f"logs.{region}.amazonaws.com",
        tuple(f"kms:{use}" for use in uses),
        {"kms:encryptioncontext:aws:logs:arn": group},
    )
    events = Use("events.amazonaws.com", ("kms:Decrypt", "kms:GenerateDataKey"), {})
    for service, use, lost, faults in (
        ("CloudWatch Logs", logs, "CloudFormation cannot create the log groups", found.faults),
        ("EventBridge", events, "batches of stream records that Lambda gave up are not announced", found.warnings),
    ):
        judged = lacking(policy, arn, use)
        name = f"{service} ({use.principal})"
        fix = f"Compare the policy with the one in docs/use/deploy.md. Without these actions {lost}."
        if judged.denied:
            faults.append(f"The policy of the key {arn} does not allow {name} {', '.join(judged.denied)}. {fix}")
        elif judged.undecided:
            found.warnings.append(
                f"The policy of the key {arn} may not allow {name} {', '.join(judged.undecided)}, which depends on "
                f"conditions or principals that are not evaluated here. {fix}"
            )


def check_topic(session: boto3.Session, account: str, stack: str, arn: str, found: Findings) -> None:
    """Checks that alarms reach someone."""
    if not arn:
        found.warnings.append("AlarmTopicArn is not set, so there are no alarms.")
        return
    region = arn.split(":")[3] if arn.count(":") >= 5 else ""
    if region != session.region_name:
        found.faults.append(f"AlarmTopicArn is {arn}, but an alarm needs a topic in its region, {session.region_name}.")
        return
    try:
        topic = session.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NotFound", "InvalidParameter"):
            found.faults.append(f"There is no topic {arn}. Create it, or correct AlarmTopicArn.")
        else:
            found.warnings.append(f"The topic {arn} is not checked: {error}.")
        return
    if topic.get("SubscriptionsConfirmed", "0") == "0":
        found.warnings.append(f"The topic {arn} has no confirmed subscription, so alarms notify no one.")
    if key := topic.get("KmsMasterKeyId"):
        check_topic_key(session, account, stack, arn, key, found)


def check_topic_key(session: boto3.Session, account: str, stack: str, topic: str, key: str, found: Findings) -> None:
    """Checks that CloudWatch can publish to a topic that is encrypted with a key: its id, its alias, or the ARN of
    either."""
    _, partition, _, region, owner, _ = topic.split(":", 5)
    needed = "cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*"
    unmanaged = (
        f"The topic {topic} is encrypted with the AWS-managed key {SNS_KEY}, which CloudWatch cannot use, so alarms "
        f"would notify no one. Encrypt it with a key of yours whose policy allows {needed}, or do not encrypt it."
    )
    if key.endswith(SNS_KEY):
        found.faults.append(unmanaged)
        return
    if not key.startswith("arn:"):
        # In the topic's account, which may be another one.
        key = f"arn:{partition}:kms:{region}:{owner}:{key if key.startswith('alias/') else f'key/{key}'}"
    kms = session.client("kms")
    try:
        described = kms.describe_key(KeyId=key)["KeyMetadata"]
        if described.get("KeyManager") == "AWS":
            found.faults.append(unmanaged)
            return
        # This call takes no alias.
        key = described["Arn"]
        policy = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    except ClientError as error:
        found.warnings.append(
            f"The policy of the key {key}, which encrypts the topic {topic}, is not checked: {error}. Check that it "
            f"allows {needed}, or alarms notify no one."
        )
        return
    alarm = f"arn:{partition}:cloudwatch:{region}:{account}:alarm:{stack}-…"
    use = Use(
        "cloudwatch.amazonaws.com",
        ("kms:Decrypt", "kms:GenerateDataKey"),
        {"aws:sourceaccount": account, "aws:sourcearn": alarm},
    )
    judged = lacking(policy, key, use)
    if judged.denied or judged.undecided:
        allows = "does not allow" if judged.denied else "has conditions or principals that may not allow"
        found.warnings.append(
            f"The policy of the key {key}, which encrypts the topic {topic}, {allows} CloudWatch "
            f"{', '.join(judged.denied or judged.undecided)}. Check that it allows {needed}, or alarms notify no one."
        )
