"""`make test` and `make faults`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from access import check_access, check_gate, credentials
from adversary.suite import check_adversaries
from alarms import check_alarms
from build import BUILD
from clients import check_clients, compile_rust
from common import LOCAL, ROOT, StackError, free_port, step
from console import check_console
from contract import check_contract
from demo import TENANT, first_delivery
from deploying import check_encryption, check_make_deploy
from deployment import check_deployment
from failures import check_replay
from metrics import check_metrics
from observe import check_observation
from parts import Parts, failing_tests
from receiver import Receiver
from scan_secrets import check_secrets
from secrets_table import check_secrets_in_table
from source import check_source
from stack import Stack
from starts import check_starts
from verify import check_npm
from walkthrough import check_walkthroughs
from watching import check_watch

# The table of the end-to-end tests.
TABLE = "items"

# The sample mapping of a table of processes, which a walkthrough uses.
SERIAL = json.loads((ROOT / "infra" / "samples" / "serial.json").read_text(encoding="utf-8"))

# The tests of the workspace: those that need nothing, those of built functions, and those of the whole stack. Those of
# its load are in bench.py. Plain `cargo test` ignores what needs a stack or a built function.
UNITS = ("--lib", "--test", "ssrf", "--test", "memory", "--test", "cost")
SIMULATIONS = ("--test", "simulation")
ON_THE_STACK = ("--test", "it")
INCLUDE_IGNORED = ("--", "--include-ignored")
# The end-to-end tests mostly wait, for streams, queues and retries.
WAITING = ("--test-threads", "8")
# Runs a command that gives way to others.
GENTLY = ("nice",)

# A test of a point where a process may die, and the numbers in its name.
CRASH_POINT = re.compile(r"fn crash_point_(\d\d(?:_and_\d\d)*)_")

# What unittest says of a test that failed, and in the end.
PYTHON_TEST_FAILED = re.compile(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.+)$", re.MULTILINE)
PYTHON_TESTS_RAN = re.compile(r"^Ran [1-9]\d* test", re.MULTILINE)


def test() -> int:
    """Runs every test: unit, property and wire tests, then end to end against the deployed stack. A part that fails
    stops no other."""
    step(f"everything random starts from SEED={seed()}")
    parts = Parts()
    # They mostly wait, for Cargo and for each other's processes. The functions are built meanwhile.
    parts.start("the Python tests of infra", python_tests)
    parts.run("the gate's own tests: policies as AWS evaluates them, and what each call needs", check_gate)
    parts.run("the stack is built, deployed and stopped", end_to_end, parts)
    parts.join()
    return parts.report()


def end_to_end(parts: Parts) -> None:
    """Runs the parts that need a stack."""
    with Stack("test", free_port(), "dev") as stack:
        # Those that do not call the stack take whatever it leaves of the processors.
        compiled = parts.start("cargo test: compiling", compile_tests)
        parts.start("cargo test: unit, property and wire tests, and the simulations", apart, stack, after=compiled)
        prepare(stack)
        parts.run("make source explains what AWS would refuse, and costs fan-out's role nothing", check_source, stack)
        receiver = Receiver(0)
        try:
            parts.run(
                "a deployment fails cleanly, keeps its stage and its data, and blocks no other", check_deployment, stack
            )
            parts.run("make deploy asks, checks, deploys, and deploys again", check_make_deploy, stack)
            parts.run("the API encrypts secrets with the deployment's key", check_encryption, stack)
            parts.run("webhooks' secrets move to a table under a key of KMS", check_secrets_in_table, stack)
            parts.run("each alarm has a metric and notifies the topic", check_alarms, stack)
            parts.run("the watch finds a source that is not attached", check_watch, stack)
            parts.run("each function starts by itself and answers an event", check_starts, BUILD)
            parts.run("the walkthroughs of docs/use", check_walkthroughs, stack)
            # Not at the same time as others: it takes the database away from fan-out, and the emulator drops such
            # batches.
            parts.run("what fan-out could not do is replayed", check_replay, stack)
            parts.run("schemathesis: the deployed API keeps its contract", check_contract, stack, seed())
            restore(stack)
            compiled.join()
            tests = (*ON_THE_STACK, *INCLUDE_IGNORED, *WAITING)
            parts.run("cargo test: end-to-end tests", cargo_test, stack, *tests)
            # Not at the same time: the attacks are timed.
            parts.join()
            parts.run("two hostile tenants do not hurt a healthy one", check_adversaries, stack)
            parts.run("the newcomer's first delivery", newcomer, stack, receiver)
            # These mostly wait: for packages, compilers, deliveries and a browser.
            parts.start("clients in TypeScript, Python and Rust, generated from the contract", check_clients, stack)
            parts.start(
                "every signature scheme, verified by the vendors' own npm libraries", check_npm, stack, receiver
            )
            parts.run(
                "the console in Chromium: flows, hostile text, accessibility, pictures", check_console, stack, TABLE
            )
            parts.join()
        finally:
            receiver.close()
        parts.run(
            "each metric and field that the dashboard and the queries name exists", check_observation, stack, TABLE
        )
        parts.run("the metrics in the logs are valid, documented, and name no tenant", check_metrics, stack)
        parts.run(
            "a search for every secret of the run in logs, tables, queues and answers", check_secrets, stack, 1000
        )
        parts.run("the roles of the functions allow their calls, and no more", check_access, stack)
        print(f"\nthe functions' log is {stack.folder / 'emulator.log'}")


def faults() -> int:
    """Runs what shows that nothing is lost, doubled or let through where it must not be, with its counts in sight."""
    parts = Parts()
    with Stack("faults", free_port(), "dev") as stack:
        prepare(stack)
        for what, arguments in {
            "processes that die, and calls that are cut": (*ON_THE_STACK, *INCLUDE_IGNORED, "crash_point"),
            "the simulations": (*SIMULATIONS, *INCLUDE_IGNORED, "--nocapture"),
            "the public lists of URLs that lead astray": ("--test", "ssrf", "--", "--nocapture"),
            "names that lead elsewhere the second time": ("--lib", "--", "rebinding"),
        }.items():
            parts.run(what, at_length, stack, *arguments)
        parts.run("a search for every secret of the run in logs, tables, queues and answers", check_secrets, stack, 100)
        parts.run("the roles of the functions allow their calls", check_access, stack, False)
    where = "(crash_point_NN in tests/it and tests/simulation)"
    print(f"\n{crash_points()} points where a process may die are named by tests {where}")
    return parts.report()


def at_length(stack: Stack, *arguments: str) -> list[str]:
    """Runs tests of the workspace with 200 worlds of 500 operations each; returns what failed. `make test` simulates
    fewer worlds: of all tests, they take the longest."""
    return cargo_test(stack, *arguments, SIMULATION_WORLDS="200")


def newcomer(stack: Stack, receiver: Receiver) -> None:
    """Does what `make demo` does."""
    first_delivery(stack, receiver)


def python_tests() -> list[str]:
    """Runs infra/tests in a process of their own, because they replace functions that the stack needs meanwhile;
    returns what failed."""
    command = [sys.executable, "-m", "unittest", "discover", "--start-directory", "infra/tests"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "infra" / "local")}
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    print(done.stderr, flush=True)
    if done.returncode == 0 and PYTHON_TESTS_RAN.search(done.stderr):
        return []
    return PYTHON_TEST_FAILED.findall(done.stderr) or ["they did not run; see what they print"]


def crash_points() -> int:
    """Counts the points of docs/use/runbook.md that tests are named after; says nothing of what the tests do."""
    tests = [path.read_text() for folder in ("it", "simulation") for path in (ROOT / "tests" / folder).rglob("*.rs")]
    return len({point for text in tests for name in CRASH_POINT.findall(text) for point in name.split("_and_")})


def prepare(stack: Stack) -> None:
    """Makes what the end-to-end tests stand on: a table that is a source, and the one of the sample for Serial."""
    step(f"creating the tables {TABLE} and {SERIAL['table']} of the end-to-end tests")
    stack.create_table(TABLE, "tenant_id", "item_id")
    stack.create_table(SERIAL["table"], "company_id", "id")
    register(stack)


def register(stack: Stack) -> None:
    """Registers the tables, unless they are registered."""
    items = {
        "table": TABLE,
        "entities": [{"entity": "item", "tenant": "{tenant_id}", "id": "{item_id}", "collection": "items"}],
    }
    for source in (items, SERIAL):
        response = stack.call("POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)
        if response.status_code not in (201, 409):
            raise StackError(f"POST /sources answered {response.status_code}: {response.text}")


def restore(stack: Stack) -> None:
    """Undoes what Schemathesis may have done: it deletes sources that it finds in the list, and sets the budgets of the
    tenant that is the contract's example. Processes remember budgets for a minute."""
    register(stack)
    stack.expect(200, "PUT", f"/tenants/{TENANT}/budgets", stack.issuer.token(None, ["OPERATOR"]), {})


