"""`make lint`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alarms import check_runbook
from book import build_book
from build import TARGET
from common import LOCAL, ROOT, StackError, step
from documents import check_documents
from exact import faults as inexact_numbers
from layers import check as layer_faults
from vendor import check_vendored
from words import lines, search

# The programs that only `make lint` needs.
LINT = LOCAL / "venv" / "lint" / "bin"

# What the pure crate must not depend on, however far away.
IMPURE = ("aws", "tokio", "hyper", "axum", "reqwest")

# The attributes of a test, and the line of its name.
TEST_ATTRIBUTES = ("#[test]", "#[rstest", "#[tokio::test")
NAME = re.compile(r" *(?:pub )?(?:async )?fn (\w+)")


def lint() -> int:
    """Runs every check that needs no stack, the quickest first. The checks of the Rust and those of other programs run
    at the same time, because Cargo seldom needs all processors."""
    cargo("format", "fmt", "--all", "--check")
    check_structure()
    with ThreadPoolExecutor() as both:
        for checks in [both.submit(check_rust), both.submit(check_others)]:
            checks.result()
    print("\nall checks passed")
    return 0


def check_rust() -> None:
    """Checks the Rust: its lints and its documentation."""
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


def check_structure() -> None:
    """Checks what needs no other program: structure, numbers, documents and words."""
    step("tests that plain cargo test skips")
    check_ignored()
    step("purity of the domain, and who may name what")
    check_purity()
    step("loops of imports, layers of the domain, routes of the API, and the length of files of code and tests")
    check_layers()
    step("libraries of the console")
    check_vendored()
    step("numbers of users keep their digits")
    check_numbers()
    step("links of the documents, pages of the book, and names of files, tests and symbols")
    check_documents()
    step("alarms and mappings in docs/use/runbook.md")
    check_runbook()
    step("words that make prose hard to read")
    check_words()


def check_others() -> None:
    """Checks the Python, the dependencies, the templates and the book."""
    check_python()
    deny = str(LINT / "cargo-deny")
    execute("licences and sources of dependencies", [deny, "check", "bans", "licenses", "sources"])
    check_advisories(deny)
    check_templates()
    build_book()


def check_templates() -> None:
    """Checks the templates. Exceptions are in their metadata, and those of checkov for all resources in its
    configuration. `sam validate --lint` would call cfn-lint, too."""
    templates = ["infra/template.yaml", "infra/source.yaml"]
    serverless = ["--append-rules", "cfn_lint_serverless.rules", "--", *templates]
    execute("templates, also as serverless applications", [str(LINT / "cfn-lint"), *serverless])
    execute("security of the templates", [str(LINT / "checkov"), "--config-file", "infra/checkov.yaml"])


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
    tests: list[str] = []
    above: list[str] = []
    for line in source.splitlines():
        if name := NAME.match(line):
            attributes = [attribute for attribute in above if attribute.startswith("#[")]
            if any(text.startswith(TEST_ATTRIBUTES) for text in attributes) and not any(
                text.startswith("#[ignore") for text in attributes
            ):
                tests.append(name[1])
        above = [*above, line.strip()] if line.strip() and not name else []
    return tests


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


def check_numbers() -> None:
    """No number of a user is cut to 64 bits."""
    if found := inexact_numbers(ROOT):
        raise StackError("\n".join(found))


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
