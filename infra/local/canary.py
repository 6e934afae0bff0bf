"""A search for secrets in everything that a run left: logs, tables, messages."""

from __future__ import annotations

import zstandard
from boto3.dynamodb.types import Binary, TypeDeserializer

from stack import Stack, StackError, step

# What no log may hold: how secrets and tokens begin, and what the first delivery's payload says.
LOG_CANARIES = ("whsec_", "whsk_", "eyJ", "Bearer key_", "Fabuleux")

# A shorter secret, such as the Flows guide's `12345678`, is found everywhere by chance.
SHORTEST = 12


def check_secrets(stack: Stack, least_lines: int) -> None:
    """No secret that Secrets Manager holds stands in a log, an item or a message; no token or payload in a log.

    With fewer lines of log than that the logs were not found."""
    step("a search for every secret of the run in logs, tables and queues")
    secrets = all_secrets(stack)
    texts = {"logs": logs(stack), "tables": tables(stack), "queues": queues(stack)}
    if len(texts["logs"]) < least_lines or not secrets:
        raise StackError(f"{len(texts['logs'])} lines of log and {len(secrets)} secrets: they were not found")
    for place, found in texts.items():
        everything = "\n".join(found)
        for secret in secrets:
            if secret in everything:
                raise StackError(f"the {place} hold a secret: {secret[:6]}… of {len(secret)} characters")
    everything = "\n".join(texts["logs"])
    if leaked := [canary for canary in LOG_CANARIES if canary in everything]:
        raise StackError(f"the logs hold {leaked}, which no log may hold")
    counts = ", ".join(f"{len(found)} of the {place}" for place, found in texts.items())
    print(f"{len(secrets)} secrets: none in {counts}")


def all_secrets(stack: Stack) -> set[str]:
    """Returns the texts of all secrets, and of all that they hold as JSON."""
    client = stack.client("secretsmanager")
    found: set[str] = set()
    for page in client.get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            for stage in ("AWSCURRENT", "AWSPREVIOUS"):
                try:
                    found.add(client.get_secret_value(SecretId=secret["ARN"], VersionStage=stage)["SecretString"])
                except client.exceptions.ClientError:
                    # It is deleted, or was never rotated.
                    continue
    return {secret for secret in found if len(secret) >= SHORTEST}


def logs(stack: Stack) -> list[str]:
    """Returns the lines of all functions' logs."""
    client = stack.client("logs")
    lines = []
    for group in client.describe_log_groups()["logGroups"]:
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            lines += [event["message"] for event in page["events"]]
    return lines


def tables(stack: Stack) -> list[str]:
    """Returns every item of every table as a text, with what is compressed unpacked."""
    client = stack.client("dynamodb")
    texts = []
    for table in client.list_tables()["TableNames"]:
        for page in client.get_paginator("scan").paginate(TableName=table):
            texts += [text(item) for item in page["Items"]]
    return texts


def text(item: dict) -> str:
    """Returns an item as a text."""
    values = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    return str({name: unpacked(value) for name, value in values.items()})


def unpacked(value: object) -> object:
    """Returns what a binary attribute holds; a part of something that was split stays as it is."""
    if not isinstance(value, Binary):
        return value
    try:
        return zstandard.ZstdDecompressor().decompress(value.value, max_output_size=1 << 24).decode()
    except (zstandard.ZstdError, UnicodeDecodeError):
        return value.value


def queues(stack: Stack) -> list[str]:
    """Returns the messages that are left in the queues. They are not there for others meanwhile, who are done."""
    client = stack.client("sqs")
    bodies = []
    for url in client.list_queues().get("QueueUrls", []):
        while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
            bodies += [message["Body"] for message in messages]
    return bodies