def seed() -> int:
    """Returns what random tests start from: `SEED`, or else the commit, so that a run finds tomorrow what it finds
    today."""
    if text := os.environ.get("SEED"):
        if not text.isdecimal():
            raise StackError("SEED is not a whole number")
        return int(text)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(head.stdout[:8] or "0", 16)


def compile_tests() -> None:
    """Compiles what `cargo_test` and `check_clients` run. It gives way to the stack, which other parts use
    meanwhile."""
    command = [
        *GENTLY,
        "cargo",
        "test",
        "--workspace",
        "--locked",
        "--quiet",
        "--no-run",
        *UNITS,
        *SIMULATIONS,
        *ON_THE_STACK,
    ]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise StackError("the tests do not compile")
    compile_rust()


def apart(stack: Stack) -> list[str]:
    """Runs the tests that do not call the stack, and gives way to those that do; returns what failed."""
    return cargo_test(stack, *UNITS, way=GENTLY) + cargo_test(stack, *SIMULATIONS, *INCLUDE_IGNORED, way=GENTLY)


def cargo_test(stack: Stack, *arguments: str, way: tuple[str, ...] = (), **more: str) -> list[str]:
    """Runs tests of the workspace, with more variables in their environment; returns what failed."""
    environment = {
        **os.environ,
        **stack.environment,
        **more,
        "DYNAHOOK_ANSWERS": str(stack.answers),
        "DYNAHOOK_BUILD": str(BUILD),
        "DYNAHOOK_CREDENTIALS": str(credentials(stack)),
        "DYNAHOOK_KEYS": str(LOCAL / "keys"),
        "DYNAHOOK_OUTPUTS": str(stack.folder / "outputs.json"),
        "INSTA_UPDATE": "no",
        "PROPTEST_RNG_SEED": str(seed()),
        "SIMULATION_SEED": str(seed()),
    }
    command = [*way, "cargo", "test", "--workspace", "--locked", "--no-fail-fast", *arguments]
    return failing_tests(command, ROOT, environment)
