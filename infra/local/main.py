#!/usr/bin/env python3
"""Runs a command of the Makefile: `python3 infra/local/main.py COMMAND`.

This file uses the standard library alone. It checks what a machine must have, makes virtual environments with pinned
packages in `.local/venv`, and continues inside the first of them: `tools` has SAM CLI, cargo-lambda and what the
commands import; `emulator` has MiniStack, which pins another version of botocore. pip installs `uv` alone, which then
installs the others in seconds."""

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
LOCAL = ROOT / ".local"
VENVS = LOCAL / "venv"
ENVIRONMENTS = {
    "run": ("tools", "emulator"),
    "demo": ("tools", "emulator"),
    "deploy": ("tools",),
    "recover": ("tools",),
    "change": ("tools",),
    "token": ("tools",),
    "logs": ("tools",),
    "source": ("tools",),
    "replay-failures": ("tools",),
    "smoke": ("tools", "emulator", "data"),
    "test": ("tools", "emulator", "contract", "clients"),
    "arm64": ("tools",),
    "faults": ("tools", "emulator"),
    "lint": ("tools", "lint"),
    "book": ("tools",),
    "recording": ("tools", "emulator"),
    "pictures": ("tools", "emulator", "data", "contract"),
    "size": ("tools",),
    "package": ("tools",),
    "bench": ("tools",),
    "fuzz": ("tools", "fuzz"),
    "soak": ("tools",),
    "latency": ("tools", "emulator"),
    "upgrade": ("tools", "emulator"),
    "down": ("tools",),
    "requirements": ("tools",),
    "vendor": ("tools", "contract"),
}

# The commands that start with a build of the functions for this machine, and the profile of it (see build.py). It needs
# no Python, so it runs while the environments are made.
BUILDING = {"run": "local", "demo": "local", "smoke": "local", "latency": "local", "test": "dev", "faults": "dev"}

# Only the files that `make requirements` has hashed, and no code of a package while it is installed. The list is
# complete: nothing is installed on top.
LOCKED = ("--require-hashes", "--no-deps", "--only-binary", ":all:")

# The settings of pip that uv has under other names.
PIP_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}


def main() -> int:
    """Checks the machine, makes the environments and starts the command."""
    if len(sys.argv) != 2 or sys.argv[1] not in ENVIRONMENTS:
        return fail(f"usage: python3 infra/local/main.py {'|'.join(ENVIRONMENTS)}")
    command = sys.argv[1]
    if sys.version_info < (3, 11):  # noqa: UP036
        return fail(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    if command not in ("deploy", "recover") and not sys.platform.startswith("linux"):
        return fail(
            "the local stack needs Linux, because the emulator runs the functions' Linux binaries directly. On macOS "
            "and Windows open this folder in a dev container: .devcontainer/devcontainer.json has all that is needed"
        )
    if not shutil.which("cargo"):
        return fail("cargo is not on the PATH: install Rust from https://rustup.rs and open a new shell")
    if not shutil.which("cc"):
        return fail("no C compiler (cc) is on the PATH: install gcc or clang; Rust links with it")
    missing = [name for name in ENVIRONMENTS[command] if not is_made(name)]
    building = start_build(BUILDING[command]) if missing and command in BUILDING else None
    try:
        for name in missing:
            make_environment(name)
    except (subprocess.CalledProcessError, OSError) as error:
        if building:
            building.terminate()
        return fail(f"cannot make the Python environments in {VENVS}: {error}")
    tools = VENVS / "tools" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(tools.parent),
        "PYTHONUNBUFFERED": "1",
        "SAM_CLI_TELEMETRY": "0",
    }
    os.execve(tools / "python", ["python", str(HERE / "commands.py"), command], environment)
    raise AssertionError("execve does not return")


def start_build(profile: str) -> subprocess.Popen:
    """Starts a build of the functions. The command's own build waits for it, and prints its errors again."""
    print("· building the functions meanwhile", flush=True)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(build_command(profile), cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet)


def build_command(profile: str) -> list[str]:
    """Returns the command that builds the functions.

    For `make test` their dependencies have the features that the tests need, so that both use the same crates. `make
    arm64` builds the functions as they are deployed."""
    features = ["--workspace"] if profile == "dev" else []
    return ["cargo", "build", "--locked", "--bins", *features, "--profile", profile]


def requirements(name: str) -> Path:
    """Returns the list of an environment's packages."""
    return HERE / "requirements" / f"{name}.txt"


def digest(name: str) -> str:
    """Returns what an environment is known by: its list of packages."""
    return hashlib.sha256(requirements(name).read_bytes()).hexdigest()


def mark(name: str) -> Path:
    """Returns the file that says what an environment was made of."""
    return VENVS / name / ".requirements.sha256"


def is_made(name: str) -> bool:
    """Says whether an environment is there and was made from the same packages."""
    return mark(name).exists() and mark(name).read_text() == digest(name)


def make_environment(name: str) -> None:
    """Makes a virtual environment with uv, which is installed first."""
    folder, bootstrap = VENVS / name, VENVS / "uv" / "bin"
    python, uv = str(bootstrap / "python"), str(bootstrap / "uv")
    if not is_made("uv"):
        venv.create(bootstrap.parent, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *LOCKED, "--requirement", str(requirements("uv"))], check=True)
        mark("uv").write_text(digest("uv"))
    print(f"· installing the pinned {name} (once)", flush=True)
    environment = {**settings(python), **os.environ}
    made = [uv, "venv", "--quiet", "--clear", "--no-project", "--python", sys.executable, str(folder)]
    subprocess.run(made, check=True, env=environment)
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *LOCKED]
    subprocess.run([*install, "--requirement", str(requirements(name))], check=True, env=environment)
    mark(name).write_text(digest(name))


def settings(python: str) -> dict[str, str]:
    """Returns pip's settings of where packages come from, as uv reads them."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if variable := PIP_SETTINGS.get(name.rpartition(".")[2]):
            found[variable] = value.strip("'\"")
    return found


def fail(message: str) -> int:
    """Prints one clear line."""
    print(f"dynahook: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
