"""Access to the emulator's state. Only this file and moves.py know its form."""

from __future__ import annotations

import re

from ministack.services import apigateway, dynamodb, eventbridge, lambda_svc, secretsmanager, sqs

ACCOUNT = "000000000000"
REGION = "us-east-1"

# The name of a function in its ARN, which an integration of API Gateway wraps in a URI.
FUNCTION = re.compile(r":function:([A-Za-z0-9-_]+)")


def partition_key(table: str, index: str | None = None) -> str | None:
    """Returns the name of the partition key of a table or an index, or nothing if it does not exist."""
    found = dynamodb._tables.get_scoped(ACCOUNT, REGION, table)
    if found and index is not None:
        indexes = [*found.get("GlobalSecondaryIndexes", []), *found.get("LocalSecondaryIndexes", [])]
        found = next((each for each in indexes if each["IndexName"] == index), None)
    schema = found["KeySchema"] if found else []
    return next((key["AttributeName"] for key in schema if key["KeyType"] == "HASH"), None)


def key(resource: str) -> str | None:
    """Returns the ARN of the customer-managed key that encrypts a table, its index or stream, a queue or a secret, if
    there is one."""
    service = resource.split(":")[2]
    if service == "dynamodb":
        table = dynamodb._tables.get_scoped(ACCOUNT, REGION, resource.split("/")[1]) or {}
        found = (table.get("SSEDescription") or {}).get("KMSMasterKeyArn")
    elif service == "sqs":
        queues = [queue for _, queue in sqs._queues.items_scoped(ACCOUNT, REGION)]
        of_all = [queue["attributes"] for queue in queues]
        found = next((each.get("KmsMasterKeyId") for each in of_all if each["QueueArn"] == resource), None)
    elif service == "secretsmanager":
        secrets = [secret for _, secret in secretsmanager._secrets.items_scoped(ACCOUNT, REGION)]
        found = next((secret.get("KmsKeyId") for secret in secrets if secret["ARN"] == resource), None)
    else:
        raise ValueError(f"the gate does not know the key of {resource}")
    # The emulator names AWS-managed keys by their aliases; they need no permission.
    return found if found and ":key/" in found else None


def secret_arn(secret: str) -> str | None:
    """Returns the full ARN of a secret, with the six characters that AWS appends, by its name or its ARN."""
    known = secretsmanager._secrets.items_scoped(ACCOUNT, REGION)
    return next((found["ARN"] for name, found in known if secret in (name, found["ARN"])), None)


def mappings() -> list[dict]:
    """Returns the event source mappings in the form of Lambda's API."""
    return [mapping for _, mapping in lambda_svc._esms.items_scoped(ACCOUNT, REGION)]


def functions() -> list[dict]:
    """Returns the configuration of each function in the form of Lambda's API."""
    return [function["config"] for _, function in lambda_svc._functions.items_scoped(ACCOUNT, REGION)]


def invocations() -> list[tuple[str, str, str]]:
    """Returns which service invokes which function, and the ARN of the source: an API, an authorizer or a rule."""
    found = []
    for api, integrations in apigateway._integrations.items_scoped(ACCOUNT, REGION):
        source = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}"
        found += [
            (integration["integrationUri"], "apigateway.amazonaws.com", f"{source}/$default/GET/any")
            for integration in integrations.values()
        ]
        found += [
            (each["authorizerUri"], "apigateway.amazonaws.com", f"{source}/authorizers/{authorizer}")
            for authorizer, each in apigateway._authorizers.get_scoped(ACCOUNT, REGION, api, {}).items()
        ]
    for key, rule in eventbridge._rules.items_scoped(ACCOUNT, REGION):
        targets = eventbridge._targets.get_scoped(ACCOUNT, REGION, key, [])
        found += [(target["Arn"], "events.amazonaws.com", rule["Arn"]) for target in targets]
    return [(match.group(1), service, source) for uri, service, source in found if (match := FUNCTION.search(uri))]


def function_policy(name: str) -> dict:
    """Returns the resource policy of a function, which says who may invoke it."""
    function = lambda_svc._functions.get_scoped(ACCOUNT, REGION, name)
    return function["policy"] if function else {}
