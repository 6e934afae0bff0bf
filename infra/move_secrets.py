#!/usr/bin/env python3
"""Moves webhooks' secrets from Secrets Manager to the table of secrets of a stack with SecretStorage=kms.

    pip install boto3
    python3 infra/move_secrets.py --stack-name dynahook [--dry-run]

Credentials and region are configured as for every AWS tool. Each secret is copied first, and then deleted in Secrets
Manager, where it can be restored for 30 days. The functions go on meanwhile: they find a secret in either place. The
command can be repeated. The exit code is 1 if secrets are left.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# How many secrets are moved at once.
AT_ONCE = 8

# How long a deleted secret can be restored, in days.
RECOVERY_WINDOW = 30

PATIENCE = Config(retries={"mode": "adaptive", "max_attempts": 10}, max_pool_connections=2 * AT_ONCE)


class MoveError(Exception):
    """A fault that the operator can fix; its text is the whole error message."""


class Move:
    """One run over the secrets of a stack."""

    def __init__(self, stack_name: str, dry_run: bool) -> None:
        self.dry_run = dry_run
        names = ("cloudformation", "dynamodb", "kms", "secretsmanager")
        clients = {name: boto3.client(name, config=PATIENCE) for name in names}
        self.dynamodb, self.kms, self.manager = (clients[name] for name in names[1:])
        stacks = clients["cloudformation"].describe_stacks(StackName=stack_name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        if "SecretsTable" not in outputs:
            raise MoveError(f"the stack {stack_name} has no table of secrets: deploy it with SecretStorage=kms first")
        self.table, self.key = outputs["SecretsTable"], outputs["SecretsKeyArn"]
        self.prefixes = [f"{outputs[name]}/" for name in ("SecretsPrefix", "InboundSecretsPrefix")]
        fingerprints = self.manager.get_secret_value(SecretId=outputs["FingerprintKeyArn"])
        self.fingerprint_key = fingerprints["SecretString"].encode()

    def run(self) -> int:
        """Moves all secrets; returns the exit code."""
        paths = self.paths()
        if self.dry_run:
            print("\n".join([*paths, f"{len(paths)} secrets are in Secrets Manager"]))
            return 1 if paths else 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            faults = [fault for fault in pool.map(self.try_to_move, paths) if fault]
        print("\n".join([*faults, f"{len(paths) - len(faults)} secrets moved, {len(faults)} left"]))
        return 1 if faults else 0

    def paths(self) -> list[str]:
        """Returns the paths of the secrets in Secrets Manager that are not being deleted."""
        found = set()
        for prefix in self.prefixes:
            pages = self.manager.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}])
            # The filter ignores case.
            found |= {one["Name"] for page in pages for one in page["SecretList"] if one["Name"].startswith(prefix)}
        return sorted(found)

    def try_to_move(self, path: str) -> str | None:
        """Moves a secret; returns why it is left."""
        try:
            self.move(path)
        except (ClientError, BotoCoreError, ValueError) as error:
            return f"{path}: {error}"
        return None

    def move(self, path: str) -> None:
        """Copies the versions of a secret, and deletes it."""
        made_at = self.manager.describe_secret(SecretId=path)["CreatedDate"]
        texts: dict[str, bytes] = {}
        labelled: dict[str, str] = {}
        for version in self.versions(path):
            value = self.manager.get_secret_value(SecretId=path, VersionId=version["VersionId"])["SecretString"]
            name = self.name_of(path, value)
            texts[name] = self.encrypt(path, value)
            labelled |= dict.fromkeys(version.get("VersionStages", []), name)
        if "AWSCURRENT" not in labelled:
            raise ValueError("it has no current version")
        if not self.create(path, made_at, texts, labelled):
            self.add(path, texts, labelled["AWSCURRENT"])
        try:
            self.manager.delete_secret(SecretId=path, RecoveryWindowInDays=RECOVERY_WINDOW)
        except self.manager.exceptions.InvalidRequestException:
            # Its webhook was deleted a moment ago, before the row was there.
            self.delete(path)

    def versions(self, path: str) -> list[dict]:
        """Returns all versions of a secret, also those without labels: after two rotations at once, a webhook may name
        one."""
        found: list[dict] = []
        more: dict[str, str] = {}
        while True:
            page = self.manager.list_secret_version_ids(SecretId=path, IncludeDeprecated=True, **more)
            found += page["Versions"]
            if "NextToken" not in page:
                return found
            more = {"NextToken": page["NextToken"]}

    def delete(self, path: str) -> None:
        """Deletes a row as the API does."""
        now = datetime.now(UTC)
        until = str(int(now.timestamp()) + RECOVERY_WINDOW * 24 * 3600)
        self.did(
            lambda: self.dynamodb.update_item(
                TableName=self.table,
                Key={"pk": {"S": path}, "sk": {"S": "SECRET"}},
                UpdateExpression="SET deleted_at = :now, expires_at = :until",
                ConditionExpression="attribute_exists(pk) AND attribute_not_exists(deleted_at)",
                ExpressionAttributeValues={
                    ":now": {"S": now.isoformat().replace("+00:00", "Z")},
                    ":until": {"N": until},
                },
            )
        )

    def name_of(self, path: str, text: str) -> str:
        """Returns the id of a text: the public half of a key pair, or the fingerprint of another secret."""
        if path.endswith("/signing-key"):
            return base64.b64decode(text.removeprefix("whsk_"))[32:].hex()
        return hmac.new(self.fingerprint_key, text.encode(), hashlib.sha256).hexdigest()

    def encrypt(self, path: str, text: str) -> bytes:
        """Encrypts a text for its path: /<stage>/<kind>/<tenant>/…"""
        context = {"tenant": path.split("/")[3], "path": path}
        encrypted = self.kms.encrypt(KeyId=self.key, Plaintext=text.encode(), EncryptionContext=context)
        return encrypted["CiphertextBlob"]

    def create(self, path: str, made_at: datetime, texts: dict[str, bytes], labelled: dict[str, str]) -> bool:
        """Writes a row as shared/aws/src/secrets/table.rs does; returns whether there was none."""
        now = str(int(time.time()))
        item: dict = {
            "pk": {"S": path},
            "sk": {"S": "SECRET"},
            "v": {"N": "1"},
            "made_at": {"S": made_at.astimezone(UTC).isoformat().replace("+00:00", "Z")},
            "current_id": {"S": labelled["AWSCURRENT"]},
            "texts": {"M": {name: {"B": text} for name, text in texts.items()}},
            "stored_at": {"M": {name: {"N": now} for name in texts}},
        }
        if previous := labelled.get("AWSPREVIOUS"):
            item["previous_id"] = {"S": previous}
        return self.did(
            lambda: self.dynamodb.put_item(
                TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(pk)"
            )
        )

    def add(self, path: str, texts: dict[str, bytes], before: str) -> None:
        """Adds texts to the row of a secret that was rotated since the change. The one that was current in Secrets
        Manager is the previous one, if the row has none. A row that is being deleted is deleted in both places."""
        names: dict[str, str] = {}
        values: dict[str, dict] = {":before": {"S": before}, ":now": {"N": str(int(time.time()))}}
        changes: list[str] = []
        for number, (name, text) in enumerate(texts.items()):
            names[f"#{number}"], values[f":{number}"] = name, {"B": text}
            changes.append(f"texts.#{number} = if_not_exists(texts.#{number}, :{number})")
            changes.append(f"stored_at.#{number} = if_not_exists(stored_at.#{number}, :now)")
        changes.append("previous_id = if_not_exists(previous_id, :before)")
        self.did(
            lambda: self.dynamodb.update_item(
                TableName=self.table,
                Key={"pk": {"S": path}, "sk": {"S": "SECRET"}},
                UpdateExpression=f"SET {', '.join(changes)}",
                ConditionExpression="attribute_exists(pk) AND attribute_not_exists(deleted_at)",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        )

    def did(self, write) -> bool:
        """Makes a conditional write; returns whether its condition held."""
        try:
            write()
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def main() -> int:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(
        description="Moves webhooks' secrets from Secrets Manager to the table of secrets."
    )
    parser.add_argument("--stack-name", default="dynahook", help="the main stack (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be moved")
    arguments = parser.parse_args()
    try:
        return Move(arguments.stack_name, arguments.dry_run).run()
    except (MoveError, ClientError, BotoCoreError) as error:
        print(f"move-secrets: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
