"""The commands of docs/use/api.md and docs/use/runbook.md, run as they stand there; what they print is compared with what stands below."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from receiver import Arrival, Receiver
from stack import ROOT, Stack, StackError

# A block of commands, and the text that follows it, if one does.
BLOCK = re.compile(r"```sh walkthrough\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


# Of how long the longest may take, in seconds: an outage is noticed, probed and over.
TIMEOUT = 300


def check_walkthroughs(stack: Stack) -> None:
    """Runs every walkthrough in a shell of its own, after the definitions that come first in docs/use/api.md."""
    (definitions, _), *blocks = BLOCK.findall((ROOT / "docs" / "use" / "api.md").read_text())
    blocks += BLOCK.findall((ROOT / "docs" / "use" / "runbook.md").read_text())
    # At once: the runbook's waits for minutes.
    with ThreadPoolExecutor(len(blocks)) as threads:
        list(threads.map(lambda block: check(stack, definitions, *block), blocks))


def check(stack: Stack, definitions: str, commands: str, expected: str) -> None:
    """Runs one walkthrough, with a tenant and a receiver of its own."""
    down = threading.Event()
    receiver = Receiver(0, lambda arrival: control(down, arrival))
    try:
        environment = {**os.environ, **stack.environment, **variables(stack, receiver)}
        helpers = f"{put_item(stack, environment['TENANT'])}\nreceiver() {{ curl -sS -X POST -d '' '{receiver.url}/'\"$1\"; }}"
        script = f"set -euo pipefail\n{definitions}\n{helpers}\n{commands}"
        command = ["timeout", str(TIMEOUT), "bash", "-c", script]
        shell = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if shell.returncode != 0 or shell.stdout != expected:
            raise StackError(f"a walkthrough goes another way:\n{commands}\n{shell.stdout}{shell.stderr}\nnot\n{expected}")
    finally:
        receiver.close()


def control(down: threading.Event, arrival: Arrival) -> int:
    """Answers as a receiver that can be taken down and brought up."""
    if arrival.path in ("/down", "/up"):
        (down.set if arrival.path == "/down" else down.clear)()
        return 204
    return 503 if down.is_set() else 204


def variables(stack: Stack, receiver: Receiver) -> dict[str, str]:
    """What a walkthrough is given: a tenant of its own, and tokens."""
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
    """Returns a shell function that writes an item of the tenant's into a table."""
    python = (
        "import boto3,json,sys; "
        f"item=json.loads(sys.argv[2]) | {json.dumps({'tenant_id': tenant})}; "
        f"boto3.resource('dynamodb', endpoint_url='{stack.endpoint}').Table(sys.argv[1]).put_item(Item=item)"
    )
    return f'put_item() {{ python -c "{python.replace(chr(34), chr(92) + chr(34))}" "$@"; }}'
