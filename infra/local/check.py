"""`make test` and `make lint`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unittest
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from access import check_access, check_gate, credentials
from adversary.suite import check_adversaries
from alarms import check_alarms, check_runbook
from canary import check_secrets
from contract import check_contract
from demo import first_delivery
from deployment import check_deployment
from failures import check_replay
from layers import check as layer_faults
from parts import Parts, failing_tests
from receiver import Receiver
from source import check_source
from stack import BUILD, LOCAL, ROOT, Stack, StackError, free_port, step
from starts import check_starts
from verify import check_npm
from walkthrough import check_walkthroughs

# The table of the end-to-end tests.
TABLE = "items"

# The tests of the workspace, apart from those of its load.
EVERY_TEST = ("--lib", "--test", "it", "--test", "simulation", "--test", "ssrf", "--test", "memory")

CARGO_DENY = "0.20.2"

# What the pure crate must not depend on, however far away.
IMPURE = ("aws", "tokio", "hyper", "axum", "reqwest")

# A test of a point where a process may die, and the numbers in its name.
CRASH_POINT = re.compile(r"fn crash_point_(\d\d(?:_and_\d\d)*)_")

# Markdown: a block of code, a span of code, a link, a heading.
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)


def test() -> int:
    """Runs every test: unit, property and wire tests, then end to end against the deployed stack. A part that fails stops no other."""
    step(f"everything random starts from SEED={seed()}")
    parts = Parts()
    parts.run("the Python tests of infra", python_tests)
    parts.run("the gate's own tests: policies as AWS evaluates them, and what each call needs", check_gate)
    parts.run("the stack is built, deployed and stopped", end_to_end, parts)
    return parts.report()


def end_to_end(parts: Parts) -> None:
    """Runs the parts that need a stack."""
    with Stack("test", free_port()) as stack:
        prepare(stack)
        parts.run("make source explains what AWS would refuse, and costs fan-out's role nothing", check_source, stack)
        receiver = Receiver(0)
        try:
            parts.run("a deployment fails cleanly, keeps its stage and its data, and blocks no other", check_deployment, stack)
            parts.run("each alarm has a metric and notifies the topic", check_alarms, stack)
            parts.run("each function starts by itself and answers an event", check_starts, BUILD)
            parts.run("cargo test: unit, property, wire and end-to-end tests, and the simulations", cargo_test, stack, *EVERY_TEST)
            parts.run("the walkthroughs of docs/use/api.md and docs/use/runbook.md", check_walkthroughs, stack)
            parts.run("what fan-out could not do is replayed", check_replay, stack)
            parts.run("two hostile tenants do not hurt a healthy one", check_adversaries, stack)
            parts.run("schemathesis: the deployed API keeps its contract", check_contract, stack, seed())
            parts.run("the newcomer's first delivery", newcomer, stack, receiver)
            parts.run("every signature scheme, verified by the vendors' own npm libraries", check_npm, stack, receiver)
        finally:
            receiver.close()
        parts.run("a search for every secret of the run in logs, tables, queues and answers", check_secrets, stack, 1000)
        parts.run("the roles of the functions allow their calls, and no more", check_access, stack)
        print(f"\nthe functions' log is {stack.folder / 'emulator.log'}")


def faults() -> int:
    """Runs what shows that nothing is lost, doubled or let through where it must not be, with its counts in sight."""
    parts = Parts()
    with Stack("faults", free_port()) as stack:
        prepare(stack)
        for what, arguments in {
            "processes that die, and calls that are cut": ("--test", "it", "--", "crash_point"),
            "the simulations": ("--test", "simulation", "--", "--nocapture"),
            "the public lists of URLs that lead astray": ("--test", "ssrf", "--", "--nocapture"),
            "names that lead elsewhere the second time": ("--lib", "--", "rebinding"),
        }.items():
            parts.run(what, cargo_test, stack, *arguments)
        parts.run("a search for every secret of the run in logs, tables, queues and answers", check_secrets, stack, 100)
        parts.run("the roles of the functions allow their calls", check_access, stack, False)
    print(f"\n{crash_points()} points where a process may die are named by tests (crash_point_NN in tests/it and tests/simulation)")
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
    source = {
        "table": TABLE,
        "entities": [{"entity": "item", "tenant": "{tenant_id}", "id": "{item_id}", "collection": "items"}],
    }
    stack.expect(201, "POST", "/sources", stack.issuer.token(None, ["OPERATOR"]), source)


def seed() -> int:
    """Returns what random tests start from: `SEED`, or else the commit, so that a run finds tomorrow what it finds today."""
    if text := os.environ.get("SEED"):
        if not text.isdecimal():
            raise StackError("SEED is not a whole number")
        return int(text)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(head.stdout[:8] or "0", 16)


def cargo_test(stack: Stack, *arguments: str) -> list[str]:
    """Runs tests of the workspace against the stack; returns what failed."""
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
    # No other build compiles them. Nothing is linked, so any file does for libFuzzer, which takes a C++ compiler to build.
    fuzz = "tests/fuzz/Cargo.toml"
    places = {"CARGO_TARGET_DIR": str(ROOT / "target"), "CUSTOM_LIBFUZZER_PATH": str(ROOT / fuzz)}
    cargo("the fuzz targets", "check", "--manifest-path", fuzz, "--locked", **places)
    step("purity of the domain, and who may name what")
    check_purity()
    step("loops of imports, layers of the domain, routes of the API, and the length of files")
    check_layers()
    step("links in README.md, CONTRIBUTING.md and docs")
    check_links()
    step("alarms and mappings in docs/use/runbook.md, and tests in docs/build/threat-model.md")
    check_runbook()
    check_threats()
    deny = cargo_tool("cargo-deny", CARGO_DENY)
    execute("licences and sources of dependencies", [deny, "check", "bans", "licenses", "sources"])
    check_advisories(deny)
    for template in ("template", "source"):
        execute(f"infra/{template}.yaml", ["sam", "validate", "--lint", "--template-file", f"infra/{template}.yaml"])
    print("\nall checks passed")
    return 0


def check_advisories(deny: str) -> None:
    """Checks the dependencies for known weaknesses. Without the database, which is fetched from GitHub, nothing is checked, and it says so."""
    step("advisories: fetching the RustSec database")
    try:
        subprocess.run([deny, "fetch", "db"], cwd=ROOT, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        print("not checked: the database cannot be fetched from here. Run make lint where GitHub can be reached.", flush=True)
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


def check_links() -> None:
    """Every relative link of the documents leads to a file that is there, and to a heading that it has."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = []
    for document in documents:
        for target in LINK.findall(CODE.sub("", FENCE.sub("", document.read_text()))):
            if re.match("[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = unquote(target).partition("#")
            file = (document.parent / path).resolve() if path else document
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in slugs(file.read_text())):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    if broken:
        raise StackError("these links lead nowhere:\n" + "\n".join(broken))


def check_threats() -> None:
    """Every test that docs/build/threat-model.md names in the last column of a table is there."""
    rows = re.findall(r"^\|.*\|([^|\n]+)\|$", (ROOT / "docs" / "build" / "threat-model.md").read_text(), re.MULTILINE)
    named = {name for cell in rows for name in re.findall(r"`([a-z0-9_]+)`", cell)}
    folders = [ROOT / name for name in ("functions", "shared", "tests", "infra")]
    code = "\n".join(file.read_text() for folder in folders for end in ("rs", "py") for file in folder.rglob(f"*.{end}"))
    missing = sorted(named - set(re.findall(r"\b(?:fn|def) (\w+)", code)))
    if not named or missing:
        raise StackError(f"docs/build/threat-model.md names tests that are not there: {', '.join(missing)}")


def slugs(markdown: str) -> set[str]:
    """Returns the anchors of a document's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in HEADING.findall(FENCE.sub("", markdown)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


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
