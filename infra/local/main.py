#!/usr/bin/env python3
"""Runs Dynahook on this machine: `python3 infra/local/main.py run|demo|source|smoke|test|arm64|faults|lint|book|recording|weigh|bench|soak|fuzz|latency|down`.

This file uses the standard library alone. It checks what a machine must have, makes virtual environments with pinned
packages in `.local/venv`, and goes on inside the first: `tools` has SAM CLI, cargo-lambda and what the commands import;
`emulator` has MiniStack, which pins another version of botocore; `data` has the data set of the smoke test, `contract` has Schemathesis.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENVS = ROOT / ".local" / "venv"
ENVIRONMENTS = {
    "run": ("tools", "emulator"),
    "demo": ("tools", "emulator"),
    "source": ("tools",),
    "replay-failures": ("tools",),
    "smoke": ("tools", "emulator", "data"),
    "test": ("tools", "emulator", "contract"),
    "arm64": ("tools",),
    "faults": ("tools", "emulator"),
    "lint": ("tools",),
    "book": ("tools",),
    "recording": ("tools", "emulator"),
    "weigh": ("tools",),
    "bench": ("tools",),
    "fuzz": ("tools",),
    "soak": ("tools",),
    "latency": ("tools", "emulator"),
    "down": ("tools",),
}

# Only the files that `make requirements` has hashed, and no code of a package while it is installed. The list is complete: pip takes
# no dependency on top.
LOCKED = ("--require-hashes", "--no-deps", "--only-binary", ":all:")


def main() -> int:
    """Checks the machine, makes the environments and starts the command."""
    if len(sys.argv) != 2 or sys.argv[1] not in ENVIRONMENTS:
        return fail(f"usage: python3 infra/local/main.py {'|'.join(ENVIRONMENTS)}")
    if sys.version_info < (3, 11):
        return fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    if not sys.platform.startswith("linux"):
        return fail("the local stack needs Linux: the emulator runs the functions' Linux binaries directly")
    if not shutil.which("cargo"):
        return fail("cargo is not on the PATH: install Rust from https://rustup.rs and open a new shell")
    if not shutil.which("cc"):
        return fail("no C compiler (cc) is on the PATH: install gcc or clang; Rust links with it")
    try:
        for name in ENVIRONMENTS[sys.argv[1]]:
            make_environment(name)
    except (subprocess.CalledProcessError, OSError) as error:
        return fail(f"cannot make the Python environments in {VENVS}: {error}")
    tools = VENVS / "tools" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(tools.parent),
        "PYTHONUNBUFFERED": "1",
        "SAM_CLI_TELEMETRY": "0",
    }
    os.execve(tools / "python", ["python", str(HERE / "commands.py"), sys.argv[1]], environment)


def make_environment(name: str) -> None:
    """Makes a virtual environment, unless it was made from the same requirements."""
    requirements = HERE / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = VENVS / name
    mark = folder / ".requirements.sha256"
    if mark.exists() and mark.read_text() == digest:
        return
    print(f"· installing the pinned {name} (once, a minute or so)", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *LOCKED, "--requirement", requirements], check=True)
    mark.write_text(digest)


def fail(message: str) -> int:
    """Prints one clear line."""
    print(f"dynahook: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
