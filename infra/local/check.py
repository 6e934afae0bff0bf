"""`make test` and `make lint`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from access import check_access, check_gate, credentials
from adversary.suite import check_adversaries
from alarms import check_alarms, check_runbook
from book import build_book
from build import BUILD, TARGET
from canary import check_secrets
from common import LOCAL, ROOT, StackError, free_port, step
from contract import check_contract
from demo import first_delivery
from deployment import check_deployment
from documents import check_documents
from failures import check_replay
from layers import check as layer_faults
from parts import Parts, failing_tests
from receiver import Receiver
from source import check_source
from stack import Stack
from starts import check_starts
from verify import check_npm
from walkthrough import check_walkthroughs
from words import lines, search

# The table of the end-to-end tests.
TABLE = "items"

# The tests of the workspace: those that need nothing, those of built functions, and those of the whole stack. Those of
# its load are in bench.py. Plain `cargo test` ignores what needs a stack or a built function.
UNITS = ("--lib", "--test", "ssrf", "--test", "memory")
SIMULATIONS = ("--test", "simulation")
ON_THE_STACK = ("--test", "it")
INCLUDE_IGNORED = ("--", "--include-ignored")

# The programs that only `make lint` needs.
LINT = LOCAL / "venv" / "lint" / "bin"

# What the pure crate must not depend on, however far away.
IMPURE = ("aws", "tokio", "hyper", "axum", "reqwest")

# A test of a point where a process may die, and the numbers in its name.
CRASH_POINT = re.compile(r"fn crash_point_(\d\d(?:_and_\d\d)*)_")

# A test with its attributes.
TEST = re.compile(
    r"(?P<attributes>(?:^ *#\[.*\n)*^ *#\[(?:tokio::test|test|rstest)\b.*\n(?:^ *(?:#\[|//|[^\n]*[\]\),]$).*\n)*?)"
    r"^ *(?:pub )?(?:async )?fn (?P<name>\w+)",
    re.MULTILINE,
)


def test() -> int:
    """Runs every test: unit, property and wire tests, then end to end against the deployed stack. A part that fails
    stops no other."""
    step(f"everything random starts from SEED={seed()}")
    parts = Parts()
    parts.run("the Python tests of infra", python_tests)
    parts.run("the gate's own tests: policies as AWS evaluates them, and what each call needs", check_gate)
    parts.run("the stack is built, deployed and stopped", end_to_end, parts)
    return parts.report()


def end_to_end(parts: Parts) -> None:
    """Runs the parts that need a stack."""
    with Stack("test", free_port(), "dev") as stack:
        parts.start("cargo test: compiling", compile_tests)
        prepare(stack)
        parts.run("make source explains what AWS would refuse, and costs fan-out's role nothing", check_source, stack)
        receiver = Receiver(0)
        try:
            parts.run(
                "a deployment fails cleanly, keeps its stage and its data, and blocks no other", check_deployment, stack
            )
            parts.run("each alarm has a metric and notifies the topic", check_alarms, stack)
            parts.run("each function starts by itself and answers an event", check_starts, BUILD)
            # The walkthroughs mostly wait: for an outage to be noticed, and to be over.
            parts.start("the walkthroughs of docs/use", check_walkthroughs, stack)
            parts.run("what fan-out could not do is replayed", check_replay, stack)
            parts.join()
            # One processor is for Cargo, the other for the emulator.
            parts.start("cargo test: unit, property and wire tests, and the simulations", apart, stack)
            parts.run("schemathesis: the deployed API keeps its contract", check_contract, stack, seed())
            parts.join()
            # Schemathesis lists the sources, and may delete this one.
            register(stack)
            parts.run("cargo test: end-to-end tests", cargo_test, stack, *ON_THE_STACK, *INCLUDE_IGNORED)
            parts.run("two hostile tenants do not hurt a healthy one", check_adversaries, stack)
            parts.run("the newcomer's first delivery", newcomer, stack, receiver)
            parts.run("every signature scheme, verified by the vendors' own npm libraries", check_npm, stack, receiver)
        finally:
            receiver.close()
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
            parts.run(what, cargo_test, stack, *arguments)
        parts.run("a search for every secret of the run in logs, tables, queues and answers", check_secrets, stack, 100)
        parts.run("the roles of the functions allow their calls", check_access, stack, False)
    where = "(crash_point_NN in tests/it and tests/simulation)"
    print(f"\n{crash_points()} points where a process may die are named by tests {where}")
    return parts.report()


def newcomer(stack: Stack, receiver: Receiver) -> None:
    """Does what `make demo` does."""
    first_delivery(stack, receiver)


def python_tests() -> list[str]:
    """Runs infra/tests; returns what failed."""
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2)
    result = runner.run(unittest.defaultTestLoader.discover(str(ROOT / "infra" / "tests")))
    if result.testsRun == 0:
        return ["no test was found"]
    unexpected = [test.id() for test in result.unexpectedSuccesses]
    return [test.id() for test, _ in (*result.failures, *result.errors)] + unexpected


def crash_points() -> int:
    """Counts the points of docs/use/runbook.md that tests are named after; says nothing of what the tests do."""
    tests = [path.read_text() for folder in ("it", "simulation") for path in (ROOT / "tests" / folder).rglob("*.rs")]
    return len({point for text in tests for name in CRASH_POINT.findall(text) for point in name.split("_and_")})


def prepare(stack: Stack) -> None:
    """Makes what the end-to-end tests stand on: a table that is a source."""
    step(f"creating the table {TABLE} of the end-to-end tests")
    stack.create_table(TABLE, "tenant_id", "item_id")
    register(stack)


def register(stack: Stack) -> None:
    """Registers the table, unless it is registered."""
    source = {
        "table": TABLE,
        "entities": [{"entity": "item", "tenant": "{tenant_id}", "id": "{item_id}", "collection": "items"}],
    }
    response = stack.call("POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)
    if response.status_code not in (201, 409):
        raise StackError(f"POST /sources answered {response.status_code}: {response.text}")


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
    """Compiles what `cargo_test` runs. It gives way to the stack, which other parts use meanwhile."""
    command = [
        "nice",
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


def apart(stack: Stack) -> list[str]:
    """Runs the tests that do not call the stack; returns what failed."""
    return cargo_test(stack, *UNITS) + cargo_test(stack, *SIMULATIONS, *INCLUDE_IGNORED)


def cargo_test(stack: Stack, *arguments: str) -> list[str]:
    """Runs tests of the workspace; returns what failed."""
    environment = {
        **os.environ,
        **stack.environment,
        "DYNAHOOK_ANSWERS": str(stack.answers),
        "DYNAHOOK_BUILD": str(BUILD),
        "DYNAHOOK_CREDENTIALS": str(credentials(stack)),
        "DYNAHOOK_KEYS": str(LOCAL / "keys"),
        "DYNAHOOK_OUTPUTS": str(stack.folder / "outputs.json"),
        "INSTA_UPDATE": "no",
        "PROPTEST_RNG_SEED": str(seed()),
        "SIMULATION_SEED": str(seed()),
    }
    command = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", *arguments]
    return failing_tests(command, ROOT, environment)


def lint() -> int:
    """Runs every check that needs no stack; stops at the first that does not hold."""
    cargo("format", "fmt", "--all", "--check")
    cargo("lints", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    # Private items too: for an application they are the documentation.
    flags = "-D warnings -A rustdoc::private_intra_doc_links"
    doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]
    cargo("documentation", *doc, RUSTDOCFLAGS=flags)
    # No other build compiles them. Nothing is linked, so any file does for libFuzzer, which takes a C++ compiler to
    # build.
    fuzz = "tests/fuzz/Cargo.toml"
    places = {"CARGO_TARGET_DIR": str(TARGET), "CUSTOM_LIBFUZZER_PATH": str(ROOT / fuzz)}
    cargo("the fuzz targets", "check", "--manifest-path", fuzz, "--locked", **places)
    check_python()
    step("tests that plain cargo test skips")
    check_ignored()
    step("purity of the domain, and who may name what")
    check_purity()
    step("loops of imports, layers of the domain, routes of the API, and the length of files")
    check_layers()
    step("links of the documents, pages of the book, and names of files, tests and symbols")
    check_documents()
    step("alarms and mappings in docs/use/runbook.md")
    check_runbook()
    step("words that make prose hard to read")
    check_words()
    build_book()
    deny = str(LINT / "cargo-deny")
    execute("licences and sources of dependencies", [deny, "check", "bans", "licenses", "sources"])
    check_advisories(deny)
    for template in ("template", "source"):
        execute(f"infra/{template}.yaml", ["sam", "validate", "--lint", "--template-file", f"infra/{template}.yaml"])
    print("\nall checks passed")
    return 0


def check_words() -> None:
    """No prose of the repository has the words that `words.MARKERS` lists."""
    if found := search([]):
        raise StackError("these words make prose hard to read:\n" + "\n".join(lines(found)))


def check_python() -> None:
    """Checks the Python of infra: its format, its lints and its types. MiniStack, which the gate is a part of, has
    another environment."""
    settings = ["--config", "infra/pyproject.toml"]
    execute("format of the Python", [str(LINT / "ruff"), "format", "--check", "--quiet", *settings, "infra"])
    execute("lints of the Python", [str(LINT / "ruff"), "check", "--quiet", *settings, "infra"])
    tools = str(LOCAL / "venv" / "tools" / "bin" / "python")
    mypy = [
        str(LINT / "mypy"),
        "--config-file",
        "infra/pyproject.toml",
        "--python-executable",
        tools,
        "--cache-dir",
        str(LOCAL / "mypy"),
    ]
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "infra").glob("*.py")) + sorted((ROOT / "infra" / "local").glob("*.py"))
    ]
    execute("types of the Python", [*mypy, *files, "infra/local/adversary", "infra/local/gate", "infra/tests"])


def check_ignored() -> None:
    """Each test of tests/it needs the stack, so that plain `cargo test` must skip it."""
    tests = [
        (file, name)
        for file in sorted((ROOT / "tests" / "it").rglob("*.rs"))
        for name in unconditional(file.read_text())
    ]
    if tests:
        names = "\n".join(f"{file.relative_to(ROOT)}: {name}" for file, name in tests)
        raise StackError(f'these tests need #[ignore = "needs the stack of `make test`"]:\n{names}')


def unconditional(source: str) -> list[str]:
    """Returns the tests of a file that are not ignored: their attributes stand above them without an empty line."""
    return [match["name"] for match in TEST.finditer(source) if "#[ignore" not in match["attributes"]]


def check_advisories(deny: str) -> None:
    """Checks the dependencies for known weaknesses. Without the database, which is fetched from GitHub, nothing is
    checked, and it says so."""
    step("advisories: fetching the RustSec database")
    try:
        subprocess.run([deny, "fetch", "db"], cwd=ROOT, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        print(
            "not checked: the database cannot be fetched from here. Run make lint where GitHub can be reached.",
            flush=True,
        )
        return
    execute("advisories of dependencies", [deny, "check", "--disable-fetch", "advisories"])


def check_purity() -> None:
    """The rules of docs/build/architecture.md about who depends on whom."""
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


def check_layers() -> None:
    """No file imports another in a loop, and the layers of the domain hold."""
    if faults := layer_faults(ROOT):
        raise StackError("\n".join(faults))


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
