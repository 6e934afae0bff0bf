"""Runs the commands in the pages of docs/use as they are written, and compares their output with the text below
them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from common import ROOT, StackError
from receiver import Arrival, Receiver
from stack import Stack

# A block of commands, and the output that follows it, if any.
BLOCK = re.compile(r"```sh walkthrough\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


# The pages with walkthroughs. The first block of the first page defines the functions that all others use.
PAGES = ("api.md", "webhooks.md", "events.md", "deliveries.md", "runbook.md")

# How long the longest may take, in seconds: an outage is noticed, probed and ends.
TIMEOUT = 300


def check_walkthroughs(stack: Stack) -> None:
    """Runs every walkthrough in its own shell, after the shared definitions."""
    definitions, blocks = walkthroughs()
    # In parallel, because the runbook's walkthrough waits for minutes.
    with ThreadPoolExecutor(len(blocks)) as threads:
        list(threads.map(lambda block: check(stack, definitions, *block), blocks))


def walkthroughs() -> tuple[str, list[tuple[str, str]]]:
    """Returns the shared definitions, and each walkthrough with its expected output."""
    pages = [(ROOT / "docs" / "use" / page).read_text() for page in PAGES]
    (definitions, _), *blocks = [block for page in pages for block in BLOCK.findall(page)]
    return definitions, blocks


def check(stack: Stack, definitions: str, commands: str, expected: str) -> None:
    """Runs one walkthrough with its own tenant and receiver."""
    down = threading.Event()
    receiver = Receiver(0, lambda arrival: control(down, arrival))
    try:
        environment = {**os.environ, **stack.environment, **variables(stack, receiver)}
        control_it = f"receiver() {{ curl -sS -X POST -d '' '{receiver.url}/'\"$1\"; }}"
        helpers = f"{put_item(stack, environment['TENANT'])}\n{control_it}"
        script = f"set -euo pipefail\n{definitions}\n{helpers}\n{commands}"
        command = ["timeout", str(TIMEOUT), "bash", "-c", script]
        shell = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if shell.returncode != 0 or shell.stdout != expected:
            raise StackError(
                f"the output of a walkthrough differs:\n{commands}\n{shell.stdout}{shell.stderr}\nnot\n{expected}"
            )
    finally:
        receiver.close()


def control(down: threading.Event, arrival: Arrival) -> int:
    """Answers as a receiver that can be taken down and brought up."""
    if arrival.path in ("/down", "/up"):
        (down.set if arrival.path == "/down" else down.clear)()
        return 204
    return 503 if down.is_set() else 204


def variables(stack: Stack, receiver: Receiver) -> dict[str, str]:
    """Returns the environment of a walkthrough: its own tenant, and tokens."""
    tenant = f"walkthrough-{uuid.uuid4().hex[:8]}"
    return {
        "TENANT": tenant,
        "API": f"{stack.api_url}/api/v1/integration",
        "ADMIN": stack.issuer.token(tenant, ["ADMIN"]),
        "CRM": stack.issuer.token(tenant, ["ADMIN"], app="crm"),
        "OTHER_APP": stack.issuer.token(tenant, ["ADMIN"], app="other"),
        "RECEIVER": f"{receiver.url}/hook",
    }


def put_item(stack: Stack, tenant: str) -> str:
    """Returns a shell function that writes an item of the tenant into a table."""
    python = (
        "import boto3,json,sys; "
        f"item=json.loads(sys.argv[2]) | {json.dumps({'tenant_id': tenant})}; "
        f"boto3.resource('dynamodb', endpoint_url='{stack.endpoint}').Table(sys.argv[1]).put_item(Item=item)"
    )
    return f'put_item() {{ python -c "{python.replace(chr(34), chr(92) + chr(34))}" "$@"; }}'
