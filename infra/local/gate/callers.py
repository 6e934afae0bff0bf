"""Who makes a call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from ministack.core.iam_evaluator import AuthError, ParsedStatement, is_root_access_key, resolve_principal
from ministack.core.lambda_runtime import execution_credentials
from ministack.core.router import extract_access_key_id

from gate.cloud import ACCOUNT, REGION

# CloudFormation names a function after its stack and its logical id, with a random suffix.
FUNCTION = re.compile(r"-([A-Za-z]+)Function-[A-Z0-9a-z]+$")

# A session with this prefix tries forbidden calls on purpose: its refusals are part of a test.
ON_PURPOSE = "on-purpose"


@dataclass(frozen=True)
class Caller:
    """A session of a role: a function, or a test that assumed its role."""

    name: str
    arn: str
    policies: list[list[ParsedStatement]]
    # Permissions boundary and session policies: they limit what other policies allow.
    limits: list[list[list[ParsedStatement]]] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, str]:
        """Returns the condition keys of the caller; calls of Lambda itself with a function's role have none."""
        session = self.arn.rpartition("/")[2]
        if not FUNCTION.search(session):
            return {}
        return {"lambda:sourcefunctionarn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{session}"}

    @property
    def on_purpose(self) -> bool:
        """Returns whether the test of this caller expects refusals."""
        return self.name.startswith(ON_PURPOSE)


def access_key(headers: dict[str, str], query: str) -> str:
    """Returns the access key that signed a request, or nothing if it is unsigned."""
    return extract_access_key_id(headers, parse_qs(query))


def is_account(key: str) -> bool:
    """Returns whether a key is the account's own or missing; the emulator itself refuses unsigned calls to AWS APIs."""
    return is_root_access_key(key)


def find(key: str) -> Caller | None:
    """Returns the session of a key, with the current policies of its role: a deployment may add some."""
    principal = resolve_principal(key, ACCOUNT)
    if isinstance(principal, AuthError) or principal.policies is None:
        return None
    return Caller(name(principal.arn.rpartition("/")[2]), principal.arn, principal.policies, principal.limits)


def function(config: dict) -> Caller | None:
    """Returns a function as a caller."""
    return find(execution_credentials(config)["AWS_ACCESS_KEY_ID"])


def name(session: str) -> str:
    """Returns the name of a session in reports: `deliver` for `dynahook-local-DeliverFunction-1F0A`."""
    match = FUNCTION.search(session)
    return match.group(1).lower() if match else session
