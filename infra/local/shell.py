"""What a person needs in another terminal while `make run` is up: variables (`. .local/env`), tokens and logs."""

from __future__ import annotations

import os
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path

from common import LOCAL, StackError
from stack import STACK, Stack
from tokens import Issuer

ENV = LOCAL / "env"

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
    pages = stack.client("logs").get_paginator("filter_log_events")
    # The emulator returns no more than 10,000 lines of a period, the oldest ones.
    for since in range(now - int(60_000 * minutes), now, 10_000):
        for page in pages.paginate(logGroupName=groups[function], startTime=since, endTime=since + 9_999):
            for event in page["events"]:
                if wanted in event["message"]:
                    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds")
                    print(at, event["message"].rstrip())
    return 0
