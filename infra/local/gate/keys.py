"""Permissions on the customer-managed key of a table, a queue or a secret. The emulator forgets that of a bucket.

A service uses the key in the name of the caller, so the caller needs `kms:Decrypt` or `kms:GenerateDataKey`, and the
request to KMS names the service (`kms:ViaService`). AWS's own keys need no permission.
"""

from __future__ import annotations

from gate import cloud
from gate.calls import Call, Need

READ: tuple[str, ...] = ("kms:Decrypt",)
WRITE: tuple[str, ...] = ("kms:GenerateDataKey", "kms:Decrypt")

# What an action of SQS or Secrets Manager does with the key. Others do not touch messages or values.
ACTIONS = {
    "sqs:SendMessage": WRITE,
    "sqs:ReceiveMessage": READ,
    "secretsmanager:GetSecretValue": READ,
    "secretsmanager:CreateSecret": WRITE,
    "secretsmanager:PutSecretValue": WRITE,
}

# Operations of DynamoDB that touch no items. All others decrypt the table's key, those that write too.
TABLE_OPERATIONS = ("dynamodb:DescribeTable", "dynamodb:UpdateTable", "dynamodb:ListStreams")


def key_needs(need: Need, call: Call | None = None) -> list[Need]:
    """Returns the permissions on a key that an action on a resource needs."""
    service = need.action.partition(":")[0]
    if service == "dynamodb":
        actions = () if need.action in TABLE_OPERATIONS else READ
    else:
        actions = ACTIONS.get(need.action, ())
    if not actions:
        return []
    key = cloud.key(need.resource)
    if need.action == "secretsmanager:CreateSecret" and call:
        key = call.data.get("KmsKeyId")
    via: dict[str, str | list[str]] = {"kms:viaservice": f"{service}.{cloud.REGION}.amazonaws.com"}
    return [Need(action, key, via) for action in actions] if key else []
