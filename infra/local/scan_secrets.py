"""A search for secrets in everything that a run left behind: logs, tables, messages, and the API's answers to tests."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import zstandard
from ahocorasick_rs import AhoCorasick
from boto3.dynamodb.types import Binary, TypeDeserializer
from common import StackError
from stack import Stack

# Texts that no log may contain: prefixes of secrets and tokens, and a value of the first delivery's payload.
LOG_CANARIES = ("whsec_", "whsk_", "eyJ", "Bearer key_", "#token=", "Fabuleux")

# Prefix of the tokens that the tests' authorization servers issue; see tests/it/authorization.rs.
TOKEN_CANARY = "oauth-canary-"

# Shorter secrets, such as the Flows guide's `12345678`, occur everywhere by chance.
SHORTEST = 12

# The contract, whose public examples the tests that are generated from it use as secrets.
CONTRACT = "/openapi.json"

# The field in which an answer shows a secret once, after a webhook is created or gets a new secret.
SHOWS = re.compile(r"/webhooks|/webhooks/[^/]+/(restore|secret/rotate)")
SHOWN = "secret"


def check_secrets(stack: Stack, least_lines: int) -> None:
    """Checks that no secret of Secrets Manager is in a log, item, message or answer, and no token or payload in a log.

    Fewer than `least_lines` lines of log mean that the logs were not found."""
    secrets = all_secrets(stack)
    texts = {"logs": logs(stack), "items": tables(stack), "messages": queues(stack), "answers": answers(stack)}
    if len(texts["logs"]) < least_lines or not secrets or not texts["answers"]:
        counts = f"{len(texts['logs'])} lines of log, {len(secrets)} secrets and {len(texts['answers'])} answers"
        raise StackError(f"{counts}: too few, so they were not found")
    search = Search(secrets)
    for place, found in texts.items():
        everything = "\n".join(found)
        if secret := search.first(everything):
            raise StackError(f"the {place} hold a secret: {secret[:6]}… of {len(secret)} characters")
        if TOKEN_CANARY in everything:
            raise StackError(f"the {place} hold a token of an authorization server")
    everything = "\n".join(texts["logs"])
    if leaked := [canary for canary in LOG_CANARIES if canary in everything]:
        raise StackError(f"the logs hold {leaked}, which no log may hold")
    counts = ", ".join(f"{len(found)} {place}" for place, found in texts.items())
    print(f"{len(secrets)} secrets: none in {counts}")


class Search:
    """Looks for all forms of all secrets in one pass: there are thousands, and a hundred megabytes of text."""

    def __init__(self, secrets: set[str]) -> None:
        self._forms = [(form, secret) for secret in sorted(secrets) for form in forms(secret)]
        self._automaton = AhoCorasick([form for form, _ in self._forms])

    def first(self, text: str) -> str | None:
        """Returns the secret that is found first, if there is one."""
        found = self._automaton.find_matches_as_indexes(text)
        return self._forms[found[0][0]][1] if found else None


def all_secrets(stack: Stack) -> set[str]:
    """Returns the texts of all versions of all secrets. Restores the secrets of deleted webhooks to read them."""
    client = stack.client("secretsmanager")
    found: set[str] = set()
    for page in client.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True):
        for secret in page["SecretList"]:
            if "DeletedDate" in secret:
                client.restore_secret(SecretId=secret["ARN"])
            for version in client.list_secret_version_ids(SecretId=secret["ARN"], IncludeDeprecated=True)["Versions"]:
                value = client.get_secret_value(SecretId=secret["ARN"], VersionId=version["VersionId"])
                found.add(value["SecretString"])
    return {secret for secret in found if len(secret) >= SHORTEST}


def forms(secret: str) -> Iterator[str]:
    """Returns how a secret may appear in a text: plain, in JSON, in a form or URL, and inside base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode()).decode().rstrip("=")
        # Without the characters at both ends that depend on the neighbouring bytes.
        yield encoded[(0, 2, 3)[before] : len(encoded) - 1]


def answers(stack: Stack) -> list[str]:
    """Returns the API's answers to the end-to-end tests and Schemathesis, without the secrets that it shows by
    design."""
    if not stack.answers.exists():
        return []
    texts = []
    for line in stack.answers.read_bytes().split(b"\n")[:-1]:
        answer = json.loads(line)
        if answer["path"] == CONTRACT:
            continue
        if answer["method"] == "POST" and SHOWS.fullmatch(answer["path"].removeprefix("/api/v1/integration")):
            answer["body"] = without_shown(answer["body"])
        texts.append(f"{answer['headers']}\n{answer['body']}")
    return texts


def without_shown(body: str) -> str:
    """Returns an answer without the field that shows a secret."""
    try:
        fields = json.loads(body)
    except ValueError:
        return body
    return (
        json.dumps({name: value for name, value in fields.items() if name != SHOWN})
        if isinstance(fields, dict)
        else body
    )


def logs(stack: Stack) -> list[str]:
    """Returns the lines of all functions' logs."""
    client = stack.client("logs")
    lines = []
    for group in client.describe_log_groups()["logGroups"]:
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            lines += [event["message"] for event in page["events"]]
    return lines


def tables(stack: Stack) -> list[str]:
    """Returns every item of every table as text, with compressed attributes decompressed."""
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
    """Returns the content of a binary attribute; a part of a body that was split stays compressed."""
    if not isinstance(value, Binary):
        return value
    try:
        return zstandard.ZstdDecompressor().decompress(value.value, max_output_size=1 << 24).decode()
    except (zstandard.ZstdError, UnicodeDecodeError):
        return value.value


def queues(stack: Stack) -> list[str]:
    """Returns the messages that are left in the queues. Receiving hides them from others, which have finished."""
    client = stack.client("sqs")
    bodies = []
    for url in client.list_queues().get("QueueUrls", []):
        while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get(
            "Messages"
        ):
            bodies += [message["Body"] for message in messages]
    return bodies
