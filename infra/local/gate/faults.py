"""Faults on request of a test: a throttled table or queue, and a call that is made twice.

`POST /_gate/faults` takes {"kind": "throttle" | "repeat", "resource": the end of an ARN, "action": optional, "calls":
how many}. Repeating a SendMessageBatch makes the same copies as an SDK that lost the first answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gate.calls import Need

KINDS = ("throttle", "repeat")


@dataclass
class Fault:
    """A fault for the next calls of functions."""

    kind: str
    resource: str
    action: str
    left: int


@dataclass
class Faults:
    """The faults that tests requested."""

    pending: list[Fault] = field(default_factory=list)

    def ask(self, asked: dict) -> None:
        """Adds a fault that a test requested."""
        if asked.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        self.pending.append(Fault(asked["kind"], asked["resource"], asked.get("action", ""), int(asked["calls"])))

    def take(self, needs: list[Need]) -> str | None:
        """Returns the fault for a call with these needs, and counts it down."""
        for fault in self.pending:
            if fault.left > 0 and any(concerns(fault, need) for need in needs):
                fault.left -= 1
                return fault.kind
        return None


def concerns(fault: Fault, need: Need) -> bool:
    """Returns whether a fault applies to that action on that resource."""
    return need.resource.endswith(fault.resource) and fault.action in ("", need.action)
