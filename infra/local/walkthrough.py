"""The commands of docs/API.md, run as they stand there; what they print is compared with what stands below them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid

from receiver import Receiver
from stack import ROOT, Stack, StackError, step

# A block of commands, and the text that follows it, if one does.
BLOCK = re.compile(r"```sh walkthrough\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


def check_walkthroughs(stack: Stack) -> None:
    """Runs every walkthrough in a shell of its own, after the definitions that come first."""
    (definitions, _), *blocks = BLOCK.findall((ROOT / "docs" / "API.md").read_text())
    step(f"the {len(blocks)} walkthroughs of docs/API.md")
    receiver = Receiver(0)
    try:
        for commands, expected in blocks:
            environment = {**os.environ, **stack.environment, **variables(stack, receiver)}
            script = f"set -euo pipefail\n{definitions}\n{put_item(stack, environment['TENANT'])}\n{commands}"
            shell = subprocess.run(
                ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            if shell.returncode != 0 or shell.stdout != expected:
                raise StackError(f"a walkthrough goes another way:\n{commands}\n{shell.stdout}{shell.stderr}\nnot\n{expected}")
    finally:
        receiver.close()


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
