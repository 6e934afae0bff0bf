"""Calls and the permissions that they need."""

from __future__ import annotations

from dataclasses import dataclass, field

# Condition keys that a need may have. The gate cannot evaluate policies with other ones, and refuses those calls.
KEYS = frozenset(
    {
        "kms:viaservice",
        "kms:encryptioncontextkeys",
        "lambda:sourcefunctionarn",
        "dynamodb:leadingkeys",
        "dynamodb:enclosingoperation",
        "dynamodb:attributes",
        "dynamodb:select",
        "dynamodb:returnvalues",
        "secretsmanager:name",
        "s3:prefix",
        "ses:fromaddress",
        "s3:resourceaccount",
        "aws:resourceaccount",
        "aws:tagkeys",
        "aws:principalarn",
        "aws:principalaccount",
        "aws:requestedregion",
        "aws:securetransport",
    }
)


# Keys that end in a name of the request's encryption context. The name is not case-sensitive.
KEY_PREFIXES = ("kms:encryptioncontext:",)


class UnknownCall(Exception):  # noqa: N818
    """A call whose required permissions the gate does not know."""


@dataclass(frozen=True)
class Need:
    """One action on one resource."""

    action: str
    resource: str
    # Condition keys in lower case. A key that the request does not set is absent, as on AWS.
    keys: dict[str, str | list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request of an AWS API."""

    service: str
    operation: str
    # The parsed body of a JSON protocol.
    data: dict = field(default_factory=dict)
    # S3 only: bucket and key of the path.
    bucket: str = ""
    key: str = ""
    prefix: str | None = None

    @property
    def title(self) -> str:
        """Returns the name under which a call is counted."""
        return f"{self.service}:{self.operation}"
