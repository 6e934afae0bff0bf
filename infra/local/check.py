"""`make test` and `make lint`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from canary import check_secrets
from contract import check_contract
from demo import first_delivery
from receiver import Receiver
from stack import BUILD, LOCAL, ROOT, Stack, StackError, free_port, step
from verify import check_npm
from walkthrough import check_walkthroughs

# The table of the end-to-end tests.
TABLE = "items"

CARGO_DENY = "0.20.2"

# What the pure crate must not depend on, however far away.
IMPURE = ("aws", "tokio", "hyper", "axum", "reqwest")


def test() -> int:
    """Runs every test: unit, property and wire tests, then end to end against the deployed stack; says what it ran."""
    step(f"everything random starts from SEED={seed()}")
    with Stack("test", free_port()) as stack:
        prepare(stack)
        step("cargo test: unit, property, wire and end-to-end tests, and the simulations")
        code = cargo_test(stack, "--lib", "--test", "it", "--test", "simulation", "--test", "ssrf")
        check_walkthroughs(stack)
        contract = check_contract(stack, seed())
        step("the newcomer's first delivery")
        receiver = Receiver(0)
        try:
            first_delivery(stack, receiver)
            check_npm(stack, receiver)
        finally:
            receiver.close()
        check_secrets(stack, 1000)
    print(
        f"\nran: cargo test (exit code {code}), the walkthroughs of docs/API.md and docs/RUNBOOK.md, schemathesis (exit code {contract}), "
        "the first delivery of make run, every signature by the vendors' libraries, and a search for secrets in logs, tables and queues"
    )
    if code or contract:
        print(f"the functions' log is {stack.folder / 'emulator.log'}", file=sys.stderr)
    return code or contract


def faults() -> int:
    """Runs what shows that nothing is lost, doubled or let through where it must not be, with its counts in sight."""
    with Stack("faults", free_port()) as stack:
        prepare(stack)
        codes = []
        for what, arguments in {
            "processes that die, and calls that are cut": ("--test", "it", "--", "crash_point"),
            "the simulations": ("--test", "simulation", "--", "--nocapture"),
            "the public lists of URLs that lead astray": ("--test", "ssrf", "--", "--nocapture"),
            "names that lead elsewhere the second time": ("--lib", "--", "rebinding"),
        }.items():
            step(what)
            codes.append(cargo_test(stack, *arguments))
        check_secrets(stack, 100)
    return max(codes)


def prepare(stack: Stack) -> None:
    """Makes what the end-to-end tests stand on: a table that is a source."""
    step(f"creating the table {TABLE} of the end-to-end tests")
    stack.create_table(TABLE, "tenant_id", "item_id")
    source = {
        "table": TABLE,
        "entities": [{"entity": "item", "tenant": "{tenant_id}", "id": "{item_id}", "collection": "items"}],
    }
    stack.expect(201, "POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)


def seed() -> int:
    """Returns what random tests start from: `SEED`, or else the commit, so that a run finds tomorrow what it finds today."""
    if text := os.environ.get("SEED"):
        return int(text)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(head.stdout[:8] or "0", 16)


def cargo_test(stack: Stack, *arguments: str) -> int:
    """Runs tests of the workspace against the stack; returns the exit code."""
    environment = {
        **os.environ,
        **stack.environment,
        "DYNAHOOK_BUILD": str(BUILD),
        "DYNAHOOK_KEYS": str(LOCAL / "keys"),
        "DYNAHOOK_OUTPUTS": str(stack.folder / "outputs.json"),
        "INSTA_UPDATE": "no",
        "PROPTEST_RNG_SEED": str(seed()),
        "SIMULATION_SEED": str(seed()),
    }
    command = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def lint() -> int:
    """Runs every check that needs no stack; stops at the first that does not hold."""
    cargo("format", "fmt", "--all", "--check")
    cargo("lints", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    # Private items too: for an application they are the documentation.
    flags = "-D warnings -A rustdoc::private_intra_doc_links"
    doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]
    cargo("documentation", *doc, RUSTDOCFLAGS=flags)
    step("purity of the domain, and who may name what")
    check_purity()
    execute("licences and sources of dependencies", [cargo_tool("cargo-deny", CARGO_DENY), "check", "bans", "licenses", "sources"])
    for template in ("template", "source"):
        execute(f"infra/{template}.yaml", ["sam", "validate", "--lint", "--template-file", f"infra/{template}.yaml"])
    print("\nall checks passed")
    return 0


def check_purity() -> None:
    """The rules of docs/ARCHITECTURE.md about who depends on whom."""
    tree = output("cargo", "tree", "--package", "domain", "--edges", "normal", "--prefix", "none")
    names = {line.split()[0] for line in tree.splitlines() if line}
    impure = sorted(name for name in names if name.startswith(IMPURE))
    if impure:
        raise StackError(f"the domain must be pure, and depends on {', '.join(impure)}")
    packages = json.loads(output("cargo", "metadata", "--no-deps", "--format-version", "1"))["packages"]
    for package in packages:
        for dependency in package["dependencies"]:
            name = dependency["name"]
            if package["name"] != "tests" and name.startswith("aws-") and package["name"] != "aws":
                raise StackError(f"only shared/aws may name an AWS SDK; {package['name']} names {name}")
            if name == "reqwest" and package["name"] not in ("outbound", "tests"):
                raise StackError(f"only shared/outbound may dial; {package['name']} names {name}")
            if name == "tests":
                raise StackError(f"nothing may depend on tests; {package['name']} does")


def cargo_tool(name: str, version: str) -> str:
    """Returns a pinned tool of cargo's, built once: it has no package for Python that is recent enough."""
    binary = LOCAL / "cargo" / "bin" / name
    mark = LOCAL / "cargo" / f"{name}-{version}"
    if not (binary.exists() and mark.exists()):
        place = ["--locked", "--quiet", "--root", str(LOCAL / "cargo"), "--target-dir", str(LOCAL / "cargo" / "target")]
        execute(f"{name} (once, two minutes)", ["cargo", "install", *place, f"{name}@{version}"])
        mark.touch()
    return str(binary)


def cargo(what: str, *arguments: str, **environment: str) -> None:
    """Runs cargo."""
    execute(what, ["cargo", *arguments], **environment)


def execute(what: str, command: list[str], **environment: str) -> None:
    """Runs a check with its output in sight."""
    step(f"{what}: {Path(command[0]).name} {' '.join(command[1:])}")
    environment.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode != 0:
        raise StackError(f"the check of {what} does not pass")


def output(*command: str) -> str:
    """Returns what a command prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
