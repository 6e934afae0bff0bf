"""What a call is, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

# Condition keys that a need may have. Where a policy asks for another one, the gate does not know what AWS would say,
# and refuses.
KEYS = frozenset(
    {
        "kms:viaservice",
        "lambda:sourcefunctionarn",
        "dynamodb:leadingkeys",
        "dynamodb:enclosingoperation",
        "secretsmanager:name",
        "s3:prefix",
        "s3:resourceaccount",
        "aws:resourceaccount",
        "aws:tagkeys",
        "aws:principalarn",
        "aws:principalaccount",
        "aws:requestedregion",
        "aws:securetransport",
    }
)


class UnknownCall(Exception):  # noqa: N818
    """A call of which the gate does not know what it needs."""


@dataclass(frozen=True)
class Need:
    """One action on one resource."""

    action: str
    resource: str
    # Condition keys in lower case; a key that the request does not set is absent, as on AWS.
    keys: dict[str, str | list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request of an AWS API."""

    service: str
    operation: str
    # The parsed body of a JSON protocol.
    data: dict = field(default_factory=dict)
    # S3 only: what the path names.
    bucket: str = ""
    key: str = ""
    prefix: str | None = None

    @property
    def title(self) -> str:
        """Returns what a call is counted as."""
        return f"{self.service}:{self.operation}"
