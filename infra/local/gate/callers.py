"""Who makes a call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from ministack.core.iam_evaluator import AuthError, ParsedStatement, is_root_access_key, resolve_principal
from ministack.core.lambda_runtime import execution_credentials
from ministack.core.router import extract_access_key_id

from gate.cloud import ACCOUNT, REGION

# CloudFormation names a function after its stack and its logical id, and appends something random.
FUNCTION = re.compile(r"-([A-Za-z]+)Function-[A-Z0-9a-z]+$")

# A session whose name starts like this tries what it may not do: its refusals are part of a test.
ON_PURPOSE = "on-purpose"


@dataclass(frozen=True)
class Caller:
    """A session of a role: a function, or a test that assumed its role."""

    name: str
    arn: str
    policies: list[list[ParsedStatement]]
    # Permissions boundary and session policies: what they do not allow nothing else allows.
    limits: list[list[list[ParsedStatement]]] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, str]:
        """Returns the condition keys that the caller brings: what Lambda does with a function's role has none of
        them."""
        session = self.arn.rpartition("/")[2]
        if not FUNCTION.search(session):
            return {}
        return {"lambda:sourcefunctionarn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{session}"}

    @property
    def on_purpose(self) -> bool:
        """Whether a refusal of this caller is what its test expects."""
        return self.name.startswith(ON_PURPOSE)


def access_key(headers: dict[str, str], query: str) -> str:
    """Returns the access key that a request is signed with, or nothing if it is not."""
    return extract_access_key_id(headers, parse_qs(query))


def is_account(key: str) -> bool:
    """Whether a key is the account's own, or none: the emulator itself refuses calls of AWS's APIs without any."""
    return is_root_access_key(key)


def find(key: str) -> Caller | None:
    """Returns the session that a key belongs to. Its policies are those that the role has now: a deployment may add
    some."""
    principal = resolve_principal(key, ACCOUNT)
    if isinstance(principal, AuthError) or principal.policies is None:
        return None
    return Caller(name(principal.arn.rpartition("/")[2]), principal.arn, principal.policies, principal.limits)


def function(config: dict) -> Caller | None:
    """Returns a function as a caller."""
    return find(execution_credentials(config)["AWS_ACCESS_KEY_ID"])


def name(session: str) -> str:
    """Returns what a session is called in reports: `deliver` for `dynahook-local-DeliverFunction-1F0A`."""
    match = FUNCTION.search(session)
    return match.group(1).lower() if match else session
