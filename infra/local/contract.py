"""The contract, driven against the deployed stack: Schemathesis makes requests of `infra/openapi.json`, and checks the answers."""

from __future__ import annotations

import os
import subprocess
import uuid

from stack import LOCAL, ROOT, Stack, step

# The emulator takes about ten requests a second of one client.
EXAMPLES = 10

# The tags of what stands beside /api/v1/integration.
BESIDE = ("Inbound", "Contract")


def check_contract(stack: Stack) -> int:
    """Runs Schemathesis with all checks; returns its exit code. It prints the seed, and how to repeat what it found."""
    step("schemathesis: the deployed API keeps its contract")
    token = stack.issuer.token(f"contract-{uuid.uuid4().hex}", ["ADMIN", "OPERATOR"])
    below = run(stack, "/api/v1/integration", *tags("exclude"), "--header", f"Authorization: Bearer {token}")
    step("schemathesis: and so does what takes no token")
    # The gateway answers 404 to a method that a route does not name; and no answer leads on to another request.
    rest = ("--exclude-checks", "unsupported_method", "--phases", "examples,coverage,fuzzing")
    beside = run(stack, "", *tags("include"), *rest)
    return below or beside


def tags(what: str) -> list[str]:
    """Returns the options that exclude or include what stands beside."""
    return [option for tag in BESIDE for option in (f"--{what}-tag", tag)]


def run(stack: Stack, base: str, *options: str) -> int:
    """Runs Schemathesis on what stands below `base`."""
    folder = ROOT / "tests" / "contract"
    command = [
        *(LOCAL / "venv" / "contract" / "bin" / "schemathesis", "--config-file", folder / "schemathesis.toml", "run"),
        *(ROOT / "infra" / "openapi.json", "--url", f"{stack.endpoint}{base}", "--checks", "all", *options),
        # By address, with the name as the host: not every resolver knows names under .localhost.
        *("--header", f"Host: {stack.api_url.removeprefix('http://')}"),
        *("--max-examples", str(EXAMPLES), "--workers", "2", "--no-color", "--warnings", "off"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=LOCAL, env=environment, check=False).returncode
