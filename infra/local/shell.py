"""What a person needs in another terminal while `make run` is up: variables (`. .local/env`), tokens and logs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import LOCAL, StackError
from stack import STACK, Stack
from tokens import Issuer

ENV = LOCAL / "env"

# How many log lines of a period the emulator returns.
MOST_EVENTS = 10_000

# The variables of the documentation's commands, so that they can be copied.
TENANT = "acme"


def write_env(stack: Stack, webhook: str) -> Path:
    """Writes the variables of the documentation's commands for this stack. Only the user can read the file, because it
    has tokens."""
    variables = {
        "API": f"{stack.api_url}/api/v1/integration",
        "TENANT": TENANT,
        "WEBHOOK": webhook,
        "ADMIN": stack.issuer.token(TENANT, ["ADMIN"]),
        "OPERATOR": stack.issuer.token(None, ["OPERATOR"]),
        "STACK": STACK,
        "DYNAHOOK_PORT": str(stack.port),
        **stack.environment,
    }
    ENV.touch(mode=0o600)
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    ENV.write_text("# Written by make run: variables for the commands of the documentation.\n" + "".join(lines))
    return ENV


def token() -> int:
    """`make token`: prints a token for the local stack."""
    roles = [role for role in os.environ.get("ROLES", "").replace(",", " ").split() if role] or ["ADMIN"]
    tenant = os.environ.get("TENANT") or (None if roles == ["OPERATOR"] else TENANT)
    print(Issuer(LOCAL / "keys").token(tenant, roles, app=os.environ.get("APP") or None))
    return 0


def logs() -> int:
    """`make logs`: prints the log lines of a function of the running stack, oldest first."""
    stack = Stack("run", int(os.environ.get("DYNAHOOK_PORT") or 4566))
    stack.join()
    groups = {
        name.removesuffix("Logs").lower(): group for name, group in stack.outputs.items() if name.endswith("Logs")
    }
    function, wanted = os.environ.get("FUNCTION") or "deliver", os.environ.get("FILTER", "")
    if function not in groups:
        raise StackError(f"FUNCTION={function} is unknown; use one of {', '.join(sorted(groups))}")
    minutes = float(os.environ.get("MINUTES") or 15)
    now = int(time.time() * 1000)
    for event in _events(stack.client("logs"), groups[function], now - int(60_000 * minutes), now):
        if wanted in event["message"]:
            at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds")
            print(at, event["message"].rstrip())
    return 0


def _events(client: Any, group: str, since: int, until: int) -> Iterator[dict[str, Any]]:
    """Returns the log lines of a period in milliseconds. The emulator returns only the oldest 10,000 of a period."""
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since, endTime=until)
    events = [event for page in pages for event in page["events"]]
    if len(events) < MOST_EVENTS or since == until:
        yield from events
        return
    middle = (since + until) // 2
    yield from _events(client, group, since, middle)
    yield from _events(client, group, middle + 1, until)
