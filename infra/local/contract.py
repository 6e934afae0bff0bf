"""The contract, driven against the deployed stack: Schemathesis makes requests of `infra/openapi.json`, and checks the answers."""

from __future__ import annotations

import os
import subprocess
import uuid

from stack import LOCAL, ROOT, Stack, step

# The emulator takes about ten requests a second of one client.
EXAMPLES = 10


def check_contract(stack: Stack) -> int:
    """Runs Schemathesis with all checks; returns its exit code. It prints the seed, and how to repeat what it found."""
    step("schemathesis: the deployed API keeps its contract")
    token = stack.issuer.token(f"contract-{uuid.uuid4().hex}", ["ADMIN", "OPERATOR"])
    folder = ROOT / "tests" / "contract"
    command = [
        *(LOCAL / "venv" / "contract" / "bin" / "schemathesis", "--config-file", folder / "schemathesis.toml", "run"),
        *(ROOT / "infra" / "openapi.json", "--url", f"{stack.endpoint}/api/v1/integration", "--checks", "all"),
        # By address, with the name as the host: not every resolver knows names under .localhost.
        *("--header", f"Host: {stack.api_url.removeprefix('http://')}", "--header", f"Authorization: Bearer {token}"),
        *("--max-examples", str(EXAMPLES), "--workers", "2", "--no-color", "--warnings", "off"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=LOCAL, env=environment, check=False).returncode
