"""Generates clients from the contract in TypeScript, Python and Rust, compiles them and runs each against the stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from build import TARGET
from common import LOCAL, ROOT, StackError
from node import BINARIES as NODE
from node import environment as node_environment
from node import installed
from stack import Stack

SOURCES = ROOT / "tests" / "clients"
CONTRACT = ROOT / "infra" / "openapi.json"
FOLDER = LOCAL / "clients"

# Where the client in Rust is compiled: with the functions, which need many of its crates.
RUST = {"CARGO_TARGET_DIR": str(TARGET)}

# What every program prints: the webhook that it created, the event that it published, and the error that it got.
PRINTED = re.compile(r"whk_[0-9A-Z]{26} standard\norder\.created\n422 urn:dynahook:problem:invalid #/url\n")


def check_clients(stack: Stack) -> list[str]:
    """Runs the clients; returns what failed."""
    failed = []
    for language, client in {"TypeScript": typescript, "Python": python, "Rust": rust}.items():
        started = time.monotonic()
        token = stack.issuer.token(f"client-{language.lower()}", ["ADMIN"])
        environment = {"API": f"{stack.api_url}/api/v1/integration", "TOKEN": token}
        try:
            printed = client(environment)
        except StackError as error:
            failed.append(f"{language}: {error}")
            continue
        print(f"{language}: {time.monotonic() - started:.0f} s", flush=True)
        if not PRINTED.fullmatch(printed):
            failed.append(f"{language}: the client printed {printed!r}")
    return failed


def typescript(environment: dict[str, str]) -> str:
    """Runs the client of openapi-typescript and openapi-fetch; returns what it printed."""
    folder = installed(SOURCES / "typescript", "clients/typescript")
    node = {**node_environment(), **environment}
    tools = folder / "node_modules" / ".bin"
    run([str(tools / "openapi-typescript"), str(CONTRACT), "--output", "api.d.ts"], folder, node)
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--outDir", "built")
    run([str(tools / "tsc"), *options, "client.ts"], folder, node)
    return run([str(NODE / "node"), "built/client.js"], folder, node)


def python(environment: dict[str, str]) -> str:
    """Runs the client of openapi-python-client; returns what it printed."""
    folder = FOLDER / "python"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (SOURCES / "python").iterdir():
        shutil.copy(file, folder)
    binaries = LOCAL / "venv" / "clients" / "bin"
    # The generator formats what it made with ruff.
    tools = {**environment, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    made = ("--meta", "none", "--output-path", "dynahook", "--overwrite")
    said = run([str(binaries / "openapi-python-client"), "generate", "--path", str(CONTRACT), *made], folder, tools)
    # It skips what it does not understand. It knows no bodies of plain text, which only inbound calls have.
    skipped = [line for line in said.splitlines() if line.startswith(("WARNING", "ERROR", "Unable"))]
    if unknown := [line for line in skipped if "within inbound" not in line]:
        raise StackError(f"openapi-python-client skipped parts of the contract: {unknown}")
    run([str(binaries / "mypy"), "--strict", "--follow-imports=silent", "client.py"], folder, tools)
    return run([str(binaries / "python"), "client.py"], folder, tools)


def rust(environment: dict[str, str]) -> str:
    """Runs the client of progenitor; returns what it printed."""
    return run(["cargo", "run", "--quiet", "--locked"], SOURCES / "rust", {**environment, **RUST})


def compile_rust() -> None:
    """Compiles the client in Rust, which takes longest, and gives way to others."""
    run(["nice", "cargo", "build", "--quiet", "--locked"], SOURCES / "rust", RUST)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Runs a command; returns its output."""
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        print(result.stdout, result.stderr, file=sys.stderr, flush=True)
        raise StackError(f"{Path(command[0]).name} ended with {result.returncode}; see its output")
    return result.stdout
