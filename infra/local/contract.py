"""Contract tests of the deployed stack: Schemathesis derives requests from `infra/openapi.json` and checks the
answers."""

from __future__ import annotations

import os
import re
import subprocess
import uuid

from common import LOCAL, ROOT
from stack import Stack

# The emulator answers about ten requests per second of one client.
EXAMPLES = 10

# The line that Schemathesis prints first about a failed operation, or about steps between operations.
OPERATION = re.compile(r"^_+ (.+?) _+$", re.MULTILINE)

# The tags of the runs that have the most cases.
LARGEST, LARGE = "Webhooks", (("Deliveries", "Usage"), ("Jobs", "Sources"))

# Their bodies are also those of `webhooks.create` and `sources.create`, and the same code checks them. They are left
# out of the phase that sends each limit of each field, which is a third of its cases, and get more random ones instead.
ALIKE = ("sources.preview", "sources.put", "webhooks.dry_run", "webhooks.preview", "webhooks.put")

# The tags of routes outside /api/v1/integration.
APART = ("Inbound", "Keys", "Contract", "Health")


def check_contract(stack: Stack, seed: int) -> list[str]:
    """Runs Schemathesis with all checks; returns the operations that failed. It prints how to reproduce its
    findings."""
    base = "/api/v1/integration"
    seeded = ("--seed", str(seed))
    random = (*seeded, "--phases", "examples,fuzzing")
    singly = (*seeded, "--phases", "examples,coverage,fuzzing", *operations("exclude", ALIKE))
    webhooks = tags("include", (LARGEST,))
    others = tags("exclude", (LARGEST, *(tag for run in LARGE for tag in run), *APART))
    # Processes, not workers: before Python 3.12, two threads cannot read source code at the same time, which Hypothesis
    # does. The processes mostly wait for the emulator.
    runs = [
        start(stack, base, *webhooks, *without("GET", "PUT", "PATCH", "DELETE"), *singly, *bearer(stack)),
        start(stack, base, *webhooks, *without("POST"), *singly, *bearer(stack)),
        *(start(stack, base, *tags("include", large), *singly, *bearer(stack)) for large in LARGE),
        start(stack, base, *others, *singly, *bearer(stack)),
        start(stack, base, *operations("include", ALIKE), *random, *bearer(stack), examples=5 * EXAMPLES),
        start(stack, base, *tags("exclude", APART), *seeded, "--phases", "stateful", *bearer(stack)),
        # The gateway answers 404 to a method that a route does not name.
        start(stack, "", *tags("include", APART), "--exclude-checks", "unsupported_method", *singly),
    ]
    failed = []
    for run in runs:
        output, _ = run.communicate()
        print(output, flush=True)
        if run.returncode != 0:
            failed += OPERATION.findall(output) or [f"schemathesis ended with {run.returncode}; see its output"]
    return sorted(set(failed))


def bearer(stack: Stack) -> tuple[str, str]:
    """Returns the option for a token of a new tenant, because two runs may send the same idempotency key."""
    token = stack.issuer.token(f"contract-{uuid.uuid4().hex}", ["ADMIN", "OPERATOR"])
    return "--header", f"Authorization: Bearer {token}"


def tags(what: str, names: tuple[str, ...]) -> list[str]:
    """Returns the options that exclude or include operations with one of the tags."""
    return [option for tag in names for option in (f"--{what}-tag", tag)]


def operations(what: str, names: tuple[str, ...]) -> list[str]:
    """Returns the options that exclude or include operations by their ids."""
    return [option for name in names for option in (f"--{what}-operation-id", name)]


def without(*methods: str) -> list[str]:
    """Returns the options that exclude methods. Including options are alternatives, so a tag cannot be combined with a
    method."""
    return [option for method in methods for option in ("--exclude-method", method)]


def start(stack: Stack, base: str, *options: str, examples: int = EXAMPLES) -> subprocess.Popen[str]:
    """Starts Schemathesis on the routes below `base`."""
    folder = ROOT / "tests" / "contract"
    command = [
        *(
            str(LOCAL / "venv" / "contract" / "bin" / "schemathesis"),
            "--config-file",
            str(folder / "schemathesis.toml"),
            "run",
        ),
        *(str(ROOT / "infra" / "openapi.json"), "--url", f"{stack.api_url}{base}", "--checks", "all", *options),
        *("--max-examples", str(examples), "--no-color", "--warnings", "off"),
    ]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(folder),
        "DYNAHOOK_ANSWERS": str(stack.answers),
    }
    return subprocess.Popen(
        command, cwd=LOCAL, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
