"""What a call needs: IAM actions on resources, with the condition keys that the request sets.

The names are those of AWS's service authorization reference. Operations that are not listed are refused: a change that
makes a function call a new operation must look up its permissions and add it.
"""

from __future__ import annotations

from gate import cloud
from gate.calls import Call, Need, UnknownCall
from gate.tables import table_needs

# One action covers several operations.
QUEUE_ACTIONS = {
    "SendMessage": "SendMessage",
    "SendMessageBatch": "SendMessage",
    "ReceiveMessage": "ReceiveMessage",
    "DeleteMessage": "DeleteMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibility": "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "GetQueueAttributes": "GetQueueAttributes",
    "GetQueueUrl": "GetQueueUrl",
}

# Operations of Secrets Manager whose action has the same name, on the secret of the request.
SECRET_ACTIONS = {
    "GetSecretValue",
    "PutSecretValue",
    "DescribeSecret",
    "UpdateSecretVersionStage",
    "DeleteSecret",
    "RestoreSecret",
    "ListSecretVersionIds",
}

# Operations of KMS with a symmetric key and an encryption context.
CRYPTOGRAPHIC_ACTIONS = {"Encrypt", "Decrypt"}

OBJECT_ACTIONS = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


def needs(call: Call) -> list[Need]:
    """Returns all permissions that a call needs."""
    if call.service == "dynamodb":
        return table_needs(call)
    if call.service == "sqs" and (action := QUEUE_ACTIONS.get(call.operation)):
        queue = call.data.get("QueueUrl") or call.data.get("QueueName", "")
        return [Need(f"sqs:{action}", f"arn:aws:sqs:{cloud.REGION}:{cloud.ACCOUNT}:{queue.rpartition('/')[2]}")]
    if call.service == "secretsmanager":
        return secret_needs(call)
    if call.service == "kms" and call.operation in CRYPTOGRAPHIC_ACTIONS:
        return [key_need(call)]
    if call.service == "s3":
        return object_needs(call)
    if call.title == "sns:Publish":
        return [Need("sns:Publish", call.data["TopicArn"])]
    if call.title == "ses:POST" and f"{call.bucket}/{call.key}" == "v2/email/outbound-emails":
        return mail_needs(call)
    if call.title == "xray:POST" and f"{call.bucket}/{call.key}" == "v1/traces":
        # AWS's examples for the OTLP endpoint grant both. Neither supports a resource.
        return [Need("xray:PutTraceSegments", "*"), Need("xray:PutSpans", "*")]
    if call.title == "lambda:GET" and f"{call.bucket}/{call.key}".strip("/") == "2015-03-31/event-source-mappings":
        # This action supports no resource.
        return [Need("lambda:ListEventSourceMappings", "*")]
    if call.title == "cloudformation:DescribeStacks" and call.data.get("StackName", "").startswith("arn:"):
        return [Need("cloudformation:DescribeStacks", call.data["StackName"])]
    raise UnknownCall(call.title)


def secret_needs(call: Call) -> list[Need]:
    """Returns the permissions that a call to Secrets Manager needs."""
    if call.operation == "CreateSecret":
        created = secret(call.data["Name"])
        keys: dict = {"secretsmanager:name": call.data["Name"]}
        if tags := call.data.get("Tags"):
            keys["aws:tagkeys"] = [tag["Key"] for tag in tags]
        creating = [Need("secretsmanager:CreateSecret", created, keys)]
        # Tagging during creation also needs the permission to tag.
        return creating + ([Need("secretsmanager:TagResource", created, keys)] if tags else [])
    if call.operation == "BatchGetSecretValue":
        each = [Need("secretsmanager:GetSecretValue", secret(name)) for name in call.data["SecretIdList"]]
        # The batch action supports no resource.
        return [Need("secretsmanager:BatchGetSecretValue", "*"), *each]
    if call.operation in SECRET_ACTIONS:
        return [Need(f"secretsmanager:{call.operation}", secret(call.data["SecretId"]))]
    raise UnknownCall(call.title)


def key_need(call: Call) -> Need:
    """Returns the permission on a key for encrypting or decrypting, with the encryption context. A request without one
    sets none of the keys."""
    key = call.data.get("KeyId", "")
    if ":key/" not in key:
        raise UnknownCall(f"{call.title} with a key that is not named by its ARN")
    context = call.data.get("EncryptionContext") or {}
    keys: dict[str, str | list[str]] = {f"kms:encryptioncontext:{name.lower()}": text for name, text in context.items()}
    if context:
        keys["kms:encryptioncontextkeys"] = sorted(context)
    return Need(f"kms:{call.operation}", key, keys)


def mail_needs(call: Call) -> list[Need]:
    """Returns the permissions that sending a mail needs: for the identity of its sender."""
    sender = call.data["FromEmailAddress"]
    identity = f"arn:aws:ses:{cloud.REGION}:{cloud.ACCOUNT}:identity/{sender}"
    return [Need("ses:SendEmail", identity, {"ses:fromaddress": sender})]


def secret(name: str) -> str:
    """Returns the ARN of a secret, or the ARN that it would have if it does not exist."""
    if name.startswith("arn:"):
        return cloud.secret_arn(name) or name
    return cloud.secret_arn(name) or f"arn:aws:secretsmanager:{cloud.REGION}:{cloud.ACCOUNT}:secret:{name}-AAAAAA"


def object_needs(call: Call) -> list[Need]:
    """Returns the permissions that a call to S3 needs: for objects, and for listing them."""
    bucket = f"arn:aws:s3:::{call.bucket}"
    if call.key and call.operation in OBJECT_ACTIONS:
        return [Need(f"s3:{OBJECT_ACTIONS[call.operation]}", f"{bucket}/{call.key}")]
    if call.bucket and not call.key and call.operation in ("GET", "HEAD"):
        return [Need("s3:ListBucket", bucket, {} if call.prefix is None else {"s3:prefix": call.prefix})]
    raise UnknownCall(call.title)
