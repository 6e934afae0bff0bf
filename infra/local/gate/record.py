"""Calls of callers, and refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gate.callers import Caller
from gate.calls import Call, Need

# Condition keys that describe the subject of a call.
SHOWN = ("dynamodb:leadingkeys", "secretsmanager:name", "aws:tagkeys", "s3:prefix")

Refusal = tuple[str, str, str, str, str, bool]


@dataclass
class Record:
    """Counts since the emulator started."""

    # By caller and operation: calls, and the messages or items in them.
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[Refusal] = field(default_factory=Counter)

    def count(self, caller: Caller, call: Call) -> None:
        """Counts a call."""
        self.calls[caller.name, call.title] += 1
        self.entries[caller.name, call.title] += entries(call)

    def refuse(self, caller: Caller, need: Need, why: str) -> None:
        """Records a refusal."""
        keys = ", ".join(f"{key} = {value}" for key, value in sorted(need.keys.items()) if key in SHOWN)
        self.refused[caller.name, need.action, need.resource, keys, why, caller.on_purpose] += 1

    def report(self) -> dict:
        """Returns everything, for reports and the cost table."""
        calls: dict[str, dict] = {}
        for (name, title), count in sorted(self.calls.items()):
            calls.setdefault(name, {})[title] = {"calls": count, "entries": self.entries[name, title]}
        fields = ("caller", "action", "resource", "keys", "why", "on_purpose")
        refused = [
            {**dict(zip(fields, refusal, strict=True)), "times": times} for refusal, times in self.refused.items()
        ]
        return {"calls": calls, "refused": refused}


def entries(call: Call) -> int:
    """Returns how many messages or items a call has; one for calls without a batch."""
    data = call.data
    if call.operation in ("BatchGetItem", "BatchWriteItem"):
        # Of each table a read has an object with keys, a write the list of its items.
        return sum(len(asked["Keys"] if isinstance(asked, dict) else asked) for asked in data["RequestItems"].values())
    return len(data.get("Entries") or data.get("TransactItems") or data.get("SecretIdList") or [call])
